//! Who asks the service for the batches of a run: this process itself, or a fleet of workers.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::error::RunError;
use super::outcome::AskedBatch;
use super::queue::Assignment;
use crate::ledger::FinishedBatch;
use crate::model::fleet::FleetState;
use crate::model::manifest::StagedFile;
use crate::model::timeline::Messages;
use crate::yunxin::{Client, Stats};

/// Who asks the API for the batches of a run.
pub(crate) enum Asker {
    /// This process.
    Client(Arc<Client>),
    /// Workers.
    Fleet(Box<dyn Asking>),
}

/// Asks for batches.
#[async_trait]
pub(crate) trait Asking: Send {
    /// Makes ready, once the run has taken possession of the archive.
    async fn begin(&mut self) -> Result<(), RunError>;

    /// Tidies up, once everything that was recorded is published.
    async fn finish(&mut self) -> Result<(), RunError>;

    /// What happens next. May be dropped at any time, and nothing is lost then. Answers come before room, so that nothing is
    /// asked that an answer would have spared.
    async fn next(&mut self, may_ask: bool) -> Happened;

    /// Asks for a batch, once there is [room](Happened::Room).
    fn ask(&mut self, assignment: Assignment);

    /// Whether the next batch may be asked. Before anything succeeded, one reference alone may have to be tried first;
    /// `splits_wait` says that a split batch waits to be recorded.
    fn may_ask(&self, splits_wait: bool) -> bool;

    /// Whether everything that was asked has ended.
    fn is_idle(&self) -> bool;

    /// The parts of a batch that was split to try one reference are queued.
    fn parts_are_queued(&self);

    /// The API's code and text if it refused single references as it would refuse wrong credentials, and nothing ever
    /// succeeded.
    fn doubt(&self) -> Option<(i64, String)>;

    /// Begins nothing more. What is under way has a little time to end.
    fn stop(&mut self);

    /// Gives up what is under way. It stays pending.
    fn give_up(&mut self);

    /// Ends everything.
    async fn shutdown(&mut self);

    /// The requests that were made.
    fn statistics(&self) -> Arc<dyn Statistics>;
}

/// What requests were made.
pub(crate) trait Statistics: fmt::Debug + Send + Sync {
    /// The requests so far, and the pace.
    fn stats(&self) -> Stats;

    /// The workers that make them, if this process does not.
    fn fleet(&self) -> Option<FleetState> {
        None
    }
}

impl Statistics for Client {
    fn stats(&self) -> Stats {
        Self::stats(self)
    }
}

/// What happened to the batches that are asked for.
pub(crate) enum Happened {
    /// This process asked a batch.
    Asked(Result<Box<AskedBatch>, RunError>),
    /// A worker has asked some batches.
    Delivered(Box<Delivery>),
    /// Nothing more can be asked.
    Failed(RunError),
    /// One more batch may be asked.
    Room,
}

/// What a worker delivers: some batches, and the files that hold what is archived of them. It counts as a whole.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The batches. Their rows are in the files.
    pub(crate) asked: Vec<AskedBatch>,
    /// The files, staged.
    pub(crate) files: Vec<StagedFile>,
    /// The new messages in them.
    pub(crate) messages: Messages,
}

/// What one commit gets of a delivery.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// The batches that the files hold something of.
    pub(crate) batches: Vec<FinishedBatch>,
    pub(crate) files: Vec<StagedFile>,
    pub(crate) messages: Messages,
}
