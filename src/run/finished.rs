//! Batches that have ended, and what their answers did not bring.

use std::sync::Arc;

use crate::config::Fetch;
use crate::ledger::FinishedBatch;
use crate::model::failure::{Class, Reason};
use crate::model::message::{MessageRows, Vanished};
use crate::plan::{Attempt, Batch, Miss, Remedy};
use crate::yunxin::{Answer, Verdict};

/// A batch that has ended, with what the archive gets of it.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    /// New messages, or new versions of archived ones.
    pub(crate) rows: Option<Arc<MessageRows>>,
    /// Archived messages that the service no longer has.
    pub(crate) vanished: Vec<Vanished>,
    /// What the ledger is told.
    pub(crate) batch: FinishedBatch,
    /// Whether the timeline counts the rows: they are new messages.
    pub(crate) counts: bool,
}

/// What an attempt says to [`follow_up`](crate::plan::follow_up): how often the batch was sent, and the answer if there was one.
pub(super) fn attempt(sent: u32, answer: Option<&Answer>, fetch: &Fetch) -> Attempt {
    let got = answer.is_some_and(|answer| !answer.rows.is_empty());
    Attempt { sent, answered: answer.is_some(), got, deferrals: fetch.attempts }
}

/// The references of a batch that an answer did not bring.
pub(super) fn misses(batch: &Batch, answer: &Answer) -> Vec<Miss> {
    answer.verdicts.iter().map(|(index, verdict)| miss(batch, *index, verdict)).collect()
}

/// What was said of a reference of a batch, and what may help.
fn miss(batch: &Batch, index: usize, verdict: &Verdict) -> Miss {
    let remedy = match verdict {
        Verdict::Unavailable { other_owner_may_help: true, .. } | Verdict::Unanswered => Remedy::OtherOwner,
        Verdict::Unavailable { retryable: true, .. } => Remedy::Later,
        Verdict::Unavailable { .. } | Verdict::Undecodable { .. } => Remedy::Nothing,
    };
    Miss { index, reason: reason(verdict), remedy, purpose: batch.purpose }
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
