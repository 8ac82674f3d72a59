//! Pending batches in the order in which their messages leave the vendor's retention.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::ledger::{Ledger, LedgerError, PendingBatch};
use crate::plan::{Urgency, Watch};

/// Batches handed out at a time: few, so that the next ones are chosen by what is urgent by then.
const PAGE: usize = 64;

/// The numbers of pending batches, the most urgent first: 24 bytes each.
#[derive(Debug)]
pub(super) struct ByExpiry {
    retention: Duration,
    batches: BinaryHeap<Reverse<(Urgency, i64)>>,
}

impl ByExpiry {
    pub(super) fn new(retention: Duration) -> Self {
        Self { retention, batches: BinaryHeap::new() }
    }

    pub(super) fn add(&mut self, pending: &PendingBatch) {
        self.batches.push(Reverse((urgency(&self.watch(), pending), pending.seq)));
    }

    /// The most urgent batches. Empty only if none is left.
    pub(super) async fn take(&mut self, ledger: &Ledger) -> Result<Vec<PendingBatch>, LedgerError> {
        let mut page = Vec::new();
        while page.is_empty() && !self.batches.is_empty() {
            let first: Vec<_> = std::iter::from_fn(|| self.batches.pop()).take(PAGE).collect();
            let numbers: Vec<i64> = first.iter().map(|Reverse((_, number))| *number).collect();
            let watch = self.watch();
            for pending in ledger.pending_numbered(&numbers).await? {
                let is_current = |Reverse(known): &_| *known == (urgency(&watch, &pending), pending.seq);
                if first.iter().any(is_current) {
                    page.push(pending);
                } else {
                    // The message that made it urgent has left: others may be more urgent now.
                    self.add(&pending);
                }
            }
        }
        Ok(page)
    }

    fn watch(&self) -> Watch {
        super::settings::watch(self.retention, 1)
    }
}

fn urgency(watch: &Watch, pending: &PendingBatch) -> Urgency {
    watch.urgency(pending.batch.refs.iter().map(|reference| reference.create_time))
}
