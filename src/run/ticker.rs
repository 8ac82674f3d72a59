//! What goes on beside a run: it is shown, and its timeline is kept.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::meter::Meter;
use super::record::Recorder;
use crate::failpoint::reach;
use crate::ledger::Ledger;
use crate::progress::Progress;
use crate::yunxin::Client;

/// How often the timeline of a run is kept, so that a run that dies leaves it as well.
const KEEP_TIMELINE_EVERY: Duration = Duration::from_secs(2);

/// Shows how it goes and samples it, until it is dropped.
pub(super) struct Ticker {
    pub(super) progress: Shown,
    pub(super) meter: Arc<Meter>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) client: Arc<Client>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) run_id: Uuid,
    pub(super) quota: u32,
}

/// Leaves the terminal clean, however the run ends.
pub(super) struct Shown(pub(super) Box<dyn Progress>);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl Ticker {
    /// Keeping waits for the ledger; what is shown does not.
    pub(super) async fn run(self) {
        tokio::join!(self.show(), self.keep());
    }

    async fn show(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(125));
        loop {
            ticks.tick().await;
            reach("tick.before");
            let stats = self.client.stats();
            self.recorder.tick(&stats);
            self.progress.0.update(&self.meter.snapshot(&stats, self.quota));
        }
    }

    async fn keep(&self) {
        let mut ticks = tokio::time::interval(KEEP_TIMELINE_EVERY);
        loop {
            ticks.tick().await;
            keep_timeline(&self.ledger, self.run_id, &self.recorder, &self.client).await;
        }
    }
}

/// Keeps the timeline of the run in the ledger. A ledger that cannot is the writer's to report.
pub(super) async fn keep_timeline(ledger: &Ledger, run_id: Uuid, recorder: &Recorder, client: &Client) {
    let body = serde_json::to_string(&recorder.timeline(&client.stats())).unwrap_or_default();
    if let Err(error) = ledger.keep_timeline(run_id, &body).await {
        tracing::debug!(error = %error, "the timeline of the run could not be kept");
    }
}
