//! What an answer's verdicts mean to the job.

use crate::ledger::FailedRef;
use crate::model::failure::{Class, Reason};
use crate::plan::{Batch, Final, Miss, Remedy};
use crate::yunxin::{Meaning, Verdict};

/// What was said of a reference of a batch, and what may help.
pub(super) fn miss(batch: &Batch, index: usize, verdict: &Verdict) -> Miss {
    let remedy = match verdict {
        Verdict::Unavailable { other_owner_may_help: true, .. } | Verdict::Unanswered => Remedy::OtherOwner,
        Verdict::Unavailable { retryable: true, .. } => Remedy::Later,
        Verdict::Unavailable { .. } | Verdict::Undecodable { .. } => Remedy::Nothing,
    };
    Miss { index, reason: reason(verdict), remedy, purpose: batch.purpose }
}

/// All of a batch, of which the same was said.
pub(super) fn misses(batch: &Batch, reason: &Reason, remedy: Remedy) -> Vec<Miss> {
    let all = 0..batch.refs.len();
    all.map(|index| Miss { index, reason: reason.clone(), remedy, purpose: batch.purpose }).collect()
}

/// Whether the API said that the message does not exist, as opposed to one that may not be seen, or not now.
pub(super) fn is_gone(reason: &Reason) -> bool {
    reason.class == Class::Unavailable && reason.code.map(Meaning::of) == Some(Meaning::DoesNotExist)
}

/// Why a reference did not become a message, as the answer has it.
fn reason(verdict: &Verdict) -> Reason {
    match verdict {
        Verdict::Unavailable { code, message, retryable, .. } => {
            Reason { class: Class::Unavailable, code: *code, message: message.clone(), retryable: *retryable }
        }
        Verdict::Unanswered => Reason {
            class: Class::Unanswered,
            code: None,
            message: "the answer names the message in neither of its lists".to_owned(),
            retryable: true,
        },
        Verdict::Undecodable { message, text } => {
            Reason { class: Class::Undecodable, code: None, message: format!("{message}: {text}"), retryable: true }
        }
    }
}

/// A reference of a batch that failed.
pub(super) fn failed(batch: &Batch, last: Final) -> FailedRef {
    let reference = &batch.refs[last.index];
    FailedRef {
        message_server_id: reference.message_server_id,
        create_time: reference.create_time,
        conversation_id: batch.key.seen_by(batch.owner_of(reference)).to_string(),
        reason: last.history.reason,
        attempts: last.history.attempts,
    }
}
