//! What is asked for once everything that was planned has ended: what another owner may get, what was refused for now,
//! what threads need, and what is archived. Each waits for the ones before it, so that its batches are full.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::RunError;
use super::write::{Writer, sleep_until, unrecorded};
use crate::failpoint::reach;
use crate::ledger::{CutOutcome, CutSettings, EarlyFollowUps};
use crate::plan::FollowUp;

/// How long the first wave of what was refused for now waits; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Writer {
    /// Makes follow-up asks and links durable and cuts them into batches, without asking the sink for a commit: what is
    /// asked for once more leaves its batch, which stays pending with the rest.
    pub(super) async fn settle(&mut self) -> Result<(), RunError> {
        self.record_rowless().await?;
        self.recorded().await?;
        if self.work.unrecorded_asks > 0 {
            let unrecorded = self.work.accepted.iter_mut().filter(|finished| unrecorded(finished) > 0);
            let asides: Vec<EarlyFollowUps> = unrecorded
                .map(|finished| EarlyFollowUps {
                    seq: finished.seq,
                    follow_ups: std::mem::take(&mut finished.follow_ups),
                    links: std::mem::take(&mut finished.links),
                })
                .collect();
            self.ledger.carry_early(&asides).await?;
            reach("aside.after");
            self.work.unrecorded_asks = 0;
        }
        let got: Vec<i64> =
            self.work.accepted.iter().filter(|finished| finished.has_got()).map(|finished| finished.seq).collect();
        let refusals = &self.refusals;
        let is_refused = |key: &_, owner: &_| refusals.has(key, owner);
        let cut = self.ledger.cut_follow_ups(&self.order(), &got, &is_refused, &|key| self.named.of(key)).await?;
        reach("cut.after");
        self.meter.add_other_owner(cut.batches);
        self.take_cut(cut);
        if self.work.new_batches == 0 {
            self.ask_deferred().await?;
        }
        if self.work.new_batches == 0 && !self.stop.is_told() {
            let extras = self.ledger.cut_linked(self.run_id, self.batch_size, &self.team_owner).await?;
            self.meter.add_extras_planned(extras.batches, extras.new);
            self.work.new_batches += extras.batches;
        }
        if self.work.new_batches == 0 {
            self.plan_refetch().await?;
        }
        Ok(())
    }

    /// Remembers when something was refused for now.
    pub(super) fn note_deferred(&mut self, follow_ups: &[FollowUp]) {
        if follow_ups.iter().any(FollowUp::is_deferred) {
            self.work.deferred_at = Some(Instant::now());
        }
    }

    /// Asks once more for what was refused for now, after a while that grows with how often it was. Told to stop, it
    /// stays carried.
    async fn ask_deferred(&mut self) -> Result<(), RunError> {
        let most = self.ledger.most_deferrals().await?;
        if most == 0 {
            return Ok(());
        }
        reach("wave.waiting");
        // What an earlier run left has waited long enough.
        let again_at = self.work.deferred_at.map(|at| at + wait_after(most));
        if let Some(at) = again_at {
            let wait = at.saturating_duration_since(Instant::now());
            tracing::info!(?wait, times = most, "some messages were refused for now: they are asked for again");
        }
        while again_at.is_some_and(|at| Instant::now() < at) {
            let due = self.work.since.map(|since| since + self.commit_interval);
            tokio::select! {
                () = self.stop.told() => return Ok(()),
                () = sleep_until(due) => self.commit().await?,
                () = sleep_until(again_at) => {}
            }
        }
        let cut = self.ledger.cut_deferred(&self.order()).await?;
        reach("wave.cut");
        self.meter.add_deferred(cut.batches);
        self.take_cut(cut);
        Ok(())
    }

    fn order(&self) -> CutSettings {
        CutSettings { run_id: self.run_id, now: Timestamp::now(), batch_size: self.batch_size }
    }

    fn take_cut(&mut self, cut: CutOutcome) {
        self.work.new_batches += cut.batches;
        self.meter.add_given_up(&cut);
        for ((class, code), count) in cut.new_failures {
            self.meter.add_new_failures(class, code, count);
        }
    }
}

/// How long what was refused for now so often waits.
fn wait_after(deferrals: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << deferrals.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}
