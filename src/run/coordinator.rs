//! The whole flow of a run, from pending batches to commits, in one task that owns all of its state.
//!
//! The intake fills the ledger meanwhile. Requests, what the archive writes or commits and what the ledger records are tasks
//! of their own that are joined here: a panic in any of them is caught where it is joined, and ends the run.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::commit::Commits;
use super::context::RunContext;
use super::error::{RunError, joined};
use super::finished::Finished;
use super::outcome::{Asked, Doubtful, Meaning};
use super::owners::RefusedOwners;
use super::phases::{Next, Phases};
use super::queue::{Assignment, Queue};
use super::retention;
use super::review::Existing;
use crate::archive::ArchiveWriter;
use crate::failpoint::reach;
use crate::panics::caught;
use crate::yunxin::{AskFor, Outcome, Permit, Stop as ApiStop};

/// How long requests under way may take to finish once the run is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// The state of a run.
pub(super) struct Coordinator {
    run: Arc<RunContext>,
    /// Batches that are not asked yet.
    queue: Queue,
    /// Batches that are being asked, or wait to be asked again.
    requests: JoinSet<Result<Box<Asked>, RunError>>,
    /// Batches that were answered and are not recorded yet.
    commits: Commits,
    refused: RefusedOwners,
    doubtful: Vec<Doubtful>,
    phases: Phases,
    /// When what was refused for now is asked for again, while that is all that is left.
    wave_at: Option<Instant>,
    /// Until when requests under way may finish, once the run is told to stop.
    grace: Option<Instant>,
    /// Reads the source into the ledger; empty once it has ended.
    intake: JoinSet<Result<(), RunError>>,
    /// Shows how it goes.
    ticker: JoinSet<Result<(), RunError>>,
    ended: Ended,
}

/// How a run ended whose commits all went well.
pub(super) struct Ended {
    /// How reading ended.
    pub(super) read: Result<(), RunError>,
    /// What else failed first.
    pub(super) asked: Result<(), RunError>,
}

/// What happens next to a run.
enum Event {
    /// The run is told to stop.
    Stopped,
    /// Something was written, committed or recorded.
    Committed(Result<(), RunError>),
    Answered(Result<Box<Asked>, RunError>),
    GraceOver,
    /// The source was read to its end, or not.
    Read(Result<(), RunError>),
    ShowingEnded(Result<(), RunError>),
    /// The intake has stored batches.
    Planned,
    CommitDue,
    WaveDue,
    /// One more request may be sent.
    Permit(Permit),
}

impl Coordinator {
    pub(super) fn new(run: Arc<RunContext>, archive: Box<dyn ArchiveWriter>, last_commit: u64) -> Self {
        Self {
            queue: Queue::default(),
            requests: JoinSet::new(),
            commits: Commits::new(Arc::clone(&run), archive, last_commit),
            refused: RefusedOwners::default(),
            doubtful: Vec::new(),
            phases: Phases::new(Arc::clone(&run)),
            wave_at: None,
            grace: None,
            intake: JoinSet::new(),
            ticker: JoinSet::new(),
            ended: Ended { read: Ok(()), asked: Ok(()) },
            run,
        }
    }

    /// Asks for everything that is or becomes pending, and commits it. Gives the archive back, for the manifest.
    ///
    /// Returns an error only if the run had to end at once: the archive or the ledger failed, or the coordinator panicked.
    pub(super) async fn run(
        mut self,
        intake: impl Future<Output = Result<(), RunError>> + Send + 'static,
        ticker: impl Future<Output = Result<(), RunError>> + Send + 'static,
    ) -> Result<(Box<dyn ArchiveWriter>, Ended), RunError> {
        self.intake.spawn(intake);
        self.ticker.spawn(ticker);
        let result = caught(self.drive()).await;
        let result = result.unwrap_or_else(|panicked| Err(RunError::died("the coordinator", &panicked)));
        if result.is_err() {
            self.run.stop.tell("a part of the run failed");
        }
        // Nothing is sent for an archive that takes nothing more, and nobody else uses the ledger afterwards.
        self.requests.shutdown().await;
        self.commits.shutdown().await;
        // What was read is planned, whatever failed.
        while let Some(read) = self.intake.join_next().await {
            self.end_reading(joined("reading", read));
        }
        while let Some(shown) = self.ticker.try_join_next() {
            joined("the progress", shown).unwrap_or_else(|error| self.fail(error));
        }
        self.ticker.shutdown().await;
        result?;
        let archive = self.commits.into_archive();
        Ok((archive.ok_or_else(|| RunError::Died("the archive was not given back".to_owned()))?, self.ended))
    }

    /// The flow, on one screen.
    async fn drive(&mut self) -> Result<(), RunError> {
        retention::hurry(&self.run, &mut self.queue).await?;
        loop {
            self.commits.begin();
            self.queue_parts();
            if self.run.stop.is_told() {
                if self.requests.is_empty() {
                    break;
                }
            } else {
                self.queue.fill(&self.run.ledger).await?;
                if self.is_drained() {
                    let in_doubt = !self.doubtful.is_empty();
                    match self.phases.next(&mut self.queue, &mut self.commits, &self.refused, in_doubt).await? {
                        Next::Ask => self.queue.look_again(),
                        Next::Wait(until) => self.wave_at = Some(until),
                        Next::End => break,
                    }
                    continue;
                }
            }
            match self.next_event().await {
                Event::Stopped => self.grace = Some(Instant::now() + GRACE),
                Event::Committed(result) => result?,
                Event::Answered(Ok(asked)) => self.take(*asked),
                Event::Answered(Err(error)) | Event::ShowingEnded(Err(error)) => self.fail(error),
                Event::ShowingEnded(Ok(())) => {}
                Event::GraceOver => self.give_up_requests(),
                Event::Read(result) => {
                    self.end_reading(result);
                    retention::hurry(&self.run, &mut self.queue).await?;
                }
                Event::Planned => self.queue.look_again(),
                Event::CommitDue => self.commits.commit_now(),
                Event::WaveDue => self.wave_at = None,
                Event::Permit(permit) => self.ask(permit),
            }
        }
        self.finish().await
    }

    /// What happens next. Answers come before permits, so that nothing is asked that an answer would have spared.
    async fn next_event(&mut self) -> Event {
        let (may_ask, is_stopping) = (self.may_ask(), self.grace.is_some());
        let commit_due = self.commits.due_at();
        tokio::select! {
            biased;
            () = self.run.stop.told(), if !is_stopping => Event::Stopped,
            Some(committed) = self.commits.ended() => Event::Committed(committed),
            Some(asked) = self.requests.join_next() => Event::Answered(joined("a request", asked)),
            () = sleep_until(self.grace) => Event::GraceOver,
            Some(read) = self.intake.join_next() => Event::Read(joined("reading", read)),
            Some(shown) = self.ticker.join_next() => Event::ShowingEnded(joined("the progress", shown)),
            () = self.run.planned.notified() => Event::Planned,
            () = sleep_until(commit_due) => Event::CommitDue,
            () = sleep_until(self.wave_at) => Event::WaveDue,
            permit = self.run.client.permit(), if may_ask => Event::Permit(permit),
        }
    }

    /// Whether the next batch may be asked. Before anything succeeded, one reference alone may have to be tried first.
    fn may_ask(&self) -> bool {
        let is_probing = self.run.client.is_probing() && (!self.requests.is_empty() || self.commits.may_split());
        !self.run.stop.is_told()
            && !self.queue.is_empty()
            && self.requests.len() < self.run.settings.in_flight.max(1)
            && self.commits.has_room()
            && !is_probing
    }

    /// Whether everything that was planned was asked, and has ended.
    fn is_drained(&self) -> bool {
        self.intake.is_empty()
            && self.queue.is_empty()
            && self.requests.is_empty()
            && self.commits.is_idle()
            && self.wave_at.is_none()
    }

    fn ask(&mut self, permit: Permit) {
        let Some(assignment) = self.queue.pop() else { return };
        if let Some(outcome) = self.refused.outcome(&assignment.pending.batch) {
            self.take(Asked { assignment, outcome, existing: Existing::new() });
            return;
        }
        reach("dispatch.before");
        self.run.trace.asks();
        self.requests.spawn(ask(Arc::clone(&self.run), permit, assignment));
    }

    /// Takes what became of a batch.
    fn take(&mut self, asked: Asked) {
        self.refused.note(&asked.assignment.pending.batch, &asked.outcome);
        if matches!(asked.outcome, Outcome::Answered(_)) {
            self.end_doubts();
        }
        let doubted = self.run.client.credentials_in_doubt().map(|(code, _)| code);
        match asked.meaning(&self.run.settings, doubted) {
            Meaning::Finished(finished) => self.take_finished(finished),
            Meaning::Doubtful(doubtful) => self.doubtful.push(doubtful),
            Meaning::Split(split) => {
                self.run.meter.counts().split();
                self.commits.put_split(split);
            }
        }
    }

    fn take_finished(&mut self, finished: Finished) {
        self.run.meter.counts().end(&finished.batch);
        self.phases.note(&finished.batch.follow_ups);
        self.commits.put(finished);
    }

    /// The credentials are right, so references that were refused before are bad by themselves.
    fn end_doubts(&mut self) {
        for doubtful in std::mem::take(&mut self.doubtful) {
            let failed = doubtful.failed(&self.run.settings);
            self.take_finished(failed);
        }
    }

    /// Queues the parts of split batches that the ledger has by now.
    fn queue_parts(&mut self) {
        for split in self.commits.take_recorded() {
            let parts = split.parts.into_iter().map(|pending| Assignment { pending, origin: split.origin });
            for (index, part) in parts.enumerate() {
                if split.probe && index > 0 {
                    self.queue.put_last(part);
                } else {
                    self.queue.put_first(part);
                }
            }
            if split.probe {
                self.run.client.parts_are_queued();
            }
        }
    }

    /// Notes the first failure that does not keep answers from being committed. Nothing more is sent.
    fn fail(&mut self, error: RunError) {
        if matches!(error, RunError::Api(ApiStop::Cancelled)) {
            // Told to stop before it was sent: its batch stays pending.
            return;
        }
        self.run.stop.tell("a part of the run failed");
        if self.ended.asked.is_ok() {
            self.ended.asked = Err(error);
        }
    }

    /// A source that cannot be read on ends only the reading: what was read before is as good as ever, and may not be
    /// there to be fetched for long.
    fn end_reading(&mut self, result: Result<(), RunError>) {
        if !matches!(result, Ok(()) | Err(RunError::Source(_))) {
            self.run.stop.tell("a part of the run failed");
        }
        self.ended.read = result;
        self.queue.look_again();
    }

    /// What is still under way stays pending.
    fn give_up_requests(&mut self) {
        self.requests.abort_all();
        self.grace = Some(Instant::now() + GRACE);
    }

    /// Commits what was answered. If every reference that is left was refused like a wrong checksum would be, it is the
    /// credentials, and all of them stay pending.
    async fn finish(&mut self) -> Result<(), RunError> {
        self.run.trace.leaves(self.run.client.stats().sent);
        let doubt = if self.doubtful.is_empty() { None } else { self.run.client.credentials_in_doubt() };
        if doubt.is_none() {
            self.end_doubts();
        }
        self.commits.commit_all().await?;
        self.queue_parts();
        if self.phases.refetch_is_unplanned() {
            self.run.meter.counts().is_cut_short = true;
        }
        let doubted: u64 = self.doubtful.iter().map(|doubtful| doubtful.pending.batch.refs.len() as u64).sum();
        match doubt {
            Some((code, message)) if self.run.ledger.sums().await?.to_ask() == doubted => {
                Err(RunError::Api(ApiStop::Credentials { code, message }))
            }
            _ => Ok(()),
        }
    }
}

/// Asks for a batch. For archived messages it also looks up what the archive has of them.
async fn ask(run: Arc<RunContext>, permit: Permit, assignment: Assignment) -> Result<Box<Asked>, RunError> {
    let batch = &assignment.pending.batch;
    let ask = AskFor {
        key: batch.key.clone(),
        conversation: batch.key.seen_by(&batch.asked),
        refs: batch.refs.iter().map(|r| (r.message_server_id, r.create_time)).collect(),
        batch: assignment.origin.unsigned_abs(),
    };
    reach("request.before");
    let outcome = run.client.fetch(permit, &ask, run.stop.token()).await?;
    let mut existing = Existing::new();
    if batch.purpose.is_refetch() {
        let ids: Vec<i64> = batch.refs.iter().map(|reference| reference.message_server_id).collect();
        let versions = run.ledger.versions(&ids).await?;
        existing.extend(versions.into_iter().map(|version| (version.message_server_id, version)));
    }
    Ok(Box::new(Asked { assignment, outcome, existing }))
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
