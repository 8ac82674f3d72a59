//! The parts of a run, each on a task of its own. One that fails or dies stops the others.

use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::{RunError, Stop};
use crate::panics::{Panicked, caught, unended};

/// A part under way. It does not outlive the run that waits for it.
pub(super) type Part<T> = AbortOnDropHandle<Result<T, RunError>>;

/// Begins a part of the run, which is called `name` where its death is told.
///
/// A source that cannot be read on ends only the reading: what was read before is as good as ever, and may not be there to
/// be fetched for long.
pub(super) fn part<T: Send + 'static>(
    name: &'static str,
    stop: &Stop,
    work: impl Future<Output = Result<T, RunError>> + Send + 'static,
) -> Part<T> {
    let stop = stop.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let result = caught(work).await.unwrap_or_else(|panicked| Err(dead(name, &panicked)));
        if !matches!(result, Ok(_) | Err(RunError::Source(_))) {
            stop.tell("a part of the run failed");
        }
        result
    }))
}

/// What a part came to.
pub(super) async fn ended<T>(part: Part<T>) -> Result<T, RunError> {
    part.await.map_err(died)?
}

/// A part that panicked.
pub(super) fn dead(name: &str, panicked: &Panicked) -> RunError {
    RunError::Died(format!("{name} {panicked}"))
}

/// A task that did not come to its end. Its panic, if it had one, goes on.
pub(super) fn died(error: JoinError) -> RunError {
    RunError::Died(unended(error).to_string())
}
