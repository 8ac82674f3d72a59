//! What a run did, as counts that must add up.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fleet::FleetState;
use super::retention::Retention;

/// What `run --summary FILE` and `run --json` write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// The version of this document's form: 1.
    pub version: u32,
    /// One entry a job, in the order in which they ran.
    pub jobs: Vec<JobSummary>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every reference ended; there are no failures new in this run that the job does not tolerate.
    Complete,
    /// Every reference ended, and there are such failures, or something looks wrong as a whole.
    Partial,
    /// A deadline or signal stopped it; the next run goes on.
    Stopped,
    /// It could not go on.
    Failed,
}

impl Outcome {
    /// The name in the summary and the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// What one job did in one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobSummary {
    /// The job.
    pub job: String,
    /// The run; null when it did not begin.
    pub run_id: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The exit code it asks for.
    pub exit_code: u8,
    /// Why it failed or stopped, or what looks wrong.
    pub error: Option<String>,
    /// What looks wrong as a whole, each in a sentence: nearly no reference that exists, nearly no row that is a reference.
    /// The job is then never complete, whatever it tolerates.
    #[serde(default)]
    pub looks_wrong: Vec<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Every reference, by the state in which it ended.
    pub references: References,
    /// Messages fetched to complete threads, by the state in which they ended.
    pub thread_extras: ThreadExtras,
    /// Archived messages that were asked for again, by what became of them.
    #[serde(default)]
    pub refetched: Refetched,
    /// How the references stand against the vendor's retention. Null if the app has no `retention`.
    #[serde(default)]
    pub retention: Option<Retention>,
    /// Failures new in this run, by class.
    pub failures: BTreeMap<String, u64>,
    /// Failures new in this run, by the API's code.
    pub codes: BTreeMap<String, u64>,
    /// New failures that the job does not tolerate, by class and code (`unavailable 107404`), with those that earlier runs
    /// left unreported. They make the exit code 3.
    #[serde(default)]
    pub not_tolerated: BTreeMap<String, u64>,
    /// Requests.
    pub requests: Requests,
    /// Bytes.
    pub bytes: Bytes,
    /// Files committed, in order.
    pub files: Vec<FileSummary>,
    /// The archive's last manifest. Its hash, kept outside of this system, tells whether anything before was changed.
    #[serde(default)]
    pub manifest: Option<ManifestHead>,
    /// Rates over the whole time of the run.
    pub rates: Rates,
    /// The workers, in a run that had some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetState>,
}

/// The archive's last manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestHead {
    /// Its number.
    pub sequence: u64,
    /// The run that it is of.
    pub run_id: String,
    /// SHA-256 of its exact bytes, lower-case hex.
    pub sha256: String,
}

/// `read = skipped + invalid + duplicate + accepted`; `accepted + resumed + retried = archived + failed + pending`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// Rows read from the source.
    pub read: u64,
    /// Rows that speak of something other than a conversation's message.
    pub skipped: u64,
    /// Rows that are no reference.
    pub invalid: u64,
    /// References already archived, pending, or open failures.
    pub duplicate: u64,
    /// References planned for the first time.
    pub accepted: u64,
    /// References that an earlier run left pending.
    pub resumed: u64,
    /// Failures of earlier runs that were planned again.
    pub retried: u64,
    /// References whose message is in the archive.
    pub archived: u64,
    /// References that failed in this run.
    pub failed: u64,
    /// References left for the next run.
    pub pending: u64,
}

/// `planned = archived + failed + pending`. None of these is among [`References`], and a failure among them is none of
/// [`JobSummary::failures`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadExtras {
    /// Messages that a thread needs and no reference names: met in this run, left by an earlier one, or asked again.
    pub planned: u64,
    /// Of these, in the archive.
    pub archived: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of these, left for the next run.
    pub pending: u64,
}

/// `planned = unchanged + edited + vanished + failed + pending`. None of these is among [`References`], and a failure
/// among them is none of [`JobSummary::failures`]: the message is in the archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refetched {
    /// Archived messages to be asked for again, those included that an earlier run left.
    pub planned: u64,
    /// Of these, as the archive has them.
    pub unchanged: u64,
    /// Of these, in the archive in one version more.
    pub edited: u64,
    /// Of these, gone: noted beside the archive.
    pub vanished: u64,
    /// Of these, asked in vain; the next time asks again.
    pub failed: u64,
    /// Of these, left for the next run.
    pub pending: u64,
}

/// Counts of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Sent, every attempt counted.
    pub sent: u64,
    /// Answered with code 200.
    pub ok: u64,
    /// Attempts after the first, those included that ask once more for what was refused for now.
    pub retried: u64,
    /// Answered with code 416 or HTTP 429.
    pub throttled: u64,
    /// Batches that were split.
    pub split: u64,
    /// Batches asked under another owner.
    pub other_owner: u64,
    /// The fewest requests that the references, what their threads need beside them, and what was asked for again could
    /// have taken.
    pub minimum: u64,
}

/// Counts of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Of answers, decompressed.
    pub received: u64,
    /// Written to the sink.
    pub written: u64,
}

/// One committed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSummary {
    /// Relative to the archive.
    pub path: String,
    /// Messages in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
}

/// Rates over the whole time of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Requests a second.
    pub requests_per_second: f64,
    /// Messages a second.
    pub messages_per_second: f64,
    /// Requests a second as a share of the quota, 0 to 1.
    pub quota_used: f64,
}

/// Sums that do not agree: a defect, and never passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the run's sums disagree: {0}; the archive is unharmed, please report this with the summary")]
pub struct SumsDisagree(pub String);

impl References {
    /// Checks both sums.
    pub fn check(&self) -> Result<(), SumsDisagree> {
        let classified = self.skipped + self.invalid + self.duplicate + self.accepted;
        if self.read != classified {
            return Err(SumsDisagree(format!(
                "read {} ≠ skipped {} + invalid {} + duplicate {} + accepted {}",
                self.read, self.skipped, self.invalid, self.duplicate, self.accepted
            )));
        }
        if self.accepted + self.resumed + self.retried != self.archived + self.failed + self.pending {
            return Err(SumsDisagree(format!(
                "accepted {} + resumed {} + retried {} ≠ archived {} + failed {} + pending {}",
                self.accepted, self.resumed, self.retried, self.archived, self.failed, self.pending
            )));
        }
        Ok(())
    }
}

impl ThreadExtras {
    /// Checks the sum.
    pub fn check(&self) -> Result<(), SumsDisagree> {
        if self.planned == self.archived + self.failed + self.pending {
            return Ok(());
        }
        Err(SumsDisagree(format!(
            "thread extras planned {} ≠ archived {} + failed {} + pending {}",
            self.planned, self.archived, self.failed, self.pending
        )))
    }
}

impl Refetched {
    /// Checks the sum.
    pub fn check(&self) -> Result<(), SumsDisagree> {
        if self.planned == self.unchanged + self.edited + self.vanished + self.failed + self.pending {
            return Ok(());
        }
        Err(SumsDisagree(format!(
            "refetched planned {} ≠ unchanged {} + edited {} + vanished {} + failed {} + pending {}",
            self.planned, self.unchanged, self.edited, self.vanished, self.failed, self.pending
        )))
    }
}

/// The gravest of several exit codes: 4, 1, 2, 5, 75, 3, 0.
pub fn gravest(codes: impl IntoIterator<Item = u8>) -> u8 {
    const ORDER: [u8; 7] = [4, 1, 2, 5, 75, 3, 0];
    codes.into_iter().min_by_key(|code| ORDER.iter().position(|known| known == code).unwrap_or(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_exit_code_wins() {
        assert_eq!(gravest([0, 3, 75, 5, 2, 1, 4]), 4);
        assert_eq!(gravest([0, 3, 75, 5, 2, 1]), 1);
        assert_eq!(gravest([0, 3, 75, 5]), 5);
        assert_eq!(gravest([0, 3, 75]), 75);
        assert_eq!(gravest([0, 3]), 3);
        assert_eq!(gravest([]), 0);
    }

    #[test]
    fn sums_that_disagree_are_named() {
        let mut references = References { read: 3, duplicate: 1, accepted: 2, archived: 2, ..References::default() };
        assert_eq!(references.check(), Ok(()));
        references.archived = 1;
        assert!(
            references.check().unwrap_err().to_string().contains("accepted 2 + resumed 0 + retried 0 ≠ archived 1")
        );
        references.read = 4;
        assert!(references.check().unwrap_err().to_string().contains("read 4 ≠"));
    }
}
