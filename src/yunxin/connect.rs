//! Connecting, which takes time, and what that means for the pace.
//!
//! A request takes its moment before it knows whether a connection is free. If it has to connect first, it reaches the
//! server later than its moment, among requests that kept theirs, or in a pause that began meanwhile. So it tells the
//! pace when it is really sent, and is held back if it must not be.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tower_layer::Layer;
use tower_service::Service;

use super::pace::Pacer;

/// Connecting that took no longer than this did not delay the request.
const PROMPT: Duration = Duration::from_millis(3);

tokio::task_local! {
    /// The request that the current task is sending.
    pub(super) static SENDING: Arc<Sending>;
}

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Sending {
    pacer: Arc<Pacer>,
    /// When it is sent; none when it was held back.
    moment: Mutex<Option<Instant>>,
}

impl Sending {
    /// A request that took the moment `taken`.
    pub(super) fn new(pacer: Arc<Pacer>, taken: Instant) -> Arc<Self> {
        Arc::new(Self { pacer, moment: Mutex::new(Some(taken)) })
    }

    /// When it was sent; none when it was held back.
    pub(super) fn moment(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is only now ready to be sent. Returns whether it may be.
    fn delayed(&self) -> bool {
        let mut moment = self.lock();
        *moment = moment.and_then(|taken| self.pacer.delayed(taken));
        moment.is_some()
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Bounds the time of connecting, and tells the pace of a request that had to wait for it.
#[derive(Debug, Clone)]
pub(super) struct Connecting {
    pub(super) timeout: Duration,
}

impl<S> Layer<S> for Connecting {
    type Service = Connector<S>;

    fn layer(&self, inner: S) -> Connector<S> {
        Connector { inner, timeout: self.timeout }
    }
}

/// See [`Connecting`].
#[derive(Debug, Clone)]
pub(super) struct Connector<S> {
    inner: S,
    timeout: Duration,
}

impl<S, R> Service<R> for Connector<S>
where
    S: Service<R, Error = Error>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, destination: R) -> Self::Future {
        let connecting = self.inner.call(destination);
        let timeout = self.timeout;
        Box::pin(async move {
            let begun = Instant::now();
            let connection = tokio::time::timeout(timeout, connecting)
                .await
                .map_err(|_| Error::from(format!("connecting took longer than {timeout:?}")))??;
            // A connection whose request found another one meanwhile is finished in a task of its own.
            if begun.elapsed() > PROMPT
                && let Ok(false) = SENDING.try_with(|sending| sending.delayed())
            {
                return Err(Error::from("all requests pause"));
            }
            Ok(connection)
        })
    }
}
