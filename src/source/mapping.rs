//! Which column is which field, and what the fields of a row mean.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::SourceError;
use super::copy_event::{self, Subject};
use super::message_id::{DAMAGED, message_id};
use super::settings::Format;
use super::time::Times;
use super::value::{Value, digits, trim};
use crate::model::reference::{ConversationType, Invalid, Reference, ReferenceChunk, split_conversation_id};

/// The number of fields of either format.
pub(super) const FIELDS: usize = 6;

/// The fields of one row. What the places hold is said by the constants below; a column that is not there is missing.
pub(super) type Fields<'a> = [Value<'a>; FIELDS];

/// The whole conversation ID of a reference, or the `eventType` of a copy event.
const WHOLE: usize = 0;
const EVENT_TYPE: usize = 0;
const OWNER: usize = 1;
const TYPE: usize = 2;
const OTHER: usize = 3;
const ID: usize = 4;
const TIME: usize = 5;

const REFERENCE: [&[&str]; FIELDS] = [
    &["conversation_id"],
    &["owner_id"],
    &["conversation_type"],
    &["other_id"],
    &["message_server_id"],
    &["create_time"],
];

const COPY_EVENT: [&[&str]; FIELDS] = [
    &["eventType", "event_type"],
    &["fromAccount", "from_account"],
    &["convType", "conv_type"],
    &["to"],
    &["msgidServer", "msgid_server", "msg_id_server"],
    &["msgTimestamp", "msg_timestamp"],
];

/// The field that stands for a whole copy event as JSON, and the columns that are taken for it unasked.
const EVENT: &str = "event";
const EVENT_COLUMNS: [&str; 3] = [EVENT, "payload", "body"];

/// The fields that `columns` may rename.
pub fn field_names(format: Format) -> Vec<&'static str> {
    let mut names: Vec<&str> = aliases(format).iter().map(|names| names[0]).collect();
    if format == Format::CopyEvent {
        names.push(EVENT);
    }
    names
}

fn aliases(format: Format) -> &'static [&'static [&'static str]; FIELDS] {
    match format {
        Format::Reference => &REFERENCE,
        Format::CopyEvent => &COPY_EVENT,
    }
}

/// The input names of every field.
#[derive(Debug, Clone)]
pub(super) struct Names {
    format: Format,
    fields: [Vec<String>; FIELDS],
    renamed: [bool; FIELDS],
    event: Option<String>,
}

impl Names {
    pub(super) fn new(format: Format, columns: &BTreeMap<String, String>) -> Result<Self, SourceError> {
        let aliases = aliases(format);
        let mut names = aliases.map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let mut renamed = [false; FIELDS];
        let mut event = None;
        for (field, input) in columns {
            if let Some(place) = aliases.iter().position(|names| names.contains(&field.as_str())) {
                names[place] = vec![input.clone()];
                renamed[place] = true;
            } else if format == Format::CopyEvent && field == EVENT {
                event = Some(input.clone());
            } else {
                let known = field_names(format).join(", ");
                return Err(SourceError::Unusable(format!("columns: {field:?} is no field: there are {known}")));
            }
        }
        Ok(Self { format, fields: names, renamed, event })
    }

    /// The field that an input name stands for, and whether it is spelled exactly so.
    pub(super) fn place(&self, input: &str) -> Option<(usize, bool)> {
        let exact = self.fields.iter().position(|names| names.iter().any(|name| name == input));
        if let Some(place) = exact {
            return Some((place, true));
        }
        let place = self.fields.iter().position(|names| names.iter().any(|name| name.eq_ignore_ascii_case(input)))?;
        Some((place, false))
    }

    /// Whether a copy event may stand in a member or column of its own.
    pub(super) fn may_have_event(&self) -> bool {
        self.format == Format::CopyEvent
    }

    /// The input name that was said to hold a whole copy event.
    pub(super) fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// The names of which every row has some.
    pub(super) fn expected(&self) -> String {
        self.fields.concat().join(", ")
    }

    /// Whether an input name is that of the message's ID.
    pub(super) fn is_id(&self, input: &str) -> bool {
        self.place(input).is_some_and(|(place, _)| place == ID)
    }

    /// Finds the fields among the columns of `input`, or says which are missing.
    pub(super) fn columns(&self, input: &str, found: &[String]) -> Result<Columns, SourceError> {
        let mut columns = Columns { places: [None; FIELDS], event: None };
        for (place, names) in self.fields.iter().enumerate() {
            columns.places[place] = find(input, found, names)?;
            if self.renamed[place] && columns.places[place].is_none() {
                return Err(missing(input, &format!("{:?}, which `columns` names", names[0]), found, ""));
            }
        }
        match self.format {
            Format::Reference => {
                let parts_renamed = [OWNER, TYPE, OTHER].iter().any(|&place| self.renamed[place]);
                if columns.places[WHOLE].is_some() && (self.renamed[WHOLE] || !parts_renamed) {
                    for part in [OWNER, TYPE, OTHER] {
                        columns.places[part] = None;
                    }
                } else {
                    columns.places[WHOLE] = None;
                }
            }
            Format::CopyEvent => self.find_event(input, found, &mut columns)?,
        }
        if columns.event.is_some() {
            return Ok(columns);
        }
        let mut lacking: Vec<&str> = [OWNER, TYPE, OTHER, ID, TIME]
            .into_iter()
            .filter(|&place| columns.places[place].is_none())
            .map(|place| self.fields[place][0].as_str())
            .collect();
        if columns.places[WHOLE].is_some() && self.format == Format::Reference {
            lacking.retain(|name| [ID, TIME].iter().any(|&place| self.fields[place][0] == *name));
        }
        if lacking.is_empty() {
            return Ok(columns);
        }
        let needed = match self.format {
            Format::Reference
                if lacking.len() > 2 || columns.places[ID].is_some() && columns.places[TIME].is_some() =>
            {
                "conversation_id (or owner_id, conversation_type and other_id)".to_owned()
                    + if columns.places[ID].is_none() { ", message_server_id" } else { "" }
                    + if columns.places[TIME].is_none() { ", create_time" } else { "" }
            }
            _ => lacking.join(", "),
        };
        Err(missing(input, &needed, found, "; `columns` maps fields to other names"))
    }

    /// A copy event as one JSON column: the one that `columns` names, or else, without columns of its own fields, the
    /// only column there is or one with a telling name.
    fn find_event(&self, input: &str, found: &[String], columns: &mut Columns) -> Result<(), SourceError> {
        if let Some(event) = &self.event {
            columns.event = find(input, found, std::slice::from_ref(event))?;
            if columns.event.is_none() {
                return Err(missing(input, &format!("{event:?}, which `columns` names"), found, ""));
            }
        } else if columns.places[TYPE].is_none() && columns.places[ID].is_none() {
            columns.event = match found {
                [_] => Some(0),
                _ => find(input, found, &EVENT_COLUMNS.map(str::to_owned))?,
            };
        }
        Ok(())
    }
}

/// The column of one of these names: spelled exactly so, or else but for case.
pub(super) fn find(input: &str, found: &[String], names: &[String]) -> Result<Option<usize>, SourceError> {
    for exact in [true, false] {
        for name in names {
            let same = |column: &String| if exact { column == name } else { column.eq_ignore_ascii_case(name) };
            let mut places = found.iter().enumerate().filter(|(_, column)| same(column)).map(|(place, _)| place);
            if let Some(place) = places.next() {
                if places.next().is_some() {
                    return Err(SourceError::Unusable(format!("{input}: there is more than one column {name:?}")));
                }
                return Ok(Some(place));
            }
        }
    }
    Ok(None)
}

fn missing(input: &str, needed: &str, found: &[String], hint: &str) -> SourceError {
    let shown: Vec<String> =
        found.iter().take(32).map(|name| Value::text(name).to_string().trim_matches('"').to_owned()).collect();
    let more = if found.len() > shown.len() { ", …" } else { "" };
    SourceError::Unusable(format!("{input}: missing {needed}; found {}{more}{hint}", shown.join(", ")))
}

/// Where the fields stand among the columns of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    /// The column of each field.
    pub(super) places: [Option<usize>; FIELDS],
    /// The column that holds a whole copy event as JSON; then no field has a column.
    pub(super) event: Option<usize>,
}

impl Columns {
    /// How many columns a row must have for all that are used to be among them.
    pub(super) fn needed(&self) -> usize {
        self.places.into_iter().chain([self.event]).flatten().max().map_or(0, |last| last + 1)
    }

    /// What is read from these columns, for a message.
    pub(super) fn shown(&self, header: &[String]) -> String {
        if let Some(event) = self.event {
            return format!("a copy event in {:?}", header[event]);
        }
        let names: Vec<String> =
            self.places.into_iter().flatten().map(|place| format!("{:?}", header[place])).collect();
        format!("anything in {}", names.join(", "))
    }

    /// The columns of conversation ID, message ID and time, when a row is understood by these three.
    pub(super) fn texts(&self) -> Option<[usize; 3]> {
        match (self.places, self.event) {
            ([Some(conversation), None, None, None, Some(id), Some(time)], None) => Some([conversation, id, time]),
            _ => None,
        }
    }
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Reference,
    Skipped,
    Invalid,
}

/// Turns the fields of rows into references.
#[derive(Debug, Clone)]
pub(super) struct Interpreter {
    pub(super) format: Format,
    pub(super) times: Times,
}

type Conversation<'a> = (Cow<'a, str>, ConversationType, Cow<'a, str>);

impl Interpreter {
    /// Adds a reference to `chunk` if these texts of conversation ID, message ID and time are one beyond doubt.
    pub(super) fn texts(&self, [conversation, id, time]: [&[u8]; 3], chunk: &mut ReferenceChunk) -> bool {
        if conversation.first() == Some(&b'\'') {
            return false;
        }
        let parts = std::str::from_utf8(conversation).ok().and_then(|text| split_conversation_id(text).ok());
        let id = digits(trim(id)).filter(|id| *id > 0);
        let time = digits(trim(time)).and_then(|time| self.times.integer(time).ok());
        let (Some((owner, conversation_type, other)), Some(message_server_id), Some(create_time)) = (parts, id, time)
        else {
            return false;
        };
        chunk.push(Reference { owner, conversation_type, other, message_server_id, create_time })
    }

    /// Adds a row to `chunk` as what it is; `position` is asked only for an invalid one.
    pub(super) fn row(
        &self,
        fields: &Fields<'_>,
        chunk: &mut ReferenceChunk,
        position: impl FnOnce() -> String,
    ) -> Outcome {
        let Some(conversation) = self.conversation(fields).transpose() else {
            chunk.skipped += 1;
            return Outcome::Skipped;
        };
        let id = message_id(&fields[ID]);
        let time = self.times.read(&fields[TIME]);
        if let (Ok((owner, conversation_type, other)), Ok(message_server_id), Ok(create_time)) =
            (&conversation, &id, &time)
        {
            let conversation_type = *conversation_type;
            let reference = Reference {
                owner,
                conversation_type,
                other,
                message_server_id: *message_server_id,
                create_time: *create_time,
            };
            if chunk.push(reference) {
                return Outcome::Reference;
            }
        }
        chunk.invalid.push(self.invalid(position(), conversation, id, time));
        Outcome::Invalid
    }

    /// Whether there is anything in the fields of a row that speaks of a message. The type of an event and its `to` are
    /// also found on whatever an event is wrapped in.
    pub(super) fn has_field(&self, fields: &Fields<'_>) -> bool {
        let wrapping = |place| self.format == Format::CopyEvent && (place == EVENT_TYPE || place == OTHER);
        fields.iter().enumerate().any(|(place, value)| value.lack().is_none() && !wrapping(place))
    }

    /// What is wrong with a row, and what could be read of it.
    #[cold]
    fn invalid(
        &self,
        position: String,
        conversation: Result<Conversation<'_>, String>,
        id: Result<i64, String>,
        time: Result<i64, String>,
    ) -> Invalid {
        let names = aliases(self.format);
        let mut wrong = Vec::new();
        let conversation_id = match conversation {
            Ok((owner, kind, other)) => Some(format!("{owner}|{}|{other}", kind.number())),
            Err(message) => {
                wrong.push(message);
                None
            }
        };
        if let Err(message) = &id {
            wrong.push(format!("{} {message}", names[ID][0]));
        }
        if let Err(message) = &time {
            wrong.push(format!("{} {message}", names[TIME][0]));
        }
        if wrong.is_empty() {
            wrong.push("an account is longer than any can be".to_owned());
        }
        Invalid {
            position,
            message: wrong.join("; "),
            conversation_id,
            message_server_id: id.ok(),
            create_time: time.ok(),
        }
    }

    /// The conversation of a row; `None` for a copy event that speaks of no conversation's message.
    fn conversation<'a>(&self, fields: &'a Fields<'_>) -> Result<Option<Conversation<'a>>, String> {
        if self.format == Format::CopyEvent {
            let Subject::Message(kind) = copy_event::subject(&fields[EVENT_TYPE], &fields[TYPE])? else {
                return Ok(None);
            };
            let owner = account(&fields[OWNER], "fromAccount")?;
            return Ok(Some((owner, kind, account(&fields[OTHER], "to")?)));
        }
        let parts = [OWNER, TYPE, OTHER];
        let is_null = |place: usize| matches!(fields[place], Value::Missing | Value::Null);
        if is_null(WHOLE) && !parts.into_iter().all(is_null) {
            let owner = account(&fields[OWNER], "owner_id")?;
            let kind = conversation_type(&fields[TYPE])?;
            return Ok(Some((owner, kind, account(&fields[OTHER], "other_id")?)));
        }
        if let Some(lack) = fields[WHOLE].lack() {
            return Err(format!("conversation_id {lack}"));
        }
        match &fields[WHOLE] {
            Value::Text(bytes) => {
                let shown = &fields[WHOLE];
                let text = std::str::from_utf8(bytes).map_err(|_| format!("conversation_id {shown} is not UTF-8"))?;
                let text = unguarded(text);
                let (owner, kind, other) = split_conversation_id(text).map_err(|error| {
                    // The error quotes the whole text, which may be anything.
                    if text.len() <= 160 {
                        error.to_string()
                    } else {
                        format!("conversation_id {shown} is no conversation ID")
                    }
                })?;
                Ok(Some((Cow::Borrowed(owner), kind, Cow::Borrowed(other))))
            }
            other => Err(format!("conversation_id {other} is not text of the form owner|type|other")),
        }
    }
}

/// A text without the apostrophe that files for spreadsheets put before what would begin a formula.
fn unguarded(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| rest.starts_with(['=', '+', '-', '@'])).unwrap_or(text)
}

/// An account or a team. Whatever characters it has are the API's business, but for the one that separates.
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
            if memchr::memchr(b'|', text.as_bytes()).is_some() {
                return Err(format!("{field} {value} holds a '|', which separates the parts of a conversation ID"));
            }
            Ok(Cow::Borrowed(text))
        }
        Value::Integer(number) => Ok(Cow::Owned(number.to_string())),
        Value::Unsigned(number) => Ok(Cow::Owned(number.to_string())),
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
        Value::Text(bytes) => match digits(trim(bytes)) {
            Some(number) => ConversationType::from_number(number),
            None => copy_event::word(trim(bytes)),
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
#[path = "mapping_tests.rs"]
mod tests;
