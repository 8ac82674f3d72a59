//! The last sends, and the latest moment at which each can have arrived. The server counts arrivals, not sends.
//!
//! A request can be late on its way: this machine or the server was busy, a connection was new, a packet was lost. Late
//! requests arrive together with those behind them, and then a second of the server's holds more than a second of ours. An
//! answer bounds how late its request was: by no more than the answer took longer than the fastest answers do. So a send
//! counts that much longer.
//!
//! Where the service itself takes now more and now less time, requests look late that were not. Lateness therefore has a
//! budget. Beyond it, some lateness is taken to be usual and does not count. A second bound still does: a request hardly
//! arrived after those that were sent later and have been answered.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// The fastest answer is looked for in stretches this long: the current one and the one before.
const STRETCH: Duration = Duration::from_secs(5);
/// A request that is answered later than this has left the window before its answer can tell anything.
const TELLING: Duration = Duration::from_millis(900);
/// No request is taken to be later than this.
const LATEST: Duration = Duration::from_secs(1);
/// How much of every second lateness may cost in the long run.
const BUDGET: f64 = 0.007;
/// What is left of the budget is saved for worse times, up to this many seconds a send.
const SAVED: f64 = 0.04;
/// Usual lateness is deducted only by this share from the bound that later sends give.
const TRUST: f64 = 0.125;

/// The last sends of one call of the API.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Oldest first.
    sends: VecDeque<Send>,
    keep: usize,
    /// Sends without an answer.
    open: BTreeSet<Instant>,
    since: Option<Instant>,
    /// The shortest time from a send to its answer, in this stretch and in the one before.
    fastest: (Option<Duration>, Option<Duration>),
    /// The longest.
    slowest: (Duration, Duration),
    /// Lateness in seconds that is usual and does not count; below zero, what is left of the budget.
    usual: f64,
}

#[derive(Debug, Clone, Copy)]
struct Send {
    at: Instant,
    /// When it was answered.
    own: Option<Instant>,
    /// When the first answer came to it or to a later send. It never decreases from send to send.
    next: Option<Instant>,
}

impl Arrivals {
    /// Keeps the last `keep` sends.
    pub(super) fn new(keep: usize) -> Self {
        Self {
            sends: VecDeque::new(),
            keep: keep.max(1),
            open: BTreeSet::new(),
            since: None,
            fastest: (None, None),
            slowest: (Duration::ZERO, Duration::ZERO),
            usual: -SAVED,
        }
    }

    /// A request is sent.
    pub(super) fn sent(&mut self, now: Instant) {
        if self.sends.len() >= self.keep
            && let Some(old) = self.sends.pop_front()
        {
            self.open.remove(&old.at);
        }
        self.sends.push_back(Send { at: now, own: None, next: None });
        self.open.insert(now);
    }

    /// When the oldest request was sent that has not ended.
    pub(super) fn oldest_open(&self) -> Option<Instant> {
        self.open.first().copied()
    }

    /// The request that was noted at `at` was not sent then.
    pub(super) fn forget(&mut self, at: Instant) {
        let index = self.sends.partition_point(|send| send.at < at);
        if self.sends.get(index).is_some_and(|send| send.at == at) {
            self.sends.remove(index);
            self.open.remove(&at);
        }
    }

    /// The request sent at `at` was answered; if not `whole`, it ended in another way. It is no longer under way.
    pub(super) fn ended(&mut self, at: Instant, whole: bool, now: Instant) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= STRETCH) {
            self.fastest = (None, self.fastest.0);
            self.slowest = (Duration::ZERO, self.slowest.0);
            self.since = Some(now);
        }
        let took = now.saturating_duration_since(at);
        let mut end = now;
        if whole {
            self.fastest.0 = Some(self.fastest.0.map_or(took, |fastest| fastest.min(took)));
        } else {
            // It may have arrived at the last moment.
            end += self.fastest().unwrap_or_default();
        }
        self.open.remove(&at);
        self.slowest.0 = self.slowest.0.max(end.saturating_duration_since(at));
        let index = self.sends.partition_point(|send| send.at < at);
        let Some(send) = self.sends.get_mut(index).filter(|send| send.at == at) else { return };
        send.own = Some(end);
        for send in self.sends.range_mut(..=index).rev() {
            if send.next.is_some_and(|known| known <= end) {
                break;
            }
            send.next = Some(end);
        }
    }

    fn fastest(&self) -> Option<Duration> {
        let (now, before) = self.fastest;
        now.into_iter().chain(before).min()
    }

    /// When to look again if `allowed` sends can have arrived within the `span` before `now`, or may still arrive.
    pub(super) fn full(&self, allowed: usize, span: Duration, now: Instant) -> Option<Instant> {
        if self.sends.len() < allowed {
            return None;
        }
        let from = self.sends.partition_point(|send| send.at + span <= now);
        let mut within = self.sends.len() - from;
        let mut next = self.sends.get(from).map(|send| send.at + span);
        let fastest = self.fastest().unwrap_or(LATEST);
        let open = self.open.first().is_some_and(|first| *first + span <= now);
        let slowest = self.slowest.0.max(self.slowest.1);
        let worst = if open && fastest < TELLING { LATEST } else { slowest.saturating_sub(fastest).min(LATEST) };
        for send in self.sends.range(..from).rev().take_while(|send| send.at + span + worst > now) {
            let free = send.at + span + self.lateness(send, now);
            if free > now {
                within += 1;
                next = Some(next.map_or(free, |next| next.min(free)));
            }
        }
        next.filter(|_| within >= allowed)
    }

    /// A request is being sent for which the one `allowed` before it had to leave the window.
    pub(super) fn learn(&mut self, allowed: usize, now: Instant) {
        let Some(send) = self.sends.len().checked_sub(allowed).and_then(|at| self.sends.get(at)) else { return };
        let cost = self.lateness(send, now).as_secs_f64();
        self.usual = (self.usual + (cost - BUDGET) / (2.0 * allowed as f64)).clamp(-SAVED, LATEST.as_secs_f64());
        if cost == 0.0 && self.usual > 0.0 {
            self.usual *= 1.0 - 0.1 / allowed as f64;
        }
    }

    /// How late a request may have been, beyond what is usual.
    fn lateness(&self, send: &Send, now: Instant) -> Duration {
        let Some(fastest) = self.fastest() else { return Duration::ZERO };
        let late = |end: Instant| end.saturating_duration_since(send.at + fastest);
        let own = match send.own {
            Some(own) => late(own),
            // Not answered: it is late by what is over already.
            None if fastest < TELLING => late(now),
            None => Duration::ZERO,
        };
        let next = send.next.map_or(own, late);
        let usual = self.usual.max(0.0);
        let own = own.min(LATEST).saturating_sub(Duration::from_secs_f64(usual));
        own.max(next.min(LATEST).saturating_sub(Duration::from_secs_f64(usual * TRUST)))
    }

    /// How many were sent after `from`, and before `to`.
    pub(super) fn between(&self, from: Instant, to: Instant) -> usize {
        let (to, from) =
            (self.sends.partition_point(|send| send.at < to), self.sends.partition_point(|send| send.at <= from));
        to.saturating_sub(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_was_late_counts_for_longer() {
        let mut arrivals = Arrivals::new(10);
        let start = Instant::now();
        for n in 0..3 {
            arrivals.sent(start + ms(n * 10));
        }
        arrivals.ended(start, true, start + ms(50));
        // 60 ms later than the first was; and the third in time, though sent after it.
        arrivals.ended(start + ms(10), true, start + ms(120));
        arrivals.ended(start + ms(20), true, start + ms(70));
        assert_eq!(arrivals.full(3, SECOND, start + ms(999)), Some(start + ms(1000)));
        assert_eq!(arrivals.full(3, SECOND, start + ms(1000)), None);
        assert_eq!(arrivals.full(2, SECOND, start + ms(1015)), Some(start + ms(1020)));
        assert_eq!(arrivals.full(2, SECOND, start + ms(1020)), None);
        assert_eq!(arrivals.full(1, SECOND, start + ms(1069)), Some(start + ms(1070)));
        assert_eq!(arrivals.full(1, SECOND, start + ms(1070)), None);
    }

    #[test]
    fn what_nobody_answers_is_late_by_the_time_that_passed() {
        let mut arrivals = Arrivals::new(10);
        let start = Instant::now();
        arrivals.sent(start);
        arrivals.ended(start, true, start + ms(50));
        arrivals.sent(start + ms(100));
        assert!(arrivals.full(1, SECOND, start + ms(1300)).is_some());
        assert_eq!(arrivals.full(1, SECOND, start + ms(5000)), None);
        // One that failed is not under way any more.
        arrivals.ended(start + ms(100), false, start + ms(400));
        assert!(arrivals.full(1, SECOND, start + ms(1399)).is_some());
        assert_eq!(arrivals.full(1, SECOND, start + ms(1400)), None);
    }

    #[test]
    fn a_request_that_was_not_sent_is_forgotten() {
        let mut arrivals = Arrivals::new(10);
        let start = Instant::now();
        arrivals.sent(start);
        arrivals.sent(start + ms(1));
        arrivals.forget(start);
        arrivals.forget(start + ms(2));
        assert_eq!(arrivals.full(2, SECOND, start + ms(1)), None);
        assert_eq!(arrivals.between(start, start + ms(2)), 1);
    }
}
