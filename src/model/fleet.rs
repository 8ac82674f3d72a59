//! What the workers of a fleet did in a run, or do.

use serde::{Deserialize, Serialize};

/// A fleet, as its coordinator knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetState {
    /// Batches in the queue or with workers.
    pub in_flight: u64,
    /// Batches that came back to the queue because nothing was heard of their worker, or that the queue lost.
    pub redelivered: u64,
    /// Results that were refused because one of their batches was done already.
    pub refused: u64,
    /// The workers, in the order of their names.
    pub workers: Vec<WorkerState>,
}

/// One worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerState {
    /// Its name: the host, and what tells it from others there.
    pub worker: String,
    /// Whether it was heard of in the last ten seconds.
    pub is_live: bool,
    /// Requests a second that it may send; 0 if its share has ended.
    pub share: u32,
    /// Requests sent, every attempt counted.
    pub sent: u64,
    /// Answered with code 200.
    pub ok: u64,
    /// Answered with code 416 or HTTP 429.
    pub throttled: u64,
    /// Batches of its results that counted.
    pub batches: u64,
}

/// The requests of one worker over time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// The worker's name.
    pub worker: String,
    /// Requests sent in total, at each sample of the timeline.
    pub sent: Vec<u64>,
}
