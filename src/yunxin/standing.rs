//! What this process has learnt of its app: whether the credentials hold, how the clock differs, whether anybody answers.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A clock that differs by more than this is corrected; signatures are good for five minutes.
const CLOCK_TOLERANCE: i64 = 60;
/// When single references of this many batches were called bad parameters and nothing has succeeded, the credentials are
/// wrong.
const BATCHES_IN_DOUBT: usize = 3;

/// Shared by the jobs of one app.
#[derive(Debug, Default)]
pub(super) struct Standing {
    clock_offset: AtomicI64,
    /// How many seconds the server's clock was ahead of ours by its last answer.
    ahead: OnceLock<AtomicI64>,
    probing: AtomicU32,
    answers: AtomicU64,
    successes: AtomicU64,
    credentials: Mutex<Credentials>,
}

#[derive(Debug, Default)]
struct Credentials {
    proven: bool,
    /// The batches whose single references were called bad parameters.
    doubtful_batches: Vec<u64>,
    /// What the API said of the first of them.
    doubt: Option<(i64, String)>,
}

impl Standing {
    fn credentials(&self) -> MutexGuard<'_, Credentials> {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The API answered something that it says only to an app that it knows.
    pub(super) fn proved(&self) {
        let mut credentials = self.credentials();
        if !credentials.proven {
            *credentials = Credentials { proven: true, ..Credentials::default() };
        }
        self.succeeded();
    }

    /// Whether the credentials are known to be right.
    pub(super) fn is_proven(&self) -> bool {
        self.credentials().proven
    }

    /// A request was answered, by the API or by a gateway before it, whatever the answer says.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::AcqRel);
    }

    /// How many requests were answered so far.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Acquire)
    }

    /// The API answered, and did not say that it cannot at present.
    pub(super) fn succeeded(&self) {
        self.successes.fetch_add(1, Ordering::AcqRel);
    }

    /// How many requests succeeded so far.
    pub(super) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Acquire)
    }

    /// The API called a single reference of `batch` a bad parameter. Returns whether the credentials are wrong.
    pub(super) fn doubted(&self, batch: u64, code: i64, message: &str) -> bool {
        let mut credentials = self.credentials();
        if credentials.proven {
            return false;
        }
        credentials.doubt.get_or_insert_with(|| (code, message.to_owned()));
        if !credentials.doubtful_batches.contains(&batch) {
            credentials.doubtful_batches.push(batch);
        }
        credentials.doubtful_batches.len() >= BATCHES_IN_DOUBT
    }

    /// A batch was refused, which may be due to the credentials: one of its references is tried alone.
    pub(super) fn begin_probe(&self) {
        self.probing.fetch_add(1, Ordering::AcqRel);
    }

    /// That reference is the next to be sent.
    pub(super) fn end_probe(&self) {
        self.probing.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether such a reference is still to be queued.
    pub(super) fn is_probing(&self) -> bool {
        self.probing.load(Ordering::Acquire) > 0
    }

    /// What the API said of the first single reference that it called a bad parameter, while nothing has ever succeeded.
    pub(super) fn doubt(&self) -> Option<(i64, String)> {
        self.credentials().doubt.clone()
    }

    /// How many seconds the server's clock is ahead of ours, as far as it is known.
    pub(super) fn clock_offset(&self) -> i64 {
        self.clock_offset.load(Ordering::Relaxed)
    }

    /// The server's clock showed this, in seconds since the epoch.
    pub(super) fn saw_clock(&self, server: i64) {
        self.ahead.get_or_init(AtomicI64::default).store(server - local_clock(), Ordering::Relaxed);
    }

    /// How many seconds the server's clock was ahead of ours by its last answer, if one told.
    pub(super) fn clock_ahead(&self) -> Option<i64> {
        self.ahead.get().map(|ahead| ahead.load(Ordering::Relaxed))
    }

    /// Adopts the server's clock (seconds since the epoch) if it differs much from the one that a request was signed by, which
    /// was `offset` ahead of ours. Returns whether it does.
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
        assert!(!standing.doubted(1, 414, "bad"));
        assert!(!standing.doubted(1, 414, "bad"));
        assert!(!standing.doubted(2, 414, "bad"));
        assert_eq!(standing.doubt(), Some((414, "bad".to_owned())));
        assert!(standing.doubted(3, 414, "bad"));
        standing.proved();
        assert!(!standing.doubted(4, 414, "bad"));
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
