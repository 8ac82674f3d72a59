//! How a job is run.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::Job;
use crate::ledger::{RetryFilter, RunNote};
use crate::model::manifest::Signer;

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
    /// Who runs what, for the manifest.
    pub note: RunNote,
    /// What manifests are signed with.
    pub signer: Option<Arc<Signer>>,
    /// What looks wrong before the run begins. The run goes on and reports it, with exit 3.
    pub looks_wrong: Vec<String>,
}
