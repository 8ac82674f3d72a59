//! What was answered becomes durable: the archive commits first, then the ledger records.
//!
//! The archive is lent to one task at a time, which writes or commits. Meanwhile answers wait here. Where preparing makes a
//! commit final, the ledger holds its intent before, and records it beside the next messages.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::context::RunContext;
use super::error::{RunError, joined};
use super::files::file_row;
use super::finished::Finished;
use super::outcome::Split;
use super::timeline::Tally;
use crate::archive::ArchiveWriter;
use crate::failpoint::reach;
use crate::ledger::{Aside, Commit, FailedRef, FinishedBatch, PendingBatch};
use crate::model::message::Vanished;
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
    /// `None` while a task has it.
    staged: Option<Staged>,
    /// At most one that has the archive, and one that records.
    tasks: JoinSet<Result<Done, RunError>>,
    /// Batches that the archive does not have yet, in the order of their answers.
    answered: VecDeque<Finished>,
    /// Batches that the archive has nothing of.
    rowless: Vec<FinishedBatch>,
    /// Batches whose parts the ledger does not have yet.
    splits: Vec<Split>,
    /// The parts of those that were recorded, until they are queued.
    recorded: Vec<RecordedSplit>,
    /// A commit that the archive has made and the ledger has not recorded.
    made: Option<Made>,
    /// Whether a task records, or commits.
    ledger_is_busy: bool,
    /// Bytes of all that waits.
    backlog: usize,
    /// Whether a commit is due whatever the archive says.
    is_due: bool,
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

/// What a task did.
enum Done {
    /// Wrote; the batches that are left wait for a commit.
    Written(Staged, VecDeque<Finished>),
    /// Committed; what was made is still to be recorded.
    Committed(Staged, Option<Made>),
    Recorded(Vec<RecordedSplit>),
}

impl Commits {
    /// Nothing is answered yet, and `last_commit` is recorded.
    pub(super) fn new(run: Arc<RunContext>, archive: Box<dyn ArchiveWriter>, last_commit: u64) -> Self {
        let staged = Staged { archive, batches: Vec::new(), messages: 0, tally: None, since: None, last_commit };
        Self {
            run,
            staged: Some(staged),
            tasks: JoinSet::new(),
            answered: VecDeque::new(),
            rowless: Vec::new(),
            splits: Vec::new(),
            recorded: Vec::new(),
            made: None,
            ledger_is_busy: false,
            backlog: 0,
            is_due: false,
        }
    }

    /// Takes a batch that has ended.
    pub(super) fn put(&mut self, finished: Finished) {
        self.backlog += size(&finished);
        if finished.batch.has_rows() {
            self.answered.push_back(finished);
        } else {
            self.rowless.push(finished.batch);
        }
    }

    /// Takes a batch whose parts are to be asked.
    pub(super) fn put_split(&mut self, split: Split) {
        self.splits.push(split);
    }

    /// Whether more answers may come: what waits is bounded, however long a commit takes.
    pub(super) fn has_room(&self) -> bool {
        self.backlog < BACKLOG
    }

    /// When a commit is due by the clock.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let since = self.staged.as_ref()?.since.filter(|_| !self.is_due)?;
        Some(since + self.run.settings.commit_interval)
    }

    /// Makes a commit due.
    pub(super) fn commit_now(&mut self) {
        self.is_due = true;
    }

    /// Begins whatever can begin. The ledger records beside what the archive writes, but not while it commits.
    pub(super) fn begin(&mut self) {
        let is_due = self.staged.as_ref().is_some_and(|staged| self.is_due || staged.is_due());
        if !self.ledger_is_busy {
            if self.made.is_none() && is_due {
                self.begin_commit();
            } else if self.made.is_some() || !self.splits.is_empty() || self.rowless.len() >= RECORD_AT {
                self.begin_record();
            }
        }
        if !is_due
            && !self.answered.is_empty()
            && let Some(staged) = self.staged.take()
        {
            self.tasks.spawn(staged.write(Arc::clone(&self.run), std::mem::take(&mut self.answered)));
        }
    }

    fn begin_commit(&mut self) {
        let Some(staged) = self.staged.take() else { return };
        (self.ledger_is_busy, self.is_due) = (true, false);
        let rowless = self.take_rowless();
        self.tasks.spawn(staged.commit(Arc::clone(&self.run), rowless));
    }

    fn begin_record(&mut self) {
        self.ledger_is_busy = true;
        let (run, made, splits) = (Arc::clone(&self.run), self.made.take(), std::mem::take(&mut self.splits));
        let rowless = self.take_rowless();
        self.tasks.spawn(async move {
            if let Some(made) = made {
                made.record(&run).await?;
            }
            record_without_rows(&run, rowless).await?;
            let mut recorded = Vec::new();
            for Split { batch, origin, probe } in splits {
                reach("split.before");
                let parts = record_without_rows(&run, vec![batch]).await?;
                reach("split.after");
                recorded.push(RecordedSplit { parts, origin, probe });
            }
            Ok(Done::Recorded(recorded))
        });
    }

    fn take_rowless(&mut self) -> Vec<FinishedBatch> {
        let rowless = std::mem::take(&mut self.rowless);
        self.backlog -= rowless.iter().map(size_of_batch).sum::<usize>();
        rowless
    }

    /// Waits until a task has ended; `None` if there is none. May be dropped at any time.
    pub(super) async fn ended(&mut self) -> Option<Result<(), RunError>> {
        let done = joined("a commit", self.tasks.join_next().await?);
        Some(done.map(|done| self.take(done)))
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Written(staged, mut rest) => {
                self.staged = Some(staged);
                rest.append(&mut self.answered);
                self.answered = rest;
                let batches = self.rowless.iter().map(size_of_batch).sum::<usize>();
                self.backlog = batches + self.answered.iter().map(size).sum::<usize>();
            }
            Done::Committed(staged, made) => {
                self.staged = Some(staged);
                self.made = made;
                self.ledger_is_busy = false;
            }
            Done::Recorded(splits) => {
                self.recorded.extend(splits);
                self.ledger_is_busy = false;
            }
        }
    }

    /// Whether the ledger is told something, or waits to be told of a split batch.
    pub(super) fn is_recording(&self) -> bool {
        self.ledger_is_busy || !self.splits.is_empty()
    }

    /// Split batches that were recorded since this was last asked.
    pub(super) fn take_recorded_splits(&mut self) -> Vec<RecordedSplit> {
        std::mem::take(&mut self.recorded)
    }

    /// Whether the archive and the ledger have everything that they can have without a commit.
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
            && self.answered.is_empty()
            && self.splits.is_empty()
            && self.recorded.is_empty()
            && self.made.is_none()
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
        self.rowless.is_empty() && self.staged.as_ref().is_none_or(|staged| staged.batches.is_empty())
    }

    /// Makes follow-up asks and links durable without a commit: what is asked for once more leaves its batch, which stays
    /// pending with the rest. Returns the batches whose owner got something. Only when [idle](Self::is_idle).
    pub(super) async fn set_aside(&mut self) -> Result<Vec<i64>, RunError> {
        let rowless = self.take_rowless();
        record_without_rows(&self.run, rowless).await?;
        let Some(staged) = &mut self.staged else { return Ok(Vec::new()) };
        let asides: Vec<Aside> = staged
            .batches
            .iter_mut()
            .filter(|batch| !batch.follow_ups.is_empty() || !batch.links.is_empty())
            .map(|batch| Aside {
                seq: batch.seq,
                follow_ups: std::mem::take(&mut batch.follow_ups),
                links: std::mem::take(&mut batch.links),
            })
            .collect();
        if !asides.is_empty() {
            self.run.ledger.set_aside(&asides).await?;
            reach("aside.after");
        }
        Ok(staged.batches.iter().filter(|batch| batch.has_got()).map(|batch| batch.seq).collect())
    }

    /// Ends the tasks. After [`Self::commit_all`] there are none.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }

    /// The archive, if no task has it.
    pub(super) fn archive(&mut self) -> Option<&mut dyn ArchiveWriter> {
        Some(self.staged.as_mut()?.archive.as_mut())
    }

    /// Gives the archive back, if no task has it.
    pub(super) fn into_archive(self) -> Option<Box<dyn ArchiveWriter>> {
        Some(self.staged?.archive)
    }
}

impl Staged {
    fn is_due(&self) -> bool {
        self.archive.is_due() || self.messages >= COMMIT_AT
    }

    /// Gives batches to the archive until a commit is due.
    async fn write(mut self, run: Arc<RunContext>, mut answered: VecDeque<Finished>) -> Result<Done, RunError> {
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
        Ok(Done::Written(self, answered))
    }

    /// Commits everything accepted so far, and records `rowless` before.
    async fn commit(mut self, run: Arc<RunContext>, rowless: Vec<FinishedBatch>) -> Result<Done, RunError> {
        record_without_rows(&run, rowless).await?;
        let (finished, tally) = (std::mem::take(&mut self.batches), self.tally.take());
        (self.messages, self.since) = (0, None);
        if finished.is_empty() {
            return Ok(Done::Committed(self, None));
        }
        let seq = self.last_commit + 1;
        reach("commit.before");
        let mut commit = Commit { seq, ..without_rows(&run, finished) };
        let is_final = self.archive.needs_intent();
        if is_final {
            run.ledger.record_intent(&commit).await?;
            reach("intent.after");
        }
        let prepared = self.archive.prepare(seq).await?;
        reach("prepare.after");
        self.last_commit = seq;
        (commit.rows, commit.bytes) = (prepared.rows, prepared.bytes);
        commit.files = prepared.files.iter().map(file_row).collect();
        tracing::debug!(
            commit = seq,
            rows = prepared.rows,
            bytes = prepared.bytes,
            files = prepared.files.len(),
            "committed"
        );
        let made = Made { commit, tally };
        if is_final {
            return Ok(Done::Committed(self, Some(made)));
        }
        made.record(&run).await?;
        self.archive.publish(seq, &prepared.files).await?;
        reach("publish.after");
        run.ledger.published(seq).await?;
        reach("published.after");
        Ok(Done::Committed(self, None))
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
    let archived: u64 = commit.finished.iter().map(|finished| finished.archived.len() as u64).sum();
    let failed = commit.finished.iter().map(|finished| finished.failures.len() as u64).sum();
    let extras = (recorded.extras_archived, recorded.extras_failed);
    run.meter.add_recorded(archived - recorded.reviewed.edited, failed, extras, commit.bytes);
    run.meter.add_reviewed(recorded.reviewed);
    run.meter.add_new_failures(recorded.new_failures);
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
