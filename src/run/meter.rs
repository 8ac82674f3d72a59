//! Counts of a run, kept by its tasks and read by what shows it and sums it up.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::ledger::{Cut, FinishedBatch, ReviewedCounts};
use crate::model::failure::Class;
use crate::model::summary::{References, Refetched, ThreadExtras};
use crate::plan::Batch;
use crate::progress::Snapshot;
use crate::yunxin::Stats;

/// A failure's class and code.
type FailureKind = (Class, Option<i64>);

/// Counts of a run.
#[derive(Debug, Default)]
pub(super) struct Meter {
    read: AtomicU64,
    skipped: AtomicU64,
    invalid: AtomicU64,
    duplicate: AtomicU64,
    accepted: AtomicU64,
    retried: AtomicU64,
    resumed: AtomicU64,
    planned_batches: AtomicU64,
    batches: AtomicU64,
    batches_done: AtomicU64,
    fetched: AtomicU64,
    fetch_failed: AtomicU64,
    archived: AtomicU64,
    failed: AtomicU64,
    extras_planned: AtomicU64,
    extras_archived: AtomicU64,
    extras_failed: AtomicU64,
    refetch_planned: AtomicU64,
    unchanged: AtomicU64,
    edited: AtomicU64,
    vanished: AtomicU64,
    refetch_failed: AtomicU64,
    split: AtomicU64,
    other_owner: AtomicU64,
    deferred: AtomicU64,
    written: AtomicU64,
    read_to_end: AtomicBool,
    cut_short: AtomicBool,
    new_failures: Mutex<BTreeMap<FailureKind, u64>>,
}

impl Meter {
    pub(super) fn add_read(&self, count: u64) {
        self.read.fetch_add(count, Relaxed);
    }

    pub(super) fn add_skipped(&self, count: u64) {
        self.skipped.fetch_add(count, Relaxed);
    }

    pub(super) fn add_invalid(&self, count: u64) {
        self.invalid.fetch_add(count, Relaxed);
    }

    pub(super) fn add_duplicate(&self, count: u64) {
        self.duplicate.fetch_add(count, Relaxed);
    }

    pub(super) fn add_new_invalid(&self, count: u64) {
        if count > 0 {
            self.add_new_failures([((Class::Invalid, None), count)]);
        }
    }

    pub(super) fn end_reading(&self) {
        self.read_to_end.store(true, Relaxed);
    }

    /// The source, or the failures to be asked again, were not read to their end.
    pub(super) fn cut_short(&self) {
        self.cut_short.store(true, Relaxed);
    }

    pub(super) fn was_cut_short(&self) -> bool {
        self.cut_short.load(Relaxed)
    }

    pub(super) fn add_resumed(&self, references: u64, batches: u64) {
        self.resumed.fetch_add(references, Relaxed);
        self.planned_batches.fetch_add(batches, Relaxed);
        self.batches.fetch_add(batches, Relaxed);
    }

    pub(super) fn add_planned(&self, batches: &[Batch], accepted: u64, retried: u64) {
        self.accepted.fetch_add(accepted, Relaxed);
        self.retried.fetch_add(retried, Relaxed);
        self.planned_batches.fetch_add(batches.len() as u64, Relaxed);
        self.batches.fetch_add(batches.len() as u64, Relaxed);
    }

    pub(super) fn add_split(&self) {
        self.split.fetch_add(1, Relaxed);
        self.batches.fetch_add(2, Relaxed);
    }

    pub(super) fn add_other_owner(&self, batches: u64) {
        self.other_owner.fetch_add(batches, Relaxed);
        self.batches.fetch_add(batches, Relaxed);
    }

    /// Counts batches of what was refused for now.
    pub(super) fn add_deferred(&self, batches: u64) {
        self.deferred.fetch_add(batches, Relaxed);
        self.batches.fetch_add(batches, Relaxed);
    }

    /// Counts what nobody is left to be asked for.
    pub(super) fn add_given_up(&self, cut: &Cut) {
        self.fetch_failed.fetch_add(cut.failed + cut.review_failed, Relaxed);
        self.failed.fetch_add(cut.failed - cut.extras_failed, Relaxed);
        self.extras_failed.fetch_add(cut.extras_failed, Relaxed);
        self.refetch_failed.fetch_add(cut.review_failed, Relaxed);
    }

    /// Counts a batch that has ended.
    pub(super) fn add_batch_done(&self, batch: &FinishedBatch) {
        let FinishedBatch { archived, failures, reviewed, .. } = batch;
        let fetched = (archived.len() + reviewed.vanished.len()) as u64 + reviewed.unchanged;
        self.batches_done.fetch_add(1, Relaxed);
        self.fetched.fetch_add(fetched, Relaxed);
        self.fetch_failed.fetch_add(failures.len() as u64 + reviewed.failed, Relaxed);
    }

    /// Counts messages that only threads need: pending since an earlier run, or failures asked again.
    pub(super) fn add_extras_resumed(&self, messages: u64) {
        self.extras_planned.fetch_add(messages, Relaxed);
    }

    pub(super) fn add_extras_planned(&self, batches: u64, messages: u64) {
        self.extras_planned.fetch_add(messages, Relaxed);
        self.planned_batches.fetch_add(batches, Relaxed);
        self.batches.fetch_add(batches, Relaxed);
    }

    /// Counts archived messages that an earlier run left to be asked for again.
    pub(super) fn add_refetch_resumed(&self, messages: u64) {
        self.refetch_planned.fetch_add(messages, Relaxed);
    }

    pub(super) fn add_refetch_planned(&self, batches: u64, messages: u64) {
        self.refetch_planned.fetch_add(messages, Relaxed);
        self.planned_batches.fetch_add(batches, Relaxed);
        self.batches.fetch_add(batches, Relaxed);
    }

    /// Counts what the ledger recorded of messages that were asked for again.
    pub(super) fn add_reviewed(&self, reviewed: ReviewedCounts) {
        self.unchanged.fetch_add(reviewed.unchanged, Relaxed);
        self.edited.fetch_add(reviewed.edited, Relaxed);
        self.vanished.fetch_add(reviewed.vanished, Relaxed);
        self.refetch_failed.fetch_add(reviewed.failed, Relaxed);
    }

    /// Counts what the ledger recorded, `extras` (archived and failed) included.
    pub(super) fn add_recorded(&self, archived: u64, failed: u64, extras: (u64, u64), written: u64) {
        self.archived.fetch_add(archived - extras.0, Relaxed);
        self.failed.fetch_add(failed - extras.1, Relaxed);
        self.extras_archived.fetch_add(extras.0, Relaxed);
        self.extras_failed.fetch_add(extras.1, Relaxed);
        self.written.fetch_add(written, Relaxed);
    }

    pub(super) fn add_new_failures(&self, new: impl IntoIterator<Item = (FailureKind, u64)>) {
        if let Ok(mut failures) = self.new_failures.lock() {
            for (kind, count) in new {
                *failures.entry(kind).or_default() += count;
            }
        }
    }

    /// Failures new in this run, by class and code.
    pub(super) fn new_failures(&self) -> BTreeMap<FailureKind, u64> {
        self.new_failures.lock().map(|failures| failures.clone()).unwrap_or_default()
    }

    pub(super) fn fetched(&self) -> u64 {
        self.fetched.load(Relaxed)
    }

    pub(super) fn split(&self) -> u64 {
        self.split.load(Relaxed)
    }

    pub(super) fn deferred(&self) -> u64 {
        self.deferred.load(Relaxed)
    }

    pub(super) fn other_owner(&self) -> u64 {
        self.other_owner.load(Relaxed)
    }

    pub(super) fn planned_batches(&self) -> u64 {
        self.planned_batches.load(Relaxed)
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// The reference counts, given what the ledger says is left.
    pub(super) fn references(&self, pending: u64) -> References {
        References {
            read: self.read.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            invalid: self.invalid.load(Relaxed),
            duplicate: self.duplicate.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            retried: self.retried.load(Relaxed),
            archived: self.archived.load(Relaxed),
            failed: self.failed.load(Relaxed),
            pending,
        }
    }

    /// The counts of what only threads need, given what the ledger says is left.
    pub(super) fn thread_extras(&self, pending: u64) -> ThreadExtras {
        ThreadExtras {
            planned: self.extras_planned.load(Relaxed),
            archived: self.extras_archived.load(Relaxed),
            failed: self.extras_failed.load(Relaxed),
            pending,
        }
    }

    /// The counts of what was asked for again, given what the ledger says is left.
    pub(super) fn refetched(&self, pending: u64) -> Refetched {
        Refetched {
            planned: self.refetch_planned.load(Relaxed),
            unchanged: self.unchanged.load(Relaxed),
            edited: self.edited.load(Relaxed),
            vanished: self.vanished.load(Relaxed),
            failed: self.refetch_failed.load(Relaxed),
            pending,
        }
    }

    pub(super) fn snapshot(&self, stats: &Stats, quota: u32) -> Snapshot {
        let references = self.references(0);
        let extras = self.thread_extras(0);
        let again = self.refetched(0);
        Snapshot {
            read: references.read,
            read_to_end: self.read_to_end.load(Relaxed),
            duplicate: references.duplicate,
            planned: references.accepted + references.resumed + references.retried + extras.planned + again.planned,
            fetched: self.fetched.load(Relaxed),
            archived: references.archived + extras.archived + again.unchanged + again.edited + again.vanished,
            failed: self.fetch_failed.load(Relaxed),
            invalid: references.invalid,
            batches: self.batches.load(Relaxed),
            batches_done: self.batches_done.load(Relaxed),
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
