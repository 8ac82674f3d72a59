//! From the source into the ledger, at full speed: reading never waits for fetching.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::yield_now;
use uuid::Uuid;

use super::named::{MOST_OWNERS, MOST_TEAMS, NamedOwners};
use super::{Meter, RunError, Settings, Stop};
use crate::failpoint::reach;
use crate::ledger::{FailureState, Ledger, LedgerError, OpenFailure, Planned};
use crate::model::failure::Class;
use crate::model::reference::{
    ConversationId, ConversationKey, ConversationType, Invalid, Reference, ReferenceChunk, same_account,
};
use crate::plan::Window;
use crate::source::{Checkpoint, Source};

/// References looked up in the ledger at once: few at first, so that the first request leaves soon.
const FIRST_LOOK_UP: usize = 8 * 1024;
const LARGEST_LOOK_UP: usize = 32 * 1024;
/// Batches of one plan transaction, about.
const STORE_AT: usize = 2_000;
const RETRY_PAGE: u32 = 10_000;
/// References carried at once: so many that they wait for memory together, so few that they stay in the cache.
const TOGETHER: usize = 512;
/// After so many references answers and the sink have their turn: planning is ahead of both.
const TURN: u64 = 1_024;

/// How far the intake is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Planning {
    /// Counts the plan commits, so that each one wakes the dispatcher.
    pub(super) commits: u64,
    /// Whether no more batches will come.
    pub(super) ended: bool,
}

pub(super) struct Intake {
    pub(super) settings: Arc<Settings>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) meter: Arc<Meter>,
    pub(super) run_id: Uuid,
    pub(super) stop: Stop,
    pub(super) planning: watch::Sender<Planning>,
    pub(super) named: Arc<NamedOwners>,
}

/// What is on its way from chunks to batches.
struct Desk {
    window: Window,
    carried: HashSet<i64>,
    chunks: Vec<ReferenceChunk>,
    waiting: usize,
    look_up: usize,
    retried: HashSet<i64>,
    corrected: HashSet<i64>,
    /// Further owners of failures that rows name, and the ledger does not know yet.
    asked: HashMap<i64, Vec<String>>,
    taken: u64,
}

/// What a look-up says of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    New,
    Correction,
    /// Carried, or met before in the same look-up and taken.
    Carried,
    /// In the ledger: archived, pending or failed.
    Known,
}

impl Verdict {
    pub(super) fn is_taken(self) -> bool {
        matches!(self, Self::New | Self::Correction)
    }
}

impl Intake {
    /// Reads, plans and makes durable. Whatever ends it, what was collected is in the ledger afterwards.
    pub(super) async fn run(self, source: Option<Box<dyn Source>>) -> Result<(), RunError> {
        let mut desk = Desk {
            window: Window::new(self.settings.batch_size, self.settings.plan_window, self.settings.team_owner.clone()),
            carried: HashSet::new(),
            chunks: Vec::new(),
            waiting: 0,
            look_up: FIRST_LOOK_UP,
            retried: HashSet::new(),
            corrected: HashSet::new(),
            asked: HashMap::new(),
            taken: 0,
        };
        let read = match source {
            Some(source) => self.drain(source, &mut desk).await,
            None => Ok(None),
        };
        // After the source, so that a correction that it brings replaces the failure instead of repeating it.
        let failures = if read.is_ok() { self.take_up_failures(&mut desk).await } else { Ok(()) };
        let stored = self.store_rest(&mut desk).await;
        self.meter.end_reading();
        self.planning.send_modify(|planning| planning.ended = true);
        let checkpoint = read?;
        failures.and(stored)?;
        if let Some(checkpoint) = checkpoint {
            let text = serde_json::to_string(&checkpoint).map_err(|error| RunError::Died(error.to_string()))?;
            reach("cursor.before");
            self.ledger.set_checkpoint(&text, &self.settings.source).await?;
            reach("cursor.after");
        }
        Ok(())
    }

    /// Reads the source; the checkpoint is returned only when it was read to its end.
    async fn drain(&self, mut source: Box<dyn Source>, desk: &mut Desk) -> Result<Option<Checkpoint>, RunError> {
        for key in self.ledger.teams_to_ask(MOST_TEAMS as u32).await? {
            self.named.admit(&key);
        }
        loop {
            if self.limit_reached(desk) {
                self.look_up(desk).await?;
                return Ok(None);
            }
            // A source may keep silent for as long as it likes: told to stop, nobody waits for it.
            let next = tokio::select! {
                biased;
                () = self.stop.told() => {
                    self.meter.cut_short();
                    self.look_up(desk).await?;
                    return Ok(None);
                }
                next = source.next() => next,
            };
            match next {
                Ok(Some(chunk)) => {
                    desk.waiting += chunk.len();
                    desk.chunks.push(chunk);
                }
                Ok(None) => break,
                Err(error) => {
                    self.look_up(desk).await?;
                    return Err(error.into());
                }
            }
            if desk.waiting >= desk.look_up || self.settings.limit.is_some() {
                self.look_up(desk).await?;
                desk.look_up = (desk.look_up * 4).min(LARGEST_LOOK_UP);
            }
        }
        self.look_up(desk).await?;
        Ok(if self.limit_reached(desk) { None } else { source.checkpoint() })
    }

    fn limit_reached(&self, desk: &Desk) -> bool {
        self.settings.limit.is_some_and(|limit| desk.taken >= limit)
    }

    /// Classifies the references that wait, and carries those that are new.
    async fn look_up(&self, desk: &mut Desk) -> Result<(), RunError> {
        let chunks = std::mem::take(&mut desk.chunks);
        desk.waiting = 0;
        let Looked { mut verdicts, order, failures } =
            classify(&self.ledger, &desk.carried, &desk.retried, &chunks).await?;
        let room = self.settings.limit.map_or(u64::MAX, |limit| limit.saturating_sub(desk.taken));
        let read = up_to(&verdicts, room);
        verdicts.truncate(read);
        let accepted =
            order.into_iter().filter(|(_, place)| verdicts.get(*place as usize).is_some_and(|v| v.is_taken()));
        desk.carried.extend(accepted.map(|(id, _)| id));
        let (mut verdicts, mut taken, mut turn) = (verdicts.into_iter(), Vec::with_capacity(TOGETHER), 0);
        for chunk in &chunks {
            self.meter.add_read(chunk.skipped + chunk.invalid.len() as u64);
            self.meter.add_skipped(chunk.skipped);
            self.meter.add_invalid(chunk.invalid.len() as u64);
            if !chunk.invalid.is_empty() {
                self.store(desk, &chunk.invalid).await?;
            }
            let mut rows = chunk.iter().zip(verdicts.by_ref());
            loop {
                let (mut read, mut duplicates) = (0, 0);
                for (reference, verdict) in rows.by_ref().take(TOGETHER) {
                    read += 1;
                    match verdict {
                        Verdict::Carried | Verdict::Known => {
                            duplicates += 1;
                            let failure = failures.get(&reference.message_server_id);
                            let is_open = verdict == Verdict::Carried
                                || failure.is_some_and(|failure| failure.state != FailureState::Dismissed);
                            self.named.add(reference, is_open);
                            if failure.is_some_and(|failure| self.asks_again(desk, failure, reference)) {
                                desk.window.add(reference);
                            }
                            continue;
                        }
                        Verdict::Correction => {
                            desk.corrected.insert(reference.message_server_id);
                        }
                        Verdict::New => {}
                    }
                    taken.push(reference);
                }
                if read == 0 {
                    break;
                }
                self.meter.add_read(read);
                self.meter.add_duplicate(duplicates);
                desk.taken += taken.len() as u64;
                for reference in taken.drain(..) {
                    desk.window.add(reference);
                }
                if desk.window.ready() >= STORE_AT {
                    self.store(desk, &[]).await?;
                }
                turn += read;
                if turn >= TURN {
                    turn = 0;
                    yield_now().await;
                }
            }
        }
        self.store(desk, &[]).await
    }

    /// Whether a failure of a team is asked again because a row names an owner who was not asked for it before. Each owner
    /// is asked once, whatever comes of it.
    fn asks_again(&self, desk: &mut Desk, failure: &OpenFailure, reference: Reference<'_>) -> bool {
        let OpenFailure { id, state, class, .. } = failure;
        let key = ConversationKey::new(reference.owner, reference.conversation_type, reference.other);
        if reference.conversation_type == ConversationType::OneToOne
            || !matches!(class, Class::Unavailable | Class::Unanswered)
            || *state == FailureState::Dismissed
            || failure.extra
            || failure.last_run == self.run_id
            || desk.corrected.contains(id)
            || failure.create_time != reference.create_time
            || failure.conversation_key != key.as_str()
        {
            return false;
        }
        let asked = desk.asked.get(id).unwrap_or(&failure.asked);
        if asked.len() >= MOST_OWNERS || asked.iter().any(|owner| same_account(owner, reference.owner)) {
            return false;
        }
        desk.asked.entry(*id).or_insert_with(|| failure.asked.clone()).push(reference.owner.to_owned());
        *state == FailureState::Open && desk.retried.insert(*id)
    }

    /// Carries the failures that this run asks again.
    async fn take_up_failures(&self, desk: &mut Desk) -> Result<(), RunError> {
        let now = Timestamp::now();
        let mut after: Option<(String, i64)> = None;
        loop {
            if self.stop.is_told() {
                self.meter.cut_short();
                return Ok(());
            }
            let from = after.as_ref().map(|(key, id)| (key.as_str(), *id));
            let page = self.ledger.due_failures(now, &self.settings.retry, from, RETRY_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.key.as_str().to_owned(), last.message_server_id));
            let (extras, page): (Vec<_>, Vec<_>) = page.into_iter().partition(|failure| failure.depth > 0);
            let extras: Vec<_> =
                extras.into_iter().filter(|extra| !desk.carried.contains(&extra.message_server_id)).collect();
            self.ledger.retry_linked(self.run_id, &extras).await?;
            self.meter.add_extras_resumed(extras.len() as u64);
            for failure in &page {
                let Ok(conversation) = ConversationId::parse(&failure.conversation_id) else { continue };
                // What failed in this run is left to the next: no reference ends twice in one.
                if failure.last_run == self.run_id
                    || desk.carried.contains(&failure.message_server_id)
                    || !desk.retried.insert(failure.message_server_id)
                {
                    continue;
                }
                desk.window.add(Reference {
                    owner: &conversation.owner,
                    conversation_type: conversation.conversation_type,
                    other: &conversation.other,
                    message_server_id: failure.message_server_id,
                    create_time: failure.create_time,
                });
            }
        }
    }

    /// Makes all that is still carried durable, some at a time: as a whole it would be in memory twice.
    async fn store_rest(&self, desk: &mut Desk) -> Result<(), RunError> {
        self.store(desk, &[]).await?;
        for some in desk.window.fullest().chunks(STORE_AT) {
            desk.window.cut_all(some);
            self.store(desk, &[]).await?;
        }
        Ok(())
    }

    /// Makes the batches that are ready durable, and wakes the dispatcher.
    async fn store(&self, desk: &mut Desk, invalid: &[Invalid]) -> Result<(), RunError> {
        let mut batches = desk.window.take_ready();
        // Who is asked is stored with the batch that asks him.
        if batches.is_empty() && invalid.is_empty() && desk.asked.keys().all(|id| desk.retried.contains(id)) {
            return Ok(());
        }
        self.ledger.begin_with_answered(&mut batches, &self.settings.team_owner).await?;
        let (mut new_ids, mut retried, mut corrected) = (Vec::new(), Vec::new(), Vec::new());
        for id in batches.iter().flat_map(|batch| batch.refs.iter().map(|reference| reference.message_server_id)) {
            if take(&mut desk.retried, id) {
                retried.push(id);
            } else if take(&mut desk.corrected, id) {
                corrected.push(id);
            } else {
                new_ids.push(id);
            }
        }
        for batch in batches.iter().filter(|batch| batch.is_of_team()) {
            self.named.admit(batch.key.as_str());
        }
        let asked: Vec<_> = desk.asked.extract_if(|id, _| !desk.retried.contains(id)).collect();
        new_ids.sort_unstable();
        corrected.sort_unstable();
        for id in new_ids.iter().chain(&corrected) {
            desk.carried.remove(id);
        }
        let read = Some(&self.meter.references(0));
        let planned = Planned {
            batches: &batches,
            new_ids: &new_ids,
            retried: &retried,
            asked: &asked,
            corrected: &corrected,
            invalid,
            read,
        };
        reach("plan.before");
        let receipt = self.ledger.plan(self.run_id, Timestamp::now(), &planned).await?;
        reach("plan.after");
        self.meter.add_new_invalid(receipt.new_invalid);
        self.meter.add_planned(&batches, (new_ids.len() + corrected.len()) as u64, retried.len() as u64);
        self.planning.send_modify(|planning| planning.commits += 1);
        Ok(())
    }
}

/// Takes an ID out of a set that is empty, most likely.
fn take(ids: &mut HashSet<i64>, id: i64) -> bool {
    !ids.is_empty() && ids.remove(&id)
}

/// How many verdicts there are up to the one that takes the last of `room` references.
fn up_to(verdicts: &[Verdict], room: u64) -> usize {
    let mut taken = 0;
    verdicts
        .iter()
        .position(|verdict| {
            let full = taken >= room;
            taken += u64::from(verdict.is_taken());
            full
        })
        .unwrap_or(verdicts.len())
}

/// What a look-up says.
pub(super) struct Looked {
    /// Of every reference, in order, whether it is new.
    pub(super) verdicts: Vec<Verdict>,
    /// IDs and places of the references, by ID.
    order: Vec<(i64, u32)>,
    /// Failures among them, by ID.
    failures: HashMap<i64, OpenFailure>,
}

/// Looks the references of `chunks` up among those that are carried and in the ledger.
pub(super) async fn classify(
    ledger: &Ledger,
    carried: &HashSet<i64>,
    retried: &HashSet<i64>,
    chunks: &[ReferenceChunk],
) -> Result<Looked, LedgerError> {
    let mut order: Vec<(i64, u32)> = Vec::with_capacity(chunks.iter().map(ReferenceChunk::len).sum());
    for reference in chunks.iter().flat_map(ReferenceChunk::iter) {
        order.push((reference.message_server_id, order.len() as u32));
    }
    order.sort_unstable();
    let mut verdicts = vec![Verdict::New; order.len()];
    let mut candidates: Vec<i64> = Vec::with_capacity(order.len());
    let mut places: Vec<u32> = Vec::with_capacity(order.len());
    for (id, place) in &order {
        if carried.contains(id) || candidates.last() == Some(id) {
            verdicts[*place as usize] = Verdict::Carried;
        } else {
            candidates.push(*id);
            places.push(*place);
        }
    }
    let known = ledger.known(&candidates).await?;
    if known.is_empty() {
        return Ok(Looked { verdicts, order, failures: HashMap::new() });
    }
    let failures = ledger.open_failures(&known).await?;
    let flat: Vec<(usize, usize)> =
        chunks.iter().enumerate().flat_map(|(chunk, c)| (0..c.len()).map(move |row| (chunk, row))).collect();
    let mut known = known.into_iter().peekable();
    for (id, place) in candidates.into_iter().zip(places) {
        if known.next_if_eq(&id).is_none() {
            continue;
        }
        let (chunk, row) = flat[place as usize];
        let correction = failures.get(&id).zip(chunks[chunk].get(row)).is_some_and(|(failure, reference)| {
            let key = ConversationKey::new(reference.owner, reference.conversation_type, reference.other);
            failure.state != FailureState::Retrying
                && !retried.contains(&id)
                && (failure.extra
                    || failure.create_time != reference.create_time
                    || failure.conversation_key != key.as_str())
        });
        verdicts[place as usize] = if correction { Verdict::Correction } else { Verdict::Known };
    }
    for same in order.chunk_by(|(a, _), (b, _)| a == b) {
        let (first, rest) = same.split_first().unwrap_or((&(0, 0), &[]));
        if verdicts.get(first.1 as usize) == Some(&Verdict::Known) {
            for (_, place) in rest {
                verdicts[*place as usize] = Verdict::Known;
            }
        }
    }
    Ok(Looked { verdicts, order, failures })
}
