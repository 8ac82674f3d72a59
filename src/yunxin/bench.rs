//! What benchmarks need of this room's pure functions. No part of the library's contract.

use super::question::Question;
use super::response::{self, Reply};
use crate::model::message::MessageRows;
use crate::model::reference::ConversationKey;

/// The rows of an answer's body; nothing when it is no answer with code 200.
pub fn decode(body: &[u8], key: &ConversationKey, refs: &[(i64, i64)]) -> Option<MessageRows> {
    let question = Question {
        key: key.as_str(),
        conversation: key.as_str(),
        conversation_type: key.conversation_type().number(),
        refs,
        fetched_at: 0,
        raw: false,
    };
    match response::decode(body, &question) {
        Ok(Reply::Answer(decoded)) => Some(decoded.rows),
        Ok(Reply::Code(..)) | Err(_) => None,
    }
}
