//! How many requests are under way at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settings::Concurrency;

/// The most that [`Concurrency::Auto`] reaches.
const MOST: usize = 1024;
/// With fewer requests than this, how many answers come in a second says little.
const TELLING: f64 = 8.0;
/// Twice as many requests must bring more answers a second by this factor, or they only wait somewhere else.
const GAIN: f64 = 1.25;
/// After more requests brought nothing, this long passes before more are tried again.
const REST: Duration = Duration::from_secs(2);
/// Where answers take less time, doubling the number reaches what is needed as quickly as computing it.
const SHORT: Duration = Duration::from_millis(20);

/// What bounds the number of requests from above.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    /// Connections that may be open.
    pub(super) connections: u16,
    /// Requests a second that the pace lets through.
    pub(super) rate: u32,
}

/// How many requests there should be. It is told the time.
#[derive(Debug)]
pub(super) struct Gauge {
    auto: bool,
    most: f64,
    target: f64,
    /// Requests a second that the pace lets through.
    rate: f64,
    /// Before the first success exactly one request is under way, so that wrong credentials cost few.
    open: bool,
    /// When the service last had too much to do. From then on the number grows slowly.
    overloaded: Option<Instant>,
    round: Round,
}

/// The answers to as many requests as may be under way: what this number of requests brings.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    since: Option<Instant>,
    answers: f64,
    /// Answers a second in the round before.
    before: f64,
    /// Until when no more requests are tried.
    resting: Option<Instant>,
}

impl Gauge {
    /// `start` is what an earlier job of the same app reached, if one did.
    pub(super) fn new(concurrency: Concurrency, most: Most, start: Option<usize>) -> Self {
        let Most { connections, rate } = most;
        let (auto, most) = match concurrency {
            Concurrency::Auto => (true, MOST.min(usize::from(connections))),
            Concurrency::Fixed(number) => (false, usize::from(number.max(1))),
        };
        let most = most as f64;
        let target = match start {
            Some(start) if auto => (start.max(1) as f64).min(most),
            Some(_) => most,
            None => 1.0,
        };
        let (rate, open) = (f64::from(rate), start.is_some());
        Self { auto, most, target, rate, open, overloaded: None, round: Round::default() }
    }

    /// How many requests may be under way.
    pub(super) fn target(&self) -> usize {
        self.target as usize
    }

    /// Goes at once to as many requests as use the whole rate when answers take this long (Little's law). The pace spreads
    /// them, and going there in steps would only leave a part of the quota unused.
    fn open(&mut self, took: Duration) {
        self.open = true;
        if !self.auto {
            self.target = self.most;
        } else if took >= SHORT {
            self.target = (self.rate * took.as_secs_f64()).ceil().clamp(1.0, self.most);
        }
    }

    /// A request succeeded. `bound` says that all slots were taken, `waited` how long the request waited for the pace, `took`
    /// how long its answer took.
    pub(super) fn succeeded(&mut self, bound: bool, waited: Duration, took: Duration, now: Instant) {
        if !self.open {
            self.open(took);
        }
        self.round.answers += 1.0;
        // Where requests wait for the pace rather than for a slot, more slots would only make them wait more.
        let pace_is_the_limit = waited > took / 2 + Duration::from_millis(2);
        if !self.auto || !bound || pace_is_the_limit {
            return;
        }
        if self.overloaded.is_some() {
            self.target = (self.target + 1.0 / self.target).min(self.most);
            return;
        }
        let since = *self.round.since.get_or_insert(now.checked_sub(took).unwrap_or(now));
        let elapsed = now.saturating_duration_since(since);
        if self.round.answers >= self.target && elapsed >= took {
            self.end_round(self.round.answers / elapsed.as_secs_f64().max(1e-6), now);
        }
    }

    /// Doubles the number, or halves it again if twice as many brought no more answers: then the service, or this machine,
    /// can do no more.
    fn end_round(&mut self, rate: f64, now: Instant) {
        let Round { before, resting, .. } = self.round;
        let mut next = Round { since: Some(now), answers: 0.0, before: rate, resting };
        let more_brought_more = rate >= before * GAIN || self.target < TELLING || self.target >= self.most;
        if resting.is_some_and(|until| now < until) {
            // What comes while it rests is what more requests are measured by.
        } else if resting.is_some() || more_brought_more {
            next.resting = None;
            self.target = (self.target * 2.0).min(self.most);
        } else {
            next.resting = Some(now + REST);
            self.target /= 2.0;
        }
        self.round = next;
    }

    /// A request that was sent at `sent` met a service that had too much to do.
    pub(super) fn overloaded(&mut self, sent: Instant, now: Instant) {
        if !self.auto || self.overloaded.is_some_and(|last| sent <= last) {
            // What was sent before the last step back says nothing about it.
            return;
        }
        self.overloaded = Some(now);
        self.target = (self.target * 0.7).max(1.0);
    }
}

#[derive(Debug)]
struct State {
    gauge: Gauge,
    /// Slots that exist, taken or free.
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
    pub(super) fn new(concurrency: Concurrency, most: Most, start: Option<usize>) -> Arc<Self> {
        let gauge = Gauge::new(concurrency, most, start);
        let issued = gauge.target();
        Arc::new(Self { state: Mutex::new(State { gauge, issued }), slots: Arc::new(Semaphore::new(issued)) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a slot.
    pub(super) async fn acquire(self: &Arc<Self>) -> Permit {
        // Nobody closes the semaphore. If somebody did, requests would go on without a slot.
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
            // Slots that are taken now are removed as they come back.
            state.issued -= self.slots.forget_permits(state.issued - target);
        }
    }

    /// See [`Gauge::succeeded`].
    pub(super) fn succeeded(&self, waited: Duration, took: Duration) {
        self.adjust(|gauge, bound| gauge.succeeded(bound, waited, took, Instant::now()));
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
    const USUAL: Most = Most { connections: u16::MAX, rate: 100 };

    #[test]
    fn one_request_until_the_first_success_then_as_many_as_the_quota_needs() {
        for (rate, took, expected) in
            [(100, 500, 50), (2_000, 50, 100), (2_000, 500, 1000), (5_000, 500, MOST), (10, 30, 2)]
        {
            let mut gauge = Gauge::new(Concurrency::Auto, Most { rate, ..USUAL }, None);
            assert_eq!(gauge.target(), 1);
            gauge.succeeded(true, Duration::ZERO, Duration::from_millis(took), Instant::now());
            assert_eq!(gauge.target(), expected, "{rate} a second, {took} ms");
        }
    }

    #[test]
    fn no_more_requests_than_connections_may_be_open() {
        let most = Most { connections: 30, ..USUAL };
        let mut gauge = Gauge::new(Concurrency::Auto, most, None);
        let now = Instant::now();
        for _ in 0..100 {
            gauge.succeeded(true, Duration::ZERO, LATENCY, now);
            assert!(gauge.target() <= 30);
        }
        assert_eq!(gauge.target(), 30);
    }

    #[test]
    fn where_answers_are_short_twice_as_many_each_round() {
        let mut gauge = Gauge::new(Concurrency::Auto, Most { rate: 1_000_000, ..USUAL }, None);
        let (mut now, mut rounds) = (Instant::now(), Vec::new());
        for _ in 0..8 {
            rounds.push(gauge.target());
            let answers = gauge.target();
            for _ in 0..answers {
                now += SHORT / 2 / answers as u32;
                gauge.succeeded(true, Duration::ZERO, SHORT / 2, now);
            }
        }
        assert_eq!(rounds, [1, 2, 4, 8, 16, 32, 64, 128]);
    }

    #[test]
    fn more_requests_that_bring_no_more_answers_are_taken_back_and_tried_again_later() {
        let mut gauge = Gauge::new(Concurrency::Auto, USUAL, Some(1));
        // A service that does a thousand a second, whatever it is asked at once.
        let (start, mut most) = (Instant::now(), 0);
        for millis in 1..=10_000 {
            gauge.succeeded(true, Duration::ZERO, LATENCY, start + Duration::from_millis(millis));
            most = most.max(gauge.target());
        }
        assert!(most <= 32, "{most}");
        // It can do more now: as many answers in a second as it is asked at once.
        let mut now = start + Duration::from_secs(10);
        for _ in 0..5_000 {
            now += Duration::from_secs(1) / gauge.target() as u32;
            gauge.succeeded(true, Duration::ZERO, LATENCY, now);
        }
        assert!(gauge.target() >= 512, "{}", gauge.target());
    }

    #[test]
    fn where_the_pace_holds_back_more_slots_would_not_help() {
        let mut gauge = Gauge::new(Concurrency::Auto, USUAL, Some(50));
        gauge.succeeded(true, LATENCY, LATENCY, Instant::now());
        gauge.succeeded(false, Duration::ZERO, LATENCY, Instant::now());
        assert_eq!(gauge.target(), 50);
    }

    #[test]
    fn one_round_of_timeouts_shrinks_once() {
        let mut gauge = Gauge::new(Concurrency::Auto, USUAL, Some(100));
        let start = Instant::now();
        for _ in 0..100 {
            gauge.overloaded(start, start + LATENCY);
        }
        assert_eq!(gauge.target(), 70);
        gauge.overloaded(start + LATENCY * 2, start + LATENCY * 3);
        assert_eq!(gauge.target(), 49);
        for _ in 0..49 {
            gauge.succeeded(true, Duration::ZERO, LATENCY, Instant::now());
        }
        assert!(gauge.target() <= 50, "growth is slow from here");
    }

    #[test]
    fn a_fixed_number_is_kept() {
        let mut gauge = Gauge::new(Concurrency::Fixed(8), USUAL, None);
        assert_eq!(gauge.target(), 1);
        gauge.succeeded(true, Duration::ZERO, LATENCY, Instant::now());
        assert_eq!(gauge.target(), 8);
        gauge.overloaded(Instant::now(), Instant::now());
        assert_eq!(gauge.target(), 8);
    }

    #[tokio::test]
    async fn slots_follow_the_target_both_ways() {
        let limiter = Limiter::new(Concurrency::Auto, USUAL, Some(4));
        let mut permits = Vec::new();
        for _ in 0..4 {
            permits.push(limiter.acquire().await);
        }
        assert_eq!(limiter.slots.available_permits(), 0);
        limiter.overloaded(Instant::now());
        assert_eq!(limiter.target(), 2);
        permits.pop();
        permits.pop();
        assert_eq!(limiter.slots.available_permits(), 0, "two were too many");
        permits.pop();
        assert_eq!(limiter.slots.available_permits(), 1);
        drop(limiter.acquire().await);
        assert_eq!(limiter.slots.available_permits(), 1);
    }
}
