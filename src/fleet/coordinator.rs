//! The coordinator's end of the queue: workers ask for the batches of a run.
//!
//! The ledger is the truth. NATS and the objects that workers deliver may get lost, be late or come twice: a delivery counts
//! only if each of its batches is out under the attempt that it names, and what is neither queued nor delivered is published
//! again. Whatever an earlier run had out is void.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::grants::Grants;
use super::message::{Announcement, BatchOutcome, BatchResult, Order, Task, WorkerResult, decode, encode};
use super::nats::{Inbox, MOST_OUT, Nats, NatsError, Received};
use crate::archive::Deliveries;
use crate::failpoint::reach;
use crate::ledger::{Ledger, PendingBatch};
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
/// How long to wait before something is tried again with NATS.
const AGAIN: Duration = Duration::from_secs(1);
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
    /// The run ends if nothing succeeds for so long.
    pub(crate) give_up_after: Duration,
}

/// A fleet of workers, which asks for the batches of a run.
pub(crate) struct Fleet {
    parts: Arc<Shared>,
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

struct Shared {
    nats: Arc<Nats>,
    deliveries: Arc<dyn Deliveries>,
    ledger: Arc<Ledger>,
    run: Uuid,
    digest: String,
    give_up_after: Duration,
}

/// A batch that is out.
#[derive(Debug, Clone, Copy)]
struct Out {
    origin: i64,
    /// How often a result of it was refused.
    attempt: u32,
    /// How often it was published.
    publications: u32,
    /// The look before which it was in the queue.
    queued: Option<u64>,
}

/// What a piece of work came to.
enum Done {
    Queued(i64),
    Read(String, Option<WorkerResult>),
    /// A delivery that is gone.
    Gone,
    Looked(u64, Option<Look>),
    Nothing,
}

/// What was found in the queue and among the deliveries.
struct Look {
    names: Vec<String>,
    /// The batches in the queue, unless it has as many as it should.
    queued: Option<HashSet<i64>>,
}

impl Fleet {
    pub(crate) fn new(parts: FleetParts) -> Self {
        let FleetParts { nats, deliveries, ledger, run_id, digest, limit, give_up_after } = parts;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            parts: Arc::new(Shared { nats: Arc::new(nats), deliveries, ledger, run: run_id, digest, give_up_after }),
            grants: Arc::new(Grants::new(run_id, limit)),
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
        let out = self.out.entry(pending.seq).or_insert(Out { origin, attempt: 0, publications: 0, queued: None });
        out.publications += 1;
        self.work.spawn(publish(Arc::clone(&self.parts), pending, *out));
    }

    /// Publishes a batch again, as the ledger has it.
    fn publish_again(&mut self, seq: i64) {
        let Some(out) = self.out.get_mut(&seq) else { return };
        (out.publications, out.queued) = (out.publications + 1, None);
        let (parts, out) = (Arc::clone(&self.parts), *out);
        self.work.spawn(async move {
            let found = parts.ledger.pending(seq - 1, 1).await?;
            match found.into_iter().find(|pending| pending.seq == seq) {
                Some(pending) => publish(parts, pending, out).await,
                None => Err(RunError::Fleet(format!("batch {seq} is out, and the ledger does not have it"))),
            }
        });
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
        let parts = Arc::clone(&self.parts);
        self.work.spawn(async move {
            let Some(content) = parts.deliveries.read(&name).await? else { return Ok(Done::Gone) };
            let result = decode(&content);
            if let Err(error) = &result {
                tracing::warn!(name, "a result cannot be read, and its batches are asked for again: {error}");
            }
            Ok(Done::Read(name, result.ok()))
        });
    }

    /// Whether every batch of a result is out under the attempt that it names, each once.
    fn counts(&self, result: &WorkerResult) -> bool {
        let mut seen = HashSet::new();
        result.run == self.parts.run
            && result.batches.iter().all(|batch| {
                seen.insert(batch.seq) && self.out.get(&batch.seq).is_some_and(|out| out.attempt == batch.attempt)
            })
    }

    /// Takes a result as a whole, or refuses it as a whole.
    fn take(&mut self, name: String, result: Option<WorkerResult>) -> Option<Happened> {
        self.reading -= 1;
        let Some(result) = result else {
            self.refuse(name, Vec::new());
            return None;
        };
        if result.run == self.parts.run {
            self.grants.note(&result.worker, result.requests.clone());
        }
        if !self.counts(&result) {
            tracing::info!(name, worker = result.worker, "a result is refused: one of its batches is done already");
            let is_of_run = result.run == self.parts.run;
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
        let parts = Arc::clone(&self.parts);
        self.work.spawn(async move {
            parts.deliveries.refuse(&name, files).await?;
            Ok(Done::Nothing)
        });
    }

    /// Looks at the queue and the deliveries, unless that is under way, and gives up if nothing succeeds for too long.
    fn look(&mut self) -> Option<Happened> {
        if self.out.is_empty() {
            return None;
        }
        let (tried_for, last_error) = self.grants.in_vain();
        if tried_for >= self.parts.give_up_after {
            let since = Timestamp::now() - tried_for;
            return Some(Happened::Failed(RunError::Api(Stop::Unreachable { since, tried_for, last_error })));
        }
        if !self.is_looking {
            self.is_looking = true;
            self.look += 1;
            let (parts, look) = (Arc::clone(&self.parts), self.look);
            let expected = self.out.values().filter(|out| out.queued.is_some()).count() as u64;
            // Now and then every batch is looked for: one may be there twice and hide that another is lost.
            let expected = if look.is_multiple_of(THOROUGH) { u64::MAX } else { expected };
            self.work.spawn(async move {
                let found = look_at(&parts, expected).await;
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
        unseen.into_iter().for_each(|name| self.read(name));
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
            lost.into_iter().for_each(|seq| self.publish_again(seq));
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
        let Shared { nats, deliveries, .. } = &*self.parts;
        nats.prepare().await?;
        nats.purge().await?;
        deliveries.clear().await?;
        self.results = Some(nats.results().await?);
        let requests = nats.share_requests().await?;
        self.answering.spawn(Arc::clone(&self.grants).answer(Arc::clone(nats), requests));
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), RunError> {
        Ok(self.parts.deliveries.clear().await?)
    }

    async fn next(&mut self, may_ask: bool) -> Happened {
        loop {
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
        let nats = Arc::clone(&self.parts.nats);
        self.work.spawn(async move {
            if let Err(error) = farewell(&nats).await {
                tracing::warn!("the workers could not be told that the run stops: {error}");
            }
            Ok(Done::Nothing)
        });
    }

    fn give_up(&mut self) {
        self.out.clear();
    }

    async fn shutdown(&mut self) {
        self.work.shutdown().await;
        self.answering.shutdown().await;
        if self.results.is_some() {
            let farewell = tokio::time::timeout(FAREWELL, farewell(&self.parts.nats)).await;
            if !matches!(farewell, Ok(Ok(()))) {
                tracing::debug!("the queue could not be emptied: the next run does that");
            }
        }
    }

    fn statistics(&self) -> Arc<dyn Statistics> {
        Arc::clone(&self.grants) as Arc<dyn Statistics>
    }
}

/// Empties the queue, and has workers hand over what they have done.
async fn farewell(nats: &Nats) -> Result<(), NatsError> {
    nats.purge().await?;
    nats.order(encode(&Order::HandOver)).await
}

/// Puts a batch into the queue, however long that takes.
async fn publish(parts: Arc<Shared>, pending: PendingBatch, out: Out) -> Result<Done, RunError> {
    let (seq, batch) = (pending.seq, &pending.batch);
    let mut existing = Vec::new();
    if batch.purpose.is_refetch() {
        let ids: Vec<i64> = batch.refs.iter().map(|reference| reference.message_server_id).collect();
        existing = parts.ledger.versions(&ids).await?;
    }
    let Shared { nats, ledger, run, digest, .. } = &*parts;
    let content = encode(&Task {
        run: *run,
        ledger: ledger.id(),
        digest: digest.clone(),
        attempt: out.attempt,
        pending,
        origin: out.origin,
        existing,
    });
    let id = format!("{run}.{seq}.{}", out.publications);
    while let Err(error) = nats.publish(seq, &id, content.clone()).await {
        tracing::debug!(batch = seq, "a batch could not be published, and is tried again: {error}");
        tokio::time::sleep(AGAIN).await;
    }
    Ok(Done::Queued(seq))
}

/// Looks at the queue, which is made again if it is gone, and then at the deliveries: a worker delivers before a batch leaves
/// the queue. The numbers in the queue are read only if it has fewer batches than expected.
async fn look_at(parts: &Shared, expected: u64) -> Result<Look, RunError> {
    let Shared { nats, deliveries, .. } = parts;
    let queued = match nats.queued().await {
        Ok(queued) => queued,
        Err(_) => {
            nats.prepare().await?;
            nats.queued().await?
        }
    };
    let queued = if queued < expected { Some(nats.queued_numbers().await?) } else { None };
    Ok(Look { names: deliveries.names().await?, queued })
}

impl From<NatsError> for RunError {
    fn from(error: NatsError) -> Self {
        Self::Fleet(error.to_string())
    }
}
