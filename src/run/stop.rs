//! How a run is told to stop.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Tells a run to stop sending, to finish what is under way, to commit and to sum up.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<OnceLock<String>>,
    parent: Option<Arc<OnceLock<String>>>,
}

impl Stop {
    /// A stop that is told whenever this one is, and that can also be told alone.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), reason: Arc::default(), parent: Some(Arc::clone(&self.reason)) }
    }

    /// Tells the run to stop. The first reason is the one that is reported.
    pub fn tell(&self, reason: &str) {
        self.reason.set(reason.to_owned()).ok();
        self.token.cancel();
    }

    /// Whether the run was told to stop.
    pub fn is_told(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Why the run was told to stop, once it was.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().or_else(|| self.parent.as_ref()?.get()).map(String::as_str)
    }

    /// Waits until the run is told to stop.
    pub async fn told(&self) {
        self.token.cancelled().await;
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }
}
