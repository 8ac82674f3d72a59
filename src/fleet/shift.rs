//! What a worker does for one run: it asks for batches, stages what it got, and hands both over.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::message::{Announcement, BatchOutcome, BatchResult, Task, Trouble, WorkerResult, encode};
use super::nats::{Nats, Taken};
use super::quota::{Need, Quota};
use crate::archive::{Deliveries, RunStamp, Stager};
use crate::config::Job;
use crate::failpoint::reach;
use crate::run::{Asked, AskedBatch, Assignment, Existing, Finished, Meaning, RunError, Split, Tally, ask_for, joined};
use crate::yunxin::{App, Client, Outcome, Permit, Stop};

/// A worker that has nothing more to ask hands over what it has after this time.
const IDLE: Duration = Duration::from_secs(1);
/// A batch that could not be asked goes to others after this time.
const LATER: Duration = Duration::from_secs(5);
/// The most batches that are taken before they are asked.
const MOST_WAITING: usize = 512;

/// A batch by its number, and by how often a result of it was refused.
type Key = (i64, u32);
pub(super) type AskedTask = (Key, Part, Result<Asked, Stop>);

/// Which part of the work a batch belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// Batches that nobody else had.
    New,
    /// Batches that came back to the queue. Whoever had them may deliver them yet, so their result may be refused, and then
    /// nothing else is lost with it.
    CameBack,
}

/// What is done and not handed over, of one part.
struct Pile {
    stager: Box<dyn Stager>,
    done: Vec<BatchResult>,
    tally: Tally,
    /// When the first of it was done.
    since: Option<Instant>,
}

impl Pile {
    fn new(stager: Box<dyn Stager>, job: &Job) -> Self {
        Self { stager, done: Vec::new(), tally: Tally::new(job.sink.timezone()), since: None }
    }
}

/// The batches of a worker that are not handed over. They are renewed meanwhile, whatever else the worker waits for.
#[derive(Debug, Default)]
struct HeldBatches(Mutex<HashMap<Key, Arc<Taken>>>);

impl HeldBatches {
    fn batches(&self) -> MutexGuard<'_, HashMap<Key, Arc<Taken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a batch. False if it is kept already; then this is the one that is renewed from now on.
    fn keep(&self, key: Key, taken: Taken) -> bool {
        self.batches().insert(key, Arc::new(taken)).is_none()
    }

    async fn renew(self: Arc<Self>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let all: Vec<Arc<Taken>> = self.batches().values().cloned().collect();
            for taken in all {
                taken.renew().await;
            }
        }
    }

    async fn done(&self, key: Key) {
        let taken = self.batches().remove(&key);
        if let Some(taken) = taken {
            taken.done().await;
        }
    }

    async fn give_back(&self, key: Key, after: Duration) {
        let taken = self.batches().remove(&key);
        if let Some(taken) = taken {
            taken.give_back(after).await;
        }
    }
}

/// What the shifts of a worker have in common.
pub(super) struct Post {
    pub(super) job: Job,
    pub(super) worker: String,
    pub(super) nats: Arc<Nats>,
    pub(super) cancel: CancellationToken,
}

/// The work for one run.
pub(super) struct Shift {
    post: Arc<Post>,
    pub(super) run: Uuid,
    app: Arc<App>,
    pub(super) client: Arc<Client>,
    /// One for each [`Part`].
    piles: [Pile; 2],
    deliveries: Arc<dyn Deliveries>,
    hold: Arc<HeldBatches>,
    waiting: VecDeque<(Key, Part, Assignment, Existing)>,
    asking: JoinSet<AskedTask>,
    /// When there was last something to do.
    active: Instant,
    /// Whether the run is about to end.
    ends_soon: bool,
    need: Arc<Need>,
    /// Asks for shares, and renews batches.
    beside: JoinSet<()>,
}

impl Shift {
    pub(super) fn new(
        post: &Arc<Post>,
        stamp: &RunStamp,
        app: Arc<App>,
        (stagers, deliveries): ([Box<dyn Stager>; 2], Arc<dyn Deliveries>),
    ) -> Self {
        let Post { job, worker, nats, .. } = &**post;
        let client = Arc::new(Client::new(Arc::clone(&app), job.fetch.clone()).with_raw(job.sink.raw()));
        // Nothing is sent before a share is granted.
        app.share(0, std::time::Instant::now());
        let (hold, need) = (Arc::<HeldBatches>::default(), Arc::<Need>::default());
        let mut beside = JoinSet::new();
        let quota = Quota {
            nats: Arc::clone(nats),
            worker: worker.clone(),
            run: stamp.run_id,
            app: Arc::clone(&app),
            client: Arc::clone(&client),
            need: Arc::clone(&need),
        };
        beside.spawn(quota.keep());
        beside.spawn(Arc::clone(&hold).renew(nats.renew_every()));
        Self {
            post: Arc::clone(post),
            run: stamp.run_id,
            app,
            client,
            piles: stagers.map(|stager| Pile::new(stager, job)),
            deliveries,
            hold,
            waiting: VecDeque::new(),
            asking: JoinSet::new(),
            active: Instant::now(),
            ends_soon: false,
            need,
            beside,
        }
    }

    /// Takes a batch to ask for.
    pub(super) fn add(&mut self, task: Task, taken: Taken) {
        let Task { attempt, pending, origin, existing, .. } = task;
        let key = (pending.seq, attempt);
        let part = if taken.came_back() { Part::CameBack } else { Part::New };
        if self.hold.keep(key, taken) {
            let existing = existing.into_iter().map(|version| (version.message_server_id, version)).collect();
            self.waiting.push_back((key, part, Assignment { pending, origin }, existing));
            (self.active, self.ends_soon) = (Instant::now(), false);
            self.need.busy(true);
        }
    }

    /// How many more batches should be taken.
    pub(super) fn room(&self) -> usize {
        let wanted = (self.client.stats().concurrency * 2).clamp(2, MOST_WAITING);
        wanted.saturating_sub(self.waiting.len() + self.asking.len())
    }

    /// Whether a batch waits to be asked.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether nothing is being asked.
    pub(super) fn is_quiet(&self) -> bool {
        self.asking.is_empty()
    }

    /// Asks for the next batch.
    pub(super) fn ask(&mut self, permit: Permit) {
        let Some((key, part, assignment, existing)) = self.waiting.pop_front() else { return };
        let (client, cancel) = (Arc::clone(&self.client), self.post.cancel.clone());
        self.asking.spawn(async move {
            let asked = client.fetch(permit, &ask_for(&assignment), &cancel).await;
            (key, part, asked.map(|outcome| Asked { assignment, outcome, existing }))
        });
    }

    /// The next batch that was asked. May be dropped at any time; never ends if none is being asked.
    pub(super) async fn asked(&mut self) -> Result<AskedTask, RunError> {
        match self.asking.join_next().await {
            Some(asked) => joined("a request", asked.map(Ok)),
            None => std::future::pending().await,
        }
    }

    /// Takes up what became of a batch.
    pub(super) async fn take(&mut self, (key, part, asked): AskedTask) -> Result<(), RunError> {
        self.active = Instant::now();
        self.need.busy(!self.waiting.is_empty() || !self.asking.is_empty());
        let asked = match asked {
            Ok(asked) => asked,
            Err(stop @ Stop::Credentials { .. }) => return Err(RunError::Api(stop)),
            Err(Stop::Unreachable { last_error, .. }) => {
                self.need.trouble(Trouble::Passing(last_error));
                self.hold.give_back(key, LATER).await;
                return Ok(());
            }
            Err(Stop::Cancelled) => {
                self.hold.give_back(key, Duration::ZERO).await;
                return Ok(());
            }
        };
        if let Outcome::Answered(_) = &asked.outcome {
            reach("worker.answered");
        }
        let doubted = self.client.credentials_in_doubt().map(|(code, _)| code);
        let AskedBatch { meaning, refused, answered } = AskedBatch::of(asked, &self.post.job.fetch, doubted);
        let pile = &mut self.piles[part as usize];
        let outcome = match meaning {
            Meaning::Finished(Finished { rows, vanished, batch, counts }) => {
                if let Some(rows) = rows {
                    if counts {
                        pile.tally.add(&rows);
                    }
                    pile.stager.write(rows).await?;
                }
                if !vanished.is_empty() {
                    pile.stager.write_vanished(vanished).await?;
                }
                BatchOutcome::Finished(batch)
            }
            Meaning::Split(Split { batch, probe, .. }) => {
                if probe {
                    self.client.parts_are_queued();
                }
                BatchOutcome::Split(batch)
            }
            Meaning::Doubtful(doubtful) => {
                BatchOutcome::Doubtful { pending: doubtful.pending, code: doubtful.code, message: doubtful.message }
            }
        };
        pile.since.get_or_insert_with(Instant::now);
        pile.done.push(BatchResult { seq: key.0, attempt: key.1, outcome, refused, answered });
        Ok(())
    }

    /// When what is done is to be handed over; `None` if there is nothing.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let since = self.piles.iter().filter_map(|pile| pile.since).min()?;
        if self.piles.iter().any(|pile| pile.stager.is_due()) {
            return Some(since);
        }
        if self.ends_soon && self.asking.is_empty() {
            return Some(since);
        }
        let at_the_latest = since + self.post.job.sink.commit_interval();
        let is_idle = self.waiting.is_empty() && self.asking.is_empty();
        // The coordinator may wait for these batches before it goes on.
        Some(if is_idle { at_the_latest.min(self.active + IDLE) } else { at_the_latest })
    }

    /// Hands over what is done.
    pub(super) async fn hand_over(&mut self) -> Result<(), RunError> {
        for part in [Part::New, Part::CameBack] {
            self.hand_over_part(part).await?;
        }
        Ok(())
    }

    /// Hands over a part of it: its files first, then the result that names them, and then the batches leave the queue.
    async fn hand_over_part(&mut self, part: Part) -> Result<(), RunError> {
        let Post { job, worker, nats, .. } = &*self.post;
        let pile = &mut self.piles[part as usize];
        pile.since = None;
        if pile.done.is_empty() {
            return Ok(());
        }
        let files = pile.stager.finish().await?;
        reach("worker.staged");
        let tally = std::mem::replace(&mut pile.tally, Tally::new(job.sink.timezone()));
        let batches = std::mem::take(&mut pile.done);
        let keys: Vec<Key> = batches.iter().map(|batch| (batch.seq, batch.attempt)).collect();
        let result = WorkerResult {
            run: self.run,
            worker: worker.clone(),
            batches,
            files,
            messages: tally.messages(),
            requests: self.client.stats().into(),
            came_back: matches!(part, Part::CameBack),
        };
        let name = format!("{}.json.zst", Uuid::now_v7());
        self.deliveries.put(&name, encode(&result)).await?;
        reach("worker.delivered");
        tracing::debug!(batches = keys.len(), files = result.files.len(), "handed over");
        if let Err(error) = nats.announce(encode(&Announcement { name })).await {
            tracing::warn!("a result could not be announced, and the coordinator will find it: {error}");
        }
        reach("worker.announced");
        for key in keys {
            self.hold.done(key).await;
        }
        Ok(())
    }

    /// Gives back what is not being asked.
    pub(super) async fn give_back_waiting(&mut self) {
        for (key, ..) in std::mem::take(&mut self.waiting) {
            self.hold.give_back(key, Duration::ZERO).await;
        }
        self.need.busy(!self.asking.is_empty());
    }

    /// Drops what is not being asked, and hands over as soon as nothing is being asked: the run is about to end.
    pub(super) async fn end_soon(&mut self) {
        self.ends_soon = true;
        for (key, ..) in std::mem::take(&mut self.waiting) {
            self.hold.done(key).await;
        }
        self.need.busy(!self.asking.is_empty());
    }

    /// Ends the work: the run has ended, so nobody wants what is left.
    pub(super) async fn end(mut self) {
        self.asking.shutdown().await;
        let keys: Vec<Key> = self.hold.batches().keys().copied().collect();
        for key in keys {
            self.hold.done(key).await;
        }
    }

    /// Gives up everything. Its batches go to others, soon.
    pub(super) async fn give_up(mut self, trouble: Option<Trouble>) {
        self.asking.shutdown().await;
        if let Some(trouble) = trouble {
            self.beside.shutdown().await;
            Quota::tell(&self.post.nats, &self.post.worker, trouble).await;
        }
        let keys: Vec<Key> = self.hold.batches().keys().copied().collect();
        for key in keys {
            self.hold.give_back(key, LATER).await;
        }
    }

    /// Pauses all requests.
    pub(super) fn pause(&self, pause: Duration) {
        self.app.pause(pause);
    }
}
