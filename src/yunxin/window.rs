//! When the next request may be sent, by arithmetic alone: never more than the limit in any second, and as little less
//! as can be.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::settings::Patience;

/// How much longer than a second the limit's window is taken to be: requests do not all travel equally long.
const GUARD: Duration = Duration::from_millis(12);
/// How far sends may run behind their schedule and still catch up: timers are late by a millisecond or two.
const TOLERANCE: Duration = Duration::from_millis(25);
/// How long a limit that was found by being refused is kept before a higher one is tried.
const REMEMBER: Duration = Duration::from_mins(10);
/// After so long without being refused the pace rises a little.
const RECOVER: Duration = Duration::from_secs(30);
/// How long the first request after a pause may take before others follow it all the same.
pub(super) const PROBE: Duration = Duration::from_secs(30);

/// It is told the time, and says when.
#[derive(Debug)]
pub(super) struct Window {
    limit: u32,
    /// Requests per window; at most `limit`, less after being refused.
    rate: f64,
    span: Duration,
    /// The last sends, oldest first.
    sent: VecDeque<Instant>,
    /// When the next send is due by a smooth schedule.
    due: Option<Instant>,
    patience: Patience,
    pause: Option<Pause>,
    next_pause: Duration,
    /// The pace at which the API refused, and when.
    refused: Option<(f64, Instant)>,
    recovered: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    /// After the pause one request goes first, and the others wait for its answer.
    probe: Option<Instant>,
}

impl Window {
    /// At most `limit` sends in any second.
    pub(super) fn new(limit: u32, patience: Patience) -> Self {
        let limit = limit.max(1);
        Self {
            limit,
            rate: f64::from(limit),
            span: Duration::from_secs(1) + GUARD,
            sent: VecDeque::new(),
            due: None,
            patience,
            pause: None,
            next_pause: patience.throttle_pause,
            refused: None,
            recovered: None,
        }
    }

    /// Sends now, or says when to ask again. `now` never goes back.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(pause) = &mut self.pause {
            if now < pause.until {
                return Err(pause.until);
            }
            match pause.probe {
                None => {
                    pause.probe = Some(now);
                    self.due = None;
                    self.note(now);
                    return Ok(());
                }
                Some(probe) if now < probe + PROBE => return Err(probe + PROBE),
                Some(_) => self.pause = None,
            }
        }
        self.recover(now);
        let allowed = (self.rate as usize).max(1);
        if let Some(oldest) = self.sent.len().checked_sub(allowed).and_then(|at| self.sent.get(at)) {
            let free = *oldest + self.span;
            if free > now {
                return Err(free);
            }
        }
        let due = self.due.unwrap_or(now);
        if due > now {
            return Err(due);
        }
        let earliest = now.checked_sub(TOLERANCE).unwrap_or(now);
        self.due = Some(due.max(earliest) + self.span.div_f64(self.rate));
        self.note(now);
        Ok(())
    }

    fn note(&mut self, now: Instant) {
        // Four seconds' worth: what a refusal is measured against began a round trip ago.
        if self.sent.len() >= self.limit as usize * 4 {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }

    /// A request that took the moment `taken` is only now ready to be sent. Returns whether it may be; if not, it gives
    /// its moment back.
    ///
    /// A second that ends now holds as many sends as before, and later ones see the request where it really is. Only
    /// one that was late by more than a second can be one too many.
    pub(super) fn delayed(&mut self, taken: Instant, now: Instant) -> bool {
        let at = self.sent.partition_point(|other| *other < taken);
        if self.sent.get(at) == Some(&taken) {
            self.sent.remove(at);
        }
        if let Some(pause) = &mut self.pause {
            if pause.probe != Some(taken) {
                return false;
            }
            pause.probe = Some(now);
        }
        self.note(now);
        true
    }

    /// The API refused, for its rate, the request sent at `sent`; `told` is how long to wait if it said so. Returns
    /// when sending goes on.
    pub(super) fn refuse(&mut self, sent: Instant, now: Instant, told: Option<Duration>) -> Instant {
        let told = told.map_or(Duration::ZERO, |told| told.min(self.patience.longest_told));
        if let Some(pause) = &mut self.pause
            && sent < pause.until
        {
            // Sent before the pause: news of the same trouble. Whoever went first went too early.
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

    /// The second before the refused request held what the API was willing to take.
    fn lower(&mut self, sent: Instant, now: Instant) {
        let since = sent.checked_sub(Duration::from_secs(1)).unwrap_or(sent);
        let from = self.sent.partition_point(|at| *at <= since);
        let to = self.sent.partition_point(|at| *at < sent);
        let taken = (to - from) as f64;
        let less = self.rate * 0.9;
        // Few sends say nothing of the limit: the block is an older one, or others use the quota too.
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

    /// The API took the request sent at `sent`, or it failed for another reason than its rate.
    pub(super) fn pass(&mut self, sent: Instant) -> bool {
        let over = self.pause.is_some_and(|pause| pause.probe.is_some_and(|probe| sent >= probe));
        if over {
            self.pause = None;
        }
        over
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
        (self.sent.len() - self.sent.partition_point(|at| *at < since)) as f64 / 2.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn most_in_any_second(sends: &[Instant]) -> usize {
        let mut first = 0;
        let mut most = 0;
        for (last, at) in sends.iter().enumerate() {
            while *at - sends[first] >= Duration::from_secs(1) {
                first += 1;
            }
            most = most.max(last - first + 1);
        }
        most
    }

    /// Sends for `span` as fast as the window allows, woken late by `late` after every wait.
    fn saturate(
        window: &mut Window,
        start: Instant,
        span: Duration,
        mut late: impl FnMut() -> Duration,
    ) -> Vec<Instant> {
        let mut now = start;
        let mut sends = Vec::new();
        while now < start + span {
            match window.take(now) {
                Ok(()) => sends.push(now),
                Err(at) => now = at.max(now) + late(),
            }
        }
        sends
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_second_ever_holds_more_than_the_limit(
            limit in 1_u32..800,
            steps in prop::collection::vec((0_u64..40_000, 1_usize..60, any::<bool>()), 1..400),
        ) {
            let mut window = Window::new(limit, Patience::default());
            let mut now = Instant::now();
            let (mut sends, mut connecting) = (Vec::new(), Vec::new());
            for (micros, tries, connects) in steps {
                now += Duration::from_micros(micros);
                for _ in 0..tries {
                    if window.take(now).is_ok() {
                        if connects { connecting.push(now) } else { sends.push(now) }
                    }
                }
                let late = |taken: &Instant| now - *taken > Duration::from_millis(150);
                for taken in connecting.extract_if(.., |taken| late(taken)) {
                    prop_assert!(window.delayed(taken, now));
                    sends.push(now);
                }
            }
            prop_assert!(most_in_any_second(&sends) <= limit as usize);
        }

        #[test]
        fn under_pressure_the_limit_is_used_to_98_percent(
            limit in prop::sample::select(vec![50_u32, 100, 500, 5000]),
            lateness in prop::collection::vec(0_u64..2000, 16),
        ) {
            let mut window = Window::new(limit, Patience::default());
            let start = Instant::now();
            let mut turn = 0;
            let sends = saturate(&mut window, start, Duration::from_secs(10), || {
                turn += 1;
                Duration::from_micros(lateness[turn % 16])
            });
            prop_assert!(most_in_any_second(&sends) <= limit as usize);
            prop_assert!(sends.len() as f64 >= f64::from(limit) * 9.8, "{}", sends.len());
        }
    }

    #[test]
    fn sends_are_spread_over_the_second() {
        let mut window = Window::new(100, Patience::default());
        let start = Instant::now();
        let sends = saturate(&mut window, start, Duration::from_secs(1), || Duration::from_micros(500));
        let early = sends.iter().filter(|at| **at < start + Duration::from_millis(100)).count();
        assert!((9..=14).contains(&early), "{early}");
    }

    #[test]
    fn a_refusal_pauses_everything_and_then_one_request_goes_first() {
        let mut window = Window::new(100, Patience::default());
        let start = Instant::now();
        let sends = saturate(&mut window, start, Duration::from_secs(2), || Duration::ZERO);
        let now = start + Duration::from_secs(2);
        let refused = *sends.last().unwrap();
        let until = window.refuse(refused, now, None);
        assert_eq!(until, now + Duration::from_secs(10));
        assert_eq!(window.take(now), Err(until));
        // A second refusal of the same trouble is heeded, and grows nothing.
        let later = now + Duration::from_secs(1);
        assert_eq!(window.refuse(refused, later, None), later + Duration::from_secs(10));
        let until = later + Duration::from_secs(10);
        assert!(window.take(until).is_ok());
        assert!(window.take(until + Duration::from_secs(1)).is_err(), "the others wait for the first");
        assert!(window.pass(until));
        assert!(window.take(until + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn pauses_grow_while_refusals_repeat_up_to_a_bound() {
        let mut window = Window::new(100, Patience::default());
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            while let Err(at) = window.take(now) {
                now = at;
            }
            let sent = now;
            now += Duration::from_millis(30);
            pauses.push((window.refuse(sent, now, None) - now).as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 120, 120]);
    }

    #[test]
    fn waiting_as_told_has_a_bound() {
        let mut window = Window::new(100, Patience::default());
        let now = Instant::now();
        assert!(window.take(now).is_ok());
        assert_eq!(window.refuse(now, now, Some(Duration::from_secs(30))) - now, Duration::from_secs(30));
        assert_eq!(window.refuse(now, now, Some(Duration::from_hours(24))) - now, Duration::from_mins(10));
    }

    #[test]
    fn a_lower_limit_is_found_and_kept() {
        // An API that takes 60 in any second, asked by a job that believes in 100.
        let mut window = Window::new(100, Patience::default());
        let start = Instant::now();
        let mut now = start;
        let mut taken: VecDeque<Instant> = VecDeque::new();
        let mut refusals = 0;
        let mut last = start;
        while now < start + Duration::from_mins(15) {
            if let Err(at) = window.take(now) {
                now = at;
                continue;
            }
            while taken.front().is_some_and(|at| now - *at >= Duration::from_secs(1)) {
                taken.pop_front();
            }
            if taken.len() < 60 {
                taken.push_back(now);
                window.pass(now);
            } else {
                refusals += 1;
                last = now;
                window.refuse(now, now, None);
            }
        }
        assert!(refusals <= 3, "{refusals}");
        assert!(last - start < Duration::from_secs(799));
        assert!(window.rate() > 50.0, "{}", window.rate());
    }

    #[test]
    fn a_request_that_had_to_connect_counts_when_it_is_sent() {
        let mut window = Window::new(2, Patience::default());
        let start = Instant::now();
        let later = start + Duration::from_millis(300);
        assert!(window.take(start).is_ok());
        assert!(window.delayed(start, later));
        assert_eq!(window.sent, [later]);
    }

    #[test]
    fn a_request_that_was_still_connecting_when_a_pause_began_is_held_back() {
        let mut window = Window::new(100, Patience::default());
        let start = Instant::now();
        assert!(window.take(start).is_ok());
        let connecting = window.take(start).unwrap_err();
        assert!(window.take(connecting).is_ok());
        let until = window.refuse(start, connecting, None);
        assert!(!window.delayed(connecting, connecting + Duration::from_millis(5)));
        assert_eq!(window.sent, [start]);
        // The one that goes first after the pause may take its time.
        assert!(window.take(until).is_ok());
        let connected = until + Duration::from_millis(200);
        assert!(window.delayed(until, connected));
        assert!(window.pass(connected));
    }
}
