//! What was answered becomes durable: the archive commits first, then the ledger records.
//!
//! One task at a time gets the archive, and gives it back: it writes, records and commits. Meanwhile answers wait here.
//! Where preparing makes a commit final, the ledger holds its intent before, and records it beside the next messages.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::asking::Delivered;
use super::context::RunContext;
use super::error::{RunError, joined};
use super::finished::Finished;
use super::outcome::Split;
use super::timeline::Tally;
use crate::archive::ArchiveWriter;
use crate::failpoint::reach;
use crate::ledger::{Commit, EarlyFollowUps, FailedRef, FinishedBatch, PendingBatch};
use crate::model::message::Vanished;
use crate::model::trace::StageKind;
use crate::plan::BatchRef;

/// The most bytes of answers that wait for the archive or the ledger before no more requests are begun.
const BACKLOG: usize = 16 << 20;
/// The most batches without rows (failures, follow-up asks) that wait for a commit before they are recorded on their own.
const RECORD_AT: usize = 1_000;
/// Messages that make a commit due whatever the archive says: until it is recorded, their IDs are in memory.
const COMMIT_AT: usize = 4_000_000;
/// After so many commits that made no files the ledger forgets those that no failover can lose any more.
const FORGET_EVERY: u64 = 64;

/// Everything that was answered and is not yet recorded.
pub(super) struct Commits {
    run: Arc<RunContext>,
    /// `None` while the task has it.
    staged: Option<Staged>,
    /// At most one.
    task: JoinSet<Result<Done, RunError>>,
    backlog: Backlog,
    /// The memory that the backlog takes, and what the task took of it.
    bytes: usize,
    /// Whether a commit is due whatever the archive says.
    is_due: bool,
    /// Split batches whose parts the ledger has, until they are queued.
    recorded: Vec<RecordedSplit>,
}

/// Batches that have ended and wait for the task.
#[derive(Default)]
struct Backlog {
    /// Those that the archive gets something of, in the order of their answers.
    answered: VecDeque<Finished>,
    /// Those that it gets nothing of.
    rowless: Vec<FinishedBatch>,
    splits: Vec<Split>,
    /// What workers delivered. Each goes into one commit as a whole.
    delivered: Vec<Delivered>,
}

/// The archive, and what it accepted since its last commit.
struct Staged {
    archive: Box<dyn ArchiveWriter>,
    batches: Vec<FinishedBatch>,
    /// Messages in these, including those that vanished.
    messages: usize,
    tally: Option<Tally>,
    /// When the first of them was accepted.
    since: Option<Instant>,
    last_commit: u64,
    /// A commit that the archive has made and the ledger has not recorded.
    made: Option<Made>,
}

/// A commit that the archive has made.
struct Made {
    commit: Commit,
    tally: Option<Tally>,
}

/// The parts of a split batch, which the ledger has now.
pub(super) struct RecordedSplit {
    pub(super) parts: Vec<PendingBatch>,
    pub(super) origin: i64,
    pub(super) probe: bool,
}

/// What the task gives back.
struct Done {
    staged: Staged,
    /// Batches that were not written, because a commit was due before.
    rest: VecDeque<Finished>,
    recorded: Vec<RecordedSplit>,
}

impl Commits {
    /// Nothing is answered yet, and `last_commit` is recorded.
    pub(super) fn new(run: Arc<RunContext>, archive: Box<dyn ArchiveWriter>, last_commit: u64) -> Self {
        let staged =
            Staged { archive, batches: Vec::new(), messages: 0, tally: None, since: None, last_commit, made: None };
        Self {
            run,
            staged: Some(staged),
            task: JoinSet::new(),
            backlog: Backlog::default(),
            bytes: 0,
            is_due: false,
            recorded: Vec::new(),
        }
    }

    /// Takes a batch that has ended.
    pub(super) fn put(&mut self, finished: Finished) {
        self.bytes += size(&finished);
        if finished.batch.has_rows() {
            self.backlog.answered.push_back(finished);
        } else {
            self.backlog.rowless.push(finished.batch);
        }
    }

    /// Takes a batch whose parts are to be asked.
    pub(super) fn put_split(&mut self, split: Split) {
        self.backlog.splits.push(split);
    }

    /// Takes what a worker delivered, and makes a commit due.
    pub(super) fn put_delivered(&mut self, delivered: Delivered) {
        self.bytes += delivered.batches.iter().map(size_of_batch).sum::<usize>();
        self.backlog.delivered.push(delivered);
        self.is_due = true;
    }

    /// Whether more answers may come: what waits is bounded, however long a commit takes.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < BACKLOG
    }

    /// When a commit is due by the clock.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let since = self.staged.as_ref()?.since.filter(|_| !self.is_due)?;
        Some(since + self.run.settings.job.sink.commit_interval())
    }

    /// Makes a commit due.
    pub(super) fn commit_now(&mut self) {
        self.is_due = true;
    }

    /// Begins the task if it is not under way and there is something to do.
    pub(super) fn begin(&mut self) {
        // Answers may come so fast that the task is always under way, and nobody waits for the clock.
        self.is_due |= self.due_at().is_some_and(|due| due <= Instant::now());
        let Backlog { answered, rowless, splits, .. } = &self.backlog;
        let records = self.is_due || !splits.is_empty() || rowless.len() >= RECORD_AT;
        let Some(staged) = self.staged.take_if(|staged| records || !answered.is_empty() || staged.made.is_some())
        else {
            return;
        };
        let mut work = std::mem::take(&mut self.backlog);
        if !records {
            self.backlog.rowless = std::mem::take(&mut work.rowless);
        }
        let is_due = std::mem::take(&mut self.is_due);
        self.task.spawn(staged.work(Arc::clone(&self.run), work, is_due));
    }

    /// Waits until the task has ended; `None` if there is none. May be dropped at any time.
    pub(super) async fn ended(&mut self) -> Option<Result<(), RunError>> {
        let done = joined("a commit", self.task.join_next().await?);
        Some(done.map(|Done { staged, mut rest, recorded }| {
            self.staged = Some(staged);
            self.recorded.extend(recorded);
            rest.append(&mut self.backlog.answered);
            self.backlog.answered = rest;
            self.bytes = self.backlog.size();
        }))
    }

    /// Whether a split batch may wait to be recorded.
    pub(super) fn may_split(&self) -> bool {
        self.staged.is_none() || !self.backlog.splits.is_empty()
    }

    /// Split batches that were recorded since this was last asked.
    pub(super) fn take_recorded(&mut self) -> Vec<RecordedSplit> {
        std::mem::take(&mut self.recorded)
    }

    /// Whether everything that was answered is with the archive or recorded.
    pub(super) fn is_idle(&self) -> bool {
        let Backlog { answered, splits, delivered, .. } = &self.backlog;
        let is_recorded = self.staged.as_ref().is_some_and(|staged| staged.made.is_none());
        is_recorded && answered.is_empty() && delivered.is_empty() && splits.is_empty() && self.recorded.is_empty()
    }

    /// Commits and records everything.
    pub(super) async fn commit_all(&mut self) -> Result<(), RunError> {
        loop {
            self.begin();
            match self.ended().await {
                Some(done) => done?,
                None if self.is_committed() => return Ok(()),
                None => self.commit_now(),
            }
        }
    }

    fn is_committed(&self) -> bool {
        self.backlog.rowless.is_empty() && self.staged.as_ref().is_none_or(|staged| staged.batches.is_empty())
    }

    /// Makes follow-up asks and links durable without a commit: what is asked for once more leaves its batch, which stays
    /// pending with the rest. Returns the batches whose owner got something. Only when [idle](Self::is_idle).
    pub(super) async fn set_aside(&mut self) -> Result<Vec<i64>, RunError> {
        record_without_rows(&self.run, std::mem::take(&mut self.backlog.rowless)).await?;
        self.bytes = self.backlog.size();
        let Some(staged) = &mut self.staged else { return Ok(Vec::new()) };
        let asides: Vec<EarlyFollowUps> = staged
            .batches
            .iter_mut()
            .filter(|batch| !batch.follow_ups.is_empty() || !batch.links.is_empty())
            .map(|batch| EarlyFollowUps {
                seq: batch.seq,
                follow_ups: std::mem::take(&mut batch.follow_ups),
                links: std::mem::take(&mut batch.links),
            })
            .collect();
        if !asides.is_empty() {
            self.run.ledger.carry_early(&asides).await?;
            reach("aside.after");
        }
        Ok(staged.batches.iter().filter(|batch| batch.has_got()).map(|batch| batch.seq).collect())
    }

    /// Ends the task. After [`Self::commit_all`] there is none.
    pub(super) async fn shutdown(&mut self) {
        self.task.shutdown().await;
    }

    /// The archive, unless the task has it.
    pub(super) fn archive(&mut self) -> Option<&mut dyn ArchiveWriter> {
        Some(self.staged.as_mut()?.archive.as_mut())
    }

    /// Gives the archive back, unless the task has it.
    pub(super) fn into_archive(self) -> Option<Box<dyn ArchiveWriter>> {
        Some(self.staged?.archive)
    }
}

impl Backlog {
    /// The memory that it takes, about.
    fn size(&self) -> usize {
        let delivered = self.delivered.iter().flat_map(|delivered| &delivered.batches);
        let rowless: usize = self.rowless.iter().chain(delivered).map(size_of_batch).sum();
        rowless + self.answered.iter().map(size).sum::<usize>()
    }
}

impl Staged {
    fn is_due(&self) -> bool {
        self.archive.is_due() || self.messages >= COMMIT_AT
    }

    /// Writes and records what waits, and commits if that is due.
    async fn work(mut self, run: Arc<RunContext>, work: Backlog, is_due: bool) -> Result<Done, RunError> {
        let Backlog { mut answered, rowless, splits, delivered } = work;
        self.accept(&run, delivered).await?;
        let made = self.made.take();
        let (written, recorded) =
            tokio::join!(self.write(&run, &mut answered), record_beside(&run, made, rowless, splits));
        written?;
        let recorded = recorded?;
        if is_due || self.is_due() {
            self.commit(&run).await?;
        }
        Ok(Done { staged: self, rest: answered, recorded })
    }

    /// Accepts what workers delivered.
    async fn accept(&mut self, run: &RunContext, delivered: Vec<Delivered>) -> Result<(), RunError> {
        for Delivered { batches, files, messages } in delivered {
            self.archive.accept(files).await?;
            self.tally.get_or_insert_with(|| run.timeline.tally()).add_counted(messages);
            self.since.get_or_insert_with(Instant::now);
            self.messages +=
                batches.iter().map(|batch| batch.archived.len() + batch.reviewed.vanished.len()).sum::<usize>();
            self.batches.extend(batches);
        }
        Ok(())
    }

    /// Gives batches to the archive until a commit is due.
    async fn write(&mut self, run: &RunContext, answered: &mut VecDeque<Finished>) -> Result<(), RunError> {
        while !self.is_due()
            && let Some(Finished { rows, vanished, batch, counts }) = answered.pop_front()
        {
            if let Some(rows) = rows {
                if counts {
                    self.tally.get_or_insert_with(|| run.timeline.tally()).add(&rows);
                }
                self.archive.write(rows).await?;
            }
            if !vanished.is_empty() {
                self.archive.write_vanished(vanished).await?;
            }
            self.since.get_or_insert_with(Instant::now);
            self.messages += batch.archived.len() + batch.reviewed.vanished.len();
            self.batches.push(batch);
        }
        Ok(())
    }

    /// Commits everything accepted so far.
    async fn commit(&mut self, run: &RunContext) -> Result<(), RunError> {
        let (finished, tally) = (std::mem::take(&mut self.batches), self.tally.take());
        (self.messages, self.since) = (0, None);
        if finished.is_empty() {
            return Ok(());
        }
        let (seq, began) = (self.last_commit + 1, Timestamp::now());
        reach("commit.before");
        let mut commit = Commit { seq, ..without_rows(run, finished) };
        let is_final = self.archive.needs_intent();
        if is_final {
            run.ledger.record_intent(&commit).await?;
            reach("intent.after");
        }
        let prepared = self.archive.prepare(seq).await?;
        reach("prepare.after");
        self.last_commit = seq;
        (commit.rows, commit.bytes) = (prepared.rows, prepared.bytes);
        commit.files.clone_from(&prepared.files);
        let (rows, bytes, files) = (prepared.rows, prepared.bytes, prepared.files.len());
        tracing::debug!(commit = seq, rows, bytes, files, "committed");
        let counts = vec![("rows", rows), ("bytes", bytes), ("files", files as u64)];
        let made = Made { commit, tally };
        if is_final {
            run.trace.ended(StageKind::Commit, began, counts);
            self.made = Some(made);
            return Ok(());
        }
        made.record(run).await?;
        self.archive.publish(seq, &prepared.files).await?;
        reach("publish.after");
        run.ledger.published(seq).await?;
        reach("published.after");
        run.trace.ended(StageKind::Commit, began, counts);
        Ok(())
    }
}

impl Made {
    async fn record(self, run: &RunContext) -> Result<(), RunError> {
        let Self { commit, tally } = self;
        record(run, &commit).await?;
        reach("record.after");
        if let Some(tally) = tally {
            run.timeline.archived(tally);
        }
        if commit.files.is_empty() && commit.seq.is_multiple_of(FORGET_EVERY) {
            run.ledger.published(commit.seq).await?;
        }
        Ok(())
    }
}

/// Records what needs no archive.
async fn record_beside(
    run: &RunContext,
    made: Option<Made>,
    rowless: Vec<FinishedBatch>,
    splits: Vec<Split>,
) -> Result<Vec<RecordedSplit>, RunError> {
    if let Some(made) = made {
        made.record(run).await?;
    }
    record_without_rows(run, rowless).await?;
    let mut recorded = Vec::new();
    for Split { batch, origin, probe } in splits {
        reach("split.before");
        let parts = record_without_rows(run, vec![batch]).await?;
        reach("split.after");
        recorded.push(RecordedSplit { parts, origin, probe });
    }
    Ok(recorded)
}

/// Records batches that the archive has nothing of. Returns the parts of those that were split.
async fn record_without_rows(run: &RunContext, finished: Vec<FinishedBatch>) -> Result<Vec<PendingBatch>, RunError> {
    if finished.is_empty() {
        return Ok(Vec::new());
    }
    record(run, &without_rows(run, finished)).await
}

fn without_rows(run: &RunContext, finished: Vec<FinishedBatch>) -> Commit {
    Commit { seq: 0, run_id: run.run_id, now: Timestamp::now(), finished, files: Vec::new(), rows: 0, bytes: 0 }
}

async fn record(run: &RunContext, commit: &Commit) -> Result<Vec<PendingBatch>, RunError> {
    let recorded = run.ledger.record(commit).await?;
    run.meter.counts().record(commit, &recorded);
    Ok(recorded.split)
}

/// The memory that a batch takes while it waits, about.
fn size(finished: &Finished) -> usize {
    let rows = finished.rows.as_ref().map_or(0, |rows| rows.size());
    rows + finished.vanished.len() * size_of::<Vanished>() + size_of_batch(&finished.batch)
}

fn size_of_batch(batch: &FinishedBatch) -> usize {
    let follow_ups: usize = batch.follow_ups.iter().map(|follow_up| follow_up.refs.len()).sum();
    size_of::<FinishedBatch>() + batch.failures.len() * size_of::<FailedRef>() + follow_ups * size_of::<BatchRef>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
