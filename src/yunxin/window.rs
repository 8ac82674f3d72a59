//! Decides when the next request may be sent, by arithmetic alone: never more than the limit in any second, and hardly
//! less.

use std::time::{Duration, Instant};

use super::arrivals::Arrivals;
use super::settings::Patience;

/// The limit's window is taken to be this much longer than a second, for delays on the way that answers do not reveal.
const GUARD: Duration = Duration::from_millis(9);
/// Sends may be this far behind their schedule and still catch up: timers fire late, and late arrivals are waited for.
const TOLERANCE: Duration = Duration::from_millis(50);
/// How long to wait before checking again whether something has arrived.
const LOOK: Duration = Duration::from_millis(2);
/// After a refusal, the rate that was refused is not tried again for this long.
const REMEMBER: Duration = Duration::from_mins(10);
/// After this long without a refusal the pace rises a little.
const RECOVER: Duration = Duration::from_secs(30);
/// How long to wait for a share. A new one ends the wait.
const WITHOUT_SHARE: Duration = Duration::from_mins(1);
/// Other requests wait this long at most for the answer to the first one after a pause.
pub(super) const PROBE: Duration = Duration::from_secs(30);

/// The pace of one call of the API. It is told the time.
#[derive(Debug)]
pub(crate) struct Window {
    limit: u32,
    /// When the limit ends, if it is a share that was granted for a time.
    until: Option<Instant>,
    /// Requests per window: at most `limit`, and less after a refusal.
    rate: f64,
    span: Duration,
    arrivals: Arrivals,
    /// When the next send is due on a smooth schedule.
    due: Option<Instant>,
    patience: Patience,
    pause: Option<Pause>,
    next_pause: Duration,
    /// The rate that the API refused, and when.
    refused: Option<(f64, Instant)>,
    recovered: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    /// When the first request after the pause was sent. The others wait for its answer.
    probe: Option<Instant>,
}

impl Window {
    /// At most `limit` sends in any second.
    pub(crate) fn new(limit: u32, patience: Patience) -> Self {
        let limit = limit.max(1);
        Self {
            limit,
            until: None,
            rate: f64::from(limit),
            span: Duration::from_secs(1) + GUARD,
            // Four seconds of sends: a refusal tells of a second that began a round trip ago.
            arrivals: Arrivals::new(limit as usize * 4),
            due: None,
            patience,
            pause: None,
            next_pause: patience.throttle_pause,
            refused: None,
            recovered: None,
        }
    }

    /// From now on the limit is this share of the app's. Nothing is sent from `until` on.
    pub(crate) fn share(&mut self, share: u32, until: Instant) {
        self.until = Some(until);
        if share > 0 {
            let share_of_all = f64::from(share);
            self.rate = if self.refused.is_none() { share_of_all } else { self.rate.min(share_of_all) };
        }
        self.limit = share;
    }

    /// Whether a share that was granted has ended, or is nothing.
    fn is_without_share(&self, now: Instant) -> bool {
        self.limit == 0 || self.until.is_some_and(|until| now >= until)
    }

    /// Nothing is sent before `until`, because another user of the quota was refused.
    pub(super) fn pause(&mut self, until: Instant) {
        let until = self.pause.map_or(until, |pause| pause.until.max(until));
        self.pause = Some(Pause { until, probe: None });
    }

    /// Takes the moment `now` for a request, or returns when to ask again. `now` never goes back.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if self.is_without_share(now) {
            return Err(now + WITHOUT_SHARE);
        }
        if let Some(pause) = &mut self.pause {
            if now < pause.until {
                return Err(pause.until);
            }
            match pause.probe {
                None => {
                    pause.probe = Some(now);
                    self.due = None;
                    self.arrivals.sent(now);
                    return Ok(());
                }
                Some(probe) if now < probe + PROBE => return Err(probe + PROBE),
                Some(_) => self.pause = None,
            }
        }
        self.recover(now);
        let allowed = (self.rate as usize).max(1);
        if let Some(next) = self.arrivals.full(allowed, self.span, now) {
            return Err(next.min(now + LOOK));
        }
        let due = self.due.unwrap_or(now);
        if due > now {
            return Err(due);
        }
        let earliest = now.checked_sub(TOLERANCE).unwrap_or(now);
        self.due = Some(due.max(earliest) + self.span.div_f64(self.rate));
        self.arrivals.learn(allowed, now);
        self.arrivals.sent(now);
        Ok(())
    }

    /// A request that took the moment `taken` is only now being sent. Returns whether it may be: not in a pause, and not
    /// when its share has ended, however long the process stood still. If not, its moment is free
    /// again.
    ///
    /// The second that ends now holds as many sends as before, and later ones count the request where it really is. Only a
    /// request that is late by more than a second can be one too many.
    pub(crate) fn delayed(&mut self, taken: Instant, now: Instant) -> bool {
        self.arrivals.forget(taken);
        if self.is_without_share(now) {
            return false;
        }
        if let Some(pause) = &mut self.pause {
            if pause.probe != Some(taken) {
                return false;
            }
            pause.probe = Some(now);
        }
        self.arrivals.sent(now);
        true
    }

    /// The request sent at `sent` was answered, whatever the answer says; if not `whole`, it ended in another way.
    pub(crate) fn ended(&mut self, sent: Instant, whole: bool, now: Instant) {
        self.arrivals.ended(sent, whole, now);
    }

    /// The API refused the request sent at `sent` because of its rate, and may have told how long to wait. Returns when
    /// sending goes on.
    pub(super) fn refuse(&mut self, sent: Instant, now: Instant, told: Option<Duration>) -> Instant {
        let told = told.map_or(Duration::ZERO, |told| told.min(self.patience.longest_told));
        if let Some(pause) = &mut self.pause
            && sent < pause.until
        {
            // It was sent before the pause, so this is the same trouble. The first request after it was too early.
            pause.until = pause.until.max(now + told.max(self.patience.throttle_pause));
            pause.probe = None;
            return pause.until;
        }
        if self.refused.is_some_and(|(_, at)| now.duration_since(at) > self.next_pause + RECOVER) {
            self.next_pause = self.patience.throttle_pause;
        }
        let until = now + self.next_pause.max(told);
        self.next_pause = (self.next_pause * 2).min(self.patience.longest_throttle_pause);
        self.lower(sent, now);
        self.pause = Some(Pause { until, probe: None });
        until
    }

    /// Lowers the rate to what the API took in the second before the refused request.
    fn lower(&mut self, sent: Instant, now: Instant) {
        let since = sent.checked_sub(Duration::from_secs(1)).unwrap_or(sent);
        let taken = self.arrivals.between(since, sent) as f64;
        let less = self.rate * 0.9;
        // Few sends say nothing about the limit: the block is an older one, or others use the quota too.
        let (rate, refused) =
            if taken >= self.rate / 4.0 { ((taken * 0.97).min(less), taken.min(self.rate)) } else { (less, self.rate) };
        self.refused = Some((refused, now));
        self.rate = rate.max(1.0);
        self.recovered = Some(now);
    }

    fn recover(&mut self, now: Instant) {
        let limit = f64::from(self.limit);
        let (Some((refused, at)), Some(recovered)) = (self.refused, self.recovered) else { return };
        if self.rate >= limit || now.duration_since(recovered) < RECOVER {
            return;
        }
        let ceiling = if now.duration_since(at) < REMEMBER { (refused * 0.97).min(limit) } else { limit };
        self.rate = (self.rate + (limit * 0.02).max(1.0)).min(ceiling.max(self.rate));
        self.recovered = Some(now);
    }

    /// The API accepted the request sent at `sent`, or it failed for a reason other than its rate. Returns whether this ends
    /// a pause.
    pub(super) fn pass(&mut self, sent: Instant) -> bool {
        let over = self.pause.is_some_and(|pause| pause.probe.is_some_and(|probe| sent >= probe));
        if over {
            self.pause = None;
        }
        over
    }

    /// When the oldest request was sent that has not ended.
    pub(crate) fn oldest_open(&self) -> Option<Instant> {
        self.arrivals.oldest_open()
    }

    /// Until when nothing is sent.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.pause.map(|pause| pause.until).filter(|until| *until > now)
    }

    /// Requests per second that the pace allows at present.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Requests per second over the last two seconds.
    pub(super) fn recent(&self, now: Instant) -> f64 {
        let since = now.checked_sub(Duration::from_secs(2)).unwrap_or(now);
        self.arrivals.between(since, now + Duration::from_nanos(1)) as f64 / 2.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
