//! How references stand against the time for which the vendor keeps messages.

use serde::{Deserialize, Serialize};

/// How the pending references stand, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionOutlook {
    /// How long the vendor keeps a message, in seconds, as the app's `retention` says.
    pub retention_seconds: u64,
    /// When the first of the pending references leaves the retention, in seconds from now. Negative: it has left. Null if
    /// nothing is pending.
    pub oldest_pending_seconds: Option<i64>,
    /// Pending references that have left the retention.
    pub gone: u64,
    /// Further pending references that will have left it before they are asked for, if they are asked from now on, at the
    /// quota, in the order in which a run asks.
    pub expiring: u64,
}

/// How the references of a run stand: those that it leaves pending, and those that it took up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Those that are pending at its end.
    #[serde(flatten)]
    pub pending: RetentionOutlook,
    /// References that had left the retention when the run first read them. They are asked for all the same.
    pub old_when_read: u64,
    /// References that left the retention after the last run that came to its end and before they were asked for, and
    /// that no longer exist.
    pub lost: u64,
}
