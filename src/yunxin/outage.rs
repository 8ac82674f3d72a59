//! For how long nothing succeeds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The failures of one job since the last success of its app. Each job has its own: what an earlier one waited for is no
/// time that this one has tried.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Failing>>);

/// A time in which nothing succeeds.
#[derive(Debug)]
struct Failing {
    since: jiff::Timestamp,
    last: Instant,
    tried_for: Duration,
    /// How many requests of the app had succeeded when it began.
    successes: u64,
}

impl Outage {
    /// A request failed; so many of the app have succeeded. Returns since when, and for how long of actual trying, nothing
    /// succeeds: of a time without failures, idle or paused as told, at most `gap` counts.
    pub(super) fn failed(&self, successes: u64, now: Instant, gap: Duration) -> (jiff::Timestamp, Duration) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = || Failing { since: jiff::Timestamp::now(), last: now, tried_for: Duration::ZERO, successes };
        let failing = failing.get_or_insert_with(begun);
        if failing.successes != successes {
            *failing = begun();
        }
        failing.tried_for += now.saturating_duration_since(failing.last).min(gap);
        failing.last = failing.last.max(now);
        (failing.since, failing.tried_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trying_counts_as_failing() {
        let outage = Outage::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(outage.failed(0, start, second * 45).1, Duration::ZERO);
        assert_eq!(outage.failed(0, start + second * 30, second * 45).1, second * 30);
        assert_eq!(outage.failed(0, start + second * 3600, second * 45).1, second * 75);
        assert_eq!(outage.failed(1, start + second * 3700, second * 45).1, Duration::ZERO, "something succeeded");
        assert_eq!(outage.failed(1, start + second * 3701, second * 45).1, second);
    }
}
