//! What this process has learnt of its app: whether the credentials hold, how the clock differs, whether anybody answers.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A clock that differs by more than this is corrected; signatures are good for five minutes.
const CLOCK_TOLERANCE: i64 = 60;
/// Single references of so many batches refused for a bad parameter, and nothing else seen, are the credentials.
const BATCHES_IN_DOUBT: usize = 3;

/// Shared by the jobs of one app.
#[derive(Debug, Default)]
pub(super) struct Standing {
    clock_offset: AtomicI64,
    probing: AtomicU32,
    answers: AtomicU64,
    successes: AtomicU64,
    learnt: Mutex<Learnt>,
}

#[derive(Debug, Default)]
struct Learnt {
    proven: bool,
    doubted: Vec<u64>,
    doubt: Option<String>,
}

impl Standing {
    fn lock(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The API answered something that it says only to whom it knows.
    pub(super) fn proved(&self) {
        let mut learnt = self.lock();
        if !learnt.proven {
            learnt.proven = true;
            learnt.doubted = Vec::new();
            learnt.doubt = None;
        }
        self.succeeded();
    }

    /// Whether the credentials are known to be right.
    pub(super) fn is_proven(&self) -> bool {
        self.lock().proven
    }

    /// A request was answered, by the API or by a gateway before it, whatever the answer says.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::AcqRel);
    }

    /// How many requests were answered so far.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Acquire)
    }

    /// The API answered, and not that it cannot at present.
    pub(super) fn succeeded(&self) {
        self.successes.fetch_add(1, Ordering::AcqRel);
    }

    /// How many requests succeeded so far.
    pub(super) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Acquire)
    }

    /// A single reference of `batch` was refused for a bad parameter. True when that makes it the credentials.
    pub(super) fn doubted(&self, batch: u64, message: &str) -> bool {
        let mut learnt = self.lock();
        if learnt.proven {
            return false;
        }
        learnt.doubt.get_or_insert_with(|| message.to_owned());
        if !learnt.doubted.contains(&batch) {
            learnt.doubted.push(batch);
        }
        learnt.doubted.len() >= BATCHES_IN_DOUBT
    }

    /// A batch was refused for what may be the credentials, and is to be tried by one of its references alone.
    pub(super) fn begin_probe(&self) {
        self.probing.fetch_add(1, Ordering::AcqRel);
    }

    /// That reference is next to be sent.
    pub(super) fn end_probe(&self) {
        self.probing.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn is_probing(&self) -> bool {
        self.probing.load(Ordering::Acquire) > 0
    }

    /// What the API said to single references, while nothing ever succeeded.
    pub(super) fn doubt(&self) -> Option<String> {
        let learnt = self.lock();
        if learnt.proven { None } else { learnt.doubt.clone() }
    }

    /// By how many seconds the server's clock is ahead of ours, as far as it is known.
    pub(super) fn clock_offset(&self) -> i64 {
        self.clock_offset.load(Ordering::Relaxed)
    }

    /// Adopts the server's clock, in seconds since the epoch, when it differs much from the one that a request was
    /// signed by, which was `offset` ahead of ours; true when it does.
    pub(super) fn correct_clock(&self, server: i64, offset: i64) -> bool {
        let ahead = server - local_clock();
        if (ahead - offset).abs() <= CLOCK_TOLERANCE {
            return false;
        }
        self.clock_offset.store(ahead, Ordering::Relaxed);
        true
    }
}

/// Seconds since the epoch by our clock.
pub(super) fn local_clock() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn three_batches_in_doubt_are_the_credentials_unless_something_succeeded() {
        let standing = Standing::default();
        assert!(!standing.doubted(1, "bad"));
        assert!(!standing.doubted(1, "bad"));
        assert!(!standing.doubted(2, "bad"));
        assert_eq!(standing.doubt().as_deref(), Some("bad"));
        assert!(standing.doubted(3, "bad"));
        standing.proved();
        assert!(!standing.doubted(4, "bad"));
        assert_eq!(standing.doubt(), None);
    }

    #[test]
    fn a_clock_is_corrected_once_and_only_if_it_is_far_off() {
        let standing = Standing::default();
        let now = local_clock();
        assert!(!standing.correct_clock(now + 50, 0));
        assert!(standing.correct_clock(now + 1000, 0));
        assert!((standing.clock_offset() - 1000).abs() <= 2);
        assert!(!standing.correct_clock(now + 1000, standing.clock_offset()));
        // A request that was signed before the correction is signed again as well.
        assert!(standing.correct_clock(now + 1000, 0));
    }
}
