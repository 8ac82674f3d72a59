//! Where and how an archive is written.

use std::time::Duration;

use crate::config::PostgresSink;

/// Where and how an archive is written.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The database, the tables and what they hold.
    pub sink: PostgresSink,
    /// How long to keep trying to reach a server that is starting, failing over or full.
    pub patience: Duration,
}

impl Settings {
    /// A patience of 30 seconds.
    pub fn new(sink: PostgresSink) -> Self {
        Self { sink, patience: Duration::from_secs(30) }
    }
}
