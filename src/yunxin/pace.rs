//! The pace of one app.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::settings::Patience;
use super::window::Window;

/// A [`Window`] in real time. Requests take turns in the order in which they came.
#[derive(Debug)]
pub(super) struct Pacer {
    window: Mutex<Window>,
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
}

impl Pacer {
    /// At most `limit` sends in any second.
    pub(super) fn new(limit: u32, patience: Patience) -> Self {
        Self {
            window: Mutex::new(Window::new(limit, patience)),
            turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
        }
    }

    fn with<R>(&self, look: impl FnOnce(&mut Window, Instant) -> R) -> R {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that time never goes back for the window.
        look(&mut window, Instant::now())
    }

    /// Waits until a request may be sent, and returns that moment.
    pub(super) async fn acquire(&self) -> Instant {
        let _turn = self.turn.lock().await;
        loop {
            match self.with(|window, now| window.take(now).map(|()| now)) {
                Ok(sent) => return sent,
                Err(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at.into()) => {}
                        () = self.changed.notified() => {}
                    }
                }
            }
        }
    }

    /// See [`Window::delayed`]. Returns the present moment if the request may be sent.
    pub(super) fn delayed(&self, taken: Instant) -> Option<Instant> {
        self.with(|window, now| window.delayed(taken, now).then_some(now))
    }

    /// See [`Window::ended`].
    pub(super) fn ended(&self, sent: Instant, whole: bool) {
        self.with(|window, now| window.ended(sent, whole, now));
    }

    /// See [`Window::refuse`]; returns how long nothing will be sent.
    pub(super) fn refuse(&self, sent: Instant, told: Option<Duration>) -> Duration {
        let pause = self.with(|window, now| window.refuse(sent, now, told).saturating_duration_since(now));
        // Requests that wait for the first one after a pause now wait for another one.
        self.changed.notify_one();
        pause
    }

    /// See [`Window::share`].
    pub(super) fn share(&self, share: u32, until: Instant) {
        self.with(|window, _| window.share(share, until));
        self.changed.notify_one();
    }

    /// See [`Window::oldest_open`].
    pub(super) fn oldest_open(&self) -> Option<Instant> {
        self.with(|window, _| window.oldest_open())
    }

    /// See [`Window::pause`].
    pub(super) fn pause(&self, pause: Duration) {
        self.with(|window, now| window.pause(now + pause));
        self.changed.notify_one();
    }

    /// See [`Window::pass`].
    pub(super) fn pass(&self, sent: Instant) {
        if self.with(|window, _| window.pass(sent)) {
            // At most one waits here: the one whose turn it is.
            self.changed.notify_one();
        }
    }

    /// How long the present pause lasts, the pace that is allowed, and the pace of the last two seconds.
    pub(super) fn look(&self) -> (Option<Duration>, f64, f64) {
        self.with(|window, now| (window.paused_until(now).map(|until| until - now), window.rate(), window.recent(now)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::super::window::PROBE;
    use super::*;

    #[tokio::test]
    async fn a_request_waiting_for_the_first_one_after_a_pause_takes_its_place_when_that_one_is_refused() {
        let pause = Duration::from_millis(5);
        let patience = Patience { throttle_pause: pause, longest_throttle_pause: pause, ..Patience::default() };
        let pacer = Arc::new(Pacer::new(100, patience));
        let mut sent = pacer.acquire().await;
        for _ in 0..3 {
            pacer.refuse(sent, None);
            sent = pacer.acquire().await;
            let other = Arc::clone(&pacer);
            let waiting = tokio::spawn(async move { other.acquire().await });
            tokio::task::yield_now().await;
            pacer.refuse(sent, None);
            sent = tokio::time::timeout(PROBE / 2, waiting).await.unwrap().unwrap();
        }
    }
}
