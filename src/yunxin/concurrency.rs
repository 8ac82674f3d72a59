//! How many requests are under way at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settings::Concurrency;

/// The most that [`Concurrency::Auto`] reaches.
const MOST: usize = 1024;

/// The pure core: how many requests there should be.
#[derive(Debug)]
pub(super) struct Gauge {
    auto: bool,
    most: f64,
    target: f64,
    /// Before the first success exactly one request is under way: wrong credentials cost few.
    open: bool,
    /// Doubling until the first sign of too much.
    doubling: bool,
    shrunk: Option<Instant>,
}

impl Gauge {
    /// `start` is what an earlier job of the same app reached, when one did.
    pub(super) fn new(concurrency: Concurrency, start: Option<usize>) -> Self {
        let (auto, most) = match concurrency {
            Concurrency::Auto => (true, MOST),
            Concurrency::Fixed(number) => (false, usize::from(number.max(1))),
        };
        let mut gauge = Self { auto, most: most as f64, target: 1.0, open: false, doubling: true, shrunk: None };
        if let Some(start) = start {
            gauge.open();
            gauge.target = if auto { (start.max(1) as f64).min(gauge.most) } else { gauge.most };
        }
        gauge
    }

    /// How many requests may be under way.
    pub(super) fn target(&self) -> usize {
        self.target as usize
    }

    fn open(&mut self) {
        self.open = true;
        if !self.auto {
            self.target = self.most;
        }
    }

    /// A request succeeded. `bound` says that all slots were taken, `waited` how long it waited for the pace, `took`
    /// how long its answer took.
    pub(super) fn succeeded(&mut self, bound: bool, waited: Duration, took: Duration) {
        if !self.open {
            self.open();
        }
        // Where requests wait for the pace rather than for a slot, more slots would only make them wait more.
        let pace_is_the_limit = waited > took / 2 + Duration::from_millis(2);
        if !self.auto || !bound || pace_is_the_limit {
            return;
        }
        self.target = (self.target + if self.doubling { 1.0 } else { 1.0 / self.target }).min(self.most);
    }

    /// A request that was sent at `sent` met a service that had too much to do.
    pub(super) fn overloaded(&mut self, sent: Instant, now: Instant) {
        if !self.auto || self.shrunk.is_some_and(|shrunk| sent <= shrunk) {
            // What was sent before the last step back says nothing about it.
            return;
        }
        self.shrunk = Some(now);
        self.doubling = false;
        self.target = (self.target * 0.7).max(1.0);
    }
}

#[derive(Debug)]
struct State {
    gauge: Gauge,
    /// Slots that exist, held or free.
    issued: usize,
}

/// Hands out slots, first come first served.
#[derive(Debug)]
pub(super) struct Limiter {
    state: Mutex<State>,
    slots: Arc<Semaphore>,
}

/// A slot for one request at a time. Dropping it makes room for another.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<Limiter>,
    slot: Option<OwnedSemaphorePermit>,
}

impl Limiter {
    /// See [`Gauge::new`].
    pub(super) fn new(concurrency: Concurrency, start: Option<usize>) -> Arc<Self> {
        let gauge = Gauge::new(concurrency, start);
        let issued = gauge.target();
        Arc::new(Self { state: Mutex::new(State { gauge, issued }), slots: Arc::new(Semaphore::new(issued)) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a slot.
    pub(super) async fn acquire(self: &Arc<Self>) -> Permit {
        // Nobody closes the semaphore; were it closed, requests would go on without a slot.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        Permit { limiter: Arc::clone(self), slot }
    }

    fn adjust(&self, change: impl FnOnce(&mut Gauge, bool)) {
        let mut state = self.lock();
        let bound = self.slots.available_permits() == 0;
        change(&mut state.gauge, bound);
        let target = state.gauge.target();
        if target > state.issued {
            self.slots.add_permits(target - state.issued);
            state.issued = target;
        } else if target < state.issued {
            // Slots that are held now are taken back as they are given back.
            state.issued -= self.slots.forget_permits(state.issued - target);
        }
    }

    /// See [`Gauge::succeeded`].
    pub(super) fn succeeded(&self, waited: Duration, took: Duration) {
        self.adjust(|gauge, bound| gauge.succeeded(bound, waited, took));
    }

    /// See [`Gauge::overloaded`].
    pub(super) fn overloaded(&self, sent: Instant) {
        self.adjust(|gauge, _| gauge.overloaded(sent, Instant::now()));
    }

    /// How many requests may be under way.
    pub(super) fn target(&self) -> usize {
        self.lock().gauge.target()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let mut state = self.limiter.lock();
        if state.issued > state.gauge.target() {
            state.issued -= 1;
            slot.forget();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(500);

    #[test]
    fn one_request_until_the_first_success_then_twice_as_many_each_round() {
        let mut gauge = Gauge::new(Concurrency::Auto, None);
        let mut rounds = Vec::new();
        for _ in 0..8 {
            rounds.push(gauge.target());
            for _ in 0..gauge.target() {
                gauge.succeeded(true, Duration::ZERO, LATENCY);
            }
        }
        assert_eq!(rounds, [1, 2, 4, 8, 16, 32, 64, 128]);
    }

    #[test]
    fn where_the_pace_holds_back_more_slots_would_not_help() {
        let mut gauge = Gauge::new(Concurrency::Auto, Some(50));
        gauge.succeeded(true, LATENCY, LATENCY);
        gauge.succeeded(false, Duration::ZERO, LATENCY);
        assert_eq!(gauge.target(), 50);
    }

    #[test]
    fn one_round_of_timeouts_shrinks_once() {
        let mut gauge = Gauge::new(Concurrency::Auto, Some(100));
        let start = Instant::now();
        for _ in 0..100 {
            gauge.overloaded(start, start + LATENCY);
        }
        assert_eq!(gauge.target(), 70);
        gauge.overloaded(start + LATENCY * 2, start + LATENCY * 3);
        assert_eq!(gauge.target(), 49);
        for _ in 0..49 {
            gauge.succeeded(true, Duration::ZERO, LATENCY);
        }
        assert!(gauge.target() <= 50, "growth is slow from here");
    }

    #[test]
    fn a_fixed_number_is_kept() {
        let mut gauge = Gauge::new(Concurrency::Fixed(8), None);
        assert_eq!(gauge.target(), 1);
        gauge.succeeded(true, Duration::ZERO, LATENCY);
        assert_eq!(gauge.target(), 8);
        gauge.overloaded(Instant::now(), Instant::now());
        assert_eq!(gauge.target(), 8);
    }

    #[tokio::test]
    async fn slots_follow_the_target_both_ways() {
        let limiter = Limiter::new(Concurrency::Auto, Some(4));
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(limiter.acquire().await);
        }
        assert_eq!(limiter.slots.available_permits(), 0);
        limiter.overloaded(Instant::now());
        assert_eq!(limiter.target(), 2);
        held.pop();
        held.pop();
        assert_eq!(limiter.slots.available_permits(), 0, "two were too many");
        held.pop();
        assert_eq!(limiter.slots.available_permits(), 1);
        drop(limiter.acquire().await);
        assert_eq!(limiter.slots.available_permits(), 1);
    }
}
