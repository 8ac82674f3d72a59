//! The whole flow of a run, from pending batches to commits, in one task that owns all of its state.
//!
//! The intake fills the ledger meanwhile. Requests, what the archive writes or commits and what the ledger records are tasks
//! of their own that are joined here: a panic in any of them is caught where it is joined, and ends the run.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::asking::{Asking, Delivered, Delivery, Happened};
use super::commit::Commits;
use super::context::RunContext;
use super::error::{RunError, joined};
use super::finished::Finished;
use super::outcome::{Asked, AskedBatch, Doubtful, Meaning};
use super::owners::RefusedOwners;
use super::phases::{Next, Phases};
use super::queue::{Assignment, Queue};
use super::retention;
use super::review::Existing;
use crate::archive::ArchiveWriter;
use crate::failpoint::reach;
use crate::panics::caught;
use crate::yunxin::Stop as ApiStop;

/// How long requests under way may take to finish once the run is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// The state of a run.
pub(super) struct Coordinator {
    run: Arc<RunContext>,
    /// Batches that are not asked yet.
    queue: Queue,
    /// Asks for batches.
    asking: Box<dyn Asking>,
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
    Asking(Happened),
    GraceOver,
    /// The source was read to its end, or not.
    Read(Result<(), RunError>),
    ShowingEnded(Result<(), RunError>),
    /// The intake has stored batches.
    Planned,
    CommitDue,
    WaveDue,
}

impl Coordinator {
    pub(super) fn new(
        run: Arc<RunContext>,
        asking: Box<dyn Asking>,
        archive: Box<dyn ArchiveWriter>,
        last_commit: u64,
    ) -> Self {
        Self {
            queue: Queue::default(),
            asking,
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
        self.asking.shutdown().await;
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
        self.asking.finish().await?;
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
                if self.asking.is_idle() {
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
                Event::Stopped => {
                    self.grace = Some(Instant::now() + GRACE);
                    self.asking.stop();
                }
                Event::Committed(result) => result?,
                Event::Asking(Happened::Asked(Ok(asked))) => self.take(*asked),
                Event::Asking(Happened::Delivered(delivery)) => self.take_delivery(*delivery),
                Event::Asking(Happened::Room) => self.ask(),
                Event::Asking(Happened::Asked(Err(error)) | Happened::Failed(error))
                | Event::ShowingEnded(Err(error)) => self.fail(error),
                Event::ShowingEnded(Ok(())) => {}
                Event::GraceOver => self.give_up_requests(),
                Event::Read(result) => {
                    self.end_reading(result);
                    retention::hurry(&self.run, &mut self.queue).await?;
                }
                Event::Planned => self.queue.look_again(),
                Event::CommitDue => self.commits.commit_now(),
                Event::WaveDue => self.wave_at = None,
            }
        }
        self.finish().await
    }

    /// What happens next.
    async fn next_event(&mut self) -> Event {
        let (may_ask, is_stopping) = (self.may_ask(), self.grace.is_some());
        let commit_due = self.commits.due_at();
        tokio::select! {
            biased;
            () = self.run.stop.told(), if !is_stopping => Event::Stopped,
            Some(committed) = self.commits.ended() => Event::Committed(committed),
            () = sleep_until(self.grace) => Event::GraceOver,
            Some(read) = self.intake.join_next() => Event::Read(joined("reading", read)),
            Some(shown) = self.ticker.join_next() => Event::ShowingEnded(joined("the progress", shown)),
            () = self.run.planned.notified() => Event::Planned,
            () = sleep_until(commit_due) => Event::CommitDue,
            () = sleep_until(self.wave_at) => Event::WaveDue,
            happened = self.asking.next(may_ask) => Event::Asking(happened),
        }
    }

    /// Whether the next batch may be asked.
    fn may_ask(&self) -> bool {
        !self.run.stop.is_told()
            && !self.queue.is_empty()
            && self.commits.has_room()
            && self.asking.may_ask(self.commits.may_split())
    }

    /// Whether everything that was planned was asked, and has ended.
    fn is_drained(&self) -> bool {
        self.intake.is_empty()
            && self.queue.is_empty()
            && self.asking.is_idle()
            && self.commits.is_idle()
            && self.wave_at.is_none()
    }

    fn ask(&mut self) {
        let Some(assignment) = self.queue.pop() else { return };
        if let Some(outcome) = self.refused.outcome(&assignment.pending.batch) {
            let asked = Asked { assignment, outcome, existing: Existing::new() };
            self.take(AskedBatch::of(asked, &self.run.settings.job.fetch, None));
            return;
        }
        reach("dispatch.before");
        self.run.trace.asks();
        self.asking.ask(assignment);
    }

    /// Takes what became of a batch.
    fn take(&mut self, asked: AskedBatch) {
        if let Some(finished) = self.sort_out(asked) {
            self.take_finished(finished);
        }
    }

    /// Takes what a worker delivered. What its files hold is committed as a whole.
    fn take_delivery(&mut self, delivery: Delivery) {
        let Delivery { asked, files, messages } = delivery;
        let mut batches = Vec::new();
        for asked in asked {
            match self.sort_out(asked) {
                Some(finished) if finished.batch.has_rows() => {
                    self.count(&finished);
                    batches.push(finished.batch);
                }
                Some(finished) => self.take_finished(finished),
                None => {}
            }
        }
        self.commits.put_delivered(Delivered { batches, files, messages });
    }

    /// Takes what became of a batch, but for the batch itself if it has ended.
    fn sort_out(&mut self, asked: AskedBatch) -> Option<Finished> {
        let AskedBatch { meaning, refused, answered } = asked;
        if let Some(refused) = refused {
            self.refused.note(refused);
        }
        if answered {
            self.end_doubts();
        }
        match meaning {
            Meaning::Finished(finished) => return Some(finished),
            Meaning::Doubtful(doubtful) => self.doubtful.push(doubtful),
            Meaning::Split(split) => {
                self.run.meter.counts().split();
                self.commits.put_split(split);
            }
        }
        None
    }

    fn take_finished(&mut self, finished: Finished) {
        self.count(&finished);
        self.commits.put(finished);
    }

    fn count(&mut self, finished: &Finished) {
        self.run.meter.counts().end(&finished.batch);
        self.phases.note(&finished.batch.follow_ups);
    }

    /// The credentials are right, so references that were refused before are bad by themselves.
    fn end_doubts(&mut self) {
        for doubtful in std::mem::take(&mut self.doubtful) {
            let failed = doubtful.failed(&self.run.settings.job.fetch);
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
                self.asking.parts_are_queued();
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
        self.asking.give_up();
        self.grace = Some(Instant::now() + GRACE);
    }

    /// Commits what was answered. If every reference that is left was refused like a wrong checksum would be, it is the
    /// credentials, and all of them stay pending.
    async fn finish(&mut self) -> Result<(), RunError> {
        self.run.trace.leaves(self.run.requests.stats().sent);
        let doubt = if self.doubtful.is_empty() { None } else { self.asking.doubt() };
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

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
