//! What the fields of a row mean.

pub(super) mod copy_event;
mod message_id;
pub(super) mod names;
pub(super) mod object;
pub(super) mod time;

use std::borrow::Cow;

use self::copy_event::Subject;
use self::message_id::{DAMAGED, message_id};
use self::names::{Columns, EVENT_TYPE, Fields, ID, Names, OTHER, OWNER, PARTS, TIME, TYPE, WHOLE, aliases};
use self::object::Broken;
use self::time::Times;
use super::error::SourceError;
use super::settings::{Format, Rows};
use super::value::{Value, digits};
use crate::model::reference::{ConversationType, Invalid, Reference, ReferenceChunk, split_conversation_id};

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Reference,
    Skipped,
    Invalid,
}

/// Turns rows into references.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    pub(super) names: Names,
    pub(super) times: Times,
    /// Whether rows are those of CSV, in which an apostrophe may guard a cell against spreadsheets.
    is_csv: bool,
}

type Conversation<'a> = (Cow<'a, str>, ConversationType, Cow<'a, str>);

impl Mapping {
    pub(super) fn new(rows: &Rows, is_csv: bool) -> Result<Self, SourceError> {
        let names = Names::new(rows.format, &rows.columns)?;
        Ok(Self { names, times: Times { unit: rows.time_unit, zone: rows.timezone.clone() }, is_csv })
    }

    /// The fields of a row of columns.
    pub(super) fn fields<'a>(
        &self,
        columns: &Columns,
        cell: impl Fn(usize) -> Value<'a>,
    ) -> Result<Fields<'a>, Broken> {
        match columns.event {
            Some(event) => object::event(&self.names, &cell(event)),
            None => Ok(columns.places.map(|place| place.map_or(Value::Missing, &cell))),
        }
    }

    /// Adds a row to `chunk`: as a reference, as a skipped row, or as an invalid one with its `position`.
    pub(super) fn row(
        &self,
        fields: &Fields<'_>,
        chunk: &mut ReferenceChunk,
        position: impl FnOnce() -> String,
    ) -> Outcome {
        let Some(conversation) = self.conversation(fields).transpose() else {
            chunk.push_skipped();
            return Outcome::Skipped;
        };
        let id = message_id(&fields[ID]);
        let time = self.times.read(&fields[TIME]);
        if let (Ok((owner, conversation_type, other)), &Ok(message_server_id), &Ok(create_time)) =
            (&conversation, &id, &time)
            && chunk.push(Reference {
                owner,
                conversation_type: *conversation_type,
                other,
                message_server_id,
                create_time,
            })
        {
            return Outcome::Reference;
        }
        chunk.push_invalid(self.invalid(position(), conversation, id, time));
        Outcome::Invalid
    }

    /// Whether a row holds anything of a message. The type of an event and its `to` are no sign of one: whatever an event
    /// is wrapped in has them too.
    pub(super) fn has_field(&self, fields: &Fields<'_>) -> bool {
        let is_event = self.names.format == Format::CopyEvent;
        let is_sign = |place| !is_event || (place != EVENT_TYPE && place != OTHER);
        fields.iter().enumerate().any(|(place, value)| value.lack().is_none() && is_sign(place))
    }

    /// What is wrong with a row, and what could be read of it.
    fn invalid(
        &self,
        position: String,
        conversation: Result<Conversation<'_>, String>,
        id: Result<i64, String>,
        time: Result<i64, String>,
    ) -> Invalid {
        let names = aliases(self.names.format);
        let in_field = |place: usize, error: &String| format!("{} {error}", names[place][0]);
        let wrong = [
            conversation.as_ref().err().cloned(),
            id.as_ref().err().map(|error| in_field(ID, error)),
            time.as_ref().err().map(|error| in_field(TIME, error)),
        ];
        let wrong: Vec<String> = wrong.into_iter().flatten().collect();
        Invalid {
            position,
            message: if wrong.is_empty() {
                "an account is longer than any can be".to_owned()
            } else {
                wrong.join("; ")
            },
            conversation_id: conversation.ok().map(|(owner, kind, other)| format!("{owner}|{}|{other}", kind.number())),
            message_server_id: id.ok(),
            create_time: time.ok(),
        }
    }

    /// The conversation of a row; `None` for a copy event that is about something else.
    fn conversation<'a>(&self, fields: &'a Fields<'_>) -> Result<Option<Conversation<'a>>, String> {
        if self.names.format == Format::CopyEvent {
            let Subject::Message(kind) = copy_event::subject(&fields[EVENT_TYPE], &fields[TYPE])? else {
                return Ok(None);
            };
            let owner = account(&fields[OWNER], "fromAccount")?;
            return Ok(Some((owner, kind, account(&fields[OTHER], "to")?)));
        }
        let is_null = |place: usize| matches!(fields[place], Value::Missing | Value::Null);
        if is_null(WHOLE) && !PARTS.into_iter().all(is_null) {
            let owner = account(&fields[OWNER], "owner_id")?;
            let kind = conversation_type(&fields[TYPE])?;
            return Ok(Some((owner, kind, account(&fields[OTHER], "other_id")?)));
        }
        let whole = &fields[WHOLE];
        if let Some(lack) = whole.lack() {
            return Err(format!("conversation_id {lack}"));
        }
        let Value::Text(bytes) = whole else {
            return Err(format!("conversation_id {whole} is not text of the form owner|type|other"));
        };
        let text = std::str::from_utf8(bytes).map_err(|_| format!("conversation_id {whole} is not UTF-8"))?;
        let text = if self.is_csv { without_guard(text) } else { text };
        let (owner, kind, other) = split_conversation_id(text).map_err(|error| {
            // The error quotes the whole text, however long.
            if text.len() <= 160 { error.to_string() } else { format!("conversation_id {whole} is no conversation ID") }
        })?;
        Ok(Some((Cow::Borrowed(owner), kind, Cow::Borrowed(other))))
    }
}

/// A text without the apostrophe that `failures --format csv` puts before what would otherwise be a formula.
fn without_guard(text: &str) -> &str {
    let is_guarded = text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r']);
    text.strip_prefix('\'').filter(|_| is_guarded).unwrap_or(text)
}

/// An account or a team. The API decides which characters are allowed, except for the separator.
fn account<'a>(value: &'a Value<'_>, field: &str) -> Result<Cow<'a, str>, String> {
    if let Some(lack) = value.lack() {
        return Err(format!("{field} {lack}"));
    }
    match value {
        Value::Text(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| format!("{field} {value} is not UTF-8"))?.trim();
            if text.is_empty() {
                return Err(format!("{field} is empty"));
            }
            if text.contains('|') {
                return Err(format!("{field} {value} holds a '|', which separates the parts of a conversation ID"));
            }
            Ok(Cow::Borrowed(text))
        }
        Value::Integer(_) | Value::Unsigned(_) => Ok(Cow::Owned(value.to_string())),
        Value::Float(_) => Err(format!("{field} {value} is a floating-point number: {DAMAGED}")),
        other => Err(format!("{field} {other} is neither text nor an integer")),
    }
}

fn conversation_type(value: &Value<'_>) -> Result<ConversationType, String> {
    if let (Value::Missing | Value::Null, Some(lack)) = (value, value.lack()) {
        return Err(format!("conversation_type {lack}"));
    }
    let known = match value {
        Value::Integer(number) => ConversationType::from_number(*number),
        Value::Text(bytes) => match digits(bytes.trim_ascii()) {
            Some(number) => ConversationType::from_number(number),
            None => copy_event::word(bytes.trim_ascii()),
        },
        _ => None,
    };
    known.ok_or_else(|| {
        format!(
            "conversation_type {value} is none of 1 (one-to-one, PERSON), 2 (team, TEAM), 3 (super team, SUPER_TEAM)"
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
