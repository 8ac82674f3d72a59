//! What was accepted becomes durable: the sink commits first, then the ledger records.
//!
//! Where preparing makes a commit final, the ledger holds its intent before, and records it beside the next messages.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::record::{Recorder, Tally};
use super::write::{Writer, unrecorded};
use super::{Meter, RunError, died};
use crate::failpoint::reach;
use crate::ledger::{Commit, FinishedBatch, Ledger, LedgerError, PendingBatch};

/// After so many commits that made no files the ledger forgets those that no failover can lose any more.
const FORGET_EVERY: u64 = 64;

/// The ledger at work on a commit that the sink made.
pub(super) struct Recording(JoinHandle<Result<(), LedgerError>>);

impl Recording {
    async fn ended(self) -> Result<(), RunError> {
        Ok(self.0.await.map_err(died)??)
    }
}

impl Writer {
    /// Commits everything accepted so far: sink, then ledger, then the sink's publication.
    pub(super) async fn commit(&mut self) -> Result<(), RunError> {
        self.record_rowless().await?;
        let finished = std::mem::take(&mut self.work.accepted);
        self.work.since = None;
        self.work.rows = 0;
        self.work.unrecorded_asks = 0;
        if finished.is_empty() {
            return Ok(());
        }
        let seq = self.work.last_commit + 1;
        reach("commit.before");
        let mut commit =
            Commit { seq, run_id: self.run_id, now: Timestamp::now(), finished, files: Vec::new(), rows: 0, bytes: 0 };
        if self.sink.needs_intent() {
            self.recorded().await?;
            self.ledger.record_intent(&commit).await?;
            reach("intent.after");
        }
        let prepared = self.sink.prepare(seq).await?;
        reach("prepare.after");
        self.work.last_commit = seq;
        commit.rows = prepared.rows;
        commit.bytes = prepared.bytes;
        commit.files.clone_from(&prepared.files);
        tracing::debug!(
            commit = seq,
            rows = prepared.rows,
            bytes = prepared.bytes,
            files = prepared.files.len(),
            "committed"
        );
        let tally = self.work.tally.take();
        let (ledger, meter, recorder) = (Arc::clone(&self.ledger), Arc::clone(&self.meter), Arc::clone(&self.recorder));
        if self.sink.needs_intent() {
            let recording = async move { record_made(&ledger, &meter, &recorder, &commit, tally).await };
            self.work.recording = Some(Recording(tokio::spawn(recording)));
            return Ok(());
        }
        record_made(&ledger, &meter, &recorder, &commit, tally).await?;
        self.sink.publish(seq, &prepared.files).await?;
        reach("publish.after");
        ledger.published(seq).await?;
        reach("published.after");
        Ok(())
    }

    /// Waits until the ledger has recorded what the sink committed.
    pub(super) async fn recorded(&mut self) -> Result<(), RunError> {
        match self.work.recording.take() {
            Some(recording) => recording.ended().await,
            None => Ok(()),
        }
    }

    /// Records the batches that wait and that the sink has nothing of.
    pub(super) async fn record_rowless(&mut self) -> Result<(), RunError> {
        let rowless = std::mem::take(&mut self.work.rowless);
        if rowless.is_empty() {
            return Ok(());
        }
        let asks: usize = rowless.iter().map(unrecorded).sum();
        self.record(rowless).await?;
        self.work.unrecorded_asks -= asks;
        Ok(())
    }

    /// Records batches that the sink has nothing of. Returns the batches that became pending by it.
    pub(super) async fn record(&mut self, finished: Vec<FinishedBatch>) -> Result<Vec<PendingBatch>, RunError> {
        self.recorded().await?;
        let commit = Commit {
            seq: 0,
            run_id: self.run_id,
            now: Timestamp::now(),
            finished,
            files: Vec::new(),
            rows: 0,
            bytes: 0,
        };
        Ok(record(&self.ledger, &self.meter, &commit).await?)
    }
}

/// Records a commit that the sink made.
async fn record_made(
    ledger: &Ledger,
    meter: &Meter,
    recorder: &Recorder,
    commit: &Commit,
    tally: Option<Tally>,
) -> Result<(), LedgerError> {
    record(ledger, meter, commit).await?;
    reach("record.after");
    if let Some(tally) = tally {
        recorder.archived(tally);
    }
    if commit.files.is_empty() && commit.seq.is_multiple_of(FORGET_EVERY) {
        ledger.published(commit.seq).await?;
    }
    Ok(())
}

async fn record(ledger: &Ledger, meter: &Meter, commit: &Commit) -> Result<Vec<PendingBatch>, LedgerError> {
    let recorded = ledger.record(commit).await?;
    let archived: u64 = commit.finished.iter().map(|finished| finished.archived.len() as u64).sum();
    let failed = commit.finished.iter().map(|finished| finished.failures.len() as u64).sum();
    let extras = (recorded.extras_archived, recorded.extras_failed);
    meter.add_recorded(archived - recorded.reviewed.edited, failed, extras, commit.bytes);
    meter.add_reviewed(recorded.reviewed);
    for ((class, code), count) in recorded.new_failures {
        meter.add_new_failures(class, code, count);
    }
    Ok(recorded.split)
}
