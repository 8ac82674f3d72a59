//! What a job reads: references to messages, and the conversations that they name.

mod chunk;
mod conversation;

pub use self::chunk::{Invalid, Reference, ReferenceChunk};
pub use self::conversation::{
    ConversationId, ConversationIdError, ConversationKey, ConversationType, same_account, split_conversation_id,
    write_key,
};
