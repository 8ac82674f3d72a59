//! From references to the fewest batches.

use crate::reference::ConversationKey;

/// In which of its two asks a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Under the owner that most of its references name.
    First,
    /// Once more, under the reference's own owner or the other side of the dialogue. Failures are final now.
    Second,
}

/// One reference of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchRef {
    /// The message's ID.
    pub message_server_id: i64,
    /// When it was created, milliseconds since the epoch.
    pub create_time: i64,
    /// Its own owner: an index into [`Batch::owners`].
    pub owner: u16,
}

/// The references of one request, all of one dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The dialogue.
    pub key: ConversationKey,
    /// The account in whose name the request asks.
    pub asked: String,
    /// First or second ask.
    pub ask: Ask,
    /// The owners that the references name, as they spell them, each once.
    pub owners: Vec<String>,
    /// The references.
    pub refs: Vec<BatchRef>,
}
