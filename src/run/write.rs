//! The one writer: it owns the sink and the ledger's progress.
//!
//! The sink always commits first; the ledger then records in one transaction which batches are done, which
//! references failed and which are asked again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::backlog::Backlog;
use super::commit::Recording;
use super::fetch::{Assignment, Event, Part};
use super::named::NamedOwners;
use super::record::{Recorder, Tally};
use super::refetch::Refetch;
use super::refusals::Refusals;
use super::verdict::{failed, miss, misses};
use super::{Meter, RunError, Stop, threads};
use crate::archive::ArchiveWriter;
use crate::failpoint::reach;
use crate::ledger::{FinishedBatch, Ledger, PendingBatch};
use crate::model::failure::{Class, Reason};
use crate::plan::{Attempt, Miss, Remedy, TeamOwner, follow_up};
use crate::yunxin::{Answer, Client, Outcome, Refusal, Stop as ApiStop};

/// Batches without rows (splits, failures) that wait for a commit, at most, before they are recorded on their own.
const RECORD_AT: usize = 1_000;
/// Messages that make a commit due whatever the sink says: until it, their IDs are in memory.
const COMMIT_AT: usize = 4_000_000;

pub(super) struct Writer {
    pub(super) sink: Box<dyn ArchiveWriter>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) client: Arc<Client>,
    pub(super) meter: Arc<Meter>,
    pub(super) run_id: Uuid,
    pub(super) batch_size: usize,
    /// How often a reference may be refused for now before that is a failure.
    pub(super) deferrals: u32,
    /// Owners that are not asked for their team again.
    pub(super) refusals: Arc<Refusals>,
    pub(super) named: Arc<NamedOwners>,
    /// Told to stop, nobody waits for what was refused for now.
    pub(super) stop: Stop,
    /// How many links upward threads are followed; 0 is not at all.
    pub(super) thread_depth: u16,
    pub(super) team_owner: TeamOwner,
    /// What is to be asked for again, until it is planned.
    pub(super) refetch: Option<Refetch>,
    pub(super) commit_interval: Duration,
    pub(super) recorder: Arc<Recorder>,
    /// Where the parts of split batches go to be sent.
    pub(super) parts: mpsc::UnboundedSender<Part>,
    pub(super) work: Work,
}

/// What was accepted and is not yet recorded.
#[derive(Default)]
pub(super) struct Work {
    /// The last commit that the sink made.
    pub(super) last_commit: u64,
    /// The ledger's part of it, if that is not yet known to be done.
    pub(super) recording: Option<Recording>,
    /// Batches with rows in the sink.
    pub(super) accepted: Vec<FinishedBatch>,
    /// Messages of these, those included that vanished.
    pub(super) rows: usize,
    /// Batches without.
    pub(super) rowless: Vec<FinishedBatch>,
    /// Follow-up asks and batches with links that are not yet in the ledger are in `accepted` or in `rowless`, and counted
    /// here.
    pub(super) unrecorded_asks: usize,
    /// When a reference was last refused for now.
    pub(super) deferred_at: Option<Instant>,
    /// Single references refused as a bad parameter before anything succeeded: they may be the credentials' fault.
    pub(super) doubtful: Vec<(PendingBatch, i64, String)>,
    /// The messages accepted since the last commit.
    pub(super) tally: Option<Tally>,
    /// When the first row since the last commit was accepted.
    pub(super) since: Option<Instant>,
    /// Batches that became pending since the dispatcher last asked.
    pub(super) new_batches: u64,
}

impl Work {
    /// Nothing accepted yet, after this commit.
    pub(super) fn after(last_commit: u64) -> Self {
        Self { last_commit, ..Self::default() }
    }
}

impl Writer {
    /// Takes what the dispatcher sends until it is gone, then commits. Returns the sink, to be sealed.
    pub(super) async fn run(mut self, events: mpsc::Receiver<Event>) -> (Box<dyn ArchiveWriter>, Result<(), RunError>) {
        let result = self.drive(events).await;
        (self.sink, result)
    }

    async fn drive(&mut self, mut events: mpsc::Receiver<Event>) -> Result<(), RunError> {
        let mut backlog = Backlog::default();
        loop {
            let due = self.work.since.map(|since| since + self.commit_interval);
            let waiting = backlog.take();
            let event = if waiting.is_some() {
                waiting
            } else {
                tokio::select! {
                    event = events.recv() => event,
                    () = sleep_until(due) => {
                        self.commit_beside(&mut events, &mut backlog).await?;
                        continue;
                    }
                }
            };
            match event {
                Some(Event::Ended(assignment, outcome, queued)) => {
                    self.take(*assignment, outcome).await?;
                    drop(queued);
                }
                Some(Event::Drained(answer)) => {
                    // A batch was split meanwhile: what its parts leave belongs into the same follow-up batches.
                    if self.work.new_batches == 0 {
                        self.settle().await?;
                    }
                    answer.send(std::mem::take(&mut self.work.new_batches)).ok();
                }
                None => break,
            }
            if self.sink.is_due() || self.work.rows >= COMMIT_AT {
                self.commit_beside(&mut events, &mut backlog).await?;
            }
        }
        let doubt = if self.work.doubtful.is_empty() { None } else { self.client.credentials_in_doubt() };
        if doubt.is_none() {
            self.settle_doubts().await?;
        }
        self.commit().await?;
        self.recorded().await?;
        if self.refetch.is_some() {
            self.meter.cut_short();
        }
        let doubted: u64 = self.work.doubtful.iter().map(|(pending, ..)| pending.batch.refs.len() as u64).sum();
        match doubt {
            // Every reference there is was refused like a wrong checksum would be: they stay pending.
            Some((code, message)) if self.ledger.sums().await?.to_ask() == doubted => {
                Err(RunError::Api(ApiStop::Credentials { code, message }))
            }
            _ => Ok(()),
        }
    }

    /// Commits, and takes delivery of what comes meanwhile: while a database works, the API answers.
    async fn commit_beside(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        backlog: &mut Backlog,
    ) -> Result<(), RunError> {
        let commit = self.commit();
        tokio::pin!(commit);
        let mut open = true;
        loop {
            tokio::select! {
                done = &mut commit => return done,
                event = events.recv(), if open && backlog.has_room() => match event {
                    Some(event) => backlog.put(event),
                    None => open = false,
                },
            }
        }
    }

    async fn take(&mut self, assignment: Assignment, outcome: Outcome) -> Result<(), RunError> {
        let Assignment { pending, origin } = assignment;
        match outcome {
            Outcome::Answered(answer) => {
                self.settle_doubts().await?;
                self.take_answer(pending, answer).await
            }
            Outcome::Refused { refusal: Refusal::Split { probe }, .. } if pending.batch.refs.len() > 1 => {
                self.split(&pending, origin, probe).await
            }
            Outcome::Refused { code, message, refusal: Refusal::Permanent, .. }
                if pending.batch.refs.len() == 1
                    && self.client.credentials_in_doubt().is_some_and(|(doubted, _)| doubted == code) =>
            {
                self.work.doubtful.push((pending, code, message));
                Ok(())
            }
            Outcome::Refused { code, message, refusal, attempts } => {
                let other_owner = refusal == Refusal::OtherOwner;
                let class = if other_owner { Class::Unavailable } else { Class::Refused };
                let reason = Reason { class, code: Some(code), message, retryable: false };
                let remedy = if other_owner { Remedy::OtherOwner } else { Remedy::Nothing };
                self.take_failed(&pending, &reason, remedy, attempts).await
            }
            Outcome::Exhausted { code, message, attempts } => {
                let reason = Reason { class: Class::Transport, code, message, retryable: true };
                self.take_failed(&pending, &reason, Remedy::Nothing, attempts).await
            }
        }
    }

    async fn take_answer(&mut self, pending: PendingBatch, mut answer: Answer) -> Result<(), RunError> {
        let batch = &pending.batch;
        if batch.purpose.is_refetch() {
            return self.take_reviewed(&pending, &answer).await;
        }
        if batch.purpose.is_extra() {
            for row in Arc::make_mut(&mut answer.rows).rows_mut() {
                row.requested = false;
            }
        }
        let links = if batch.purpose.depth().is_some_and(|depth| depth < self.thread_depth) {
            threads::links(&answer.rows, batch)
        } else {
            Vec::new()
        };
        let misses = answer.verdicts.iter().map(|(index, verdict)| miss(batch, *index, verdict)).collect();
        let mut finished = self.sort_out(&pending, misses, answer.attempts, Some(!answer.rows.is_empty()));
        finished.archived = answer.rows.rows().iter().map(|row| row.message_server_id).collect();
        finished.links = links;
        self.meter.add_batch_done(finished.archived.len() as u64, finished.failures.len() as u64);
        if finished.archived.is_empty() {
            return self.take_rowless(finished).await;
        }
        self.work.tally.get_or_insert_with(|| self.recorder.tally()).add(&answer.rows);
        self.sink.write(answer.rows).await?;
        self.accept(finished);
        Ok(())
    }

    /// Takes a batch of which the sink has something.
    pub(super) fn accept(&mut self, finished: FinishedBatch) {
        self.work.since.get_or_insert_with(Instant::now);
        self.work.unrecorded_asks += unrecorded(&finished);
        self.work.rows += finished.archived.len() + finished.reviewed.vanished.len();
        self.work.accepted.push(finished);
    }

    async fn take_failed(
        &mut self,
        pending: &PendingBatch,
        reason: &Reason,
        remedy: Remedy,
        attempts: u32,
    ) -> Result<(), RunError> {
        let misses = misses(&pending.batch, reason, remedy);
        if pending.batch.purpose.is_refetch() {
            return self.take_unreviewed(pending, misses, attempts).await;
        }
        let finished = self.sort_out(pending, misses, attempts, None);
        self.meter.add_batch_done(0, finished.failures.len() as u64);
        self.take_rowless(finished).await
    }

    /// What becomes of what a batch did not get. `got`, if it was answered: whether the answer holds anything.
    fn sort_out(&mut self, pending: &PendingBatch, misses: Vec<Miss>, sent: u32, got: Option<bool>) -> FinishedBatch {
        let batch = &pending.batch;
        let (follow_ups, finals) = follow_up(batch, misses, &self.attempt(sent, got));
        self.note_deferred(&follow_ups);
        let failures = finals.into_iter().map(|last| failed(batch, last)).collect();
        FinishedBatch { seq: pending.seq, failures, follow_ups, ..FinishedBatch::default() }
    }

    pub(super) fn attempt(&self, sent: u32, got: Option<bool>) -> Attempt {
        Attempt { sent, answered: got.is_some(), got: got.unwrap_or(false), deferrals: self.deferrals }
    }

    pub(super) async fn take_rowless(&mut self, finished: FinishedBatch) -> Result<(), RunError> {
        self.work.unrecorded_asks += unrecorded(&finished);
        self.work.rowless.push(finished);
        if self.work.rowless.len() >= RECORD_AT { self.record_rowless().await } else { Ok(()) }
    }

    /// Splits a batch that was refused as a whole. While nothing has succeeded, one reference alone tells more about
    /// the credentials than two halves.
    async fn split(&mut self, pending: &PendingBatch, origin: i64, probe: bool) -> Result<(), RunError> {
        let parts = if probe { pending.batch.split_at(1) } else { pending.batch.halves() };
        let finished = FinishedBatch { seq: pending.seq, split: parts.to_vec(), ..FinishedBatch::default() };
        self.meter.add_batch_done(0, 0);
        self.meter.add_split();
        reach("split.before");
        let recorded = self.record(vec![finished]).await?;
        reach("split.after");
        self.work.new_batches += recorded.len() as u64;
        for (index, pending) in recorded.into_iter().enumerate() {
            let assignment = Assignment { pending, origin };
            let part = if probe && index > 0 { Part::Last(assignment) } else { Part::First(assignment) };
            self.parts.send(part).ok();
        }
        Ok(())
    }

    /// Something succeeded, so that the credentials are right and references refused before are bad by themselves.
    async fn settle_doubts(&mut self) -> Result<(), RunError> {
        for (pending, code, message) in std::mem::take(&mut self.work.doubtful) {
            let reason = Reason { class: Class::Refused, code: Some(code), message, retryable: false };
            self.take_failed(&pending, &reason, Remedy::Nothing, 1).await?;
        }
        Ok(())
    }
}

/// How much of a batch the ledger must know before it is told that it is done.
pub(super) fn unrecorded(finished: &FinishedBatch) -> usize {
    finished.follow_ups.len() + usize::from(!finished.links.is_empty())
}

pub(super) async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
