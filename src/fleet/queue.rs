//! What the coordinator does with the queue and the deliveries of a run.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::message::{Order, Task, encode};
use super::nats::{Nats, NatsError};
use crate::archive::Deliveries;
use crate::ledger::{Ledger, PendingBatch};
use crate::run::RunError;

/// How long to wait before something is tried again with NATS.
const AGAIN: Duration = Duration::from_secs(1);
/// The queue of a run.
pub(super) struct Queue {
    pub(super) nats: Arc<Nats>,
    pub(super) deliveries: Arc<dyn Deliveries>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) run: Uuid,
    /// What a worker must take the job to mean.
    pub(super) digest: String,
}

/// A batch that is out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    pub(super) origin: i64,
    /// How often a result of it was refused.
    pub(super) attempt: u32,
    /// How often it was published.
    pub(super) publications: u32,
    /// The look before which it was in the queue.
    pub(super) queued: Option<u64>,
}

/// What was found in the queue and among the deliveries.
pub(super) struct Look {
    pub(super) names: Vec<String>,
    /// The batches in the queue, unless it has as many as it should.
    pub(super) queued: Option<HashSet<i64>>,
}

impl Queue {
    /// Puts a batch into the queue, however long that takes.
    pub(super) async fn publish(&self, pending: PendingBatch, out: Out) -> Result<(), RunError> {
        let (seq, batch) = (pending.seq, &pending.batch);
        let mut existing = Vec::new();
        if batch.purpose.is_refetch() {
            let ids: Vec<i64> = batch.refs.iter().map(|reference| reference.message_server_id).collect();
            existing = self.ledger.versions(&ids).await?;
        }
        let content = encode(&Task {
            run: self.run,
            ledger: self.ledger.id(),
            digest: self.digest.clone(),
            attempt: out.attempt,
            pending,
            origin: out.origin,
            existing,
        });
        let id = format!("{}.{seq}.{}", self.run, out.publications);
        while let Err(error) = self.nats.publish(seq, &id, content.clone()).await {
            tracing::debug!(batch = seq, "a batch could not be published, and is tried again: {error}");
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    /// Puts a batch into the queue again, as the ledger has it.
    pub(super) async fn publish_again(&self, seq: i64, out: Out) -> Result<(), RunError> {
        let found = self.ledger.pending(seq - 1, 1).await?;
        match found.into_iter().find(|pending| pending.seq == seq) {
            Some(pending) => self.publish(pending, out).await,
            // Its result was taken and recorded meanwhile.
            None => Ok(()),
        }
    }

    /// Looks at the queue, which is made again if it is gone, and then at the deliveries: a worker delivers before its batches
    /// leave the queue. The numbers in the queue are read only if it has fewer batches than expected.
    pub(super) async fn look(&self, expected: u64) -> Result<Look, RunError> {
        let queued = if let Ok(queued) = self.nats.queued().await {
            queued
        } else {
            self.nats.prepare().await?;
            self.nats.queued().await?
        };
        let queued = if queued < expected { Some(self.nats.queued_numbers().await?) } else { None };
        Ok(Look { names: self.deliveries.names().await?, queued })
    }

    /// Empties the queue, and tells the workers why.
    pub(super) async fn empty(&self, order: &Order) -> Result<(), NatsError> {
        self.nats.purge().await?;
        self.nats.order(encode(order)).await
    }
}

impl From<NatsError> for RunError {
    fn from(error: NatsError) -> Self {
        Self::Fleet(error.to_string())
    }
}
