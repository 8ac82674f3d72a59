//! Work that blocks, away from the threads of the runtime.

use tokio::task::{JoinError, spawn_blocking};

use crate::archive::ArchiveError;
use crate::panics::unended;

/// Runs work that blocks or computes on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    joined(spawn_blocking(work).await)
}

/// The outcome of a task. A panic continues in the caller.
pub(super) fn joined<T>(outcome: Result<Result<T, ArchiveError>, JoinError>) -> Result<T, ArchiveError> {
    outcome.unwrap_or_else(|error| Err(ArchiveError::failed("working on a Parquet archive", unended(error))))
}
