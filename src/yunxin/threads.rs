//! The thread of a message: the message that started it, and the one that this one answers.

use super::extra::{Extra, Scope};
use super::json::{Broken, Scanner, Traits, Value};
use super::keys::{Key, Keys, Known};
use super::value::{read_integer, read_text, set_text, time};
use crate::message::{MessageRows, Row, Span, TextColumn};

/// Where the fields of a message go.
pub(super) struct Columns<'c, 't> {
    pub(super) rows: &'c mut MessageRows,
    pub(super) row: &'c mut Row,
    pub(super) extra: &'c mut Extra<'t>,
}

/// The columns of one of the two links of a thread.
#[derive(Debug, Clone, Copy)]
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

/// What a field of a link is.
#[derive(Debug, Clone, Copy)]
enum Field {
    Text(fn(&Link) -> TextColumn),
    CreateTime,
    MessageServerId,
}

static LINKS: &[Known<&Link>] = &[Known::new(ROOT.name, &ROOT), Known::new(REPLY.name, &REPLY)];

static FIELDS: &[Known<Field>] = &[
    Known::new("sender_id", Field::Text(|link| link.sender_id)),
    Known::new("receiver_id", Field::Text(|link| link.receiver_id)),
    Known::new("create_time", Field::CreateTime),
    Known::new("message_server_id", Field::MessageServerId),
    Known::new("message_client_id", Field::Text(|link| link.message_client_id)),
];

/// Reads `thread_config` objects; keeps what order fields come in from one to the next.
#[derive(Debug)]
pub(super) struct ThreadReader {
    links: Keys<&'static Link>,
    fields: Keys<Field>,
}

impl ThreadReader {
    pub(super) fn new() -> Self {
        Self { links: Keys::new(LINKS), fields: Keys::new(FIELDS) }
    }

    /// Reads the next value of `scanner` as a message's `thread_config`.
    pub(super) fn read<'t>(&mut self, scanner: &mut Scanner<'t>, columns: &mut Columns<'_, 't>) -> Result<(), Broken> {
        columns.extra.forget(Scope::Item, "thread_config");
        columns.extra.clear_scope(Scope::Config);
        columns.clear(&ROOT);
        columns.clear(&REPLY);
        if scanner.peek() != b'{' {
            return columns.no_object(scanner, Scope::Item, "thread_config");
        }
        self.links.enter(scanner)?;
        while let Some(key) = self.links.next(scanner)? {
            match key {
                Key::Known(known) => self.read_link(scanner, known.field, columns)?,
                Key::Unknown(key) => {
                    let (_, json, traits) = scanner.value_text()?;
                    columns.extra.keep(Scope::Config, key, json, traits);
                }
            }
        }
        Ok(())
    }

    fn read_link<'t>(
        &mut self,
        scanner: &mut Scanner<'t>,
        link: &Link,
        columns: &mut Columns<'_, 't>,
    ) -> Result<(), Broken> {
        columns.extra.forget(Scope::Config, link.name);
        columns.clear(link);
        if scanner.peek() != b'{' {
            return columns.no_object(scanner, Scope::Config, link.name);
        }
        self.fields.enter(scanner)?;
        while let Some(key) = self.fields.next(scanner)? {
            match key {
                Key::Known(known) => columns.read_field(scanner, link, known)?,
                Key::Unknown(key) => {
                    let (_, json, traits) = scanner.value_text()?;
                    columns.extra.keep(link.scope, key, json, traits);
                }
            }
        }
        Ok(())
    }
}

impl<'t> Columns<'_, 't> {
    /// Forgets what an earlier value of the same key stored.
    fn clear(&mut self, link: &Link) {
        self.extra.clear_scope(link.scope);
        *(link.create_time)(self.row) = None;
        *(link.message_server_id)(self.row) = None;
        for column in [link.sender_id, link.receiver_id, link.message_client_id] {
            self.row.text[column as usize] = Span::NULL;
        }
    }

    /// Takes a value where an object should be; null is nothing at all.
    fn no_object(&mut self, scanner: &mut Scanner<'t>, scope: Scope, name: &'static str) -> Result<(), Broken> {
        let (value, json, traits) = scanner.value_text()?;
        if value != Value::Null {
            self.extra.surprise(scope, name, json, traits);
        }
        Ok(())
    }

    fn read_field(&mut self, scanner: &mut Scanner<'t>, link: &Link, known: &Known<Field>) -> Result<(), Broken> {
        let start = scanner.position();
        let (stored, json, traits) = match known.field {
            Field::Text(column) if scanner.is_at(b'"') => {
                let span = &mut self.row.text[column(link) as usize];
                self.row.substituted |= read_text(scanner, self.rows, span)?;
                (true, "", Traits::default())
            }
            Field::Text(column) => {
                let (value, json, traits) = scanner.value_text()?;
                (set_text(self.rows, self.row, column(link), value), json, traits)
            }
            Field::CreateTime | Field::MessageServerId => {
                let is_id = matches!(known.field, Field::MessageServerId);
                let (value, json, traits) = match read_integer(scanner, is_id) {
                    Some(integer) => {
                        (Value::Integer(integer), scanner.slice(start, scanner.position()), Traits::default())
                    }
                    None => scanner.value_text()?,
                };
                let (column, integer) = if is_id {
                    ((link.message_server_id)(self.row), value.integer_or_digits())
                } else {
                    ((link.create_time)(self.row), value.integer().and_then(time))
                };
                *column = integer;
                (integer.is_some() || value == Value::Null, json, traits)
            }
        };
        if stored {
            self.extra.forget(link.scope, known.name);
        } else {
            self.extra.surprise(link.scope, known.name, json, traits);
        }
        Ok(())
    }
}
