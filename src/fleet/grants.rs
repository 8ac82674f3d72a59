//! The coordinator's answers to workers that ask for a share of the quota, and what they tell with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::message::{Order, RequestCounts, ShareGrant, ShareRequest, Trouble, decode, encode, total};
use super::nats::{Inbox, Nats, Received};
use super::shares::{AFTER, LIFE, Shares};
use crate::ledger::SharesNote;
use crate::model::fleet::{FleetState, WorkerState};
use crate::run::Statistics;
use crate::yunxin::Stats;

/// Grants shares to the workers of one run.
#[derive(Debug)]
pub(super) struct Grants {
    run: Uuid,
    state: Mutex<State>,
    /// Tells later runs until when shares may be in use.
    note: SharesNote,
    /// Signalled when the API refuses the app.
    refused: Notify,
}

#[derive(Debug)]
struct State {
    shares: Shares,
    workers: BTreeMap<String, Worker>,
    in_flight: u64,
    redelivered: u64,
    refused: u64,
    /// Until when nobody sends anything.
    paused_until: Option<Instant>,
    /// When something last succeeded, or was first asked.
    succeeded: Instant,
    /// The last trouble that a worker told.
    trouble: Option<String>,
    refusal: Option<(i64, String)>,
}

/// What a worker did, and when it said so.
#[derive(Debug)]
struct Worker {
    counts: RequestCounts,
    noted: Instant,
    batches: u64,
}

impl Grants {
    /// Grants shares of `limit` requests a second. One percent is kept back, for requests that are late on their way by more
    /// than a worker can know.
    pub(super) fn new(run: Uuid, limit: u32, note: SharesNote) -> Self {
        let now = Instant::now();
        // Without a note, a coordinator that had another `state` may have granted all until now.
        let in_use = note.left().unwrap_or(LIFE + AFTER);
        let state = State {
            shares: Shares::new(limit - limit / 100, now + in_use),
            workers: BTreeMap::new(),
            in_flight: 0,
            redelivered: 0,
            refused: 0,
            paused_until: None,
            succeeded: now,
            trouble: None,
            refusal: None,
        };
        Self { run, state: Mutex::new(state), note, refused: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers until it is dropped.
    pub(super) async fn answer(self: Arc<Self>, nats: Arc<Nats>, mut requests: Inbox) {
        while let Some(received) = requests.next().await {
            self.answer_one(&nats, received).await;
        }
    }

    async fn answer_one(&self, nats: &Nats, received: Received) {
        let request: ShareRequest = match decode(&received.content) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!("a worker's request for a share cannot be read: {error}");
                return;
            }
        };
        if let Err(error) = self.note.extend(LIFE + AFTER) {
            tracing::warn!("no share is granted, because it cannot be noted: {error}");
            return;
        }
        let (grant, tell) = self.grant(request, Instant::now());
        received.answer(encode(&grant)).await;
        if let Some(pause) = tell
            && let Err(error) = nats.order(encode(&Order::Pause(pause))).await
        {
            tracing::warn!("the workers could not be told to pause: {error}");
        }
    }

    /// Grants a share. Returns also for how long all others are to pause, if a worker was just refused for its rate.
    fn grant(&self, request: ShareRequest, now: Instant) -> (ShareGrant, Option<Duration>) {
        let ShareRequest { worker, applied, wants, paused, run, requests, trouble } = request;
        let mut state = self.state();
        if run == Some(self.run) {
            state.note(&worker, requests, now);
        }
        match trouble {
            Some(Trouble::Credentials { code, message }) => {
                state.refusal = Some((code, message));
                self.refused.notify_one();
            }
            Some(Trouble::Passing(why)) => state.trouble = Some(why),
            None => {}
        }
        let tell = paused.filter(|paused| state.paused_until.is_none_or(|until| until < now + *paused / 2));
        if let Some(paused) = paused {
            state.paused_until = state.paused_until.max(Some(now + paused));
        }
        let grant = state.shares.grant(&worker, applied, wants, now);
        let pause = state.paused_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero());
        (ShareGrant { serial: grant.serial, rate: grant.rate, life: LIFE, pause }, tell)
    }

    /// Takes up what a worker did, as a result tells it.
    pub(super) fn note(&self, worker: &str, requests: RequestCounts) {
        let mut state = self.state();
        let now = Instant::now();
        state.note(worker, requests, now);
        state.succeeded = now;
    }

    /// A result of a worker counts, with so many batches.
    pub(super) fn delivered(&self, worker: &str, batches: usize) {
        if let Some(worker) = self.state().workers.get_mut(worker) {
            worker.batches += batches as u64;
        }
    }

    /// A result is refused.
    pub(super) fn refuses(&self) {
        self.state().refused += 1;
    }

    /// So many batches came back to the queue, or had to be published again.
    pub(super) fn redelivered(&self, batches: usize) {
        self.state().redelivered += batches as u64;
    }

    /// So many batches are out.
    pub(super) fn out(&self, batches: usize) {
        self.state().in_flight = batches as u64;
    }

    /// Nothing was asked before now.
    pub(super) fn begins(&self) {
        let mut state = self.state();
        state.succeeded = state.shares.opens().max(Instant::now());
    }

    /// For how long nothing has succeeded, and what was said last.
    pub(super) fn in_vain(&self) -> (Duration, String) {
        let state = self.state();
        let workers = state.shares.workers(Instant::now());
        let why = match (&state.trouble, workers) {
            (Some(trouble), _) => trouble.clone(),
            (None, 0) => {
                "no worker asks for a share of the quota: are workers running, with the same NATS and job?".to_owned()
            }
            (None, workers) => format!("{workers} workers ask for shares of the quota, and none has an answer"),
        };
        (state.succeeded.elapsed(), why)
    }

    /// Waits until the API refuses the app. Returns its code and text.
    pub(super) async fn refused(&self) -> (i64, String) {
        loop {
            self.refused.notified().await;
            if let Some(refusal) = self.state().refusal.take() {
                return refusal;
            }
        }
    }
}

impl Worker {
    /// Whether it was heard of lately.
    fn is_live(&self, now: Instant) -> bool {
        now.duration_since(self.noted) < LIFE
    }
}

impl State {
    fn note(&mut self, worker: &str, requests: RequestCounts, now: Instant) {
        let known = self.workers.entry(worker.to_owned());
        let known = known.or_insert(Worker { counts: RequestCounts::default(), noted: now, batches: 0 });
        if requests.ok > known.counts.ok {
            (self.succeeded, self.trouble) = (now, None);
        }
        // A message may be older than one that came before it.
        if requests.sent >= known.counts.sent {
            (known.counts, known.noted) = (requests, now);
        }
    }
}

impl Statistics for Grants {
    fn stats(&self) -> Stats {
        let (state, now) = (self.state(), Instant::now());
        let paused_for = state.paused_until.map(|until| until.saturating_duration_since(now));
        let counts = state.workers.values().map(|worker| (&worker.counts, worker.is_live(now)));
        Stats { paused_for: paused_for.filter(|left| !left.is_zero()), ..total(counts) }
    }

    fn fleet(&self) -> Option<FleetState> {
        let (state, now) = (self.state(), Instant::now());
        let workers = state.workers.iter().map(|(name, worker)| WorkerState {
            worker: name.chars().filter(|c| !c.is_control()).take(100).collect(),
            is_live: worker.is_live(now),
            share: state.shares.of(name, now),
            sent: worker.counts.sent,
            ok: worker.counts.ok,
            throttled: worker.counts.throttled,
            batches: worker.batches,
        });
        let State { in_flight, redelivered, refused, .. } = *state;
        Some(FleetState { in_flight, redelivered, refused, workers: workers.collect() })
    }
}
