//! `verify PATH|JOB --against JOB|FILE`: whether everything referenced is archived. Takes no lock, and needs no
//! credentials of the API.

mod print;
mod subject;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::subject::{Against, Target};
use super::{Context, Exit, assemble, output, period};
use crate::completeness::certificate::{Examined, Integrity, KnownFailures};
use crate::completeness::{CompletenessError, Examination, Findings, Settings};
use crate::ledger::Ledger;
use crate::source;

/// The bytes that sorting holds in memory.
const SORT_MEMORY: usize = 128 << 20;

/// Arguments of `verify` about completeness.
#[derive(Debug, Args)]
pub struct Completeness {
    /// Compare with every reference of this job's source, or of a file (.csv, .jsonl, .parquet).
    #[arg(long, value_name = "JOB|FILE")]
    pub against: Option<String>,

    /// Only messages created at this time or later: a date, or an RFC 3339 time.
    #[arg(long, value_name = "TIME", requires = "against")]
    pub from: Option<String>,

    /// Only messages created before this time; a date includes that whole day.
    #[arg(long, value_name = "TIME", requires = "against")]
    pub to: Option<String>,

    /// The time zone of days and times; by default that of the job's archive, or UTC.
    #[arg(long, value_name = "ZONE", requires = "against")]
    pub timezone: Option<String>,

    /// For an archive at a PATH: the file of failures that a run leaves.
    #[arg(long, value_name = "FILE", requires = "against")]
    pub failures: Option<PathBuf>,

    /// The AppKey, if the archive holds messages of several.
    #[arg(long, value_name = "KEY", requires = "against")]
    pub app_key: Option<String>,

    /// Write every absent reference to this file, as JSON lines that a job can read.
    #[arg(long, value_name = "FILE", requires = "against")]
    pub absent: Option<PathBuf>,

    /// Write a certificate, which is a page to hand over, to this file; `-` prints it.
    #[arg(short, long, value_name = "FILE", requires = "against")]
    pub output: Option<PathBuf>,

    /// Who examines the archive, for the certificate.
    #[arg(long, value_name = "NAME", requires = "against")]
    pub operator: Option<String>,

    /// Why it is examined, for the certificate.
    #[arg(long, value_name = "TEXT", requires = "against")]
    pub purpose: Option<String>,
}

/// What was examined and found.
pub(super) struct Outcome {
    examined: Examined,
    findings: Findings,
}

impl Outcome {
    /// Whether nothing is absent.
    pub(super) fn is_complete(&self) -> bool {
        self.findings.is_complete()
    }

    /// The outcome as JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        print::json(self)
    }

    /// Prints the outcome.
    pub(super) fn print(&self) -> Result<(), Exit> {
        print::text(self)
    }
}

impl Completeness {
    /// Whether the certificate is printed to stdout.
    pub(super) fn prints_page(&self) -> bool {
        self.output.as_deref() == Some(Path::new("-"))
    }

    /// Writes the certificate, if it is wanted.
    pub(super) fn certify(&self, outcome: &Outcome) -> Result<(), Exit> {
        let Some(path) = &self.output else { return Ok(()) };
        let page = outcome.examined.page(&outcome.findings);
        if self.prints_page() {
            return Ok(output::line(page.trim_end())?);
        }
        output::replace(path, page.as_bytes())
            .map_err(|error| Exit::failed(anyhow::anyhow!("{} cannot be written: {error}", path.display())))
    }
}

/// Reads the references, the ledger and the archive, in this order.
pub(super) async fn examine(
    context: &Context,
    target: &str,
    against: &str,
    arguments: &Completeness,
    integrity: Integrity,
) -> Result<Outcome, Exit> {
    let started_at = Timestamp::now();
    let config = subject::config(&context.config, [target, against])?;
    let target = Target::find(config.as_ref(), target)?;
    let against = Against::find(config.as_ref(), against, &target)?;
    if arguments.failures.is_some() && matches!(target, Target::Job(..)) {
        return Err(Exit::words("--failures is for the archive at a PATH: a job's failures are in its ledger"));
    }
    let timezone = timezone(arguments, &target, &against)?;
    let (from, to) = period::range(arguments.from.as_ref(), arguments.to.as_ref(), &timezone)?;
    // Report what cannot be opened before reading for a long time.
    let mut archive = target.open().await?;
    let ledger = target.ledger().await?;
    let app_key = subject::app_key(arguments.app_key.as_deref(), &target, &against, ledger.as_ref(), archive.as_mut());
    let app_key = app_key.await?;
    drop(archive);

    let mut examination = Examination::new(Settings {
        scratch: std::env::temp_dir(),
        memory: SORT_MEMORY,
        from,
        to,
        timezone: timezone.clone(),
    });
    let mut source = source::open(against.settings(), None).await.map_err(assemble::source_exit)?;
    examination.read_references(source.as_mut()).await.map_err(exit)?;
    drop(source);
    let failures = known_failures(&mut examination, ledger.as_ref(), arguments).await?;
    let mut archive = target.open().await?;
    examination.read_archive(archive.as_mut(), &app_key).await.map_err(exit)?;
    let findings = finish(examination, arguments.absent.as_deref())?;
    let examined = Examined {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at,
        made_at: Timestamp::now(),
        timezone,
        job: target.job().map(ToOwned::to_owned),
        archive: archive.origin(),
        app_key,
        references: against.describe(),
        from,
        to,
        failures,
        integrity,
        operator: arguments.operator.clone(),
        purpose: arguments.purpose.clone(),
        absent_file: arguments.absent.as_ref().map(|path| path.display().to_string()),
    };
    Ok(Outcome { examined, findings })
}

fn timezone(arguments: &Completeness, target: &Target<'_>, against: &Against<'_>) -> Result<TimeZone, Exit> {
    match &arguments.timezone {
        Some(name) => period::timezone(name),
        None => Ok(match (target, against) {
            (Target::Job(_, job), _) | (_, Against::Job(_, job)) => job.sink.timezone(),
            _ => TimeZone::UTC,
        }),
    }
}

async fn known_failures(
    examination: &mut Examination,
    ledger: Option<&Ledger>,
    arguments: &Completeness,
) -> Result<KnownFailures, Exit> {
    if let Some(ledger) = ledger {
        examination.read_ledger(ledger).await.map_err(exit)?;
        return Ok(KnownFailures::Ledger);
    }
    match &arguments.failures {
        None => Ok(KnownFailures::Nowhere),
        Some(path) => {
            examination.read_failures(path).map_err(exit)?;
            Ok(KnownFailures::File(path.display().to_string()))
        }
    }
}

/// Joins everything, and writes the absent references if asked to.
fn finish(examination: Examination, absent: Option<&Path>) -> Result<Findings, Exit> {
    let Some(path) = absent else { return examination.finish(|_| Ok(())).map_err(exit) };
    let unwritable = |error: io::Error| Exit::failed(anyhow::anyhow!("{} cannot be written: {error}", path.display()));
    let mut file = output::Replacement::create(path).map_err(unwritable)?;
    let findings = examination.finish(|reference| {
        serde_json::to_writer(&mut file, reference)?;
        file.write_all(b"\n")
    });
    let findings = findings.map_err(exit)?;
    file.finish().map_err(unwritable)?;
    Ok(findings)
}

/// The exit that an error asks for.
fn exit(error: CompletenessError) -> Exit {
    match error {
        CompletenessError::Source(error) => assemble::source_exit(error),
        CompletenessError::Ledger(error) => assemble::ledger_exit(error),
        CompletenessError::Archive(error) => assemble::archive_exit(error),
        CompletenessError::Unusable(_) => Exit::usage(error),
        CompletenessError::Failed { .. } | CompletenessError::Sums(_) => Exit::failed(error),
    }
}
