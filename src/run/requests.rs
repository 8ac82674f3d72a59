//! The requests of a run that asks by itself.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::asking::{Asking, Happened, Statistics};
use super::error::{RunError, joined};
use super::outcome::{Asked, AskedBatch};
use super::queue::Assignment;
use super::review::Existing;
use super::stop::Stop;
use crate::config::Fetch;
use crate::failpoint::reach;
use crate::ledger::Ledger;
use crate::yunxin::{AskFor, Client, Permit};

/// Asks for batches in this process.
pub(super) struct Requests {
    client: Arc<Client>,
    ledger: Arc<Ledger>,
    fetch: Fetch,
    stop: Stop,
    /// The most batches that are being asked or wait to be asked again.
    most: usize,
    under_way: JoinSet<Result<Asked, RunError>>,
    /// For the next request.
    permit: Option<Permit>,
}

impl Requests {
    pub(super) fn new(client: Arc<Client>, ledger: Arc<Ledger>, fetch: Fetch, stop: Stop, most: usize) -> Self {
        Self { client, ledger, fetch, stop, most: most.max(1), under_way: JoinSet::new(), permit: None }
    }
}

#[async_trait]
impl Asking for Requests {
    async fn begin(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    async fn next(&mut self, may_ask: bool) -> Happened {
        // The batch that it was for needed no request. It may be the only one.
        self.permit = None;
        tokio::select! {
            biased;
            Some(asked) = self.under_way.join_next() => {
                let doubted = self.client.credentials_in_doubt().map(|(code, _)| code);
                let asked = joined("a request", asked);
                Happened::Asked(asked.map(|asked| Box::new(AskedBatch::of(asked, &self.fetch, doubted))))
            }
            permit = self.client.permit(), if may_ask => {
                self.permit = Some(permit);
                Happened::Room
            }
            else => std::future::pending().await,
        }
    }

    fn ask(&mut self, assignment: Assignment) {
        if let Some(permit) = self.permit.take() {
            let (client, ledger) = (Arc::clone(&self.client), Arc::clone(&self.ledger));
            self.under_way.spawn(ask(client, ledger, self.stop.clone(), permit, assignment));
        }
    }

    fn may_ask(&self, splits_wait: bool) -> bool {
        let is_probing = self.client.is_probing() && (!self.under_way.is_empty() || splits_wait);
        self.under_way.len() < self.most && !is_probing
    }

    fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    fn parts_are_queued(&self) {
        self.client.parts_are_queued();
    }

    fn doubt(&self) -> Option<(i64, String)> {
        self.client.credentials_in_doubt()
    }

    fn stop(&mut self) {}

    fn give_up(&mut self) {
        self.under_way.abort_all();
    }

    async fn shutdown(&mut self) {
        self.under_way.shutdown().await;
    }

    fn statistics(&self) -> Arc<dyn Statistics> {
        Arc::clone(&self.client) as Arc<dyn Statistics>
    }
}

/// Asks for a batch. For archived messages it also looks up what the archive has of them.
async fn ask(
    client: Arc<Client>,
    ledger: Arc<Ledger>,
    stop: Stop,
    permit: Permit,
    assignment: Assignment,
) -> Result<Asked, RunError> {
    reach("request.before");
    let outcome = client.fetch(permit, &ask_for(&assignment), stop.token()).await?;
    let batch = &assignment.pending.batch;
    let mut existing = Existing::new();
    if batch.purpose.is_refetch() {
        let ids: Vec<i64> = batch.refs.iter().map(|reference| reference.message_server_id).collect();
        let versions = ledger.versions(&ids).await?;
        existing.extend(versions.into_iter().map(|version| (version.message_server_id, version)));
    }
    Ok(Asked { assignment, outcome, existing })
}

/// What the API is asked for a batch.
pub(crate) fn ask_for(assignment: &Assignment) -> AskFor {
    let batch = &assignment.pending.batch;
    AskFor {
        key: batch.key.clone(),
        conversation: batch.key.seen_by(&batch.asked),
        refs: batch.refs.iter().map(|r| (r.message_server_id, r.create_time)).collect(),
        batch: assignment.origin.unsigned_abs(),
    }
}
