//! What an answer's verdicts mean to the job.

use crate::failure::{Class, Reason};
use crate::ledger::FailedRef;
use crate::plan::Batch;
use crate::yunxin::Verdict;

/// Whether what was said of a reference may be different under another owner.
pub(super) fn other_owner_may_help(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Unavailable { other_owner_may_help, .. } => *other_owner_may_help,
        Verdict::Unanswered => true,
        Verdict::Undecodable { .. } => false,
    }
}

/// The code that says that a message does not exist, as opposed to one that may not be seen, or not now.
const NOT_THERE: i64 = 107_404;

/// The code, if it was said that the message does not exist.
pub(super) fn is_gone(verdict: &Verdict) -> Option<i64> {
    match verdict {
        Verdict::Unavailable { code, .. } => code.filter(|code| *code == NOT_THERE),
        Verdict::Unanswered | Verdict::Undecodable { .. } => None,
    }
}

/// Why a reference did not become a message, as the answer has it.
pub(super) fn reason(verdict: &Verdict) -> Reason {
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

/// A reference of a batch that failed; `None` when there is no such reference.
pub(super) fn failed(batch: &Batch, index: usize, reason: Reason, attempts: u32) -> Option<FailedRef> {
    let reference = batch.refs.get(index)?;
    Some(FailedRef {
        message_server_id: reference.message_server_id,
        create_time: reference.create_time,
        conversation_id: batch.key.seen_by(batch.owner_of(reference)).to_string(),
        reason,
        attempts,
    })
}
