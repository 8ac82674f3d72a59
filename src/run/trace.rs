//! Records the stages of a run.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::model::trace::{Stage, StageKind, Trace};

/// The most stages of one kind that are kept. A long run has thousands of commits.
const STAGES: usize = 1_000;

/// Records the stages of one run.
#[derive(Debug, Default)]
pub(super) struct TraceRecorder(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    trace: Trace,
    /// The phase of fetching that is under way, since when, and how many requests had been sent before.
    phase: Option<(StageKind, Timestamp, u64)>,
}

impl TraceRecorder {
    /// A stage has ended.
    pub(super) fn ended(&self, kind: StageKind, began: Timestamp, counts: Vec<(&'static str, u64)>) {
        self.recorded().keep(kind, began, counts);
    }

    /// A request is about to be sent. The first one begins the fetching.
    pub(super) fn asks(&self) {
        self.recorded().phase.get_or_insert_with(|| (StageKind::Fetch, Timestamp::now(), 0));
    }

    /// A phase of fetching begins, and the one before it has ended. A wave that has only been waited for goes on.
    pub(super) fn enters(&self, kind: StageKind, sent: u64) {
        let mut recorded = self.recorded();
        if recorded.phase.is_some_and(|(phase, _, before)| phase == kind && before == sent) {
            return;
        }
        recorded.leave(sent);
        recorded.phase = Some((kind, Timestamp::now(), sent));
    }

    /// Fetching has ended.
    pub(super) fn leaves(&self, sent: u64) {
        self.recorded().leave(sent);
    }

    /// The trace up to now.
    pub(super) fn trace(&self, sent: u64) -> Trace {
        let mut recorded = self.recorded();
        recorded.leave(sent);
        recorded.trace.clone()
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    fn leave(&mut self, sent: u64) {
        if let Some((kind, began, before)) = self.phase.take() {
            let requests = sent.saturating_sub(before);
            self.trace.fetching += Timestamp::now().duration_since(began).max(SignedDuration::ZERO);
            self.keep(kind, began, vec![("requests", requests)]);
        }
    }

    fn keep(&mut self, kind: StageKind, began: Timestamp, counts: Vec<(&'static str, u64)>) {
        if self.trace.stages.iter().filter(|stage| stage.kind == kind).count() < STAGES {
            // A clock that is set back makes no stage end before it begins.
            let ended = Timestamp::now().max(began);
            self.trace.stages.push(Stage { kind, began, ended, counts });
        } else {
            self.trace.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other_and_stages_are_bounded() {
        let recorder = TraceRecorder::default();
        recorder.asks();
        recorder.asks();
        recorder.enters(StageKind::Wave, 7);
        recorder.enters(StageKind::Wave, 7);
        for _ in 0..2 * STAGES {
            recorder.ended(StageKind::Commit, Timestamp::now(), Vec::new());
        }
        let trace = recorder.trace(9);
        let phases = [trace.stages.first(), trace.stages.last()];
        let phases = phases.map(|stage| stage.map(|stage| (stage.kind, stage.counts.clone())));
        let expected = [(StageKind::Fetch, 7), (StageKind::Wave, 2)];
        assert_eq!(phases, expected.map(|(kind, requests)| Some((kind, vec![("requests", requests)]))));
        assert!(trace.stages.iter().all(|stage| stage.began <= stage.ended));
        assert_eq!((trace.stages.len(), trace.dropped), (STAGES + 2, STAGES as u64));
    }
}
