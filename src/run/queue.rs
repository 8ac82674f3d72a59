//! Batches on their way to the API.

use std::collections::VecDeque;

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

/// Pending batches in the order in which they are asked: parts of split batches, then what the ledger has, then what is
/// asked last.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next: VecDeque<Assignment>,
    last: VecDeque<Assignment>,
    /// The number of the last batch that was read.
    read_up_to: i64,
    /// Whether the ledger has nothing more, as far as is known.
    is_read: bool,
    refetches: bool,
}

impl Queue {
    /// Reads more batches from the ledger if the next ones are all taken.
    pub(super) async fn fill(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        if self.is_read || !self.next.is_empty() {
            return Ok(());
        }
        let page = if self.refetches {
            ledger.pending(self.read_up_to, PAGE).await?
        } else {
            ledger.pending_first(self.read_up_to, PAGE).await?
        };
        match page.last() {
            Some(last) => self.read_up_to = last.seq,
            None => self.is_read = true,
        }
        self.next.extend(page.into_iter().map(|pending| Assignment { origin: pending.seq, pending }));
        Ok(())
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
