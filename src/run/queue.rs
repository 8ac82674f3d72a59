//! Batches on their way to the API.

use std::collections::VecDeque;
use std::time::Duration;

use super::expiry::ByExpiry;
use crate::ledger::{Ledger, LedgerError, PendingBatch};

/// Batches read from the ledger at a time.
const PAGE: u32 = 256;

/// A batch, and the planned batch that it is a part of.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) pending: PendingBatch,
    /// The number of the batch as it was planned, whatever it was split into.
    pub(crate) origin: i64,
}

/// Pending batches in the order in which they are asked: parts of split batches, then what the ledger has, as planned or by
/// urgency, then what is asked last.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next: VecDeque<Assignment>,
    last: VecDeque<Assignment>,
    /// The number of the last batch that was read.
    read_up_to: i64,
    /// Whether the ledger has nothing more, as far as is known.
    is_read: bool,
    refetches: bool,
    /// What the ledger has, if it is asked by urgency instead of in the order in which it was planned.
    by_expiry: Option<ByExpiry>,
}

impl Queue {
    /// Reads more batches from the ledger if the next ones are all taken.
    pub(super) async fn fill(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        if !self.next.is_empty() {
            return Ok(());
        }
        let mut page = Vec::new();
        if let Some(mut order) = self.by_expiry.take() {
            while !self.is_read {
                self.read(ledger).await?.iter().for_each(|pending| order.add(pending));
            }
            page = order.take(ledger).await?;
            self.by_expiry = Some(order);
        } else if !self.is_read {
            page = self.read(ledger).await?;
        }
        self.next.extend(page.into_iter().map(|pending| Assignment { origin: pending.seq, pending }));
        Ok(())
    }

    /// The next batches of the ledger that were not read before.
    async fn read(&mut self, ledger: &Ledger) -> Result<Vec<PendingBatch>, LedgerError> {
        let page = if self.refetches {
            ledger.pending(self.read_up_to, PAGE).await?
        } else {
            ledger.pending_first(self.read_up_to, PAGE).await?
        };
        match page.last() {
            Some(last) => self.read_up_to = last.seq,
            None => self.is_read = true,
        }
        Ok(page)
    }

    /// From now on batches whose messages leave the retention first are asked first. False if they were before.
    pub(super) fn order_by_expiry(&mut self, retention: Duration) -> bool {
        if self.by_expiry.is_some() {
            return false;
        }
        let mut order = ByExpiry::new(retention);
        self.next.retain(|assignment| {
            let is_part = assignment.origin != assignment.pending.seq;
            if !is_part {
                order.add(&assignment.pending);
            }
            is_part
        });
        self.by_expiry = Some(order);
        true
    }

    /// The ledger may have more by now.
    pub(super) fn look_again(&mut self) {
        self.is_read = false;
    }

    /// From now on batches that ask again for archived messages are read as well. False if they were before.
    pub(super) fn include_refetches(&mut self) -> bool {
        !std::mem::replace(&mut self.refetches, true)
    }

    /// Puts a part of a split batch before everything else.
    pub(super) fn put_first(&mut self, part: Assignment) {
        self.next.push_front(part);
    }

    /// Puts a part of a split batch behind everything else.
    pub(super) fn put_last(&mut self, part: Assignment) {
        self.last.push_back(part);
    }

    /// Whether nothing is left. Right after [`Self::fill`].
    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty() && self.last.is_empty()
    }

    /// The next batch. Right after [`Self::fill`].
    pub(super) fn pop(&mut self) -> Option<Assignment> {
        self.next.pop_front().or_else(|| self.last.pop_front())
    }
}
