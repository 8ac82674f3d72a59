//! What the client counts.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of answer times. The first holds up to 1 ms, each further one up to twice as much, and the last all above 16 s.
pub const LATENCY_BUCKETS: usize = 16;

/// Counters of one client, whatever other jobs of its app do.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) ok: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) throttled: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) in_flight: AtomicU32,
    latency: [AtomicU64; LATENCY_BUCKETS],
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts a request as in flight until it is dropped.
pub(super) struct InFlight<'a>(&'a AtomicU32);

impl<'a> InFlight<'a> {
    pub(super) fn enter(counters: &'a Counters) -> Self {
        counters.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(&counters.in_flight)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    /// Counts an answer that took `latency`.
    pub(super) fn took(&self, latency: Duration) {
        let millis = latency.as_millis().max(1) as u64;
        let bucket = (u64::BITS - (millis - 1).leading_zeros()) as usize;
        count(&self.latency[bucket.min(LATENCY_BUCKETS - 1)]);
    }

    /// The counts at this moment.
    pub(super) fn snapshot(&self) -> Stats {
        Stats {
            sent: self.sent.load(Ordering::Relaxed),
            ok: self.ok.load(Ordering::Relaxed),
            retried: self.retried.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latency: std::array::from_fn(|at| self.latency[at].load(Ordering::Relaxed)),
            ..Stats::default()
        }
    }
}

/// What the client did so far, and what it is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Requests sent.
    pub sent: u64,
    /// Answers with code 200.
    pub ok: u64,
    /// Requests sent again after a failure.
    pub retried: u64,
    /// Answers that said over the rate.
    pub throttled: u64,
    /// Bytes of answers, decompressed.
    pub bytes: u64,
    /// Requests under way.
    pub in_flight: u32,
    /// Answers by time taken, see [`LATENCY_BUCKETS`].
    pub latency: [u64; LATENCY_BUCKETS],
    /// Requests per second over the last two seconds.
    pub send_rate: f64,
    /// Requests per second that are allowed at present: the limit, or less after the API refused it.
    pub allowed_rate: f64,
    /// For how long nothing will be sent because the API said over the rate.
    pub paused_for: Option<Duration>,
    /// How many requests may be under way.
    pub concurrency: usize,
    /// Whether nothing has been answered for some seconds of trying.
    pub unanswered: bool,
}

impl Stats {
    /// The time within which this share (0 to 1) of the answers came, rounded up to a bucket's end.
    pub fn latency_within(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.latency.iter().sum();
        let wanted = (all as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        self.latency.iter().zip(0_u32..).find_map(|(count, bucket)| {
            seen += count;
            (all > 0 && seen >= wanted.max(1)).then(|| Duration::from_millis(1 << bucket))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn answer_times_fall_into_doubling_buckets() {
        let counters = Counters::default();
        for millis in [0, 1, 2, 3, 4, 500, 100_000] {
            counters.took(Duration::from_millis(millis));
        }
        let stats = counters.snapshot();
        assert_eq!(stats.latency[..3], [2, 1, 2]);
        assert_eq!((stats.latency[9], stats.latency[15]), (1, 1));
        assert_eq!(stats.latency_within(0.5), Some(Duration::from_millis(4)));
        assert_eq!(Stats::default().latency_within(0.5), None);
    }
}
