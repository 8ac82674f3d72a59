//! `failures JOB`, and the file of open failures that every run leaves.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::arguments::{FailureFormat, Failures};
use super::{Context, Exit, assemble, output};
use crate::config::{Config, Job};
use crate::failure::Class;
use crate::ledger::{FailureFilter, FailureRow, Ledger};

const PAGE: u32 = 5_000;

/// One failure as it is written, in this order. A JSON line of it is a reference, so that a file of failures is itself
/// a source.
#[derive(Serialize)]
struct Record<'a> {
    job: &'a str,
    run_id: String,
    conversation_id: Option<&'a str>,
    message_server_id: Option<i64>,
    create_time: Option<i64>,
    class: &'static str,
    code: Option<i64>,
    message: &'a str,
    attempts: u64,
    retryable: bool,
    first_seen: String,
    last_seen: String,
    source: Option<&'a str>,
    requested: bool,
}

impl<'a> Record<'a> {
    fn new(row: &'a FailureRow) -> Self {
        Self {
            job: &row.job,
            run_id: row.run_id.to_string(),
            conversation_id: row.conversation_id.as_deref(),
            message_server_id: row.message_server_id,
            create_time: row.create_time,
            class: row.class.as_str(),
            code: row.code,
            message: &row.message,
            attempts: row.attempts,
            retryable: row.retryable,
            first_seen: row.first_seen.to_string(),
            last_seen: row.last_seen.to_string(),
            source: row.source.as_deref(),
            requested: !row.extra,
        }
    }
}

pub(super) async fn failures(context: &Context, arguments: &Failures) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let job = assemble::one(&config, &arguments.job)?;
    let ledger = assemble::ledger_to_read(&config, job).await?;
    let permanent_before = permanent_before(job);
    let out = BufWriter::new(io::stdout().lock());
    match arguments.format {
        FailureFormat::Table => table(ledger.as_ref(), permanent_before, &arguments.class, out).await?,
        FailureFormat::Jsonl => {
            let mut out = out;
            if let Some(ledger) = &ledger {
                each(ledger, permanent_before, &arguments.class, |row| json_line(&mut out, row)).await?;
            }
            out.flush()?;
        }
        FailureFormat::Csv => {
            let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(out);
            writer.write_record(COLUMNS)?;
            if let Some(ledger) = &ledger {
                each(ledger, permanent_before, &arguments.class, |row| Ok(writer.write_record(cells(row))?)).await?;
            }
            writer.flush()?;
        }
    }
    Ok(0)
}

/// Replaces the file of a job's open failures.
pub(super) async fn write_file(ledger: &Ledger, job: &Job, path: &Path) -> anyhow::Result<()> {
    let permanent_before = permanent_before(job);
    let mut text = Vec::new();
    each(ledger, permanent_before, &[], |row| json_line(&mut text, row)).await?;
    output::replace(path, &text)?;
    Ok(())
}

/// Failures first met before this are permanent.
fn permanent_before(job: &Job) -> Option<Timestamp> {
    let age = jiff::SignedDuration::try_from(job.fetch.retry_for).ok()?;
    Timestamp::now().checked_sub(age).ok()
}

async fn each(
    ledger: &Ledger,
    permanent_before: Option<Timestamp>,
    classes: &[Class],
    mut take: impl FnMut(&FailureRow) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let filter = FailureFilter { classes: classes.to_vec(), open_only: true, permanent_before };
    let mut after = 0;
    loop {
        let page = ledger.failures(&filter, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        for row in &page {
            take(row)?;
        }
    }
}

fn json_line(out: &mut impl Write, row: &FailureRow) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, &Record::new(row))?;
    out.write_all(b"\n")?;
    Ok(())
}

const COLUMNS: [&str; 14] = [
    "job",
    "run_id",
    "conversation_id",
    "message_server_id",
    "create_time",
    "class",
    "code",
    "message",
    "attempts",
    "retryable",
    "first_seen",
    "last_seen",
    "source",
    "requested",
];

fn cells(row: &FailureRow) -> [String; 14] {
    let number = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    [
        row.job.clone(),
        row.run_id.to_string(),
        harmless(row.conversation_id.as_deref().unwrap_or_default()),
        number(row.message_server_id),
        number(row.create_time),
        row.class.to_string(),
        number(row.code),
        harmless(&row.message),
        row.attempts.to_string(),
        row.retryable.to_string(),
        row.first_seen.to_string(),
        row.last_seen.to_string(),
        harmless(row.source.as_deref().unwrap_or_default()),
        (!row.extra).to_string(),
    ]
}

/// Text that no spreadsheet takes for a formula.
fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

/// The first hundred, and how many there are of each kind.
async fn table(
    ledger: Option<&Ledger>,
    permanent_before: Option<Timestamp>,
    classes: &[Class],
    mut out: impl Write,
) -> anyhow::Result<()> {
    const SHOWN: usize = 100;
    let mut kinds: BTreeMap<(Class, Option<i64>), u64> = BTreeMap::new();
    let mut shown = Vec::new();
    if let Some(ledger) = ledger {
        each(ledger, permanent_before, classes, |row| {
            *kinds.entry((row.class, row.code)).or_default() += 1;
            if shown.len() < SHOWN {
                shown.push(vec![
                    row.class.to_string(),
                    row.code.map(|code| code.to_string()).unwrap_or_default(),
                    row.message_server_id.map(|id| id.to_string()).unwrap_or_default(),
                    row.source.clone().or_else(|| row.conversation_id.clone()).unwrap_or_default(),
                    row.attempts.to_string(),
                    if row.retryable { "yes" } else { "no" }.to_owned(),
                    shortened(&row.message),
                ]);
            }
            Ok(())
        })
        .await?;
    }
    if kinds.is_empty() {
        writeln!(out, "no open failures")?;
        return Ok(());
    }
    let header = ["class", "code", "message ID", "conversation or place", "attempts", "again", "why"];
    writeln!(out, "{}", output::table(&header, &shown))?;
    let all: u64 = kinds.values().sum();
    if all > SHOWN as u64 {
        writeln!(out, "… and {} more: --format jsonl or csv lists all", output::count(all - SHOWN as u64))?;
    }
    writeln!(out)?;
    let kinds: Vec<Vec<String>> = kinds
        .into_iter()
        .map(|((class, code), count)| {
            vec![class.to_string(), code.map(|code| code.to_string()).unwrap_or_default(), output::count(count)]
        })
        .collect();
    writeln!(out, "{}", output::table(&["class", "code", "open"], &kinds))?;
    out.flush()?;
    Ok(())
}

/// As much of a message as a table has room for.
fn shortened(message: &str) -> String {
    const ROOM: usize = 80;
    match message.char_indices().nth(ROOM) {
        None => message.to_owned(),
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@x", "\tx", "\rx"] {
            assert_eq!(harmless(text), format!("'{text}"));
        }
        assert_eq!(harmless("a|1|b"), "a|1|b");
    }
}
