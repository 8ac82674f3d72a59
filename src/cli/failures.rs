//! `failures JOB`, and the file of open failures that every run leaves.

mod arguments;
mod dismissal;
mod record;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::path::Path;

use jiff::Timestamp;

pub(super) use self::arguments::Failures;

use self::arguments::FailureFormat;
use self::record::{cells, columns, json_line};
use super::{Context, Exit, assemble, output};
use crate::config::{Config, Job};
use crate::ledger::{FailureFilter, FailureRow, FailureState, Ledger};
use crate::model::failure::Class;
use crate::page::blocks::shortened;

/// Failures that are read from the ledger at a time.
const PAGE: u32 = 5_000;
/// The characters of a text that a table has room for.
const ROOM: usize = 80;

pub(super) async fn failures(context: &Context, arguments: &Failures) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let job = assemble::one(&config, &arguments.job)?;
    let filter = filter(job, arguments)?;
    if arguments.dismiss || arguments.reopen {
        return dismissal::dismiss_or_reopen(&config, job, arguments, &filter).await;
    }
    let ledger = assemble::ledger_to_read(&config, job).await?;
    if let Some(ledger) = &ledger {
        assemble::warn_of_change(&config, job, ledger).await?;
    }
    let dismissed = arguments.dismissed;
    let out = BufWriter::new(io::stdout().lock());
    match arguments.format {
        FailureFormat::Table if !arguments.json => table(ledger.as_ref(), &filter, out).await?,
        FailureFormat::Table | FailureFormat::Jsonl => {
            let mut out = out;
            if let Some(ledger) = &ledger {
                each(ledger, &filter, |row| json_line(&mut out, row)).await?;
            }
            out.flush()?;
        }
        FailureFormat::Csv => {
            let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(out);
            writer.write_record(columns(dismissed))?;
            if let Some(ledger) = &ledger {
                each(ledger, &filter, |row| Ok(writer.write_record(cells(row, dismissed))?)).await?;
            }
            writer.flush()?;
        }
    }
    Ok(0)
}

/// The failures that were asked for.
fn filter(job: &Job, arguments: &Failures) -> Result<FailureFilter, Exit> {
    let met_before = |age| {
        let age = jiff::SignedDuration::try_from(age).ok()?;
        Timestamp::now().checked_sub(age).ok()
    };
    let last_seen_before = match arguments.older_than {
        None => None,
        Some(age) => {
            Some(met_before(age).ok_or_else(|| Exit::words("--older-than is longer ago than any calendar goes"))?)
        }
    };
    Ok(FailureFilter {
        classes: arguments.class.clone(),
        codes: arguments.code.clone(),
        source: arguments.source.clone(),
        last_seen_before,
        state: Some(if arguments.dismissed { FailureState::Dismissed } else { FailureState::Open }),
        permanent_before: met_before(job.fetch.retry_for),
    })
}

/// Replaces the file of a job's open failures where it differs from what is open now.
pub(super) async fn write_file(ledger: &Ledger, job: &Job, path: &Path) -> anyhow::Result<()> {
    let age = jiff::SignedDuration::try_from(job.fetch.retry_for).ok();
    let permanent_before = age.and_then(|age| Timestamp::now().checked_sub(age).ok());
    let filter = FailureFilter { state: Some(FailureState::Open), permanent_before, ..FailureFilter::default() };
    let mut written = Comparison::with(path);
    each(ledger, &filter, |row| json_line(&mut written, row)).await?;
    if written.is_the_same() {
        return Ok(());
    }
    let mut file = output::Replacement::create(path)?;
    each(ledger, &filter, |row| json_line(&mut file, row)).await?;
    file.finish()?;
    Ok(())
}

/// Compares what is written to it with a file: reading the file costs less than writing it again.
struct Comparison(Option<BufReader<File>>);

impl Comparison {
    fn with(path: &Path) -> Self {
        Self(File::open(path).ok().map(BufReader::new))
    }

    /// Whether all that was written is all that is in the file.
    fn is_the_same(&mut self) -> bool {
        self.0.as_mut().is_some_and(|rest| rest.read(&mut [0]).is_ok_and(|read| read == 0))
    }
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut there = vec![0; bytes.len()];
        let same = self.0.as_mut().is_some_and(|file| file.read_exact(&mut there).is_ok() && there == bytes);
        if !same {
            self.0 = None;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn each(
    ledger: &Ledger,
    filter: &FailureFilter,
    mut take: impl FnMut(&FailureRow) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let page = ledger.failures(filter, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        for row in &page {
            take(row)?;
        }
    }
}

/// Prints the first hundred failures, and how many there are of each kind.
async fn table(ledger: Option<&Ledger>, filter: &FailureFilter, mut out: impl Write) -> anyhow::Result<()> {
    const SHOWN: usize = 100;
    let dismissed = filter.state == Some(FailureState::Dismissed);
    let mut kinds: BTreeMap<(Class, Option<i64>), u64> = BTreeMap::new();
    let (mut shown, mut told) = (Vec::new(), 0);
    if let Some(ledger) = ledger {
        each(ledger, filter, |row| {
            *kinds.entry((row.class, row.code)).or_default() += row.rows;
            if shown.len() < SHOWN {
                told += row.rows;
                shown.push(line(row, dismissed).iter().map(|cell| output::one_line(cell)).collect());
            }
            Ok(())
        })
        .await?;
    }
    let hidden = if dismissed { 0 } else { dismissed_count(ledger).await? };
    if kinds.is_empty() {
        writeln!(out, "{}", nothing(ledger, filter).await?)?;
    } else {
        let mut header = vec!["class", "code", "message ID", "conversation or row", "attempts", "again", "why"];
        if dismissed {
            header.truncate(4);
            header.extend(["dismissed", "by", "reason"]);
        }
        writeln!(out, "{}", output::table(&header, &shown))?;
        let all: u64 = kinds.values().sum();
        if all > told {
            writeln!(out, "… and {} more: --format jsonl or csv lists all", output::count(all - told))?;
        }
        writeln!(out)?;
        let number = |code: Option<i64>| code.map(|code| code.to_string()).unwrap_or_default();
        let kinds: Vec<Vec<String>> = kinds
            .into_iter()
            .map(|((class, code), count)| vec![class.to_string(), number(code), output::count(count)])
            .collect();
        let counted = if dismissed { "dismissed" } else { "open" };
        writeln!(out, "{}", output::table(&["class", "code", counted], &kinds))?;
    }
    if hidden > 0 {
        writeln!(out, "\n{} dismissed: --dismissed lists them", output::count(hidden))?;
    }
    out.flush()?;
    Ok(())
}

/// Says that no failure matches, and how many others there are.
async fn nothing(ledger: Option<&Ledger>, filter: &FailureFilter) -> anyhow::Result<String> {
    let totals = match ledger {
        Some(ledger) => ledger.totals().await?,
        None => return Ok("no failures: the job has not run yet".to_owned()),
    };
    let (kind, others) = match filter.state {
        Some(FailureState::Dismissed) => ("dismissed", totals.dismissed),
        _ => ("open", totals.open_failures.values().sum()),
    };
    Ok(match others {
        0 => format!("no {kind} failures"),
        1 => format!("no {kind} failure matches; 1 other is {kind}"),
        _ => format!("no {kind} failure matches; {} others are {kind}", output::count(others)),
    })
}

fn line(row: &FailureRow, dismissed: bool) -> Vec<String> {
    let mut cells = vec![
        row.class.to_string(),
        row.code.map(|code| code.to_string()).unwrap_or_default(),
        row.message_server_id.map(|id| id.to_string()).unwrap_or_default(),
        row.source.clone().or_else(|| row.conversation_id.clone()).unwrap_or_default(),
    ];
    match &row.closed {
        Some((at, reason)) if dismissed => {
            let by = row.closed_by.as_deref().unwrap_or_default();
            cells.extend([at.strftime("%F %T").to_string(), shortened(by, ROOM), shortened(reason, ROOM)]);
        }
        _ => {
            let again = if row.retryable { "yes" } else { "no" };
            cells.extend([row.attempts.to_string(), again.to_owned(), shortened(&row.message, ROOM)]);
        }
    }
    cells
}

async fn dismissed_count(ledger: Option<&Ledger>) -> anyhow::Result<u64> {
    Ok(match ledger {
        Some(ledger) => ledger.totals().await?.dismissed,
        None => 0,
    })
}
