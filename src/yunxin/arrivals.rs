//! The last sends, and when each of them arrived at the latest: the server counts arrivals.
//!
//! A request can be late on its way: this machine or the server had something else to do, a packet was lost. Late
//! requests arrive bunched with those behind them, and a second later the bunch counts where the sends say it should
//! not. An answer tells how late it can have been: by no more than what it took longer than the fastest answers do.
//! Who was sent before an answered request did not arrive after it, so one slow answer alone says nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The fastest answers are those of so long, and of as long before.
const STRETCH: Duration = Duration::from_secs(5);
/// What is answered later than this has left the window before it could say anything.
const TELLING: Duration = Duration::from_millis(900);
/// No request is taken to have been later than this.
const LATEST: Duration = Duration::from_secs(1);
/// How much of every second lateness may cost in the long run. Where it would cost more, as with a service whose answers
/// take now long and now short, some of it is taken to be usual.
const BUDGET: f64 = 0.007;
/// What of the budget was not spent is kept for worse times, up to so many seconds a send.
const SAVED: f64 = 0.04;

/// See the module.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Oldest first; the bounds never go back either.
    sends: VecDeque<Send>,
    keep: usize,
    /// The shortest time from a send to its answer, in this stretch and in the one before.
    fastest: (Option<Duration>, Option<Duration>),
    since: Option<Instant>,
    /// Lateness in seconds that is usual and does not count; below zero, what is saved.
    usual: f64,
}

#[derive(Debug, Clone, Copy)]
struct Send {
    at: Instant,
    /// It arrived like one that was sent at this moment and lost no time, or earlier; none while nothing is known.
    bound: Option<Instant>,
}

impl Arrivals {
    /// Keeps the last `keep` sends.
    pub(super) fn new(keep: usize) -> Self {
        Self { sends: VecDeque::new(), keep: keep.max(1), fastest: (None, None), since: None, usual: -SAVED }
    }

    /// A request is sent.
    pub(super) fn sent(&mut self, now: Instant) {
        if self.sends.len() >= self.keep {
            self.sends.pop_front();
        }
        self.sends.push_back(Send { at: now, bound: None });
    }

    /// The request noted at `at` was not sent then.
    pub(super) fn forget(&mut self, at: Instant) {
        let index = self.sends.partition_point(|send| send.at < at);
        if self.sends.get(index).is_some_and(|send| send.at == at) {
            self.sends.remove(index);
        }
    }

    /// The request sent at `at` is answered.
    pub(super) fn answered(&mut self, at: Instant, now: Instant) {
        let took = now.saturating_duration_since(at);
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= STRETCH) {
            self.fastest = (None, self.fastest.0);
            self.since = Some(now);
        }
        self.fastest.0 = Some(self.fastest.0.map_or(took, |fastest| fastest.min(took)));
        let bound = now.checked_sub(self.fastest().unwrap_or(took)).unwrap_or(at);
        let before = self.sends.partition_point(|send| send.at < at);
        for send in self.sends.range_mut(..self.sends.len().min(before + 1)).rev() {
            if send.bound.is_some_and(|known| known <= bound) {
                break;
            }
            send.bound = Some(bound);
        }
    }

    fn fastest(&self) -> Option<Duration> {
        let (now, before) = self.fastest;
        now.into_iter().chain(before).min()
    }

    /// When the last `allowed` sends but one all arrived more than `span` ago, as far as is known `now`; none with fewer.
    pub(super) fn free(&self, allowed: usize, span: Duration, now: Instant) -> Option<Instant> {
        let send = self.sends.get(self.sends.len().checked_sub(allowed)?)?;
        Some(send.at + span + self.lateness(send, now))
    }

    /// A request is sent that had to wait for the one `allowed` before it.
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
        let late = match (send.bound, self.fastest()) {
            (Some(bound), _) => bound.saturating_duration_since(send.at),
            // Neither it nor any later one is answered: it is late by what is over already.
            (None, Some(fastest)) if fastest < TELLING => now.saturating_duration_since(send.at + fastest),
            (None, _) => Duration::ZERO,
        };
        late.min(LATEST).saturating_sub(Duration::from_secs_f64(self.usual.max(0.0)))
    }

    /// How many were sent after `from`, and before `to`.
    pub(super) fn between(&self, from: Instant, to: Instant) -> usize {
        self.sends
            .partition_point(|send| send.at < to)
            .saturating_sub(self.sends.partition_point(|send| send.at <= from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_was_late_counts_for_longer() {
        let mut arrivals = Arrivals::new(10);
        let start = Instant::now();
        for n in 0..4 {
            arrivals.sent(start + ms(n * 10));
        }
        arrivals.answered(start, start + ms(50));
        assert_eq!(arrivals.free(4, ms(1000), start + ms(900)), Some(start + ms(1000)));
        // 60 ms later than the first was.
        arrivals.answered(start + ms(10), start + ms(120));
        assert_eq!(arrivals.free(3, ms(1000), start + ms(900)), Some(start + ms(1070)));
        // The third was not: so the second, sent before it, was not so late either.
        arrivals.answered(start + ms(20), start + ms(75));
        assert_eq!(arrivals.free(3, ms(1000), start + ms(900)), Some(start + ms(1025)));
        assert_eq!(arrivals.free(2, ms(1000), start + ms(900)), Some(start + ms(1025)));
    }

    #[test]
    fn what_nobody_answers_is_late_by_the_time_that_passed() {
        let mut arrivals = Arrivals::new(10);
        let start = Instant::now();
        arrivals.sent(start);
        arrivals.answered(start, start + ms(50));
        arrivals.sent(start + ms(100));
        let soon = start + ms(1100);
        assert!(arrivals.free(1, ms(1000), soon).is_some_and(|free| free > soon));
        let never = start + ms(5000);
        assert!(arrivals.free(1, ms(1000), never).is_some_and(|free| free <= never));
    }

    #[test]
    fn a_request_that_was_not_sent_is_forgotten() {
        let mut arrivals = Arrivals::new(10);
        let start = Instant::now();
        arrivals.sent(start);
        arrivals.sent(start + ms(1));
        arrivals.forget(start);
        arrivals.forget(start + ms(2));
        assert_eq!(arrivals.free(2, ms(1000), start), None);
        assert_eq!(arrivals.between(start, start + ms(2)), 1);
    }
}
