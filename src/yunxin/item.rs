//! One message of an answer, from JSON to a row.

use super::escape::{quote_into, repair_into};
use super::extra::{Extra, Scope};
use super::json::{self, Broken, Scanner, Text, Traits, Value, value_into};
use super::keys::{Key, Keys, Known};
use super::response::Question;
use super::threads::{Columns, ThreadReader};
use super::value::{read_integer, read_text, set_text, time};
use crate::message::{MessageRows, Row, Span, TextColumn};

/// Reads items; keeps its memory, and what order fields come in, from one to the next.
pub(super) struct ItemReader<'t> {
    key: Span,
    conversation: Span,
    conversation_type: i32,
    fetched_at: i64,
    raw: bool,
    keys: Keys<Field>,
    threads: ThreadReader,
    /// The message at hand.
    row: Row,
    extra: Extra<'t>,
    scratch: String,
}

impl<'t> ItemReader<'t> {
    /// Puts what all rows share into the rows' buffer.
    pub(super) fn new(question: &Question<'_>, rows: &mut MessageRows) -> Self {
        Self {
            key: rows.intern(question.key),
            conversation: rows.intern(question.conversation),
            conversation_type: question.conversation_type,
            fetched_at: question.fetched_at,
            raw: question.raw,
            keys: Keys::new(FIELDS),
            threads: ThreadReader::new(),
            row: Row::new(0, 0, question.conversation_type, question.fetched_at),
            extra: Extra::default(),
            scratch: String::new(),
        }
    }

    /// Reads the next value of `scanner` as an item; gives its ID, and when it says that it was created.
    pub(super) fn read(
        &mut self,
        scanner: &mut Scanner<'t>,
        rows: &mut MessageRows,
    ) -> Result<Result<(i64, Option<i64>), NoId>, Broken> {
        if scanner.peek() != b'{' {
            scanner.value()?;
            return Ok(Err(NoId { create_time: None, message: "the item is no object" }));
        }
        self.extra.clear();
        self.row = Row::new(0, 0, self.conversation_type, self.fetched_at);
        let mut item = Item { reader: self, rows, create_time: None };
        item.read_fields(scanner)?;
        let create_time = item.create_time;
        let id = self.row.message_server_id;
        if id <= 0 {
            return Ok(Err(NoId { create_time, message: "message_server_id is no positive 64-bit integer" }));
        }
        Ok(Ok((id, create_time)))
    }

    /// Completes the message that was read last, and appends it. `replaced` says that invalid UTF-8 was replaced in
    /// `json`, the item's text.
    pub(super) fn finish(&mut self, create_time: i64, replaced: bool, json: &str, rows: &mut MessageRows) {
        let row = &mut self.row;
        row.create_time = create_time;
        row.text[TextColumn::ConversationKey as usize] = self.key;
        row.text[TextColumn::ConversationId as usize] = self.conversation;
        row.substituted |= replaced;
        if !self.extra.is_empty() {
            row.substituted |= self.extra.is_lone();
            row.text[TextColumn::Extra as usize] = rows.intern_with(|out| self.extra.write_into(out)).0;
        }
        if self.raw {
            row.text[TextColumn::Raw as usize] = rows.intern(json);
        }
        rows.push(*row);
    }
}

/// An item without a usable ID.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoId {
    /// As answered, in milliseconds.
    pub(super) create_time: Option<i64>,
    /// What is wrong with it.
    pub(super) message: &'static str,
}

/// What a field of an item is.
#[derive(Debug, Clone, Copy)]
enum Field {
    Text(TextColumn),
    Number(Number),
    Attachment,
    Receivers,
    Inclusive,
    NewMemberVisible,
    ThreadConfig,
}

/// A field that holds an integer.
#[derive(Debug, Clone, Copy)]
enum Number {
    MessageServerId,
    ConversationType,
    TeamId,
    MessageType,
    SubType,
    CreateTime,
    SenderClientType,
    ModifyTime,
}

impl Number {
    /// Whether a string of digits is as good.
    fn may_be_quoted(self) -> bool {
        matches!(self, Self::MessageServerId | Self::TeamId | Self::SenderClientType)
    }
}

/// The fields of an item, in the order of the API's documentation.
static FIELDS: &[Known<Field>] = &[
    Known::new("message_server_id", Field::Number(Number::MessageServerId)),
    Known::new("message_client_id", Field::Text(TextColumn::MessageClientId)),
    Known::new("conversation_type", Field::Number(Number::ConversationType)),
    Known::new("sender_id", Field::Text(TextColumn::SenderId)),
    Known::new("receiver_id", Field::Text(TextColumn::ReceiverId)),
    Known::new("team_id", Field::Number(Number::TeamId)),
    Known::new("message_type", Field::Number(Number::MessageType)),
    Known::new("sub_type", Field::Number(Number::SubType)),
    Known::new("create_time", Field::Number(Number::CreateTime)),
    Known::new("sender_client_type", Field::Number(Number::SenderClientType)),
    Known::new("text", Field::Text(TextColumn::Text)),
    Known::new("attachment", Field::Attachment),
    Known::new("extension", Field::Text(TextColumn::Extension)),
    Known::new("modify_account_id", Field::Text(TextColumn::ModifyAccountId)),
    Known::new("modify_time", Field::Number(Number::ModifyTime)),
    Known::new("receiver_account_ids", Field::Receivers),
    Known::new("inclusive", Field::Inclusive),
    Known::new("new_member_visible", Field::NewMemberVisible),
    Known::new("thread_config", Field::ThreadConfig),
];

/// An item whose fields are being read.
struct Item<'r, 't> {
    reader: &'r mut ItemReader<'t>,
    rows: &'r mut MessageRows,
    create_time: Option<i64>,
}

impl<'t> Item<'_, 't> {
    fn read_fields(&mut self, scanner: &mut Scanner<'t>) -> Result<(), Broken> {
        self.reader.keys.enter(scanner)?;
        while let Some(key) = self.reader.keys.next(scanner)? {
            let known = match key {
                Key::Known(known) => known,
                Key::Unknown(key) => {
                    let (_, json, traits) = scanner.value_text()?;
                    self.reader.extra.keep(Scope::Item, key, json, traits);
                    continue;
                }
            };
            match known.field {
                Field::Text(column) if scanner.is_at(b'"') => {
                    let row = &mut self.reader.row;
                    row.substituted |= read_text(scanner, self.rows, &mut row.text[column as usize])?;
                    self.reader.extra.forget(Scope::Item, known.name);
                }
                Field::Number(number) => {
                    let start = scanner.position();
                    match read_integer(scanner, number.may_be_quoted()) {
                        Some(integer) if self.number(number, integer) => {
                            self.reader.extra.forget(Scope::Item, known.name);
                        }
                        Some(_) => {
                            let json = scanner.slice(start, scanner.position());
                            self.reader.extra.surprise(Scope::Item, known.name, json, Traits::default());
                        }
                        None => self.read_value(known, scanner)?,
                    }
                }
                Field::ThreadConfig => {
                    let ItemReader { threads, row, extra, .. } = &mut *self.reader;
                    threads.read(scanner, &mut Columns { rows: self.rows, row, extra })?;
                }
                _ => self.read_value(known, scanner)?,
            }
        }
        Ok(())
    }

    /// Reads a field's value, whatever it is.
    fn read_value(&mut self, known: &Known<Field>, scanner: &mut Scanner<'t>) -> Result<(), Broken> {
        let (value, json, traits) = scanner.value_text()?;
        if self.set(known.field, value) {
            self.reader.extra.forget(Scope::Item, known.name);
        } else {
            self.reader.extra.surprise(Scope::Item, known.name, json, traits);
        }
        Ok(())
    }

    /// Stores a value; false when its column cannot hold it.
    fn set(&mut self, field: Field, value: Value<'t>) -> bool {
        let row = &mut self.reader.row;
        match field {
            Field::Text(column) => set_text(self.rows, row, column, value),
            Field::Number(number) => {
                let integer = if number.may_be_quoted() { value.integer_or_digits() } else { value.integer() };
                if let Some(integer) = integer {
                    return self.number(number, integer);
                }
                self.no_number(number);
                // An unusable ID makes the whole item undecodable, so it never surprises.
                value == Value::Null || matches!(number, Number::MessageServerId)
            }
            Field::Attachment => self.attachment(value),
            Field::Receivers => self.receivers(value),
            Field::Inclusive => store(&mut row.inclusive, value, truth(value)),
            Field::NewMemberVisible => store(&mut row.new_member_visible, value, truth(value)),
            Field::ThreadConfig => true,
        }
    }

    /// Stores an integer; false when its column cannot hold it.
    fn number(&mut self, number: Number, integer: i64) -> bool {
        let row = &mut self.reader.row;
        let small = i32::try_from(integer).ok();
        match number {
            Number::MessageServerId => {
                row.message_server_id = integer;
                return true;
            }
            Number::TeamId => {
                row.team_id = Some(integer);
                return true;
            }
            Number::ConversationType => {
                let known = (1..=3).contains(&integer);
                row.conversation_type = if known { integer as i32 } else { self.reader.conversation_type };
                return known;
            }
            Number::MessageType => row.message_type = small,
            Number::SubType => row.sub_type = small,
            Number::SenderClientType => row.sender_client_type = small,
            Number::CreateTime => {
                self.create_time = time(integer).filter(|time| *time > 0);
                return self.create_time.is_some();
            }
            Number::ModifyTime => {
                row.modify_time = time(integer).filter(|time| *time != 0);
                return time(integer).is_some();
            }
        }
        small.is_some()
    }

    /// Forgets what an earlier value of the same key stored.
    fn no_number(&mut self, number: Number) {
        let row = &mut self.reader.row;
        match number {
            Number::MessageServerId => row.message_server_id = 0,
            Number::ConversationType => row.conversation_type = self.reader.conversation_type,
            Number::TeamId => row.team_id = None,
            Number::MessageType => row.message_type = None,
            Number::SubType => row.sub_type = None,
            Number::CreateTime => self.create_time = None,
            Number::SenderClientType => row.sender_client_type = None,
            Number::ModifyTime => row.modify_time = None,
        }
    }

    fn attachment(&mut self, value: Value<'t>) -> bool {
        let (span, known) = match value {
            Value::Null => (Span::NULL, true),
            Value::Object(json, _) if is_empty_object(json) => (Span::NULL, true),
            Value::Object(json, traits) => {
                self.reader.row.substituted |= traits.lone;
                (self.rows.intern_with(|out| value_into(out, json, traits)).0, true)
            }
            Value::String(text) => (self.attachment_text(text), true),
            _ => (Span::NULL, false),
        };
        self.reader.row.text[TextColumn::Attachment as usize] = span;
        known
    }

    /// An attachment that came as a string: the JSON that it holds, else a JSON string.
    fn attachment_text(&mut self, text: Text<'t>) -> Span {
        self.reader.row.substituted |= text.lone;
        let content = &mut self.reader.scratch;
        content.clear();
        text.resolve_into(content);
        match json::parse(content) {
            Ok((Value::Null, ..)) => Span::NULL,
            Ok((Value::Object(json, _), ..)) if is_empty_object(json) => Span::NULL,
            Ok((_, json, traits)) => {
                self.reader.row.substituted |= traits.lone;
                self.rows.intern_with(|out| value_into(out, json, traits)).0
            }
            Err(_) => self.rows.intern_with(|out| quote_into(out, content)).0,
        }
    }

    fn receivers(&mut self, value: Value<'t>) -> bool {
        let (span, known) = match value {
            Value::Null => (Span::NULL, true),
            Value::Array(json, traits) => {
                let mark = self.rows.mark();
                let (span, strings) = self.rows.intern_with(|out| strings_into(out, json));
                if strings {
                    self.reader.row.substituted |= traits.lone;
                    (span, true)
                } else {
                    self.rows.rewind(mark);
                    (Span::NULL, false)
                }
            }
            _ => (Span::NULL, false),
        };
        self.reader.row.text[TextColumn::ReceiverAccountIds as usize] = span;
        known
    }
}

/// Stores what a value was read as; false when the value is neither that nor null.
fn store<T>(column: &mut Option<T>, value: Value<'_>, read: Option<T>) -> bool {
    *column = read;
    column.is_some() || value == Value::Null
}

fn truth(value: Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(truth),
        _ => None,
    }
}

fn is_empty_object(json: &str) -> bool {
    json[1..json.len() - 1].bytes().all(|byte| byte.is_ascii_whitespace())
}

/// Appends a list of strings without white space; false, with `out` in any state, when it holds something else.
fn strings_into(out: &mut String, json: &str) -> bool {
    let mut scanner = Scanner::new(json);
    let (mut first, mut alone) = (true, true);
    if scanner.enter_array().is_err() {
        return false;
    }
    out.push('[');
    while let Ok(true) = scanner.element(&mut first) {
        match scanner.value_text() {
            Ok((Value::String(text), json, _)) => {
                if !std::mem::take(&mut alone) {
                    out.push(',');
                }
                if text.lone { repair_into(out, json) } else { out.push_str(json) }
            }
            _ => return false,
        }
    }
    out.push(']');
    true
}
