//! What the outcome of a request means to the job.

use std::sync::Arc;

use super::finished::{Finished, attempt, misses};
use super::owners::RefusedOwner;
use super::queue::Assignment;
use super::review::{self, Existing};
use crate::config::Fetch;
use crate::ledger::{FailedRef, FinishedBatch, Link, PendingBatch};
use crate::model::failure::{Class, Reason};
use crate::model::message::MessageRows;
use crate::plan::{Attempt, Batch, Final, Miss, Remedy, follow_up};
use crate::yunxin::{Answer, Outcome, Refusal};

/// A batch that was asked, and what became of it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) assignment: Assignment,
    pub(crate) outcome: Outcome,
    /// What the archive holds of its messages, where it asks for archived messages again.
    pub(crate) existing: Existing,
}

/// What the coordinator takes up of a batch that was asked.
#[derive(Debug)]
pub(crate) struct AskedBatch {
    pub(crate) meaning: Meaning,
    /// The owner, if the API refused it for the whole team.
    pub(crate) refused: Option<RefusedOwner>,
    /// Whether the API answered with code 200.
    pub(crate) answered: bool,
}

impl AskedBatch {
    /// What it is. `doubted` is the code that puts the credentials in doubt, as long as nothing was answered.
    pub(crate) fn of(asked: Asked, fetch: &Fetch, doubted: Option<i64>) -> Self {
        let refused = RefusedOwner::of(&asked.assignment.pending.batch, &asked.outcome);
        let answered = matches!(asked.outcome, Outcome::Answered(_));
        Self { meaning: asked.meaning(fetch, doubted), refused, answered }
    }
}

/// What the outcome of a request means to the job.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// Every reference of the batch is accounted for.
    Finished(Finished),
    /// The batch is to be asked in parts.
    Split(Split),
    /// One reference was refused as a wrong checksum would be, while nothing has been answered yet.
    Doubtful(Doubtful),
}

/// A batch that the API takes only in parts.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) batch: FinishedBatch,
    pub(crate) origin: i64,
    /// Whether its first part is one reference that is tried alone, before anything else is sent.
    pub(crate) probe: bool,
}

/// A single reference that was refused while the credentials are in doubt: it may be the credentials' fault.
#[derive(Debug)]
pub(crate) struct Doubtful {
    pub(crate) pending: PendingBatch,
    pub(crate) code: i64,
    pub(crate) message: String,
}

impl Doubtful {
    /// The failure that it is once the credentials are known to be right.
    pub(crate) fn failed(self, fetch: &Fetch) -> Finished {
        let Self { pending, code, message } = self;
        let reason = Reason { class: Class::Refused, code: Some(code), message, retryable: false };
        unanswered(&pending, &reason, Remedy::Nothing, 1, fetch)
    }
}

impl Asked {
    fn meaning(self, fetch: &Fetch, doubted: Option<i64>) -> Meaning {
        let Self { assignment: Assignment { pending, origin }, outcome, existing } = self;
        let is_single = pending.batch.refs.len() == 1;
        let (reason, remedy, attempts) = match outcome {
            Outcome::Answered(answer) if pending.batch.purpose.is_refetch() => {
                return Meaning::Finished(review::answered(&pending, &answer, &existing, fetch));
            }
            Outcome::Answered(answer) => return Meaning::Finished(answered(&pending, answer, fetch)),
            Outcome::Refused { refusal: Refusal::Split { probe }, .. } if !is_single => {
                return Meaning::Split(split(&pending, origin, probe));
            }
            Outcome::Refused { code, message, refusal: Refusal::Permanent, .. }
                if is_single && doubted == Some(code) =>
            {
                return Meaning::Doubtful(Doubtful { pending, code, message });
            }
            Outcome::Refused { code, message, refusal: Refusal::OtherOwner, attempts } => {
                let class = Class::Unavailable;
                (Reason { class, code: Some(code), message, retryable: false }, Remedy::OtherOwner, attempts)
            }
            Outcome::Refused { code, message, refusal: Refusal::Permanent | Refusal::Split { .. }, attempts } => {
                let class = Class::Refused;
                (Reason { class, code: Some(code), message, retryable: false }, Remedy::Nothing, attempts)
            }
            Outcome::Exhausted { code, message, attempts } => {
                (Reason { class: Class::Transport, code, message, retryable: true }, Remedy::Nothing, attempts)
            }
        };
        Meaning::Finished(unanswered(&pending, &reason, remedy, attempts, fetch))
    }
}

/// Takes the messages of an answer.
fn answered(pending: &PendingBatch, mut answer: Answer, fetch: &Fetch) -> Finished {
    let batch = &pending.batch;
    if batch.purpose.is_extra() {
        for row in Arc::make_mut(&mut answer.rows).rows_mut() {
            row.requested = false;
        }
    }
    let misses = misses(batch, &answer);
    let mut finished = sort_out(pending, misses, &attempt(answer.attempts, Some(&answer), fetch));
    finished.archived = answer.rows.rows().iter().map(|row| row.message_server_id).collect();
    if batch.purpose.depth().is_some_and(|depth| depth < fetch.links()) {
        finished.links = links(&answer.rows, batch);
    }
    let rows = (!answer.rows.is_empty()).then_some(answer.rows);
    Finished { rows, vanished: Vec::new(), batch: finished, counts: true }
}

/// Takes up that a whole request was in vain.
fn unanswered(pending: &PendingBatch, reason: &Reason, remedy: Remedy, attempts: u32, fetch: &Fetch) -> Finished {
    let batch = &pending.batch;
    let all = 0..batch.refs.len();
    let misses = all.map(|index| Miss { index, reason: reason.clone(), remedy, purpose: batch.purpose }).collect();
    let attempt = attempt(attempts, None, fetch);
    if batch.purpose.is_refetch() {
        return review::unanswered(pending, misses, &attempt);
    }
    Finished { batch: sort_out(pending, misses, &attempt), ..Finished::default() }
}

/// Splits a batch that was refused as a whole. While nothing has succeeded, one reference alone tells more about the
/// credentials than two halves.
fn split(pending: &PendingBatch, origin: i64, probe: bool) -> Split {
    let parts = if probe { pending.batch.split_at(1) } else { pending.batch.halves() };
    let batch = FinishedBatch { seq: pending.seq, split: parts.to_vec(), ..FinishedBatch::default() };
    Split { batch, origin, probe }
}

/// Sorts what a batch did not get into follow-up asks and failures.
fn sort_out(pending: &PendingBatch, misses: Vec<Miss>, attempt: &Attempt) -> FinishedBatch {
    let (follow_ups, finals) = follow_up(&pending.batch, misses, attempt);
    let failures = finals.into_iter().map(|last| failed(&pending.batch, last)).collect();
    FinishedBatch { seq: pending.seq, failures, follow_ups, ..FinishedBatch::default() }
}

/// A reference of a batch that failed.
fn failed(batch: &Batch, last: Final) -> FailedRef {
    let reference = &batch.refs[last.index];
    FailedRef {
        message_server_id: reference.message_server_id,
        create_time: reference.create_time,
        conversation_id: batch.key.seen_by(batch.owner_of(reference)).to_string(),
        reason: last.history.reason,
        attempts: last.history.attempts,
    }
}

/// What the messages of a batch link to outside the batch, each ID once. A link without ID or time cannot be asked for.
fn links(rows: &MessageRows, batch: &Batch) -> Vec<Link> {
    let mut links: Vec<Link> = rows
        .rows()
        .iter()
        .flat_map(|row| {
            [
                (row.thread_root_message_server_id, row.thread_root_create_time),
                (row.thread_reply_message_server_id, row.thread_reply_create_time),
            ]
        })
        .filter_map(|(id, time)| Some((id.filter(|id| *id > 0)?, time.filter(|time| *time > 0)?)))
        .filter(|(id, _)| batch.refs.iter().all(|reference| reference.message_server_id != *id))
        .map(|(message_server_id, create_time)| Link { message_server_id, create_time })
        .collect();
    links.sort_unstable();
    links.dedup_by_key(|link| link.message_server_id);
    links
}
