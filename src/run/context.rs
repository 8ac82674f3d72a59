//! What every part of a run knows.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;
use uuid::Uuid;

use super::asking::Statistics;
use super::meter::Meter;
use super::owners::NamedOwners;
use super::settings::Settings;
use super::stop::Stop;
use super::timeline::TimelineRecorder;
use super::trace::TraceRecorder;
use crate::ledger::Ledger;

/// What every part of a run knows.
#[derive(Debug)]
pub(super) struct RunContext {
    pub(super) settings: Settings,
    pub(super) run_id: Uuid,
    pub(super) began: Timestamp,
    pub(super) ledger: Arc<Ledger>,
    pub(super) requests: Arc<dyn Statistics>,
    pub(super) meter: Meter,
    pub(super) timeline: TimelineRecorder,
    pub(super) trace: TraceRecorder,
    /// Owners that duplicate rows name for a team.
    pub(super) named: NamedOwners,
    /// Signalled whenever the intake has stored batches.
    pub(super) planned: Notify,
    /// Told by a deadline or a signal, or when a part of the run fails.
    pub(super) stop: Stop,
}
