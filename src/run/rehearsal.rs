//! What a run would plan.

use std::collections::HashSet;

use super::intake::{Verdict, classify};
use crate::ledger::{Ledger, LedgerError};
use crate::model::reference::{Reference, ReferenceChunk};
use crate::plan::{Batch, Window};

/// Plans as the intake does, with nothing but questions to the ledger.
pub(super) struct Rehearsal {
    window: Window,
    seen: HashSet<i64>,
    duplicates: u64,
    accepted: u64,
}

impl Rehearsal {
    pub(super) fn new(window: Window) -> Self {
        Self { window, seen: HashSet::new(), duplicates: 0, accepted: 0 }
    }

    /// Takes a chunk as the intake would. Returns the batches that are full.
    pub(super) async fn take(
        &mut self,
        ledger: Option<&Ledger>,
        chunk: ReferenceChunk,
    ) -> Result<Vec<Batch>, LedgerError> {
        let chunks = [chunk];
        let verdicts = match ledger {
            // What is carried was seen.
            Some(ledger) => classify(ledger, &HashSet::new(), &HashSet::new(), &chunks).await?.verdicts,
            None => vec![Verdict::New; chunks[0].len()],
        };
        for (reference, verdict) in chunks[0].iter().zip(verdicts) {
            if !verdict.is_taken() || !self.add(reference) {
                self.duplicates += 1;
            }
        }
        Ok(self.window.take_ready())
    }

    /// Takes a reference; `false` when its ID was taken before.
    pub(super) fn add(&mut self, reference: Reference<'_>) -> bool {
        let new = self.seen.insert(reference.message_server_id);
        if new {
            self.accepted += 1;
            self.window.add(reference);
        }
        new
    }

    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The batches of what is still carried.
    pub(super) fn finish(mut self) -> Vec<Batch> {
        self.window.finish();
        self.window.take_ready()
    }
}
