//! A panic is a defect. It ends the work that it happened in, as an error would, and never the process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::{FutureExt as _, TryFutureExt as _};
use tokio::task::JoinError;

/// Something panicked. The text of the panic is shown only if it is a literal of the program: a text put together at run
/// time may quote a secret or a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked{}; the log says where", .0.map(|said| format!(": {said}")).unwrap_or_default())]
pub(crate) struct Panicked(Option<&'static str>);

impl Panicked {
    /// The panic with this payload.
    pub(crate) fn of(payload: &(dyn Any + Send)) -> Self {
        Self(payload.downcast_ref::<&'static str>().copied())
    }

    /// The text of the panic, if it may be shown.
    pub(crate) fn said(&self) -> Option<&'static str> {
        self.0
    }
}

/// Does `work`, and catches a panic in it. Whatever `work` shares with others must survive a panic, as a lock does, which is
/// poisoned, or a connection, whose transaction is rolled back.
pub(crate) fn caught<T>(work: impl Future<Output = T>) -> impl Future<Output = Result<T, Panicked>> {
    AssertUnwindSafe(Box::pin(work)).catch_unwind().map_err(|payload| Panicked::of(&*payload))
}

/// Resumes the panic of a task in whoever waited for it. A task that did not panic was cancelled.
pub(crate) fn unended(error: JoinError) -> JoinError {
    match error.try_into_panic() {
        Ok(payload) => resume_unwind(payload),
        Err(cancelled) => cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_that_quotes_nothing_but_the_program() {
        let secret = "hunter2";
        assert_eq!(caught(async { 1 }).await, Ok(1));
        let fixed = caught(async { panic!("of the program") }).await;
        assert_eq!(fixed.map(|(): ()| 0), Err(Panicked(Some("of the program"))));
        let task = tokio::spawn(async move { panic!("{secret}") });
        let made = caught(async { task.await.map_err(unended).is_ok() }).await.map_err(|panicked| panicked.to_string());
        assert_eq!(made, Err("panicked; the log says where".to_owned()));
    }
}
