//! The history of a job as pages: an index with a calendar of its nights, and all failures to search. And an overview of
//! several jobs.
//!
//! The pages load nothing. They are complete without their scripts: one searches the failures, one says when the pages
//! have not been written for days. Links are relative, so that they also work from a disk.

mod failures;
mod index;
mod jobs;
mod mark;
mod nights;
mod runs;
mod trends;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Ending, FailureLine};
use crate::model::failure::Class;

pub use jobs::{JobLine, Jobs, LatestRun};
pub use mark::Mark;

/// The most runs that a history shows.
pub const RUNS: usize = 5_000;
/// The most failures that can be searched.
pub const FAILURES: u32 = 5_000;

/// The style sheet of these pages.
const STYLE: &str = concat!(include_str!("../page/sheet.css"), include_str!("history/history.css"));

/// What the pages of a job show.
#[derive(Debug, Clone)]
pub struct History {
    /// This program's version.
    pub version: String,
    /// When the pages are made.
    pub made_at: Timestamp,
    /// The zone of days and times.
    pub timezone: TimeZone,
    /// The job.
    pub job: String,
    /// Where the messages go.
    pub archive: String,
    /// The `AppKey`.
    pub app_key: String,
    /// The runs, latest first: at most [`RUNS`].
    pub runs: Vec<Run>,
    /// Whether there are earlier runs than these.
    pub has_more_runs: bool,
    /// Pages of runs that are not among these and were written before: when each began, and the page.
    pub former: Vec<(Timestamp, String)>,
    /// References pending now.
    pub pending: u64,
    /// All failures by class and code.
    pub kinds: Vec<Kind>,
    /// Those that can be searched: at most [`FAILURES`].
    pub failures: Vec<Failure>,
    /// Whether the job's pages are among those of all jobs.
    pub is_among_jobs: bool,
    /// The command line up to the subcommand, ready for a shell.
    pub invocation: String,
}

/// A run. What was not recorded is `None`.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its page.
    pub page: String,
    /// The command, such as `run` or `retry`.
    pub command: String,
    /// How it ended.
    pub mark: Mark,
    /// Its exit code.
    pub exit_code: Option<u8>,
    /// What stopped it, or what looks wrong.
    pub error: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub seconds: Option<f64>,
    /// References archived, failed and pending.
    pub references: Option<Counts>,
    /// Requests sent.
    pub requests: Option<u64>,
    /// Requests a second as a share of the quota, 0 to 1.
    pub quota_used: Option<f64>,
}

/// What became of a run's references.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the archive.
    pub archived: u64,
    /// Failed.
    pub failed: u64,
    /// Left for the next run.
    pub pending: u64,
}

impl Run {
    /// Whether it took references. Adopting an archive takes none.
    fn is_of_references(&self) -> bool {
        self.command != "adopt"
    }
}

/// Failures of one class and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The class.
    pub class: Class,
    /// The API's code.
    pub code: Option<i64>,
    /// Those that are open.
    pub open: u64,
    /// All of them, also those that are resolved or dismissed.
    pub all: u64,
}

/// A failure of the job.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The class.
    pub class: Class,
    /// The API's code.
    pub code: Option<i64>,
    /// What is known of it.
    pub line: FailureLine,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// When and why it was resolved, or when, by whom and why it was dismissed.
    pub note: Option<String>,
    /// The page of the last run that met it, if it has one.
    pub page: Option<String>,
}

/// The name of a class and code.
fn kind_name(class: Class, code: Option<i64>) -> String {
    code.map_or_else(|| class.to_string(), |code| format!("{class} {code}"))
}
