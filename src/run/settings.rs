//! How a job is run.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::ledger::{RetryFilter, RunNote};
use crate::model::failure::Tolerance;
use crate::model::manifest::Signer;
use crate::plan::TeamOwner;

/// How a job is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The job's name.
    pub job: String,
    /// The command that runs it, for the record.
    pub command: String,
    /// The most references of one request.
    pub batch_size: usize,
    /// The most references carried while their conversations fill batches.
    pub plan_window: usize,
    /// In whose name teams are asked.
    pub team_owner: TeamOwner,
    /// How often a reference may be refused for now before that is a failure.
    pub attempts: u32,
    /// How many links upward threads are followed; 0 is not at all.
    pub thread_depth: u16,
    /// The longest time between two commits.
    pub commit_interval: Duration,
    /// The most batches that are being asked or wait to be asked again. This is more than the requests at a time, so that
    /// a batch that nobody answers does not keep others from being asked.
    pub in_flight: usize,
    /// The most new references to plan.
    pub limit: Option<u64>,
    /// Ask again for archived messages of which a version was archived since then.
    pub refetch: Option<Timestamp>,
    /// Which failures are asked again.
    pub retry: RetryFilter,
    /// Codes and classes that do not make exit 3.
    pub tolerate: Tolerance,
    /// How long runs and closed failures stay in the ledger.
    pub history: Duration,
    /// The quota, in requests a second.
    pub quota: u32,
    /// The source that a stored cursor belongs to.
    pub source: String,
    /// The time zone whose days the report counts messages by.
    pub timezone: jiff::tz::TimeZone,
    /// Who runs what, for the manifest.
    pub note: RunNote,
    /// What manifests are signed with.
    pub signer: Option<Arc<Signer>>,
}
