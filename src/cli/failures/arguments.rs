//! The arguments of `failures`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::provenance::words;
use crate::model::failure::Class;

/// Arguments of `failures`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
pub struct Failures {
    /// The job.
    pub job: String,

    /// The output format.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: FailureFormat,

    /// The same as `--format jsonl`.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,

    /// Only failures of this class; may be given several times.
    #[arg(long, value_name = "CLASS")]
    pub class: Vec<Class>,

    /// Only failures with this code; may be given several times.
    #[arg(long, value_name = "CODE", allow_negative_numbers = true)]
    pub code: Vec<i64>,

    /// Only invalid rows of this input, as the list names it without the row (/srv/refs/refs-11-22.csv, query); `*` matches any text.
    #[arg(long, value_name = "INPUT")]
    pub source: Option<String>,

    /// Only failures that no run has seen for this long.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub older_than: Option<Duration>,

    /// List dismissed failures instead.
    #[arg(long)]
    pub dismissed: bool,

    /// Dismiss them: nothing can be done about them, and they are not asked for again.
    #[arg(long, conflicts_with_all = ["dismissed", "format", "json"])]
    pub dismiss: bool,

    /// Reopen dismissed failures.
    #[arg(long, conflicts_with_all = ["dismissed", "dismiss", "format", "json"])]
    pub reopen: bool,

    /// With --dismiss or --reopen: all of them.
    #[arg(long, conflicts_with_all = ["class", "code", "source", "older_than"])]
    pub all: bool,

    /// Who dismisses them; by default the job's `operator`, or else the user.
    #[arg(long, value_name = "WHO", requires = "dismiss", value_parser = words)]
    pub operator: Option<String>,

    /// Why they are dismissed.
    #[arg(long, value_name = "WHY", requires = "dismiss", value_parser = words)]
    pub reason: Option<String>,

    /// With --dismiss or --reopen: wait this long if the job is running.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub wait: Option<Duration>,
}

/// How failures are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum FailureFormat {
    /// For people.
    #[default]
    Table,
    /// One JSON object per line; the output is itself a source.
    Jsonl,
    /// With a header line.
    Csv,
}
