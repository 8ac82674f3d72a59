//! What an answer says about messages that are archived already: were they edited, or did they vanish?
//!
//! A later time of edit makes a message edited. Contents are not compared, because the service may answer the same message
//! differently from one time to the next, for example with another signed address. A message vanished only if every
//! owner that could be asked was told that it does not exist. Whatever else the service says, nothing is recorded, and the
//! next refetch asks again.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::finished::{Finished, attempt, misses};
use crate::config::Fetch;
use crate::ledger::{FinishedBatch, PendingBatch, Reviewed};
use crate::model::failure::{Class, Reason};
use crate::model::message::{ExistingVersion, MessageRows, Row, Vanished};
use crate::model::reference::same_account;
use crate::plan::{Attempt, Batch, Final, Miss, Purpose, Remedy, follow_up};
use crate::yunxin::{Answer, Meaning};

/// The latest archived version of each message, by ID.
pub(crate) type Existing = HashMap<i64, ExistingVersion>;

/// The purpose of asking for a message when some owner could not say whether it exists.
const IN_DOUBT: Purpose = Purpose::Refetch { doubt: true };

/// Whether the API said that the message does not exist, as opposed to one that may not be seen, or not now.
fn is_gone(reason: &Reason) -> bool {
    reason.class == Class::Unavailable && reason.code.map(Meaning::of) == Some(Meaning::DoesNotExist)
}

/// Takes what was answered of messages that the archive has.
pub(super) fn answered(pending: &PendingBatch, answer: &Answer, existing: &Existing, fetch: &Fetch) -> Finished {
    let batch = &pending.batch;
    let mut misses = misses(batch, answer);
    // Some services tell a member who left that nothing exists: an owner who gets nothing of a team says nothing about it.
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
    let rows = edited(&answer.rows, existing);
    let mut finished = review(pending, misses, &attempt(answer.attempts, Some(answer), fetch));
    finished.batch.archived = rows.rows().iter().map(|row| row.message_server_id).collect();
    finished.batch.reviewed.unchanged = (answer.rows.len() - rows.len()) as u64;
    finished.rows = (!rows.is_empty()).then(|| Arc::new(rows));
    finished
}

/// Takes up that a whole request was in vain.
pub(super) fn unanswered(pending: &PendingBatch, mut misses: Vec<Miss>, attempt: &Attempt) -> Finished {
    let batch = &pending.batch;
    for miss in &mut misses {
        // That a member left takes nothing back of what another said of a message that the member never got.
        let reference = &batch.refs[miss.index];
        let left = miss.remedy == Remedy::OtherOwner && batch.is_of_team();
        let answered = batch.history_of(reference).is_some_and(|history| history.answered);
        if !(left && answered && !same_account(batch.owner_of(reference), &batch.asked)) {
            miss.purpose = IN_DOUBT;
        }
    }
    review(pending, misses, attempt)
}

/// Sorts what a batch did not get: it is asked for once more, noted as vanished, or given up.
fn review(pending: &PendingBatch, misses: Vec<Miss>, attempt: &Attempt) -> Finished {
    let batch = &pending.batch;
    let (follow_ups, finals) = follow_up(batch, misses, attempt);
    let (gone, given_up): (Vec<_>, Vec<_>) = finals.into_iter().partition(has_vanished);
    let vanished: Vec<Vanished> = gone.iter().map(|last| vanished(batch, last, attempt.answered)).collect();
    let reviewed = Reviewed {
        unchanged: 0,
        vanished: vanished.iter().map(|message| message.message_server_id).collect(),
        failed: given_up.len() as u64,
    };
    let batch = FinishedBatch { seq: pending.seq, follow_ups, reviewed, ..FinishedBatch::default() };
    Finished { rows: None, vanished, batch, counts: false }
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

/// The messages that were edited since they were archived, each with the number of its new version.
fn edited(rows: &MessageRows, existing: &Existing) -> MessageRows {
    let mut edited = MessageRows::default();
    for row in rows.rows() {
        let known = existing.get(&row.message_server_id);
        if row.modify_time > known.and_then(|version| version.modify_time) {
            let revision = known.map_or(0, |version| version.revision) + 1;
            let requested = known.is_none_or(|version| version.requested);
            edited.push_copy(rows, &Row { revision, requested, ..*row });
        }
    }
    edited
}
