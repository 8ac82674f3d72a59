//! Finds out what a run would do, without leaving a trace.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use serde::Serialize;

use super::error::RunError;
use super::lookup::{Standing, look_up};
use super::retention;
use crate::ledger::{Ledger, LedgerError, RetryFilter};
use crate::model::reference::{ConversationId, Reference, ReferenceChunk};
use crate::model::retention::RetentionOutlook;
use crate::plan::{Batch, Forecast, TeamOwner, Watch, Window};
use crate::source::Source;

/// What a run would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Rows read from the source.
    pub read: u64,
    /// Rows about something other than a message of a conversation.
    pub skipped: u64,
    /// Rows that are no reference.
    pub invalid: u64,
    /// References already archived, pending, or open failures.
    pub duplicate: u64,
    /// References that would be asked for: new ones, pending ones, and failures that are due.
    pub references: u64,
    /// Those of them that are pending since an earlier run.
    pub pending: u64,
    /// Those of them that are failures that are due.
    pub due: u64,
    /// Conversations of the new references and the due failures.
    pub conversations: u64,
    /// Requests that would be sent, if every one succeeds.
    pub requests: u64,
    /// How the references stand against the vendor's retention, if that is known.
    pub retention: Option<RetentionOutlook>,
}

impl Estimate {
    /// How full the requests would be: references a request, as a share of the batch size.
    pub fn fill(&self, batch_size: usize) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        self.references as f64 / (self.requests as f64 * batch_size as f64)
    }
}

/// Reads the source as a run would, and counts. Keeps about 20 bytes in memory for each new reference, and 8 more if there is
/// a retention to watch.
pub async fn estimate(
    mut source: Box<dyn Source>,
    ledger: Option<&Ledger>,
    batch_size: usize,
    plan_window: usize,
    team_owner: &TeamOwner,
    retry_for: Duration,
    watch: Option<Watch>,
) -> Result<Estimate, RunError> {
    let mut estimate = Estimate::default();
    let mut rehearsal = Rehearsal::new(Window::new(batch_size, plan_window, team_owner.clone()));
    let (hasher, mut dialogues) = (RandomState::new(), HashSet::new());
    let mut forecast = watch.map(|watch| Forecast::new(watch, u64::MAX));
    if let (Some(forecast), Some(ledger)) = (&mut forecast, ledger) {
        retention::tell_pending(ledger, forecast).await?;
    }
    let mut count = |estimate: &mut Estimate, forecast: &mut Option<Forecast>, batches: Vec<Batch>| {
        estimate.requests += batches.len() as u64;
        if let Some(forecast) = forecast {
            for batch in &batches {
                forecast.ask(batch.refs.iter().map(|r| r.create_time), true);
            }
        }
        dialogues.extend(batches.iter().map(|batch| hasher.hash_one(batch.key.as_str())));
    };
    while let Some(chunk) = source.next().await? {
        estimate.read += chunk.read();
        estimate.skipped += chunk.skipped();
        estimate.invalid += chunk.invalid.len() as u64;
        let batches = rehearsal.take(ledger, chunk).await?;
        count(&mut estimate, &mut forecast, batches);
    }
    if let Some(ledger) = ledger {
        let filter = RetryFilter::Due { retry_for };
        let now = jiff::Timestamp::now();
        let mut after: Option<(String, i64)> = None;
        loop {
            let from = after.as_ref().map(|(key, id)| (key.as_str(), *id));
            let page = ledger.due_failures(now, &filter, from, 10_000).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.key.as_str().to_owned(), last.message_server_id));
            for failure in &page {
                let Ok(conversation) = ConversationId::parse(&failure.conversation_id) else { continue };
                estimate.due += u64::from(rehearsal.add(Reference {
                    owner: &conversation.owner,
                    conversation_type: conversation.conversation_type,
                    other: &conversation.other,
                    message_server_id: failure.message_server_id,
                    create_time: failure.create_time,
                }));
            }
        }
        let totals = ledger.totals().await?;
        estimate.pending = totals.sums.pending_refs + totals.sums.carried_refs;
        estimate.requests += totals.pending_batches + ledger.carried_batches(batch_size).await?;
    }
    estimate.duplicate = rehearsal.duplicates;
    estimate.references = rehearsal.accepted + estimate.pending;
    let batches = rehearsal.finish();
    count(&mut estimate, &mut forecast, batches);
    estimate.conversations = dialogues.len() as u64;
    if let (Some(forecast), Some(ledger)) = (&mut forecast, ledger) {
        retention::tell_carried(ledger, forecast, batch_size).await?;
    }
    estimate.retention = forecast.map(|forecast| forecast.end().outlook);
    Ok(estimate)
}

/// Plans as the intake does, but only reads the ledger.
struct Rehearsal {
    window: Window,
    seen: HashSet<i64>,
    duplicates: u64,
    accepted: u64,
}

impl Rehearsal {
    fn new(window: Window) -> Self {
        Self { window, seen: HashSet::new(), duplicates: 0, accepted: 0 }
    }

    /// Takes a chunk as the intake would, and returns the batches that are full.
    async fn take(&mut self, ledger: Option<&Ledger>, chunk: ReferenceChunk) -> Result<Vec<Batch>, LedgerError> {
        let chunks = [chunk];
        let standings = match ledger {
            // Carried references are in `seen`.
            Some(ledger) => look_up(ledger, &HashSet::default(), &HashSet::default(), &chunks).await?.standings,
            None => vec![Standing::New; chunks[0].len()],
        };
        for (reference, standing) in chunks[0].iter().zip(standings) {
            if !standing.is_taken() || !self.add(reference) {
                self.duplicates += 1;
            }
        }
        Ok(self.window.take_ready())
    }

    /// Takes a reference. Returns `false` if its ID was taken before.
    fn add(&mut self, reference: Reference<'_>) -> bool {
        let new = self.seen.insert(reference.message_server_id);
        if new {
            self.accepted += 1;
            self.window.add(reference);
        }
        new
    }

    /// Ends planning, and returns the batches of what is still carried.
    fn finish(mut self) -> Vec<Batch> {
        self.window.finish();
        self.window.take_ready()
    }
}
