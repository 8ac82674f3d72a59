//! The quota: so many requests in any second, and a block for who asks for more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// The quota of one app. Every window of one second counts, not only those that begin with the clock's second.
#[derive(Debug)]
pub(super) struct Quota {
    limit: u32,
    block: Duration,
    arrivals: VecDeque<Instant>,
    blocked_until: Option<Instant>,
    /// The most arrivals seen within any second.
    pub(super) busiest: u32,
}

/// What the quota says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may pass.
    Admitted,
    /// It is the one too many, and begins a block.
    Exceeded,
    /// It came while blocked.
    Blocked,
}

impl Quota {
    /// A quota of `limit` requests in any second; 0 is no limit.
    pub(super) fn new(limit: u32, block: Duration) -> Self {
        Self { limit, block, arrivals: VecDeque::new(), blocked_until: None, busiest: 0 }
    }

    /// Counts a request that arrived at `now`. Arrivals must not go back in time.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        while self.arrivals.front().is_some_and(|&first| now.duration_since(first) >= SECOND) {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(now);
        let within = u32::try_from(self.arrivals.len()).unwrap_or(u32::MAX);
        self.busiest = self.busiest.max(within);
        if self.blocked_until.is_some_and(|until| now < until) {
            return Admission::Blocked;
        }
        self.blocked_until = None;
        if self.limit != 0 && within > self.limit {
            self.block_from(now);
            return Admission::Exceeded;
        }
        Admission::Admitted
    }

    /// Begins a block.
    pub(super) fn block_from(&mut self, now: Instant) {
        self.blocked_until = Some(now + self.block);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn as_many_as_the_limit_pass_in_any_second() {
        let start = Instant::now();
        let mut quota = Quota::new(10, ms(10_000));
        for n in 0..100 {
            assert_eq!(quota.admit(start + ms(100 * n)), Admission::Admitted, "request {n}");
        }
        assert_eq!(quota.busiest, 10);
    }

    #[test]
    fn the_window_slides() {
        let start = Instant::now();
        let mut quota = Quota::new(2, ms(10_000));
        assert_eq!(quota.admit(start + ms(900)), Admission::Admitted);
        assert_eq!(quota.admit(start + ms(950)), Admission::Admitted);
        assert_eq!(
            quota.admit(start + ms(1_100)),
            Admission::Exceeded,
            "the clock's second has changed, the window has not"
        );
    }

    #[test]
    fn a_block_ends_by_itself_and_is_not_prolonged_by_asking() {
        let start = Instant::now();
        let mut quota = Quota::new(1, ms(10_000));
        assert_eq!(quota.admit(start), Admission::Admitted);
        assert_eq!(quota.admit(start + ms(1)), Admission::Exceeded);
        assert_eq!(quota.admit(start + ms(5_000)), Admission::Blocked);
        assert_eq!(quota.admit(start + ms(9_000)), Admission::Blocked);
        assert_eq!(quota.admit(start + ms(10_001)), Admission::Admitted);
    }

    #[test]
    fn zero_is_no_limit() {
        let start = Instant::now();
        let mut quota = Quota::new(0, ms(10));
        assert!((0..1_000).all(|_| quota.admit(start) == Admission::Admitted));
    }
}
