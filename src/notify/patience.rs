//! How long endpoints of one kind may delay a command, all of them together.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// There are two kinds: those that take metrics, and monitors. A dead one of one kind takes no time from the other.
const EACH: Duration = Duration::from_secs(5);

/// What is left of the time.
#[derive(Debug)]
pub(super) struct Patience(Mutex<Duration>);

impl Default for Patience {
    fn default() -> Self {
        Self(Mutex::new(EACH))
    }
}

impl Patience {
    fn left(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does work that waits for an endpoint, for as long as there is time.
    pub(super) async fn within<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let late = || format!("such endpoints have taken the {} s that they may take together", EACH.as_secs());
        timeout(self.left(), work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Does work that is [within](Self::within) the time, and takes note of the time that it took. What is done together
    /// takes its time once.
    pub(super) async fn spend<T>(&self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(began.elapsed());
        done
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn endpoints_that_never_answer_are_given_up_and_the_next_one_is_not_waited_for() {
        let patience = Patience(Mutex::new(Duration::from_millis(20)));
        for _ in 0..3 {
            assert!(patience.spend(patience.within(pending::<Result<(), _>>())).await.is_err());
        }
        assert_eq!(patience.left(), Duration::ZERO);
    }
}
