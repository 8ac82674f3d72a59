//! Lines of a world's file.

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny};
use serde_json::value::RawValue;

use super::conversation::Conversation;
use super::message::{Echo, Fate, Message, fields_of};
use super::quirk::Quirk;

/// One line of a world's file: a message, or a refusal of a whole conversation to one owner.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    conversation_id: String,
    message_server_id: Option<i64>,
    create_time: Option<i64>,
    item: Option<Box<RawValue>>,
    #[serde(default)]
    fate: Fate,
    seen_by: Option<Vec<String>>,
    hidden_as: Option<Fate>,
    #[serde(default)]
    at_first: (Fate, u32),
    echo: Option<Echo>,
    #[serde(default)]
    quirks: Vec<Quirk>,
    refuse: Option<i64>,
}

/// What a line of a world's file says.
pub(super) enum Entry {
    Message(Box<Message>),
    Refusal { conversation: Conversation, code: i64 },
}

impl Entry {
    pub(super) fn read(line: &str) -> Result<Self, serde_json::Error> {
        let line: Line = serde_json::from_str(line)?;
        let conversation = Conversation::parse(&line.conversation_id).ok_or_else(|| {
            serde_json::Error::custom(format!("{:?} is not of the form owner|type|other", line.conversation_id))
        })?;
        if let Some(code) = line.refuse {
            return Ok(Self::Refusal { conversation, code });
        }
        let (Some(id), Some(create_time)) = (line.message_server_id, line.create_time) else {
            return Err(serde_json::Error::custom("a message needs message_server_id and create_time"));
        };
        let mut message = Message::generated(&line.conversation_id, id, create_time).fate(line.fate);
        if let Some(item) = line.item {
            serde_json::from_str::<IgnoredAny>(item.get())?;
            message.fields = fields_of(item.get())?;
        }
        message.at_first = line.at_first;
        message.echo = line.echo;
        if let Some(owners) = line.seen_by {
            message = message.seen_by(owners.iter().map(String::as_str), line.hidden_as.unwrap_or(Fate::Missing));
        }
        Ok(Self::Message(Box::new(line.quirks.into_iter().fold(message, Message::quirk))))
    }
}
