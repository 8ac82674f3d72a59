//! How what failed is tried again: one policy for requests, connections and commits.

use std::fmt;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// How long to wait between tries, and how often to try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// The wait before the second try.
    pub(crate) first: Duration,
    /// Each further wait is longer by this factor.
    pub(crate) factor: f32,
    /// No wait is longer, jitter aside.
    pub(crate) longest: Duration,
    /// What chance does to each wait.
    pub(crate) jitter: Jitter,
    /// Tries that count, all in all; without a number there is no end.
    pub(crate) attempts: Option<u32>,
}

/// What chance does to a wait, so that what failed together does not come back together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Jitter {
    /// It is anything up to the wait.
    Full,
    /// It is the wait and up to as much again.
    Added,
}

impl Policy {
    /// The tries of one undertaking, which begins now.
    pub(crate) fn start(self) -> Tries {
        let waits = ExponentialBuilder::new()
            .with_min_delay(self.first.min(self.longest))
            .with_max_delay(self.longest)
            .with_factor(self.factor)
            .without_max_times()
            .build();
        Tries { policy: self, waits, made: 0, counted: 0, began: Instant::now() }
    }
}

/// Tries that failed so far. As an iterator it is told of one more that counts, and says how long to wait before the next;
/// it ends when the tries are used up. It displays as what was done: `3 tries in 1.5s`.
#[derive(Debug)]
pub(crate) struct Tries {
    policy: Policy,
    waits: ExponentialBackoff,
    made: u32,
    counted: u32,
    began: Instant,
}

impl Tries {
    /// How often it was tried.
    pub(crate) fn made(&self) -> u32 {
        self.made
    }

    /// It was tried once more. Returns how long to wait before the next try, or nothing when no try is left.
    pub(crate) fn failed(&mut self, counts: bool) -> Option<Duration> {
        self.made += 1;
        self.counted += u32::from(counts);
        let wait = self.waits.next().unwrap_or(self.policy.longest);
        let chance = wait.mul_f64(rand::random());
        let is_left = self.policy.attempts.is_none_or(|attempts| self.counted < attempts);
        is_left.then_some(match self.policy.jitter {
            Jitter::Full => chance,
            Jitter::Added => wait + chance,
        })
    }
}

impl Iterator for Tries {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failed(true)
    }
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tries = if self.made == 1 { "try" } else { "tries" };
        write!(f, "{} {tries} in {:.1?}", self.made, self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        first: Duration::from_secs(1),
        factor: 2.0,
        longest: Duration::from_secs(5),
        jitter: Jitter::Full,
        attempts: Some(5),
    };

    #[test]
    fn waits_grow_up_to_the_longest_and_chance_only_shortens_or_only_lengthens_them() {
        let bounds = [1, 2, 4, 5].map(Duration::from_secs);
        let waits: Vec<Duration> = POLICY.start().collect();
        assert_eq!(waits.len(), bounds.len(), "the fifth try is the last");
        for (wait, bound) in waits.into_iter().zip(bounds) {
            assert!(wait <= bound, "{wait:?} {bound:?}");
        }
        for (wait, bound) in (Policy { jitter: Jitter::Added, ..POLICY }).start().zip(bounds) {
            assert!((bound..=bound * 2).contains(&wait), "{wait:?} {bound:?}");
        }
    }

    #[test]
    fn only_tries_that_count_use_the_attempts_up() {
        let mut tries = POLICY.start();
        for _ in 0..100 {
            assert!(tries.failed(false).is_some_and(|wait| wait <= POLICY.longest));
        }
        assert_eq!((0..10).filter(|_| tries.failed(true).is_some()).count(), 4);
        assert_eq!(tries.made(), 110);
        assert!(tries.to_string().starts_with("110 tries in "));
    }
}
