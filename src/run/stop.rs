//! Being told to stop.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Tells a run to stop sending, finish what is in flight, commit and sum up.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<OnceLock<String>>,
    parent: Option<Arc<OnceLock<String>>>,
}

impl Stop {
    /// One that is told when this one is, and can be told alone.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), reason: Arc::default(), parent: Some(Arc::clone(&self.reason)) }
    }

    /// Tells it. The first reason is the one that is reported.
    pub fn tell(&self, reason: &str) {
        self.reason.set(reason.to_owned()).ok();
        self.token.cancel();
    }

    /// Whether it was told.
    pub fn is_told(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Why, once it was told.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().or_else(|| self.parent.as_ref()?.get()).map(String::as_str)
    }

    /// Waits until it is told.
    pub async fn told(&self) {
        self.token.cancelled().await;
    }

    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }
}
