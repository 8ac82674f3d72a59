//! One run as a self-contained HTML document, and the [`history`] of jobs as pages that belong together.
//!
//! Pure: a [`Report`] goes in, and [`Report::page`] returns text. The page treats whatever a report holds as text, never
//! as markup. It has no script, loads nothing, and is also valid XML.

mod advice;
mod days;
mod failures;
pub mod history;
mod latency;
mod pace;
mod page;
mod reconciliation;
mod workers;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::failure::Class;
use crate::model::summary::{Bytes, FileSummary, References, Refetched, Requests, ThreadExtras};
use crate::model::timeline::Timeline;

/// The most failures of one class and code that a page lists.
pub const LISTED: u32 = 100;

/// How a run ended, if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every reference ended, and no failure is new and not tolerated.
    Complete,
    /// Every reference ended, and there are such failures.
    Partial,
    /// Stopped by a deadline or signal.
    Stopped,
    /// It could not go on.
    Failed,
    /// Its process ended without saying how.
    Died,
    /// It has not ended yet.
    Running,
}

/// What a page shows of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// This program's version.
    pub version: String,
    /// When the page was made.
    pub made_at: Timestamp,
    /// The zone of the times on the page.
    pub timezone: TimeZone,
    /// The job.
    pub job: String,
    /// The run.
    pub run_id: String,
    /// The command that ran it, such as `run` or `retry`.
    pub command: String,
    /// How it ended.
    pub ending: Ending,
    /// Its exit code.
    pub exit_code: Option<u8>,
    /// What stopped it.
    pub error: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; for a run that died or has not ended, when it was last recorded.
    pub known_until: Timestamp,
    /// Where the messages went.
    pub archive: String,
    /// The `AppKey`.
    pub app_key: String,
    /// Every reference, by the state in which it ended.
    pub references: References,
    /// Messages fetched to complete threads.
    pub thread_extras: ThreadExtras,
    /// Archived messages that were asked for again.
    pub refetched: Refetched,
    /// Requests.
    pub requests: Requests,
    /// Bytes.
    pub bytes: Bytes,
    /// Failures new in this run, by class.
    pub new_failures: Vec<(String, u64)>,
    /// Failures that this run was the last to meet, by class and code.
    pub failures: Vec<FailureKind>,
    /// Files committed, in order.
    pub files: Vec<FileSummary>,
    /// How it went over time, if that was recorded.
    pub timeline: Option<Timeline>,
    /// Whether it is the job's latest run.
    pub is_latest: bool,
    /// References pending when the page was made.
    pub pending_now: u64,
    /// Failures open when the page was made.
    pub open_now: u64,
    /// The command line up to the subcommand, ready for a shell.
    pub invocation: String,
    /// The pages that this one is among. It then says nothing that depends on when it was made.
    pub among: Option<Among>,
}

/// Where a run's page is among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Among {
    /// The hash of what the page is made from.
    pub made_from: Option<String>,
    /// The page of the run before.
    pub earlier: Option<String>,
    /// The page of the next run.
    pub later: Option<String>,
}

/// Failures of one class and code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureKind {
    /// The class.
    pub class: Class,
    /// The API's code.
    pub code: Option<i64>,
    /// How many there are.
    pub count: u64,
    /// The first of them, at most [`LISTED`].
    pub listed: Vec<FailureLine>,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureLine {
    /// The message's ID, if it could be read.
    pub message_server_id: Option<i64>,
    /// The conversation, if it could be read.
    pub conversation_id: Option<String>,
    /// When the message was created, in milliseconds since the epoch, if that could be read.
    pub create_time: Option<i64>,
    /// The position of an invalid row.
    pub source: Option<String>,
    /// What the API or the program said about it.
    pub message: String,
    /// How often it was tried, in all runs.
    pub attempts: u64,
    /// Whether asking again may help.
    pub retryable: bool,
    /// What became of it since.
    pub since: Since,
}

/// What became of a failure since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// It is open.
    Open,
    /// It is pending again.
    Pending,
    /// It is closed: archived, or corrected.
    Closed,
    /// An operator dismissed it.
    Dismissed,
}

impl Report {
    /// Seconds from the run's beginning to its end, or to its last record.
    fn seconds(&self) -> f64 {
        self.known_until.duration_since(self.started_at).as_secs_f64().max(0.0)
    }

    /// Whether it completed but looks wrong as a whole; `error` says why.
    fn looks_wrong(&self) -> bool {
        self.ending == Ending::Partial && self.error.is_some()
    }

    /// References that this run was to fetch.
    fn to_fetch(&self) -> u64 {
        self.references.accepted + self.references.resumed + self.references.retried
    }
}
