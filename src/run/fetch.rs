//! From pending batches to answers: the dispatcher.
//!
//! It hands out batches as fast as the client gives permits, and never waits for the sink but by a bound on the
//! answers under way.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Duration, sleep};

use super::intake::Planning;
use super::part::dead;
use super::refusals::Refusals;
use super::{RunError, Stop};
use crate::failpoint::reach;
use crate::ledger::{Ledger, PendingBatch};
use crate::panics::Panicked;
use crate::yunxin::{AskFor, Client, Outcome, Refusal, Stop as ApiStop};

/// How long requests in flight may take to finish once the run is told to stop.
pub(super) const GRACE: Duration = Duration::from_secs(10);
const PAGE: u32 = 256;

/// A batch on its way, and the planned batch that it is a part of.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) pending: PendingBatch,
    /// The number of the batch as it was planned, whatever it was split into.
    pub(super) origin: i64,
}

/// A part of a batch that was split.
#[derive(Debug)]
pub(super) enum Part {
    /// To be sent before everything else.
    First(Assignment),
    /// To be sent when nothing else is left.
    Last(Assignment),
}

/// What the dispatcher tells the writer.
#[derive(Debug)]
pub(super) enum Event {
    /// What became of a batch. The sender is dropped when its parts, if it was split, are queued.
    Ended(Box<Assignment>, Outcome, oneshot::Sender<()>),
    /// Every batch that was handed out has ended. The writer answers how many new ones are pending now.
    Drained(oneshot::Sender<u64>),
}

pub(super) struct Dispatcher {
    pub(super) ledger: Arc<Ledger>,
    pub(super) client: Arc<Client>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) stop: Stop,
    pub(super) planning: watch::Receiver<Planning>,
    pub(super) parts: mpsc::UnboundedReceiver<Part>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) in_flight: usize,
    /// Whether all else is done, so that archived messages may be asked for again.
    pub(super) again: bool,
}

/// Batches that were read from the ledger and not yet handed out.
#[derive(Default)]
struct Queue {
    page: VecDeque<Assignment>,
    last_seq: i64,
    /// Parts of split batches that go last.
    last: VecDeque<Assignment>,
}

impl Queue {
    fn take(&mut self, part: Part) {
        match part {
            Part::First(assignment) => self.page.push_front(assignment),
            Part::Last(assignment) => self.last.push_back(assignment),
        }
    }
}

impl Dispatcher {
    /// Runs until nothing is pending, the run is told to stop, or the API stops it.
    pub(super) async fn run(mut self) -> Result<(), RunError> {
        let mut tasks = JoinSet::new();
        let mut result = self.dispatch(&mut tasks).await;
        if result.is_err() {
            // Before what is in flight has its time to finish: nothing is sent again meanwhile.
            self.stop.tell("sending failed");
        }
        let finish = async {
            while let Some(joined) = tasks.join_next().await {
                result = std::mem::replace(&mut result, Ok(())).and(ended(joined));
            }
        };
        tokio::select! {
            () = finish => {}
            () = sleep(GRACE) => {}
            // Nobody is left to take the answers.
            () = self.events.closed() => {}
        }
        // What is still in flight stays pending.
        tasks.shutdown().await;
        result
    }

    async fn dispatch(&mut self, tasks: &mut JoinSet<Result<(), ApiStop>>) -> Result<(), RunError> {
        let room = Arc::new(Semaphore::new(self.in_flight.max(1)));
        let mut queue = Queue::default();
        loop {
            while let Some(joined) = tasks.try_join_next() {
                ended(joined)?;
            }
            if self.stop.is_told() {
                return Ok(());
            }
            // Looked at before the ledger is asked: what is planned in between is met by asking once more.
            let planning = *self.planning.borrow_and_update();
            let Some(assignment) = self.next(&mut queue).await? else {
                if !planning.ended {
                    tokio::select! {
                        changed = self.planning.changed() => {
                            if changed.is_err() { return Ok(()) }
                        }
                        Some(joined) = tasks.join_next() => ended(joined)?,
                        Some(part) = self.parts.recv() => queue.take(part),
                        () = self.stop.told() => {}
                    }
                } else if !tasks.is_empty() {
                    tokio::select! {
                        Some(joined) = tasks.join_next() => ended(joined)?,
                        Some(part) = self.parts.recv() => queue.take(part),
                        () = self.stop.told() => {}
                    }
                } else if self.drained().await == 0 {
                    if self.again {
                        return Ok(());
                    }
                    self.again = true;
                }
                continue;
            };
            let ready = async {
                // Where answers wait for the writer, more of them would only take memory.
                drop(self.events.reserve().await.ok()?);
                Some((Arc::clone(&room).acquire_owned().await, self.client.permit().await))
            };
            let ready = tokio::select! { ready = ready => ready, () = self.stop.told() => None };
            // A writer that is gone has its own error to tell.
            let Some((room, permit)) = ready else { return Ok(()) };
            if let Some(outcome) = self.refusals.outcome(&assignment.pending.batch) {
                drop((room, permit));
                let (queued, _) = oneshot::channel();
                self.events.send(Event::Ended(Box::new(assignment), outcome, queued)).await.ok();
                continue;
            }
            if self.client.is_probing() && !tasks.is_empty() {
                drop((room, permit));
                queue.page.push_front(assignment);
                tokio::select! {
                    Some(joined) = tasks.join_next() => ended(joined)?,
                    () = self.stop.told() => {}
                }
                continue;
            }
            reach("dispatch.before");
            let (client, events, token) = (Arc::clone(&self.client), self.events.clone(), self.stop.token().clone());
            let refusals = Arc::clone(&self.refusals);
            tasks.spawn(async move {
                let batch = &assignment.pending.batch;
                let ask = AskFor {
                    key: batch.key.clone(),
                    conversation: batch.key.seen_by(&batch.asked),
                    refs: batch.refs.iter().map(|r| (r.message_server_id, r.create_time)).collect(),
                    batch: assignment.origin.unsigned_abs(),
                };
                reach("request.before");
                let outcome = client.fetch(permit, &ask, &token).await?;
                refusals.note(batch, &outcome);
                let probe = matches!(outcome, Outcome::Refused { refusal: Refusal::Split { probe: true }, .. });
                let (queued, parts) = oneshot::channel();
                events.send(Event::Ended(Box::new(assignment), outcome, queued)).await.ok();
                drop(room);
                if probe {
                    parts.await.ok();
                    client.parts_are_queued();
                }
                Ok(())
            });
        }
    }

    async fn next(&mut self, queue: &mut Queue) -> Result<Option<Assignment>, RunError> {
        while let Ok(part) = self.parts.try_recv() {
            queue.take(part);
        }
        loop {
            if let Some(batch) = queue.page.pop_front() {
                return Ok(Some(batch));
            }
            let page = if self.again {
                self.ledger.pending(queue.last_seq, PAGE).await?
            } else {
                self.ledger.pending_first(queue.last_seq, PAGE).await?
            };
            let Some(last) = page.last() else { return Ok(queue.last.pop_front()) };
            queue.last_seq = last.seq;
            queue.page.extend(page.into_iter().map(|pending| Assignment { origin: pending.seq, pending }));
        }
    }

    async fn drained(&self) -> u64 {
        let (answer, answered) = oneshot::channel();
        if self.events.send(Event::Drained(answer)).await.is_err() {
            return 0;
        }
        answered.await.unwrap_or(0)
    }
}

fn ended(joined: Result<Result<(), ApiStop>, JoinError>) -> Result<(), RunError> {
    match joined {
        // Told to stop, which is no error: its batch stays pending.
        Ok(Err(ApiStop::Cancelled)) => Ok(()),
        Ok(result) => Ok(result?),
        Err(error) => match error.try_into_panic() {
            Ok(payload) => Err(dead("a request", &Panicked::of(&*payload))),
            Err(_) => Ok(()),
        },
    }
}
