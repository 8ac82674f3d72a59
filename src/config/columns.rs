//! The fields of a row, and the input's names for them.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::mistake::nearest;
use super::reader::{Reader, join};
use super::setting::Setting;
use super::written::{Entries, Mapping};

const REFERENCE: [&str; 6] =
    ["conversation_id", "owner_id", "conversation_type", "other_id", "message_server_id", "create_time"];
const COPY_EVENT: [&str; 7] = ["convType", "fromAccount", "to", "msgidServer", "msgTimestamp", "eventType", "event"];

choice! {
    /// What a row is.
    Format {
        /// A reference: conversation, message ID, create time.
        Reference = "reference";
        /// An event of the message copy callback.
        CopyEvent = "copy_event";
    }
}

/// The input's names of fields, by the names of the fields.
pub(super) type Columns = BTreeMap<String, String>;

impl Setting for Columns {
    type Written = Mapping<Entries<String>>;
    type Value = Self;

    fn schema() -> Json {
        json!({ "type": "object", "title": "map of field to name", "additionalProperties": { "type": "string" } })
    }

    fn read(reader: &mut Reader<'_>, written: Self::Written, key: &str) -> Option<Self> {
        let mut columns = Some(Self::new());
        for (field, input) in written.known.0 {
            let key = join(key, &field.value);
            reader.places.insert(key.clone(), input.at);
            let input = reader.text(input.value, &key, false, |input| {
                if input.is_empty() { Err("names no input column".to_owned()) } else { Ok(input.to_owned()) }
            });
            reader.places.insert(key, field.at);
            columns = columns.zip(input).map(|(mut columns, input)| {
                columns.insert(field.value, input);
                columns
            });
        }
        columns
    }

    fn canonical(value: &Self) -> Json {
        json!(value)
    }
}

/// Gives the fields their own names, and checks that rows of this format have them.
pub(super) fn check(columns: &mut Columns, reader: &mut Reader<'_>, key: &str, format: Format) {
    let (fields, others, other): (&[&str], &[&str], &str) = match format {
        Format::Reference => (&REFERENCE, &COPY_EVENT, "copy_event"),
        Format::CopyEvent => (&COPY_EVENT, &REFERENCE, "reference"),
    };
    for (name, input) in std::mem::take(columns) {
        // A field may be named in camel or snake case.
        let is_named = |field: &&&str| **field == name || snake_case(field) == name;
        let message = if let Some(field) = fields.iter().find(is_named) {
            match columns.insert((*field).to_owned(), input) {
                None => continue,
                Some(_) => format!("is written twice: {field} is the same field in another spelling"),
            }
        } else if others.iter().any(|field| is_named(&field)) {
            format!("is a field of format: {other}")
        } else if let Some(nearest) = nearest(&name, fields) {
            format!("is no field: did you mean {nearest}?")
        } else {
            format!("is no field: write one of {}", fields.join(", "))
        };
        reader.mistake(&join(key, &name), message);
    }
    let has = |field: &str| columns.contains_key(field);
    if has("conversation_id") && ["owner_id", "conversation_type", "other_id"].into_iter().any(has) {
        let message = "conversation_id stands beside its parts: name it, or owner_id, conversation_type and other_id";
        reader.mistake(key, message);
    } else if has("event") && columns.len() > 1 {
        reader.mistake(key, "event is a whole copy event: name it, or the event's own fields");
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
