//! What the client is asked for, and what it returns.

use std::sync::Arc;
use std::time::Duration;

use super::code::advice;
use super::outage::{readable, to_the_second};
use super::response::Verdict;
use crate::model::message::MessageRows;
use crate::model::reference::{ConversationId, ConversationKey};

/// The references of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskFor {
    /// The dialogue.
    pub key: ConversationKey,
    /// The conversation as it is asked: its owner is the account in whose name the request asks.
    pub conversation: ConversationId,
    /// ID and create time (milliseconds since the epoch) of each reference. The IDs are distinct.
    pub refs: Vec<(i64, i64)>,
    /// The planned batch that the references come from. Halves of a split keep the number of their whole, so that it shows
    /// whether refusals are independent evidence against the credentials.
    pub batch: u64,
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The API answered with code 200.
    Answered(Answer),
    /// The API refused the request as a whole.
    Refused {
        /// The API's code.
        code: i64,
        /// The API's text.
        message: String,
        /// What to do about it.
        refusal: Refusal,
        /// How often the batch was sent, this time included.
        attempts: u32,
    },
    /// All attempts that count failed: because of a gateway, a busy service, or the network while others were answered.
    Exhausted {
        /// The API's last code, when it gave one.
        code: Option<i64>,
        /// What went wrong last.
        message: String,
        /// How often the batch was sent.
        attempts: u32,
    },
}

/// What to do about a request that was refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Ask for the references in smaller requests.
    Split {
        /// Ask for one reference alone and for the rest later, rather than for halves. Nothing has succeeded yet, and single
        /// references of several batches show soonest whether the credentials are wrong.
        probe: bool,
    },
    /// Final for this conversation and owner; another owner may get them. Class `unavailable`.
    OtherOwner,
    /// Final. Class `refused`.
    Permanent,
}

/// An answer with code 200. Every reference is either among the rows or among the verdicts, exactly once.
#[derive(Debug)]
pub struct Answer {
    /// The messages.
    pub rows: Arc<MessageRows>,
    /// For each row the index of its reference in [`AskFor::refs`].
    pub archived: Vec<u32>,
    /// For each other reference its index in [`AskFor::refs`] and its verdict, in that order.
    pub verdicts: Vec<(usize, Verdict)>,
    /// Messages that were not asked for, dropped.
    pub unrequested: u32,
    /// Messages that the answer repeats, dropped.
    pub repeated: u32,
    /// How often the batch was sent, this time included.
    pub attempts: u32,
    /// The size of the answer in bytes, decompressed.
    pub bytes: u64,
    /// When the answer was complete, milliseconds since the epoch.
    pub fetched_at: i64,
    /// From sending the request to the end of its answer.
    pub latency: Duration,
}

/// Why the run stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Credentials or configuration. Exit 4.
    #[error("the API refuses this app: code {code}, {message:?}{}", advice(*code))]
    Credentials {
        /// The API's code.
        code: i64,
        /// The API's text.
        message: String,
    },
    /// Nothing succeeded on any endpoint for too long. Exit 1; the batch stays pending.
    #[error(
        "no endpoint has given a usable answer since {} (tried for {}); the last error: {last_error}",
        to_the_second(*since), readable(*tried_for)
    )]
    Unreachable {
        /// The first failure after the last success.
        since: jiff::Timestamp,
        /// How long it has been tried since. Idle times do not count.
        tried_for: Duration,
        /// What went wrong last.
        last_error: String,
    },
    /// The caller cancelled before the request was sent; the batch stays pending.
    #[error("cancelled")]
    Cancelled,
}
