//! What goes on beside a run: its progress is shown, and its timeline is kept.

use std::sync::Arc;
use std::time::Duration;

use super::context::RunContext;
use super::error::RunError;
use crate::failpoint::reach;
use crate::progress::Progress;

/// How often the progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(125);
/// How often the timeline of a run is kept, so that a run that dies leaves one as well.
const KEEP_TIMELINE_EVERY: Duration = Duration::from_secs(2);

/// Leaves the terminal clean, however the run ends.
struct Shown(Box<dyn Progress>);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Shows how the run goes and keeps its timeline, until it is dropped. Keeping waits for the ledger, but showing does not.
pub(super) async fn tick(run: Arc<RunContext>, progress: Box<dyn Progress>) -> Result<(), RunError> {
    let progress = Shown(progress);
    let show = async {
        let mut ticks = tokio::time::interval(SHOW_EVERY);
        loop {
            ticks.tick().await;
            reach("tick.before");
            let (stats, fleet) = (run.requests.stats(), run.requests.fleet());
            let counts = run.meter.counts().clone();
            run.timeline.tick(&counts, &stats, fleet.as_ref());
            progress.0.update(&counts.snapshot(&stats, run.settings.quota));
        }
    };
    let keep = async {
        let mut ticks = tokio::time::interval(KEEP_TIMELINE_EVERY);
        loop {
            ticks.tick().await;
            keep_timeline(&run).await;
        }
    };
    tokio::join!(show, keep).0
}

/// Keeps the timeline of the run in the ledger. If the ledger cannot, the coordinator will meet the error as well.
pub(super) async fn keep_timeline(run: &RunContext) {
    let timeline = run.timeline.timeline(&run.meter.counts(), &run.requests.stats(), run.requests.fleet());
    let body = serde_json::to_string(&timeline).unwrap_or_default();
    if let Err(error) = run.ledger.keep_timeline(run.run_id, &body).await {
        tracing::debug!(error = %error, "the timeline of the run could not be kept");
    }
}
