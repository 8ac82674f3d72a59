//! A worker's share of the quota: it asks for it, and stops when the share has ended.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::message::{RequestCounts, ShareGrant, ShareRequest, Trouble, decode, encode};
use super::nats::Nats;
use crate::yunxin::{App, Client};

/// How often a share is asked for anew.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often one is asked for that is not granted yet.
const ASK_FOR_FIRST: Duration = Duration::from_millis(250);
/// For how long a worker that got more wants as much as there is, until it is clear what it can use.
const TRY: Duration = Duration::from_secs(5);

/// What a worker says with its requests for a share.
#[derive(Debug, Default)]
pub(super) struct Need {
    is_busy: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
    changed: Notify,
}

impl Need {
    /// Says whether there is anything to ask.
    pub(super) fn busy(&self, is_busy: bool) {
        if self.is_busy.swap(is_busy, Ordering::Relaxed) != is_busy {
            self.changed.notify_one();
        }
    }

    /// Says why the work cannot be done.
    pub(super) fn trouble(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        self.changed.notify_one();
    }

    fn take_trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Keeps a worker's share of the quota for one run.
pub(super) struct Quota {
    pub(super) nats: Arc<Nats>,
    pub(super) worker: String,
    pub(super) run: Uuid,
    pub(super) app: Arc<App>,
    pub(super) client: Arc<Client>,
    pub(super) need: Arc<Need>,
}

impl Quota {
    /// Asks for the share, again and again, until it is dropped.
    pub(super) async fn keep(self) {
        let mut held = HeldShare { applied: VecDeque::new(), rate: 0, grew: Instant::now() };
        let mut paused = None;
        loop {
            let is_busy = self.need.is_busy.load(Ordering::Relaxed);
            let trouble = self.need.take_trouble();
            let before = held.rate;
            if is_busy || before > 0 || trouble.is_some() || paused.is_some() {
                let wants = if is_busy { held.wants(self.client.stats().send_rate) } else { 0 };
                self.ask(&mut held, wants, paused.take(), trouble).await;
            }
            if held.rate < before {
                // Others get what this one gives up once they know that it goes by its new share.
                continue;
            }
            let wait = if is_busy && held.rate == 0 { ASK_FOR_FIRST } else { ASK_EVERY };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.need.changed.notified() => {}
                () = self.app.throttled() => paused = self.client.stats().paused_for,
            }
        }
    }

    /// Tells the coordinator why the work cannot be done, once.
    pub(super) async fn tell(nats: &Nats, worker: &str, trouble: Trouble) {
        let request = ShareRequest {
            worker: worker.to_owned(),
            applied: 0,
            wants: 0,
            paused: None,
            run: None,
            requests: RequestCounts::default(),
            trouble: Some(trouble),
        };
        if let Err(error) = nats.ask_share(encode(&request)).await {
            tracing::debug!("the coordinator could not be told: {error}");
        }
    }

    async fn ask(&self, held: &mut HeldShare, wants: u32, paused: Option<Duration>, trouble: Option<Trouble>) {
        let stats = self.client.stats();
        if stats.paused_for.is_some() {
            // After a pause nobody knows what can be used.
            held.grew = Instant::now();
        }
        let request = ShareRequest {
            worker: self.worker.clone(),
            applied: held.confirmed(self.app.oldest_open()),
            wants,
            paused,
            run: Some(self.run),
            requests: stats.into(),
            trouble,
        };
        // The share counts from here: whatever stands still on the way, this worker stops before the coordinator takes the
        // share to have ended.
        let asked = Instant::now();
        let grant = match self.nats.ask_share(encode(&request)).await {
            Ok(answer) => decode::<ShareGrant>(&answer).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match grant {
            Ok(ShareGrant { serial, rate, life, pause }) => {
                self.app.share(rate, asked + life);
                if let Some(pause) = pause {
                    self.app.pause(pause);
                }
                held.apply(serial, rate, Instant::now());
            }
            Err(error) => tracing::debug!("no share of the quota: {error}"),
        }
    }
}

/// The share that is held.
struct HeldShare {
    /// The grants that were applied, with the moments from which each was, from the last one that all open requests go by.
    applied: VecDeque<(u64, Instant)>,
    rate: u32,
    /// When it last grew, or was paused.
    grew: Instant,
}

impl HeldShare {
    /// Takes up a grant.
    fn apply(&mut self, serial: u64, rate: u32, now: Instant) {
        self.applied.push_back((serial, now));
        if rate > self.rate {
            self.grew = now;
        }
        self.rate = rate;
    }

    /// The serial of the last grant that every request goes by that may not have arrived. `oldest` is when the oldest of these
    /// was sent. Until then, others must not have what an earlier grant had more.
    fn confirmed(&mut self, oldest: Option<Instant>) -> u64 {
        while let Some((_, from)) = self.applied.get(1)
            && oldest.is_none_or(|oldest| oldest >= *from)
        {
            self.applied.pop_front();
        }
        self.applied
            .front()
            .filter(|(_, from)| oldest.is_none_or(|oldest| oldest >= *from))
            .map_or(0, |(serial, _)| *serial)
    }

    /// What can be used, with `used` requests a second of late.
    fn wants(&self, used: f64) -> u32 {
        let is_used_up = used >= f64::from(self.rate) * 0.95;
        if is_used_up || self.grew.elapsed() < TRY { u32::MAX } else { (used * 1.25) as u32 + 1 }
    }
}

#[cfg(test)]
mod tests;
