//! How a job is run.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Job;
use crate::ledger::{RetryFilter, RunNote};
use crate::model::manifest::Signer;
use crate::plan::Watch;

/// How a job is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The job.
    pub job: Job,
    /// The command that runs it, for the record.
    pub command: String,
    /// The most batches that are being asked or wait to be asked again. This is more than the requests at a time, so that
    /// a batch that nobody answers does not keep others from being asked.
    pub in_flight: usize,
    /// The most new references to plan.
    pub limit: Option<u64>,
    /// Ask again for archived messages of which a version was archived since then.
    pub refetch: Option<Timestamp>,
    /// Which failures are asked again.
    pub retry: RetryFilter,
    /// The quota, in requests a second.
    pub quota: u32,
    /// How long the vendor keeps messages, if somebody says so.
    pub retention: Option<Duration>,
    /// When the run is going to be told to stop, if that is known.
    pub deadline: Option<Timestamp>,
    /// Who runs what, for the manifest.
    pub note: RunNote,
    /// What manifests are signed with.
    pub signer: Option<Arc<Signer>>,
    /// What looks wrong before the run begins. The run goes on and reports it, with exit 3.
    pub looks_wrong: Vec<String>,
}

impl Settings {
    /// What the vendor's retention is held against now, if it is known.
    pub(super) fn watch(&self) -> Option<Watch> {
        self.retention.map(|retention| watch(retention, self.quota))
    }
}

/// What a retention is held against now, at a quota in requests a second.
pub fn watch(retention: Duration, quota: u32) -> Watch {
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    Watch { retention, rate: quota, now: Timestamp::now().as_millisecond() }
}
