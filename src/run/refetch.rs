//! Archived messages, asked for again: were they edited, or did they vanish?
//!
//! What to ask comes from the archive itself, once all other work is done and committed. A later time of edit makes a
//! message edited: contents are not compared, as what the service answers may differ from one time to the next without
//! an edit, by a signed address for example. A message vanished only if every owner that could be asked was told that it
//! does not exist; whatever else the service says, nothing is recorded, and the next time asks again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::verdict::{is_gone, miss};
use super::write::Writer;
use super::{RunError, Stop};
use crate::failpoint::reach;
use crate::ledger::{FinishedBatch, PendingBatch, Reviewed};
use crate::model::message::{ExistingVersion, MessageRows, Row, Vanished};
use crate::model::reference::{ConversationId, Reference, same_account};
use crate::plan::{Batch, Final, Miss, Purpose, Remedy, Window, follow_up};
use crate::yunxin::Answer;

/// Batches of one plan transaction, about.
const STORE_AT: usize = 2_000;
const PAGE: u32 = 10_000;
/// Why a message is asked for of which some owner could not say whether it exists.
const IN_DOUBT: Purpose = Purpose::Refetch { doubt: true };

/// What is to be asked for again.
#[derive(Debug, Clone)]
pub(super) struct Refetch {
    /// Messages of which a version was archived since then, milliseconds since the epoch.
    pub(super) since: i64,
    /// And before then: what this run fetched needs not be asked for again.
    pub(super) before: i64,
    /// References carried, at most, while their dialogues fill batches.
    pub(super) plan_window: usize,
    /// Told to stop, planning ends.
    pub(super) stop: Stop,
}

/// Batches on their way into the ledger.
struct Desk {
    window: Window,
    carried: HashSet<i64>,
    refetch: Refetch,
}

impl Desk {
    fn add(&mut self, version: &ExistingVersion) {
        if !(self.refetch.since..self.refetch.before).contains(&version.fetched_at)
            || self.carried.contains(&version.message_server_id)
        {
            return;
        }
        let Ok(conversation) = ConversationId::parse(&version.conversation_id) else {
            tracing::debug!(
                conversation = version.conversation_id,
                "an archived conversation cannot be asked for again"
            );
            return;
        };
        self.carried.insert(version.message_server_id);
        self.window.add(Reference {
            owner: &conversation.owner,
            conversation_type: conversation.conversation_type,
            other: &conversation.other,
            message_server_id: version.message_server_id,
            create_time: version.create_time,
        });
    }
}

impl Writer {
    /// Plans what is to be asked for again, once: when nothing else is left to ask and everything is committed.
    pub(super) async fn plan_refetch(&mut self) -> Result<(), RunError> {
        // Credentials in doubt are not tried on more; and what an earlier time planned goes first.
        if self.refetch.is_none() || !self.work.doubtful.is_empty() || self.ledger.sums().await?.pending_refetch > 0 {
            return Ok(());
        }
        self.commit().await?;
        let Some(refetch) = self.refetch.take() else { return Ok(()) };
        let window = Window::new(self.batch_size, refetch.plan_window, self.team_owner.clone());
        let mut desk = Desk { window, carried: HashSet::new(), refetch };
        self.ledger.begin_refetch().await?;
        reach("refetch.begun");
        let mut held = self.sink.held(desk.refetch.since).await?;
        while let Some(versions) = held.next().await? {
            if desk.refetch.stop.is_told() {
                break;
            }
            self.take_up(&mut desk, &versions).await?;
            self.store(&mut desk, STORE_AT).await?;
        }
        drop(held);
        let mut after = i64::MIN;
        while !desk.refetch.stop.is_told() {
            let revised = self.ledger.revised_since(desk.refetch.since, after, PAGE).await?;
            let Some(last) = revised.last() else { break };
            after = last.message_server_id;
            for version in &revised {
                desk.add(version);
            }
            self.store(&mut desk, STORE_AT).await?;
        }
        if desk.refetch.stop.is_told() {
            // What was stored stays pending; the rest was not planned.
            self.refetch = Some(desk.refetch);
            return Ok(());
        }
        desk.window.finish();
        self.store(&mut desk, 0).await?;
        reach("refetch.planned");
        Ok(())
    }

    /// Sorts versions: later ones are kept, to be planned in the end; first ones are planned unless later ones are known.
    async fn take_up(&mut self, desk: &mut Desk, versions: &[ExistingVersion]) -> Result<(), RunError> {
        let (first, mut kept): (Vec<ExistingVersion>, Vec<ExistingVersion>) =
            versions.iter().cloned().partition(|version| version.revision == 0);
        kept.extend(first.iter().filter(|version| version.modify_time.is_some() || !version.requested).cloned());
        if !kept.is_empty() {
            self.ledger.keep_versions(&kept).await?;
        }
        let ids: Vec<i64> = first.iter().map(|version| version.message_server_id).collect();
        let revised: Vec<i64> = self
            .ledger
            .versions(&ids)
            .await?
            .into_iter()
            .filter(|version| version.revision > 0)
            .map(|version| version.message_server_id)
            .collect();
        for version in first.iter().filter(|version| revised.binary_search(&version.message_server_id).is_err()) {
            desk.add(version);
        }
        Ok(())
    }

    /// Makes full batches pending, if there are at least so many.
    async fn store(&mut self, desk: &mut Desk, at_least: usize) -> Result<(), RunError> {
        if desk.window.ready() < at_least.max(1) {
            return Ok(());
        }
        let purpose = Purpose::Refetch { doubt: false };
        let mut batches: Vec<Batch> =
            desk.window.take_ready().into_iter().map(|batch| Batch { purpose, ..batch }).collect();
        self.ledger.begin_with_answered(&mut batches, &self.team_owner).await?;
        for reference in batches.iter().flat_map(|batch| &batch.refs) {
            desk.carried.remove(&reference.message_server_id);
        }
        self.ledger.plan_refetch(self.run_id, &batches).await?;
        reach("refetch.stored");
        let messages = batches.iter().map(|batch| batch.refs.len() as u64).sum();
        self.meter.add_refetch_planned(batches.len() as u64, messages);
        self.work.new_batches += batches.len() as u64;
        Ok(())
    }

    /// Takes what was answered of messages that the archive has.
    pub(super) async fn take_reviewed(&mut self, pending: &PendingBatch, answer: &Answer) -> Result<(), RunError> {
        let batch = &pending.batch;
        let ids: Vec<i64> = batch.refs.iter().map(|reference| reference.message_server_id).collect();
        let held: HashMap<i64, ExistingVersion> =
            self.ledger.versions(&ids).await?.into_iter().map(|version| (version.message_server_id, version)).collect();
        let rows = edited(&answer.rows, &held);
        let mut misses: Vec<Miss> =
            answer.verdicts.iter().map(|(index, verdict)| miss(batch, *index, verdict)).collect();
        // Some services tell a member who left that nothing exists: who gets nothing of a team says nothing of it.
        let may_have_left = batch.is_of_team()
            && batch.refs.len() > 1
            && answer.rows.is_empty()
            && misses.iter().all(|miss| is_gone(&miss.reason));
        for miss in misses.iter_mut().filter(|miss| miss.remedy == Remedy::OtherOwner) {
            let earlier = batch.history_of(&batch.refs[miss.index]);
            let is_first_word = earlier.is_none_or(|history| history.in_vain || !history.answered);
            if !is_gone(&miss.reason) || (may_have_left && is_first_word) {
                // Where one owner cannot say whether a message exists, another's word is not enough.
                miss.purpose = IN_DOUBT;
            }
        }
        let archived: Vec<i64> = rows.rows().iter().map(|row| row.message_server_id).collect();
        if !rows.is_empty() {
            self.sink.write(Arc::new(rows)).await?;
        }
        let mut finished = self.review(pending, misses, answer.attempts, Some(!answer.rows.is_empty())).await?;
        finished.reviewed.unchanged = (answer.rows.len() - archived.len()) as u64;
        finished.archived = archived;
        self.take_review(finished, answer.rows.len()).await
    }

    /// Takes up that a whole request was in vain.
    pub(super) async fn take_unreviewed(
        &mut self,
        pending: &PendingBatch,
        mut misses: Vec<Miss>,
        attempts: u32,
    ) -> Result<(), RunError> {
        let batch = &pending.batch;
        for miss in &mut misses {
            // That a member left takes nothing back of what another said of a message that he never got himself.
            let reference = &batch.refs[miss.index];
            let left = miss.remedy == Remedy::OtherOwner && batch.is_of_team();
            let answered = batch.history_of(reference).is_some_and(|history| history.answered);
            if !(left && answered && !same_account(batch.owner_of(reference), &batch.asked)) {
                miss.purpose = IN_DOUBT;
            }
        }
        let finished = self.review(pending, misses, attempts, None).await?;
        self.take_review(finished, 0).await
    }

    /// What becomes of archived messages that a batch did not get: asked for once more, noted as vanished, or given up.
    async fn review(
        &mut self,
        pending: &PendingBatch,
        misses: Vec<Miss>,
        sent: u32,
        got: Option<bool>,
    ) -> Result<FinishedBatch, RunError> {
        let batch = &pending.batch;
        let (follow_ups, finals) = follow_up(batch, misses, &self.attempt(sent, got));
        self.note_deferred(&follow_ups);
        let (gone, vain): (Vec<_>, Vec<_>) = finals.into_iter().partition(has_vanished);
        let vanished: Vec<Vanished> = gone.iter().map(|last| vanished(batch, last, got.is_some())).collect();
        let reviewed = Reviewed {
            unchanged: 0,
            vanished: vanished.iter().map(|message| message.message_server_id).collect(),
            failed: vain.len() as u64,
        };
        if !vanished.is_empty() {
            self.sink.write_vanished(vanished).await?;
        }
        Ok(FinishedBatch { seq: pending.seq, follow_ups, reviewed, ..FinishedBatch::default() })
    }

    async fn take_review(&mut self, finished: FinishedBatch, rows: usize) -> Result<(), RunError> {
        let Reviewed { vanished, failed, .. } = &finished.reviewed;
        self.meter.add_batch_done((rows + vanished.len()) as u64, *failed);
        if !finished.has_rows() {
            return self.take_rowless(finished).await;
        }
        self.accept(finished);
        Ok(())
    }
}

/// Whether every owner that could say so said that the message does not exist.
fn has_vanished(last: &Final) -> bool {
    last.purpose == (Purpose::Refetch { doubt: false }) && last.history.answered && is_gone(&last.history.reason)
}

fn vanished(batch: &Batch, last: &Final, answered: bool) -> Vanished {
    let reference = &batch.refs[last.index];
    let told = if answered { &batch.asked } else { last.history.asked.first().unwrap_or(&batch.asked) };
    Vanished {
        conversation_key: batch.key.as_str().to_owned(),
        conversation_id: batch.key.seen_by(told).to_string(),
        conversation_type: batch.key.conversation_type() as i32,
        message_server_id: reference.message_server_id,
        create_time: reference.create_time,
        code: last.history.reason.code.unwrap_or_default(),
        noticed_at: Timestamp::now().as_millisecond(),
    }
}

/// Of these messages those that were edited since, each with the number of its version.
fn edited(rows: &MessageRows, held: &HashMap<i64, ExistingVersion>) -> MessageRows {
    let mut edited = MessageRows::default();
    for row in rows.rows() {
        let known = held.get(&row.message_server_id);
        if row.modify_time > known.and_then(|version| version.modify_time) {
            let revision = known.map_or(0, |version| version.revision) + 1;
            let requested = known.is_none_or(|version| version.requested);
            edited.push_copy(rows, &Row { revision, requested, ..*row });
        }
    }
    edited
}
