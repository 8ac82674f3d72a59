//! From the source into the ledger, at full speed: reading never waits for fetching.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use jiff::Timestamp;
use tokio::task::yield_now;

use super::context::RunContext;
use super::error::RunError;
use super::lookup::{LookUp, Standing, key_of, look_up};
use super::owners::{MOST_OWNERS, MOST_TEAMS};
use crate::failpoint::reach;
use crate::ledger::{EarlierFailure, FailureState, Planned};
use crate::model::failure::Class;
use crate::model::reference::{ConversationId, ConversationType, Invalid, Reference, ReferenceChunk, same_account};
use crate::model::summary::References;
use crate::plan::Window;
use crate::source::{Checkpoint, Source};

/// How many references are looked up in the ledger at once: few at first, so that the first request is sent soon.
const FIRST_LOOK_UP: usize = 8 * 1024;
const LARGEST_LOOK_UP: usize = 32 * 1024;
/// Batches of one plan transaction, about.
const STORE_AT: usize = 2_000;
const RETRY_PAGE: u32 = 10_000;
/// How many references are carried before the intake yields, because planning is far ahead of everything else.
const TOGETHER: usize = 512;

/// What was read and is not planned yet.
struct Intake {
    run: Arc<RunContext>,
    window: Window,
    carried: HashSet<i64, RandomState>,
    /// Chunks that are not looked up yet, and their references.
    chunks: Vec<ReferenceChunk>,
    waiting: usize,
    /// How many references are looked up at once.
    look_up_at: usize,
    /// IDs of failures that are asked again.
    retried: HashSet<i64, RandomState>,
    /// IDs of failures whose reference the source has corrected.
    corrected: HashSet<i64, RandomState>,
    /// Further owners of failures that rows name, and the ledger does not know yet.
    asked: HashMap<i64, Vec<String>>,
    /// New references so far.
    taken: u64,
}

/// Reads the source and plans what is new. Whatever ends it, what was read is in the ledger afterwards.
pub(super) async fn intake(run: Arc<RunContext>, source: Option<Box<dyn Source>>) -> Result<(), RunError> {
    let job = &run.settings.job;
    let mut intake = Intake {
        window: Window::new(job.fetch.batch_size, job.plan_window, job.fetch.team_owner.clone()),
        carried: HashSet::default(),
        chunks: Vec::new(),
        waiting: 0,
        look_up_at: FIRST_LOOK_UP,
        retried: HashSet::default(),
        corrected: HashSet::default(),
        asked: HashMap::new(),
        taken: 0,
        run: Arc::clone(&run),
    };
    let read = match source {
        Some(source) => intake.drain(source).await,
        None => Ok(None),
    };
    // After the source, so that a correction in the source replaces the failure instead of repeating it.
    let failures = if read.is_ok() { intake.take_up_failures().await } else { Ok(()) };
    let stored = intake.store_rest().await;
    run.meter.counts().is_read_to_end = true;
    let checkpoint = read?;
    failures.and(stored)?;
    if let Some(checkpoint) = checkpoint {
        let text = serde_json::to_string(&checkpoint).map_err(|error| RunError::Died(error.to_string()))?;
        reach("cursor.before");
        run.ledger.set_checkpoint(&text, &job.source.identity()).await?;
        reach("cursor.after");
    }
    Ok(())
}

impl Intake {
    /// Reads the source. Returns its checkpoint only if it was read to its end.
    async fn drain(&mut self, mut source: Box<dyn Source>) -> Result<Option<Checkpoint>, RunError> {
        for key in self.run.ledger.teams_to_ask(MOST_TEAMS as u32).await? {
            self.run.named.admit(&key);
        }
        while !self.limit_is_reached() {
            // A source may be silent for any time: once told to stop, nobody waits for it.
            let next = tokio::select! {
                biased;
                () = self.run.stop.told() => {
                    self.run.meter.counts().is_cut_short = true;
                    self.take_up().await?;
                    return Ok(None);
                }
                next = source.next() => next,
            };
            match next {
                Ok(Some(chunk)) => {
                    self.waiting += chunk.len();
                    self.chunks.push(chunk);
                }
                Ok(None) => {
                    self.take_up().await?;
                    return Ok(if self.limit_is_reached() { None } else { source.checkpoint() });
                }
                Err(error) => {
                    self.take_up().await?;
                    return Err(error.into());
                }
            }
            if self.waiting >= self.look_up_at || self.run.settings.limit.is_some() {
                self.take_up().await?;
                self.look_up_at = (self.look_up_at * 4).min(LARGEST_LOOK_UP);
            }
        }
        self.take_up().await?;
        Ok(None)
    }

    fn count(&self, count: impl FnOnce(&mut References)) {
        count(&mut self.run.meter.counts().references);
    }

    fn limit_is_reached(&self) -> bool {
        self.run.settings.limit.is_some_and(|limit| self.taken >= limit)
    }

    /// Looks up the references that wait, and carries those that are new.
    async fn take_up(&mut self) -> Result<(), RunError> {
        let mut chunks = std::mem::take(&mut self.chunks);
        self.waiting = 0;
        let LookUp { mut standings, order, failures } =
            look_up(&self.run.ledger, &self.carried, &self.retried, &chunks).await?;
        if let Some(limit) = self.run.settings.limit {
            let room = limit.saturating_sub(self.taken);
            if let Some(mut within) = up_to(&standings, room) {
                standings.truncate(within);
                for chunk in &mut chunks {
                    let len = chunk.len();
                    // Rows behind the last reference of the limit are not read, whatever they are.
                    if within <= len {
                        chunk.truncate(within);
                    }
                    within = within.saturating_sub(len);
                }
            }
        }
        let is_taken = |place: u32| standings.get(place as usize).is_some_and(|standing| standing.is_taken());
        let taken: Vec<i64> = order.into_iter().filter(|(_, place)| is_taken(*place)).map(|(id, _)| id).collect();
        self.carried.extend(taken);
        let mut standings = standings.into_iter();
        for chunk in &chunks {
            self.count(|references| {
                references.read += chunk.skipped() + chunk.invalid.len() as u64;
                references.skipped += chunk.skipped();
                references.invalid += chunk.invalid.len() as u64;
            });
            if !chunk.invalid.is_empty() {
                self.store(&chunk.invalid).await?;
            }
            let rows: Vec<_> = chunk.iter().zip(standings.by_ref()).collect();
            for some in rows.chunks(TOGETHER) {
                self.carry(some, &failures);
                if self.window.ready() >= STORE_AT {
                    self.store(&[]).await?;
                }
                yield_now().await;
            }
        }
        self.store(&[]).await
    }

    /// Carries those of some references that are to be asked for.
    fn carry(&mut self, some: &[(Reference<'_>, Standing)], failures: &HashMap<i64, EarlierFailure>) {
        let mut taken = 0;
        for (reference, standing) in some {
            match standing {
                Standing::Carried | Standing::Known => {
                    let failure = failures.get(&reference.message_server_id);
                    let is_open = *standing == Standing::Carried
                        || failure.is_some_and(|failure| failure.state != FailureState::Dismissed);
                    self.run.named.add(*reference, is_open);
                    if failure.is_some_and(|failure| self.asks_again(failure, *reference)) {
                        self.window.add(*reference);
                    }
                    continue;
                }
                Standing::Correction => {
                    self.corrected.insert(reference.message_server_id);
                }
                Standing::New => {}
            }
            taken += 1;
            self.window.add(*reference);
        }
        self.count(|references| {
            references.read += some.len() as u64;
            references.duplicate += some.len() as u64 - taken;
        });
        self.taken += taken;
    }

    /// Whether a failure of a team is asked again because a row names an owner under whom it was not asked before. Each
    /// owner is asked once, whatever the answer.
    fn asks_again(&mut self, failure: &EarlierFailure, reference: Reference<'_>) -> bool {
        let EarlierFailure { message_server_id: id, state, class, .. } = failure;
        if reference.conversation_type == ConversationType::OneToOne
            || !matches!(class, Class::Unavailable | Class::Unanswered)
            || *state == FailureState::Dismissed
            || failure.depth > 0
            || failure.last_run == self.run.run_id
            || self.corrected.contains(id)
            || failure.create_time != reference.create_time
            || failure.key != key_of(&reference)
        {
            return false;
        }
        let asked = self.asked.get(id).unwrap_or(&failure.asked);
        if asked.len() >= MOST_OWNERS || asked.iter().any(|owner| same_account(owner, reference.owner)) {
            return false;
        }
        self.asked.entry(*id).or_insert_with(|| failure.asked.clone()).push(reference.owner.to_owned());
        *state == FailureState::Open && self.retried.insert(*id)
    }

    /// Carries the failures that this run asks again.
    async fn take_up_failures(&mut self) -> Result<(), RunError> {
        let run = Arc::clone(&self.run);
        let now = Timestamp::now();
        let mut after: Option<(String, i64)> = None;
        loop {
            if run.stop.is_told() {
                run.meter.counts().is_cut_short = true;
                return Ok(());
            }
            let from = after.as_ref().map(|(key, id)| (key.as_str(), *id));
            let page = run.ledger.due_failures(now, &run.settings.retry, from, RETRY_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.key.as_str().to_owned(), last.message_server_id));
            let (extras, page): (Vec<_>, Vec<_>) = page.into_iter().partition(|failure| failure.depth > 0);
            let extras: Vec<_> =
                extras.into_iter().filter(|extra| !self.carried.contains(&extra.message_server_id)).collect();
            run.ledger.retry_linked(run.run_id, &extras).await?;
            run.meter.counts().thread_extras.planned += extras.len() as u64;
            for failure in &page {
                let Ok(conversation) = ConversationId::parse(&failure.conversation_id) else { continue };
                // What failed in this run is left to the next run, so that no reference ends twice in one.
                if failure.last_run == run.run_id
                    || self.carried.contains(&failure.message_server_id)
                    || !self.retried.insert(failure.message_server_id)
                {
                    continue;
                }
                let reference = Reference {
                    owner: &conversation.owner,
                    conversation_type: conversation.conversation_type,
                    other: &conversation.other,
                    message_server_id: failure.message_server_id,
                    create_time: failure.create_time,
                };
                self.window.add(reference);
                // No source has to name them once more.
                for owner in &failure.asked {
                    run.named.add(Reference { owner, ..reference }, true);
                }
            }
        }
    }

    /// Stores everything that is still carried, a part at a time: as a whole it would be in memory twice.
    async fn store_rest(&mut self) -> Result<(), RunError> {
        self.store(&[]).await?;
        for some in self.window.fullest().chunks(STORE_AT) {
            self.window.cut_all(some);
            self.store(&[]).await?;
        }
        Ok(())
    }

    /// Stores the batches that are ready, and tells the coordinator.
    async fn store(&mut self, invalid: &[Invalid]) -> Result<(), RunError> {
        let run = Arc::clone(&self.run);
        let mut batches = self.window.take_ready();
        // Whom a failure was asked under is stored with the batch that asks.
        if batches.is_empty() && invalid.is_empty() && self.asked.keys().all(|id| self.retried.contains(id)) {
            return Ok(());
        }
        run.ledger.begin_with_answered(&mut batches, &run.settings.job.fetch.team_owner).await?;
        let (mut new_ids, mut retried, mut corrected) = (Vec::new(), Vec::new(), Vec::new());
        for id in batches.iter().flat_map(|batch| batch.refs.iter().map(|reference| reference.message_server_id)) {
            if self.retried.remove(&id) {
                retried.push(id);
            } else if self.corrected.remove(&id) {
                corrected.push(id);
            } else {
                new_ids.push(id);
            }
        }
        for batch in batches.iter().filter(|batch| batch.is_of_team()) {
            run.named.admit(batch.key.as_str());
        }
        let asked: Vec<_> = self.asked.extract_if(|id, _| !self.retried.contains(id)).collect();
        new_ids.sort_unstable();
        corrected.sort_unstable();
        for id in new_ids.iter().chain(&corrected) {
            self.carried.remove(id);
        }
        let read = run.meter.counts().references;
        let planned = Planned {
            batches: &batches,
            new_ids: &new_ids,
            retried: &retried,
            asked: &asked,
            corrected: &corrected,
            invalid,
            read: Some(&read),
        };
        reach("plan.before");
        let receipt = run.ledger.plan(run.run_id, Timestamp::now(), &planned).await?;
        reach("plan.after");
        let mut counts = run.meter.counts();
        counts.plan(batches.len());
        counts.references.accepted += (new_ids.len() + corrected.len()) as u64;
        counts.references.retried += retried.len() as u64;
        if receipt.new_invalid > 0 {
            counts.fail([((Class::Invalid, None), receipt.new_invalid)]);
        }
        drop(counts);
        run.planned.notify_one();
        Ok(())
    }
}

/// How many references there are up to and including the last one that there is room for. `None` if there is room for all.
fn up_to(standings: &[Standing], room: u64) -> Option<usize> {
    if room == 0 {
        return Some(0);
    }
    let mut taken = 0;
    let last = standings.iter().position(|standing| {
        taken += u64::from(standing.is_taken());
        taken >= room
    });
    last.map(|last| last + 1)
}
