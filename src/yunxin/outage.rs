//! How long nothing has succeeded.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An outage is logged after this long, or earlier where the run gives up soon.
const LOGGED_AFTER: Duration = Duration::from_secs(10);
/// How often it is logged again.
const LOGGED_EVERY: Duration = Duration::from_mins(1);
/// After this long requests no longer count as progress.
const NOTHING_ANSWERED: Duration = Duration::from_secs(2);

/// The failures of one job since the last success of its app. Each job has its own, because the time that an earlier job
/// tried is none of this one's.
#[derive(Debug)]
pub(super) struct Outage {
    /// After this long of trying the run ends.
    give_up_after: Duration,
    failing: Mutex<Option<Failing>>,
}

/// A time in which nothing succeeds.
#[derive(Debug)]
struct Failing {
    since: jiff::Timestamp,
    last: Instant,
    tried_for: Duration,
    /// How many requests of the app had succeeded when it began.
    successes: u64,
    /// When it is logged next, as `tried_for`.
    log_at: Duration,
    logged: bool,
}

impl Outage {
    pub(super) fn new(give_up_after: Duration) -> Self {
        Self { give_up_after, failing: Mutex::new(None) }
    }

    fn failing(&self) -> MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request failed; `successes` of the app have succeeded so far. Returns since when nothing has succeeded, and how long
    /// that was tried: of a time without failures, idle or paused, at most `gap` counts. A long outage is logged.
    pub(super) fn failed(
        &self,
        successes: u64,
        now: Instant,
        gap: Duration,
        error: &str,
    ) -> (jiff::Timestamp, Duration) {
        let mut failing = self.failing();
        if failing.as_ref().is_some_and(|failing| failing.successes != successes) {
            end(failing.take());
        }
        let failing = failing.get_or_insert_with(|| Failing {
            since: jiff::Timestamp::now(),
            last: now,
            tried_for: Duration::ZERO,
            successes,
            log_at: LOGGED_AFTER.min(self.give_up_after / 4),
            logged: false,
        });
        failing.tried_for += now.saturating_duration_since(failing.last).min(gap);
        failing.last = failing.last.max(now);
        if failing.tried_for >= failing.log_at && failing.tried_for < self.give_up_after {
            failing.log_at = failing.tried_for + LOGGED_EVERY;
            failing.logged = true;
            tracing::warn!(
                error,
                "no endpoint has given a usable answer for {}: trying on; the run ends with exit 1 at {}",
                readable(failing.tried_for),
                to_the_second(jiff::Timestamp::now() + self.give_up_after.saturating_sub(failing.tried_for)),
            );
        }
        (failing.since, failing.tried_for)
    }

    /// A request succeeded.
    pub(super) fn succeeded(&self) {
        end(self.failing().take());
    }

    /// Whether nothing has been answered for some seconds. `successes` of the app have succeeded so far.
    pub(super) fn is_under_way(&self, successes: u64) -> bool {
        self.failing()
            .as_ref()
            .is_some_and(|failing| failing.successes == successes && failing.tried_for >= NOTHING_ANSWERED)
    }
}

fn end(failing: Option<Failing>) {
    if let Some(Failing { since, .. }) = failing.filter(|failing| failing.logged) {
        let lasted = jiff::Timestamp::now().duration_since(since).unsigned_abs();
        tracing::warn!("an endpoint answers again after {}", readable(lasted));
    }
}

/// A point in time without fractions of a second.
pub(super) fn to_the_second(at: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// A duration for people to read: `10 min 17 s`, `26 s`, `400 ms`.
pub(super) fn readable(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trying_counts_as_failing() {
        let second = Duration::from_secs(1);
        let outage = Outage::new(second * 600);
        let start = Instant::now();
        let failed = |successes, at| outage.failed(successes, start + second * at, second * 45, "refused").1;
        assert_eq!(failed(0, 0), Duration::ZERO);
        assert_eq!(failed(0, 30), second * 30);
        assert!(outage.is_under_way(0) && !outage.is_under_way(1));
        assert_eq!(failed(0, 3600), second * 75);
        assert_eq!(failed(1, 3700), Duration::ZERO, "something succeeded");
        assert!(!outage.is_under_way(1));
        assert_eq!(failed(1, 3701), second);
        outage.succeeded();
        assert_eq!(failed(1, 3702), Duration::ZERO);
    }

    #[test]
    fn an_outage_is_logged_after_ten_seconds_and_then_each_minute() {
        let second = Duration::from_secs(1);
        let outage = Outage::new(second * 600);
        let start = Instant::now();
        let logged: Vec<u32> = (0..200)
            .filter(|at| {
                let before = outage.failing().as_ref().map(|failing| failing.log_at);
                outage.failed(0, start + second * *at, second * 45, "refused");
                before.is_some() && outage.failing().as_ref().map(|failing| failing.log_at) != before
            })
            .collect();
        assert_eq!(logged, [10, 70, 130, 190]);
    }

    #[test]
    fn durations_are_easy_to_read() {
        let readable = [400, 26_000, 616_942, 7_260_000].map(|millis| readable(Duration::from_millis(millis)));
        assert_eq!(readable, ["400 ms", "26 s", "10 min 16 s", "2 h 1 min"]);
    }
}
