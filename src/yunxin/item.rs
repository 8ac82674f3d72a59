//! One message of an answer, from JSON to a row.

use super::escape::{quote_into, repair_into};
use super::extra::{Extra, Scope};
use super::json::{self, Broken, Scanner, Text, Value, value_into};
use super::response::{Question, name};
use crate::message::{MessageRows, Row, Span, TextColumn};

/// The end of the year 9999 in milliseconds. What is later, or before the epoch, is no time that every store could hold.
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

/// Reads items; keeps its memory from one to the next.
pub(super) struct ItemReader<'t> {
    key: Span,
    conversation: Span,
    conversation_type: i32,
    fetched_at: i64,
    raw: bool,
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
            extra: Extra::default(),
            scratch: String::new(),
        }
    }

    /// Reads the next value of `scanner` as an item.
    pub(super) fn read(
        &mut self,
        scanner: &mut Scanner<'t>,
        rows: &mut MessageRows,
    ) -> Result<Result<(Row, Option<i64>), NoId>, Broken> {
        if scanner.peek() != b'{' {
            scanner.value()?;
            return Ok(Err(NoId { create_time: None, message: "the item is no object" }));
        }
        self.extra.clear();
        let row = Row::new(0, 0, self.conversation_type, self.fetched_at);
        let mut item = Item { reader: self, rows, row, create_time: None };
        item.read_fields(scanner)?;
        let (row, create_time) = (item.row, item.create_time);
        if row.message_server_id <= 0 {
            return Ok(Err(NoId { create_time, message: "message_server_id is no positive 64-bit integer" }));
        }
        Ok(Ok((row, create_time)))
    }

    /// Completes the message that was read last, and appends it. `replaced` says that invalid UTF-8 was replaced in
    /// `json`, the item's text.
    pub(super) fn finish(&self, mut row: Row, replaced: bool, json: &str, rows: &mut MessageRows) {
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
        rows.push(row);
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

/// An item whose fields are being read.
struct Item<'r, 't> {
    reader: &'r mut ItemReader<'t>,
    rows: &'r mut MessageRows,
    row: Row,
    create_time: Option<i64>,
}

/// The columns of one of the two links of a thread.
struct Link {
    scope: Scope,
    name: &'static str,
    sender_id: TextColumn,
    receiver_id: TextColumn,
    message_client_id: TextColumn,
    create_time: fn(&mut Row) -> &mut Option<i64>,
    message_server_id: fn(&mut Row) -> &mut Option<i64>,
}

const ROOT: Link = Link {
    scope: Scope::Root,
    name: "thread_root",
    sender_id: TextColumn::ThreadRootSenderId,
    receiver_id: TextColumn::ThreadRootReceiverId,
    message_client_id: TextColumn::ThreadRootMessageClientId,
    create_time: |row| &mut row.thread_root_create_time,
    message_server_id: |row| &mut row.thread_root_message_server_id,
};

const REPLY: Link = Link {
    scope: Scope::Reply,
    name: "thread_reply",
    sender_id: TextColumn::ThreadReplySenderId,
    receiver_id: TextColumn::ThreadReplyReceiverId,
    message_client_id: TextColumn::ThreadReplyMessageClientId,
    create_time: |row| &mut row.thread_reply_create_time,
    message_server_id: |row| &mut row.thread_reply_message_server_id,
};

impl<'t> Item<'_, 't> {
    fn read_fields(&mut self, scanner: &mut Scanner<'t>) -> Result<(), Broken> {
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            let name = name(key);
            if &*name == "thread_config" {
                self.read_thread_config(scanner)?;
                continue;
            }
            let (value, json, traits) = scanner.value_text()?;
            match self.set(&name, value) {
                Set::Stored(name) => self.reader.extra.forget(Scope::Item, name),
                Set::Surprised(name) => self.reader.extra.surprise(Scope::Item, name, json, traits),
                Set::Unknown => self.reader.extra.keep(Scope::Item, key, json, traits),
            }
        }
        Ok(())
    }

    /// Stores a field of the item's own.
    fn set(&mut self, name: &str, value: Value<'t>) -> Set {
        macro_rules! fields {
            ($($known:literal => $store:expr),* $(,)?) => {
                match name {
                    $($known => if $store { Set::Stored($known) } else { Set::Surprised($known) },)*
                    _ => Set::Unknown,
                }
            };
        }
        let row = &mut self.row;
        fields! {
            // An unusable ID makes the whole item undecodable, so it never surprises.
            "message_server_id" => { row.message_server_id = value.integer_or_digits().unwrap_or(0); true },
            "message_client_id" => self.text(TextColumn::MessageClientId, value),
            "conversation_type" => self.conversation_type(value),
            "sender_id" => self.text(TextColumn::SenderId, value),
            "receiver_id" => self.text(TextColumn::ReceiverId, value),
            "team_id" => store(&mut row.team_id, value, value.integer_or_digits()),
            "message_type" => store(&mut row.message_type, value, small(value.integer())),
            "sub_type" => store(&mut row.sub_type, value, small(value.integer())),
            "create_time" => store(&mut self.create_time, value, time(value).filter(|time| *time > 0)),
            "sender_client_type" => store(&mut row.sender_client_type, value, small(value.integer_or_digits())),
            "text" => self.text(TextColumn::Text, value),
            "attachment" => self.attachment(value),
            "extension" => self.text(TextColumn::Extension, value),
            "modify_account_id" => self.text(TextColumn::ModifyAccountId, value),
            "modify_time" => {
                let known = store(&mut row.modify_time, value, time(value));
                row.modify_time = row.modify_time.filter(|time| *time != 0);
                known
            },
            "receiver_account_ids" => self.receivers(value),
            "inclusive" => store(&mut row.inclusive, value, truth(value)),
            "new_member_visible" => store(&mut row.new_member_visible, value, truth(value)),
        }
    }

    fn read_thread_config(&mut self, scanner: &mut Scanner<'t>) -> Result<(), Broken> {
        self.reader.extra.forget(Scope::Item, "thread_config");
        self.reader.extra.clear_scope(Scope::Config);
        self.clear_link(&ROOT);
        self.clear_link(&REPLY);
        if scanner.peek() != b'{' {
            let (value, json, traits) = scanner.value_text()?;
            if value != Value::Null {
                self.reader.extra.surprise(Scope::Item, "thread_config", json, traits);
            }
            return Ok(());
        }
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            match &*name(key) {
                "thread_root" => self.read_link(scanner, &ROOT)?,
                "thread_reply" => self.read_link(scanner, &REPLY)?,
                _ => {
                    let (_, json, traits) = scanner.value_text()?;
                    self.reader.extra.keep(Scope::Config, key, json, traits);
                }
            }
        }
        Ok(())
    }

    fn clear_link(&mut self, link: &Link) {
        self.reader.extra.clear_scope(link.scope);
        *(link.create_time)(&mut self.row) = None;
        *(link.message_server_id)(&mut self.row) = None;
        for column in [link.sender_id, link.receiver_id, link.message_client_id] {
            self.row.text[column as usize] = Span::NULL;
        }
    }

    fn read_link(&mut self, scanner: &mut Scanner<'t>, link: &Link) -> Result<(), Broken> {
        self.reader.extra.forget(Scope::Config, link.name);
        self.clear_link(link);
        if scanner.peek() != b'{' {
            let (value, json, traits) = scanner.value_text()?;
            if value != Value::Null {
                self.reader.extra.surprise(Scope::Config, link.name, json, traits);
            }
            return Ok(());
        }
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            let (value, json, traits) = scanner.value_text()?;
            let (name, stored) = match &*name(key) {
                "sender_id" => ("sender_id", self.text(link.sender_id, value)),
                "receiver_id" => ("receiver_id", self.text(link.receiver_id, value)),
                "message_client_id" => ("message_client_id", self.text(link.message_client_id, value)),
                "create_time" => ("create_time", store((link.create_time)(&mut self.row), value, time(value))),
                "message_server_id" => {
                    let id = value.integer_or_digits();
                    ("message_server_id", store((link.message_server_id)(&mut self.row), value, id))
                }
                _ => {
                    self.reader.extra.keep(link.scope, key, json, traits);
                    continue;
                }
            };
            if stored {
                self.reader.extra.forget(link.scope, name);
            } else {
                self.reader.extra.surprise(link.scope, name, json, traits);
            }
        }
        Ok(())
    }

    fn text(&mut self, column: TextColumn, value: Value<'t>) -> bool {
        let (span, known) = match value {
            Value::Null => (Span::NULL, true),
            Value::String(text) if !text.escaped => (self.rows.intern(text.raw), true),
            Value::String(text) => {
                self.row.substituted |= text.lone;
                (self.rows.intern_with(|out| text.resolve_into(out)).0, true)
            }
            _ => (Span::NULL, false),
        };
        self.row.text[column as usize] = span;
        known
    }

    fn conversation_type(&mut self, value: Value<'t>) -> bool {
        match (value, value.integer()) {
            (_, Some(number @ 1..=3)) => {
                self.row.conversation_type = number as i32;
                true
            }
            (value, _) => {
                self.row.conversation_type = self.reader.conversation_type;
                value == Value::Null
            }
        }
    }

    fn attachment(&mut self, value: Value<'t>) -> bool {
        let (span, known) = match value {
            Value::Null => (Span::NULL, true),
            Value::Object(json, _) if is_empty_object(json) => (Span::NULL, true),
            Value::Object(json, traits) => {
                self.row.substituted |= traits.lone;
                (self.rows.intern_with(|out| value_into(out, json, traits)).0, true)
            }
            Value::String(text) => (self.attachment_text(text), true),
            _ => (Span::NULL, false),
        };
        self.row.text[TextColumn::Attachment as usize] = span;
        known
    }

    /// An attachment that came as a string: the JSON that it holds, else a JSON string.
    fn attachment_text(&mut self, text: Text<'t>) -> Span {
        self.row.substituted |= text.lone;
        let content = &mut self.reader.scratch;
        content.clear();
        text.resolve_into(content);
        match json::parse(content) {
            Ok((Value::Null, ..)) => Span::NULL,
            Ok((Value::Object(json, _), ..)) if is_empty_object(json) => Span::NULL,
            Ok((_, json, traits)) => {
                self.row.substituted |= traits.lone;
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
                    self.row.substituted |= traits.lone;
                    (span, true)
                } else {
                    self.rows.rewind(mark);
                    (Span::NULL, false)
                }
            }
            _ => (Span::NULL, false),
        };
        self.row.text[TextColumn::ReceiverAccountIds as usize] = span;
        known
    }
}

/// What became of a field.
enum Set {
    Stored(&'static str),
    Surprised(&'static str),
    Unknown,
}

/// Stores what a value was read as; false when the value is neither that nor null.
fn store<T>(column: &mut Option<T>, value: Value<'_>, read: Option<T>) -> bool {
    *column = read;
    column.is_some() || value == Value::Null
}

fn small(integer: Option<i64>) -> Option<i32> {
    integer.and_then(|integer| i32::try_from(integer).ok())
}

fn time(value: Value<'_>) -> Option<i64> {
    value.integer().filter(|time| (0..=LAST_MILLISECOND).contains(time))
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
