//! What a run has counted so far: kept by its tasks, read by what shows it and sums it up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ledger::{Commit, CutOutcome, FinishedBatch, Recorded};
use crate::model::failure::Class;
use crate::model::summary::{Bytes, References, Refetched, Requests, ThreadExtras};
use crate::progress::Snapshot;
use crate::yunxin::Stats;

/// The counts of a run, shared by its tasks.
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<Counts>);

impl Meter {
    /// The counts, to be read or changed.
    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counts of a run. Nothing is `pending` in them: only the ledger knows that.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) references: References,
    pub(super) thread_extras: ThreadExtras,
    pub(super) refetched: Refetched,
    /// Batches planned: the fewest requests that there could be.
    pub(super) planned_batches: u64,
    /// Batches to be asked, those included that come of splits, follow-up asks and waves.
    pub(super) batches: u64,
    pub(super) batches_done: u64,
    /// References that were answered with their message, committed or not.
    pub(super) fetched: u64,
    /// References that failed, recorded or not.
    pub(super) fetch_failed: u64,
    pub(super) split: u64,
    pub(super) other_owner: u64,
    pub(super) deferred: u64,
    /// Bytes.
    pub(super) written: u64,
    /// References that had left the vendor's retention when they were read.
    pub(super) old_when_read: u64,
    pub(super) is_read_to_end: bool,
    /// Whether the source, the failures to be asked again or the refetch were not taken up to their end.
    pub(super) is_cut_short: bool,
    /// Failures new in this run, by class and code.
    pub(super) new_failures: BTreeMap<(Class, Option<i64>), u64>,
}

impl Counts {
    /// Counts planned batches.
    pub(super) fn plan(&mut self, batches: usize) {
        self.planned_batches += batches as u64;
        self.batches += batches as u64;
    }

    /// Counts a batch that has ended.
    pub(super) fn end(&mut self, batch: &FinishedBatch) {
        let FinishedBatch { archived, failures, reviewed, .. } = batch;
        self.batches_done += 1;
        self.fetched += (archived.len() + reviewed.vanished.len()) as u64 + reviewed.unchanged;
        self.fetch_failed += failures.len() as u64 + reviewed.failed;
    }

    /// Counts a batch that is asked in two parts instead.
    pub(super) fn split(&mut self) {
        self.batches_done += 1;
        self.split += 1;
        self.batches += 2;
    }

    /// Counts what a cut of follow-up asks left to nobody to be asked for.
    pub(super) fn give_up(&mut self, cut: CutOutcome) {
        self.fetch_failed += cut.failed + cut.review_failed;
        self.references.failed += cut.failed - cut.extras_failed;
        self.thread_extras.failed += cut.extras_failed;
        self.refetched.failed += cut.review_failed;
        self.fail(cut.new_failures);
    }

    /// Counts what the ledger recorded.
    pub(super) fn record(&mut self, commit: &Commit, recorded: &Recorded) {
        let sum = |of: fn(&FinishedBatch) -> usize| commit.finished.iter().map(|batch| of(batch) as u64).sum::<u64>();
        let Recorded { extras_archived, extras_failed, reviewed, .. } = recorded;
        self.references.archived += sum(|batch| batch.archived.len()) - reviewed.edited - extras_archived;
        self.references.failed += sum(|batch| batch.failures.len()) - extras_failed;
        self.thread_extras.archived += extras_archived;
        self.thread_extras.failed += extras_failed;
        self.refetched.unchanged += reviewed.unchanged;
        self.refetched.edited += reviewed.edited;
        self.refetched.vanished += reviewed.vanished;
        self.refetched.failed += reviewed.failed;
        self.written += commit.bytes;
        self.fail(recorded.new_failures.clone());
    }

    /// Counts failures new in this run.
    pub(super) fn fail(&mut self, new: impl IntoIterator<Item = ((Class, Option<i64>), u64)>) {
        for (kind, count) in new {
            *self.new_failures.entry(kind).or_default() += count;
        }
    }

    /// The requests of the run.
    pub(super) fn requests(&self, stats: &Stats) -> Requests {
        Requests {
            sent: stats.sent,
            ok: stats.ok,
            retried: stats.retried + self.deferred,
            throttled: stats.throttled,
            split: self.split,
            other_owner: self.other_owner,
            minimum: self.planned_batches,
        }
    }

    /// The bytes of the run.
    pub(super) fn bytes(&self, stats: &Stats) -> Bytes {
        Bytes { received: stats.bytes, written: self.written }
    }

    /// What is shown of the run.
    pub(super) fn snapshot(&self, stats: &Stats, quota: u32) -> Snapshot {
        let Self { references, thread_extras, refetched, .. } = self;
        let planned = references.accepted + references.resumed + references.retried;
        let reviewed = refetched.unchanged + refetched.edited + refetched.vanished;
        Snapshot {
            read: references.read,
            read_to_end: self.is_read_to_end,
            duplicate: references.duplicate,
            planned: planned + thread_extras.planned + refetched.planned,
            fetched: self.fetched,
            archived: references.archived + thread_extras.archived + reviewed,
            failed: self.fetch_failed,
            invalid: references.invalid,
            batches: self.batches,
            batches_done: self.batches_done,
            requests: stats.sent,
            rate: if stats.unanswered { 0.0 } else { stats.send_rate },
            unanswered: stats.unanswered,
            quota,
            in_flight: u64::from(stats.in_flight),
            throttled: stats.throttled,
            paused: stats.paused_for,
            received: stats.bytes,
        }
    }
}
