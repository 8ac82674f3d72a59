//! The coordinator's answers to workers that ask for a share of the quota, and what they tell with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::message::{Order, RequestCounts, ShareGrant, ShareRequest, Trouble, decode, encode, total};
use super::nats::{Inbox, Nats, Received};
use super::shares::{LIFE, Shares};
use crate::run::Statistics;
use crate::yunxin::Stats;

/// Grants shares to the workers of one run.
#[derive(Debug)]
pub(super) struct Grants {
    run: Uuid,
    state: Mutex<State>,
    /// Signalled when the API refuses the app.
    refused: Notify,
}

#[derive(Debug)]
struct State {
    shares: Shares,
    /// What each worker did, and when it said so.
    workers: BTreeMap<String, (RequestCounts, Instant)>,
    /// Until when nobody sends anything.
    paused_until: Option<Instant>,
    /// When something last succeeded, or was first asked.
    succeeded: Instant,
    /// The last trouble that a worker told.
    trouble: Option<String>,
    refusal: Option<(i64, String)>,
}

impl Grants {
    /// Grants shares of `limit` requests a second. One percent is kept back, for requests that are late on their way by more
    /// than a worker can know.
    pub(super) fn new(run: Uuid, limit: u32) -> Self {
        let now = Instant::now();
        let state = State {
            shares: Shares::new(limit - limit / 100, now),
            workers: BTreeMap::new(),
            paused_until: None,
            succeeded: now,
            trouble: None,
            refusal: None,
        };
        Self { run, state: Mutex::new(state), refused: Notify::new() }
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

impl State {
    fn note(&mut self, worker: &str, requests: RequestCounts, now: Instant) {
        let before = self.workers.get(worker).map_or(0, |(before, _)| before.ok);
        if requests.ok > before {
            (self.succeeded, self.trouble) = (now, None);
        }
        if requests.ok >= before {
            self.workers.insert(worker.to_owned(), (requests, now));
        }
    }
}

impl Statistics for Grants {
    fn stats(&self) -> Stats {
        let (state, now) = (self.state(), Instant::now());
        let paused_for = state.paused_until.map(|until| until.saturating_duration_since(now));
        let counts = state.workers.values().map(|(counts, noted)| (counts, now.duration_since(*noted) < LIFE));
        Stats { paused_for: paused_for.filter(|left| !left.is_zero()), ..total(counts) }
    }
}
