//! A request on its way out, and what that means for the pace.
//!
//! A request takes its moment before it knows whether a connection is free, and other work may come between that moment
//! and the first byte. The HTTP library asks for the body when the connection is about to write. So the body tells the pace
//! when the request is really sent, and holds it back if a pause has begun meanwhile.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::pace::Pacer;

/// A request that took a moment of the pace.
#[derive(Debug)]
pub(super) struct Sending {
    pacer: Arc<Pacer>,
    /// When it is sent, or nothing if it was held back.
    moment: Mutex<Option<Instant>>,
    answered: AtomicBool,
}

impl Sending {
    /// A request that took the moment `taken`.
    pub(super) fn new(pacer: Arc<Pacer>, taken: Instant) -> Arc<Self> {
        Arc::new(Self { pacer, moment: Mutex::new(Some(taken)), answered: AtomicBool::new(false) })
    }

    /// When it was sent, or nothing if it was held back.
    pub(super) fn moment(&self) -> Option<Instant> {
        *self.lock()
    }

    /// Whether its answer has begun.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is about to be written. Returns whether it may be.
    fn leaves(&self) -> bool {
        let mut moment = self.lock();
        *moment = moment.and_then(|taken| self.pacer.delayed(taken));
        moment.is_some()
    }

    /// Its answer begins; if not `whole`, it ended in another way.
    pub(super) fn ended(&self, whole: bool) {
        self.answered.store(whole, Ordering::Relaxed);
        if let Some(sent) = self.moment() {
            self.pacer.ended(sent, whole);
        }
    }
}

/// The body of a request.
#[derive(Debug)]
pub(super) struct Leaving {
    bytes: Option<Bytes>,
    sending: Arc<Sending>,
}

impl Leaving {
    pub(super) fn new(bytes: Bytes, sending: Arc<Sending>) -> Self {
        Self { bytes: Some(bytes), sending }
    }
}

/// Why a body is not written. Nothing of its request is then.
#[derive(Debug, thiserror::Error)]
#[error("all requests pause")]
pub(super) struct HeldBack;

impl Body for Leaving {
    type Data = Bytes;
    type Error = HeldBack;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HeldBack>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        let frame = if self.sending.leaves() { Ok(Frame::data(bytes)) } else { Err(HeldBack) };
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
