//! Which of an app's endpoints is asked next.

use std::time::{Duration, Instant};

/// After this many failures in a row, of any kind, an endpoint counts as failed.
const FAILURES_IN_A_ROW: u32 = 3;

/// The state of each endpoint, the preferred one first. It is told the time.
#[derive(Debug)]
pub(super) struct Endpoints {
    states: Vec<State>,
    comes_back: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// When it failed, or was tried again since.
    failed: Option<Instant>,
    in_a_row: u32,
}

impl Endpoints {
    /// `count` endpoints, at least one. A failed one is tried again after `comes_back`.
    pub(super) fn new(count: usize, comes_back: Duration) -> Self {
        Self { states: vec![State::default(); count.max(1)], comes_back }
    }

    /// The endpoint for the next request: the first one that works. Now and then one request tries a failed one again.
    pub(super) fn pick(&mut self, now: Instant) -> usize {
        for (index, state) in self.states.iter_mut().enumerate() {
            match state.failed {
                None => return index,
                Some(failed) if now.duration_since(failed) >= self.comes_back => {
                    // Other requests go elsewhere until this one is answered.
                    state.failed = Some(now);
                    return index;
                }
                Some(_) => {}
            }
        }
        // All have failed: take the one that has rested longest.
        let rested = self.states.iter().enumerate().min_by_key(|(_, state)| state.failed);
        rested.map_or(0, |(index, _)| index)
    }

    /// A request to `index` was answered.
    pub(super) fn worked(&mut self, index: usize) {
        self.states[index] = State::default();
    }

    /// A request to `index` failed. Returns whether to go elsewhere: it counts as failed and another endpoint works. With
    /// `leave` this one failure is reason enough.
    pub(super) fn failed(&mut self, index: usize, leave: bool, now: Instant) -> bool {
        let state = &mut self.states[index];
        state.in_a_row += 1;
        if leave || state.in_a_row >= FAILURES_IN_A_ROW {
            state.failed = Some(now);
        }
        self.states[index].failed.is_some() && self.states.iter().any(|state| state.failed.is_none())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const BACK: Duration = Duration::from_secs(30);

    #[test]
    fn the_first_is_preferred_and_comes_back() {
        let mut endpoints = Endpoints::new(2, BACK);
        let start = Instant::now();
        assert_eq!(endpoints.pick(start), 0);
        assert!(endpoints.failed(0, true, start));
        assert_eq!(endpoints.pick(start), 1);
        let later = start + BACK;
        assert_eq!(endpoints.pick(later), 0, "one request tries it again");
        assert_eq!(endpoints.pick(later), 1, "and only one");
        endpoints.worked(0);
        assert_eq!(endpoints.pick(later), 0);
    }

    #[test]
    fn when_all_failed_they_are_tried_in_turn() {
        let mut endpoints = Endpoints::new(3, BACK);
        let start = Instant::now();
        let mut tried = Vec::new();
        for second in 0..6 {
            let now = start + Duration::from_secs(second);
            let index = endpoints.pick(now);
            endpoints.failed(index, true, now);
            tried.push(index);
        }
        assert_eq!(tried, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn an_endpoint_that_only_stumbles_is_kept() {
        let mut endpoints = Endpoints::new(2, BACK);
        let now = Instant::now();
        endpoints.failed(0, false, now);
        endpoints.failed(0, false, now);
        assert_eq!(endpoints.pick(now), 0);
        endpoints.worked(0);
        endpoints.failed(0, false, now);
        endpoints.failed(0, false, now);
        assert_eq!(endpoints.pick(now), 0);
        assert!(endpoints.failed(0, false, now));
        assert_eq!(endpoints.pick(now), 1);
    }
}
