//! What is asked for once nothing that was planned is left to ask.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::commit::Commits;
use super::context::RunContext;
use super::error::RunError;
use super::owners::RefusedOwners;
use super::queue::Queue;
use super::refetch;
use crate::failpoint::reach;
use crate::ledger::{CutOutcome, CutSettings};
use crate::model::trace::StageKind;
use crate::plan::FollowUp;

/// How long the first wave of what was refused for now waits; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Each phase waits until all that those before it ask for has ended, so that its batches are full.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// What one owner did not get is asked for under another.
    FollowUps,
    /// What was refused for now is asked for once more, after a while.
    Wave,
    /// What archived messages link to is asked for.
    Links,
    /// Archived messages are asked for again.
    Refetch,
}

impl Phase {
    const IN_ORDER: [Self; 4] = [Self::FollowUps, Self::Wave, Self::Links, Self::Refetch];

    fn stage(self) -> StageKind {
        match self {
            Self::FollowUps => StageKind::FollowUps,
            Self::Wave => StageKind::Wave,
            Self::Links => StageKind::Links,
            Self::Refetch => StageKind::Refetch,
        }
    }
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The ledger has more to ask.
    Ask,
    /// What was refused for now is asked for again then.
    Wait(Instant),
    /// Nothing is left to ask.
    End,
}

impl Next {
    fn of(batches: u64) -> Self {
        if batches > 0 { Self::Ask } else { Self::End }
    }
}

/// Finds what is still to be asked for.
pub(super) struct Phases {
    run: Arc<RunContext>,
    /// When a reference was last refused for now.
    deferred_at: Option<Instant>,
    /// What to ask again for, until it is planned.
    refetch: Option<Timestamp>,
}

impl Phases {
    pub(super) fn new(run: Arc<RunContext>) -> Self {
        let refetch = run.settings.refetch;
        Self { run, deferred_at: None, refetch }
    }

    /// Remembers when something was refused for now.
    pub(super) fn note(&mut self, follow_ups: &[FollowUp]) {
        if follow_ups.iter().any(FollowUp::is_deferred) {
            self.deferred_at = Some(Instant::now());
        }
    }

    /// Whether the run was to ask again for archived messages, and has not planned all of that.
    pub(super) fn refetch_is_unplanned(&self) -> bool {
        self.refetch.is_some()
    }

    /// Plans what the first phase asks for that has anything to ask. Only when everything asked so far has ended.
    pub(super) async fn next(
        &mut self,
        queue: &mut Queue,
        commits: &mut Commits,
        refused: &RefusedOwners,
        in_doubt: bool,
    ) -> Result<Next, RunError> {
        let got = commits.set_aside().await?;
        for phase in Phase::IN_ORDER {
            if self.run.stop.is_told() {
                break;
            }
            let next = match phase {
                Phase::FollowUps => self.follow_ups(&got, refused).await?,
                Phase::Wave => self.wave().await?,
                Phase::Links => self.links().await?,
                Phase::Refetch => self.refetch(queue, commits, in_doubt).await?,
            };
            if next != Next::End {
                self.run.trace.enters(phase.stage(), self.run.requests.stats().sent);
                return Ok(next);
            }
        }
        Ok(Next::End)
    }

    async fn follow_ups(&self, got: &[i64], refused: &RefusedOwners) -> Result<Next, RunError> {
        let run = &self.run;
        let is_refused = |key: &_, owner: &_| refused.has(key, owner);
        let cut = run.ledger.cut_follow_ups(&self.order(), got, &is_refused, &|key| run.named.of(key)).await?;
        reach("cut.after");
        run.meter.counts().other_owner += cut.batches;
        Ok(self.take(cut))
    }

    /// Told to stop, what was refused for now stays carried.
    async fn wave(&self) -> Result<Next, RunError> {
        let most = self.run.ledger.most_deferrals().await?;
        if most == 0 {
            return Ok(Next::End);
        }
        reach("wave.waiting");
        // What an earlier run left has waited long enough.
        let again_at = self.deferred_at.map(|at| at + wait_after(most));
        if let Some(at) = again_at.filter(|at| *at > Instant::now()) {
            let wait = at.saturating_duration_since(Instant::now());
            tracing::info!(?wait, times = most, "some messages were refused for now: they are asked for again");
            return Ok(Next::Wait(at));
        }
        let cut = self.run.ledger.cut_deferred(&self.order()).await?;
        reach("wave.cut");
        self.run.meter.counts().deferred += cut.batches;
        Ok(self.take(cut))
    }

    async fn links(&self) -> Result<Next, RunError> {
        let RunContext { settings, ledger, meter, run_id, .. } = &*self.run;
        let fetch = &settings.job.fetch;
        let extras = ledger.cut_linked(*run_id, fetch.batch_size, &fetch.team_owner).await?;
        let mut counts = meter.counts();
        counts.plan(extras.batches as usize);
        counts.thread_extras.planned += extras.new;
        Ok(Next::of(extras.batches))
    }

    /// Plans what is to be asked for again, once. What an earlier run planned goes first, and credentials in doubt are
    /// not tried on more.
    async fn refetch(&mut self, queue: &mut Queue, commits: &mut Commits, in_doubt: bool) -> Result<Next, RunError> {
        let mut is_new = queue.include_refetches();
        if let Some(since) = self.refetch
            && !in_doubt
            && self.run.ledger.sums().await?.pending_refetch == 0
        {
            commits.commit_all().await?;
            if let Some(archive) = commits.archive() {
                let batches = refetch::plan(&self.run, archive, since).await?;
                is_new |= batches > 0;
            }
            if !self.run.stop.is_told() {
                self.refetch = None;
            }
        }
        Ok(if is_new { Next::Ask } else { Next::End })
    }

    fn order(&self) -> CutSettings {
        CutSettings {
            run_id: self.run.run_id,
            now: Timestamp::now(),
            batch_size: self.run.settings.job.fetch.batch_size,
        }
    }

    fn take(&self, cut: CutOutcome) -> Next {
        let next = Next::of(cut.batches);
        let mut counts = self.run.meter.counts();
        counts.batches += cut.batches;
        counts.give_up(cut);
        next
    }
}

/// How long what was refused for now so often waits.
fn wait_after(deferrals: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << deferrals.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}
