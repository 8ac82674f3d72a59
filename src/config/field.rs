//! The fields of a row, and the input's names for them.

use super::mistake::nearest;
use super::reading::Reading;
use super::written::{Entries, Written};

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A reference.
    Reference,
    /// An event of the message copy callback.
    CopyEvent,
}

/// A field of a row whose input name may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Field {
    ConversationId,
    OwnerId,
    ConversationType,
    OtherId,
    MessageServerId,
    CreateTime,
    ConvType,
    FromAccount,
    To,
    MsgidServer,
    MsgTimestamp,
    EventType,
    /// One column that holds a whole copy event as JSON.
    Event,
}

impl Field {
    const REFERENCE: [Self; 6] = [
        Self::ConversationId,
        Self::OwnerId,
        Self::ConversationType,
        Self::OtherId,
        Self::MessageServerId,
        Self::CreateTime,
    ];
    const COPY_EVENT: [Self; 7] = [
        Self::ConvType,
        Self::FromAccount,
        Self::To,
        Self::MsgidServer,
        Self::MsgTimestamp,
        Self::EventType,
        Self::Event,
    ];

    /// The field's own name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConversationId => "conversation_id",
            Self::OwnerId => "owner_id",
            Self::ConversationType => "conversation_type",
            Self::OtherId => "other_id",
            Self::MessageServerId => "message_server_id",
            Self::CreateTime => "create_time",
            Self::ConvType => "convType",
            Self::FromAccount => "fromAccount",
            Self::To => "to",
            Self::MsgidServer => "msgidServer",
            Self::MsgTimestamp => "msgTimestamp",
            Self::EventType => "eventType",
            Self::Event => "event",
        }
    }

    /// Whether `name` is the field's name, in camel or snake case.
    fn is_named(self, name: &str) -> bool {
        let own = self.as_str();
        own == name || snake_case(own) == name
    }
}

fn snake_case(camel: &str) -> String {
    let mut snake = String::new();
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

pub(super) fn read_columns(
    reading: &mut Reading<'_>,
    written: Option<&Entries<Written<String>>>,
    format: Format,
    key: &str,
) -> Vec<(Field, String)> {
    let (fields, other): (&[Field], &[Field]) = match format {
        Format::Reference => (&Field::REFERENCE, &Field::COPY_EVENT),
        Format::CopyEvent => (&Field::COPY_EVENT, &Field::REFERENCE),
    };
    let mut columns: Vec<(Field, String)> = Vec::new();
    for (name, input) in written.iter().flat_map(|entries| &entries.0) {
        let Some(field) = fields.iter().copied().find(|field| field.is_named(&name.value)) else {
            let names: Vec<&str> = fields.iter().map(|field| field.as_str()).collect();
            let message = if other.iter().any(|field| field.is_named(&name.value)) {
                let wanted = if format == Format::Reference { "copy_event" } else { "reference" };
                format!("{:?} is a field of format: {wanted}", name.value)
            } else if let Some(nearest) = nearest(&name.value, &names) {
                format!("{:?} is no field: did you mean {nearest}?", name.value)
            } else {
                format!("{:?} is no field: expected is one of {}", name.value, names.join(", "))
            };
            reading.mistake(name.at, key, message);
            continue;
        };
        let key = format!("{key}.{}", field.as_str());
        if columns.iter().any(|(known, _)| *known == field) {
            reading.mistake(name.at, &key, "is written twice, in two spellings");
            continue;
        }
        if let Some(input) = reading.text(input, &key) {
            if input.value.is_empty() {
                reading.mistake(input.at, &key, "names no input column");
            }
            columns.push((field, input.value));
        }
    }
    let has = |fields: &[Field]| columns.iter().any(|(field, _)| fields.contains(field));
    let clash = if has(&[Field::ConversationId]) && has(&[Field::OwnerId, Field::ConversationType, Field::OtherId]) {
        Some("conversation_id stands beside its parts: name it, or owner_id, conversation_type and other_id")
    } else if has(&[Field::Event]) && columns.len() > 1 {
        Some("event is a whole copy event: name it, or the event's own fields")
    } else {
        None
    };
    if let (Some(message), Some((name, _))) = (clash, written.and_then(|entries| entries.0.first())) {
        reading.mistake(name.at, key, message);
    }
    columns
}
