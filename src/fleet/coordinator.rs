//! The coordinator's end of the queue: workers ask for the batches of a run.
//!
//! The ledger is the truth. NATS and the objects that workers deliver may get lost, be late or come twice: a delivery counts
//! only if each of its batches is out under the attempt that it names, and what is neither queued nor delivered is published
//! again. Whatever an earlier run had out is void.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::grants::Grants;
use super::message::{Announcement, BatchOutcome, BatchResult, Order, WorkerResult, decode};
use super::nats::{Inbox, MOST_OUT, Nats, Received};
use super::queue::{Look, Out, Queue};
use crate::archive::Deliveries;
use crate::failpoint::reach;
use crate::ledger::{Ledger, PendingBatch, SharesNote};
use crate::model::manifest::StagedFile;
use crate::run::{
    AskedBatch, Asking, Assignment, Delivery, Doubtful, Finished, Happened, Meaning, RunError, Split, Statistics,
    joined,
};
use crate::yunxin::Stop;

/// The most batches that are being published.
const PUBLISHING: usize = 256;
/// How often the queue and the deliveries are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Every so many looks, every batch is looked for.
const THOROUGH: u64 = 15;
/// How long the end of a run waits for NATS.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a fleet asks for a run with.
pub(crate) struct FleetParts {
    pub(crate) nats: Nats,
    pub(crate) deliveries: Arc<dyn Deliveries>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) run_id: Uuid,
    /// What a worker must take the job to mean.
    pub(crate) digest: String,
    /// The app's quota, requests a second.
    pub(crate) limit: u32,
    /// Where it is noted until when shares of the quota may be in use.
    pub(crate) note: SharesNote,
    /// The run ends if nothing succeeds for so long.
    pub(crate) give_up_after: Duration,
}

/// A fleet of workers, which asks for the batches of a run.
pub(crate) struct Fleet {
    queue: Arc<Queue>,
    give_up_after: Duration,
    grants: Arc<Grants>,
    results: Option<Inbox>,
    /// Batches that were given to the queue and whose result has not come, by their numbers.
    out: HashMap<i64, Out>,
    /// Deliveries that were taken up.
    seen: HashSet<String>,
    work: JoinSet<Result<Done, RunError>>,
    /// Answers workers that ask for shares.
    answering: JoinSet<()>,
    looks: Interval,
    /// How many deliveries are being read.
    reading: usize,
    is_looking: bool,
    /// Counts the looks.
    look: u64,
    /// Batches that the last look missed in the queue.
    missed: HashSet<i64>,
    doubt: Option<(i64, String)>,
    has_answered: bool,
}

/// What a piece of work came to.
enum Done {
    Queued(i64),
    Read(String, Option<Box<WorkerResult>>),
    /// A delivery that is gone.
    Gone,
    Looked(u64, Option<Look>),
    Nothing,
}

impl Fleet {
    pub(crate) fn new(parts: FleetParts) -> Self {
        let FleetParts { nats, deliveries, ledger, run_id, digest, limit, note, give_up_after } = parts;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            queue: Arc::new(Queue { nats: Arc::new(nats), deliveries, ledger, run: run_id, digest }),
            give_up_after,
            grants: Arc::new(Grants::new(run_id, limit, note)),
            results: None,
            out: HashMap::new(),
            seen: HashSet::new(),
            work: JoinSet::new(),
            answering: JoinSet::new(),
            looks,
            reading: 0,
            is_looking: false,
            look: 0,
            missed: HashSet::new(),
            doubt: None,
            has_answered: false,
        }
    }

    fn publish(&mut self, pending: PendingBatch, origin: i64) {
        if self.out.is_empty() {
            self.grants.begins();
        }
        let seq = pending.seq;
        let out = self.out.entry(seq).or_insert(Out { origin, attempt: 0, publications: 0, queued: None });
        out.publications += 1;
        let (queue, out) = (Arc::clone(&self.queue), *out);
        self.work.spawn(async move { queue.publish(pending, out).await.map(|()| Done::Queued(seq)) });
    }

    /// Publishes a batch again, as the ledger has it.
    fn publish_again(&mut self, seq: i64) {
        let Some(out) = self.out.get_mut(&seq) else { return };
        (out.publications, out.queued) = (out.publications + 1, None);
        let (queue, out) = (Arc::clone(&self.queue), *out);
        self.work.spawn(async move { queue.publish_again(seq, out).await.map(|()| Done::Queued(seq)) });
    }

    fn announced(&mut self, received: &Received) {
        match decode::<Announcement>(&received.content) {
            Ok(Announcement { name }) => self.read(name),
            Err(error) => tracing::warn!("the announcement of a result cannot be read: {error}"),
        }
    }

    /// Reads a delivery, once.
    fn read(&mut self, name: String) {
        if !self.seen.insert(name.clone()) {
            return;
        }
        self.reading += 1;
        let queue = Arc::clone(&self.queue);
        self.work.spawn(async move {
            let Some(content) = queue.deliveries.read(&name).await? else { return Ok(Done::Gone) };
            let result = decode(&content);
            if let Err(error) = &result {
                tracing::warn!(name, "a result cannot be read, and its batches are asked for again: {error}");
            }
            Ok(Done::Read(name, result.ok().map(Box::new)))
        });
    }

    /// Whether every batch of a result is out under the attempt that it names, each once.
    fn counts(&self, result: &WorkerResult) -> bool {
        let mut seen = HashSet::new();
        result.run == self.queue.run
            && result.batches.iter().all(|batch| {
                seen.insert(batch.seq) && self.out.get(&batch.seq).is_some_and(|out| out.attempt == batch.attempt)
            })
    }

    /// Takes a result as a whole, or refuses it as a whole.
    fn take(&mut self, name: String, result: Option<Box<WorkerResult>>) -> Option<Happened> {
        self.reading -= 1;
        let Some(result) = result else {
            self.refuse(name, Vec::new());
            return None;
        };
        if result.run == self.queue.run {
            self.grants.note(&result.worker, result.requests.clone());
            if result.came_back {
                self.grants.redelivered(result.batches.len());
            }
        }
        if !self.counts(&result) {
            tracing::info!(name, worker = result.worker, "a result is refused: one of its batches is done already");
            self.grants.refuses();
            let is_of_run = result.run == self.queue.run;
            let again: Vec<i64> = result
                .batches
                .iter()
                .filter(|batch| is_of_run && self.out.get(&batch.seq).is_some_and(|out| out.attempt == batch.attempt))
                .map(|batch| batch.seq)
                .collect();
            self.refuse(name, result.files);
            for seq in again {
                if let Some(out) = self.out.get_mut(&seq) {
                    out.attempt += 1;
                }
                self.publish_again(seq);
            }
            return None;
        }
        reach("result.taken");
        self.grants.delivered(&result.worker, result.batches.len());
        let mut asked = Vec::with_capacity(result.batches.len());
        for batch in result.batches {
            let origin = self.out.remove(&batch.seq).map_or(batch.seq, |out| out.origin);
            asked.push(self.asked(batch, origin));
        }
        Some(Happened::Delivered(Box::new(Delivery { asked, files: result.files, messages: result.messages })))
    }

    fn asked(&mut self, batch: BatchResult, origin: i64) -> AskedBatch {
        let BatchResult { outcome, refused, answered, .. } = batch;
        self.has_answered |= answered;
        let meaning = match outcome {
            BatchOutcome::Finished(batch) => Meaning::Finished(Finished { batch, ..Finished::default() }),
            BatchOutcome::Split(batch) => Meaning::Split(Split { batch, origin, probe: false }),
            BatchOutcome::Doubtful { pending, code, message } => {
                self.doubt = Some((code, message.clone()));
                Meaning::Doubtful(Doubtful { pending, code, message })
            }
        };
        AskedBatch { meaning, refused, answered }
    }

    fn refuse(&mut self, name: String, files: Vec<StagedFile>) {
        let queue = Arc::clone(&self.queue);
        self.work.spawn(async move {
            queue.deliveries.refuse(&name, files).await?;
            Ok(Done::Nothing)
        });
    }

    /// Looks at the queue and the deliveries, unless that is under way, and gives up if nothing succeeds for too long.
    fn look(&mut self) -> Option<Happened> {
        if self.out.is_empty() {
            return None;
        }
        let (tried_for, last_error) = self.grants.in_vain();
        if tried_for >= self.give_up_after {
            let why = format!("nothing has succeeded for {} s: {last_error}", tried_for.as_secs());
            return Some(Happened::Failed(RunError::Fleet(why)));
        }
        if !self.is_looking {
            self.is_looking = true;
            self.look += 1;
            let (queue, look) = (Arc::clone(&self.queue), self.look);
            let expected = self.out.values().filter(|out| out.queued.is_some()).count() as u64;
            // Now and then every batch is looked for: one may be there twice and hide that another is lost.
            let expected = if look.is_multiple_of(THOROUGH) { u64::MAX } else { expected };
            self.work.spawn(async move {
                let found = queue.look(expected).await;
                let found = found.inspect_err(|error| tracing::warn!("the queue cannot be looked at: {error}"));
                Ok(Done::Looked(look, found.ok()))
            });
        }
        None
    }

    /// Takes up what a look found. Batches are published again that two looks missed.
    fn looked(&mut self, look: u64, found: Option<Look>) {
        self.is_looking = false;
        let Some(Look { names, queued }) = found else { return };
        let unseen: Vec<String> = names.into_iter().filter(|name| !self.seen.contains(name)).collect();
        for name in unseen {
            self.read(name);
        }
        let Some(queued) = queued.filter(|_| self.reading == 0) else {
            self.missed.clear();
            return;
        };
        let is_missed = |(seq, out): &(&i64, &Out)| out.queued.is_some_and(|at| at < look) && !queued.contains(*seq);
        let missed: HashSet<i64> = self.out.iter().filter(is_missed).map(|(seq, _)| *seq).collect();
        let lost: Vec<i64> = missed.intersection(&self.missed).copied().collect();
        self.missed = missed;
        if !lost.is_empty() {
            tracing::warn!(batches = lost.len(), "batches are neither queued nor delivered: they are published again");
            self.grants.redelivered(lost.len());
            for seq in lost {
                self.publish_again(seq);
            }
        }
    }

    fn done(&mut self, done: Result<Done, RunError>) -> Option<Happened> {
        match done {
            Ok(Done::Queued(seq)) => {
                let look = self.look;
                self.out.entry(seq).and_modify(|out| out.queued = Some(look));
            }
            Ok(Done::Read(name, result)) => return self.take(name, result),
            Ok(Done::Gone) => self.reading -= 1,
            Ok(Done::Looked(look, found)) => self.looked(look, found),
            Ok(Done::Nothing) => {}
            Err(error) => return Some(Happened::Failed(error)),
        }
        None
    }
}

#[async_trait]
impl Asking for Fleet {
    async fn begin(&mut self) -> Result<(), RunError> {
        let Queue { nats, deliveries, .. } = &*self.queue;
        nats.prepare().await?;
        nats.purge().await?;
        deliveries.clear().await?;
        self.results = Some(nats.results().await?);
        let requests = nats.share_requests().await?;
        self.answering.spawn(Arc::clone(&self.grants).answer(Arc::clone(nats), requests));
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), RunError> {
        Ok(self.queue.deliveries.clear().await?)
    }

    async fn next(&mut self, may_ask: bool) -> Happened {
        loop {
            self.grants.out(self.out.len());
            let grants = Arc::clone(&self.grants);
            let Some(results) = &mut self.results else { return std::future::pending().await };
            let happened = tokio::select! {
                biased;
                Some(done) = self.work.join_next() => self.done(joined("the fleet", done)),
                Some(received) = results.next() => {
                    self.announced(&received);
                    None
                }
                (code, message) = grants.refused() => {
                    Some(Happened::Failed(RunError::Api(Stop::Credentials { code, message })))
                }
                _ = self.looks.tick() => self.look(),
                () = std::future::ready(()), if may_ask => Some(Happened::Room),
            };
            if let Some(happened) = happened {
                return happened;
            }
        }
    }

    fn ask(&mut self, assignment: Assignment) {
        let Assignment { pending, origin } = assignment;
        self.publish(pending, origin);
    }

    fn may_ask(&self, _: bool) -> bool {
        self.out.len() < MOST_OUT && self.work.len() < PUBLISHING
    }

    fn is_idle(&self) -> bool {
        self.out.is_empty()
    }

    fn parts_are_queued(&self) {}

    fn doubt(&self) -> Option<(i64, String)> {
        self.doubt.clone().filter(|_| !self.has_answered)
    }

    fn stop(&mut self) {
        let queue = Arc::clone(&self.queue);
        self.work.spawn(async move {
            if let Err(error) = queue.empty(&Order::HandOver).await {
                tracing::warn!("the workers could not be told that the run stops: {error}");
            }
            Ok(Done::Nothing)
        });
    }

    fn give_up(&mut self) {
        self.out.clear();
        self.grants.out(0);
    }

    async fn shutdown(&mut self) {
        self.work.shutdown().await;
        self.answering.shutdown().await;
        self.grants.out(self.out.len());
        if self.results.is_some() {
            let end = Order::Ended(self.queue.run);
            let emptied = tokio::time::timeout(FAREWELL, self.queue.empty(&end)).await;
            if !matches!(emptied, Ok(Ok(()))) {
                tracing::debug!("the queue could not be emptied: the next run does that");
            }
        }
    }

    fn statistics(&self) -> Arc<dyn Statistics> {
        Arc::clone(&self.grants) as Arc<dyn Statistics>
    }
}
