//! One message of an answer, from JSON to a row.

use super::extra::Extra;
use super::field::{Field, Holds, Scope};
use super::json::{self, Broken, Json, Scanner, quoted};
use super::question::Question;
use crate::model::columns::{ColumnType, Definition, Reading, Storage};
use crate::model::message::{MessageRows, Row, Span, TextColumn};

/// The end of the year 9999 in milliseconds. What is later, or before the epoch, is no time that every store could hold.
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

/// A message that was read and is not yet among the rows.
#[derive(Debug)]
pub(super) struct Item<'t> {
    /// Its ID, or why there is none that can be used.
    pub(super) id: Result<i64, &'static str>,
    /// When it was created, in milliseconds, if it says so.
    pub(super) create_time: Option<i64>,
    /// Its JSON text.
    pub(super) text: &'t str,
    /// Where in the answer its text begins.
    pub(super) start: usize,
}

/// Reads messages into rows.
#[derive(Debug)]
pub(super) struct ItemReader<'q, 't> {
    question: &'q Question<'q>,
    /// The messages that were kept, and the text of the one at hand.
    rows: MessageRows,
    key: Span,
    conversation: Span,
    /// Where the text of the message at hand begins.
    mark: (usize, usize),
    row: Row,
    extra: Extra<'t>,
    /// For each kind of object, which known field began it last time, and which one followed each of them.
    followers: [Vec<usize>; 4],
}

impl<'q, 't> ItemReader<'q, 't> {
    /// `size` is the size of the answer in bytes.
    pub(super) fn new(question: &'q Question<'q>, size: usize) -> Self {
        let mut rows = MessageRows::with_capacity(question.refs.len(), size);
        let (key, conversation) = (rows.intern(question.key), rows.intern(question.conversation));
        let mark = rows.mark();
        let followers = Scope::ALL.map(|scope| vec![0; scope.fields().len() + 1]);
        Self { question, rows, key, conversation, mark, row: Row::default(), extra: Extra::default(), followers }
    }

    /// Reads the next value of `scanner` as a message. It is dropped unless [`Self::keep`] follows.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'t>) -> Result<Item<'t>, Broken> {
        self.rows.rewind(self.mark);
        self.extra.clear();
        self.row = Row::new(0, 0, 0, self.question.fetched_at);
        let is_object = scanner.peek() == b'{';
        let start = scanner.position();
        if is_object {
            self.object(scanner, Scope::Item)?;
        } else {
            scanner.value()?;
        }
        let id = match self.row.message_server_id {
            _ if !is_object => Err("the item is no object"),
            ..=0 => Err("message_server_id is no positive 64-bit integer"),
            id => Ok(id),
        };
        let create_time = Some(self.row.create_time).filter(|time| *time != 0);
        Ok(Item { id, create_time, text: scanner.since(start), start })
    }

    /// Puts the message that was read last among the rows. `substituted` says that invalid UTF-8 in it was replaced.
    pub(super) fn keep(&mut self, item: &Item<'t>, create_time: i64, substituted: bool) {
        let Self { question, rows, row, extra, .. } = self;
        row.create_time = create_time;
        if row.conversation_type == 0 {
            row.conversation_type = question.conversation_type;
        }
        row.text[TextColumn::ConversationKey as usize] = self.key;
        row.text[TextColumn::ConversationId as usize] = self.conversation;
        row.substituted |= substituted || extra.is_lone();
        if !extra.is_empty() {
            row.text[TextColumn::Extra as usize] = rows.intern(&extra.object());
        }
        if question.raw {
            row.text[TextColumn::Raw as usize] = rows.intern(item.text);
        }
        rows.push(*row);
        self.mark = rows.mark();
    }

    /// The messages that were kept.
    pub(super) fn finish(mut self) -> MessageRows {
        self.rows.rewind(self.mark);
        self.rows.shrink_to_fit();
        self.rows
    }

    /// Reads an object of the message. Of equal keys the last counts.
    fn object(&mut self, scanner: &mut Scanner<'t>, scope: Scope) -> Result<(), Broken> {
        let fields = scope.fields();
        let mut before = 0;
        scanner.object(|scanner| {
            // Messages mostly have the same fields in the same order.
            let guess = self.followers[scope as usize][before];
            let (key, known) = if let Field { written, .. } = &fields[guess]
                && scanner.take_text(written)
            {
                (Json::plain(&written[..written.len() - 1]), Some(guess))
            } else {
                let key = scanner.key()?;
                (key, key.content().and_then(|key| fields.iter().position(|field| field.name == key)))
            };
            let Some(place) = known else {
                let value = scanner.value()?;
                self.extra.keep(scope, key, value);
                return Ok(());
            };
            self.followers[scope as usize][before] = place;
            before = place + 1;
            let Field { name, holds, .. } = &fields[place];
            self.extra.forget(scope, name);
            let (value, is_held) = match *holds {
                Holds::Column(column) => {
                    let value = scanner.value()?;
                    (value, self.store(column, value))
                }
                Holds::Object(inner) => {
                    self.clear(inner);
                    if scanner.peek() == b'{' {
                        return self.object(scanner, inner);
                    }
                    (scanner.value()?, false)
                }
            };
            if !is_held && !value.is_null() {
                self.extra.keep_known(scope, name, key, value);
            }
            Ok(())
        })
    }

    /// Forgets an object that an earlier value of the same key held.
    fn clear(&mut self, scope: Scope) {
        self.extra.clear_scope(scope);
        for field in scope.fields() {
            match field.holds {
                Holds::Column(column) => drop(self.store(column, Json::NULL)),
                Holds::Object(inner) => self.clear(inner),
            }
        }
    }

    /// Stores a value; false, with null in its place, when its column cannot hold it.
    fn store(&mut self, column: &Definition, value: Json<'t>) -> bool {
        match column.storage {
            Storage::Run => false,
            Storage::Text(place) => {
                let span = match column.kind {
                    ColumnType::Json => self.json(value),
                    ColumnType::TextList => self.list(value),
                    _ => value.content().map(|text| self.rows.intern(&text)),
                };
                self.row.substituted |= span.is_some() && value.is_lone();
                self.row.text[place as usize] = span.unwrap_or_default();
                span.is_some()
            }
            Storage::Int64(access) => self.store_integer(column, value, access.set),
            Storage::Int32(access) => self
                .store_integer(column, value, |row, integer| (access.set)(row, integer.map(|integer| integer as i32))),
            Storage::Boolean(access) => {
                (access.set)(&mut self.row, value.boolean());
                value.boolean().is_some()
            }
        }
    }

    fn store_integer(&mut self, column: &Definition, value: Json<'_>, set: impl FnOnce(&mut Row, Option<i64>)) -> bool {
        let integer = integer(column, value);
        let is_null = integer == Some(0) && column.origin.reading() == Reading::ZeroIsNull;
        set(&mut self.row, integer.filter(|_| !is_null));
        integer.is_some()
    }

    /// An object, or the JSON that a string holds, or a string that holds none. An empty object is null.
    fn json(&mut self, value: Json<'_>) -> Option<Span> {
        if value.is_object() {
            return Some(self.value(value));
        }
        let content = value.content()?;
        Some(match json::parse(&content) {
            Ok(inner) => self.value(inner),
            Err(_) => self.rows.intern(&quoted(&content)),
        })
    }

    fn value(&mut self, value: Json<'_>) -> Span {
        let is_empty = value.is_object() && value.text[1..value.text.len() - 1].trim_ascii().is_empty();
        if is_empty || value.is_null() {
            return Span::NULL;
        }
        self.row.substituted |= value.is_lone();
        self.rows.intern(&value.readable())
    }

    /// A list of strings, without white space; nothing when it holds anything else.
    fn list(&mut self, value: Json<'_>) -> Option<Span> {
        let (mut strings, mut others) = (Vec::new(), false);
        let read = Scanner::new(value.text).array(|scanner| {
            let element = scanner.value()?;
            others |= !element.is_string();
            strings.push(element.readable());
            Ok(())
        });
        (read.is_ok() && !others).then(|| self.rows.intern(&format!("[{}]", strings.join(","))))
    }
}

/// The integer, when its column takes it.
fn integer(column: &Definition, value: Json<'_>) -> Option<i64> {
    let reading = column.origin.reading();
    let integer = if reading == Reading::Digits { value.integer_or_digits() } else { value.integer() }?;
    let fits = match column.kind {
        ColumnType::Time => (0..=LAST_MILLISECOND).contains(&integer),
        ColumnType::Int32 => i32::try_from(integer).is_ok(),
        _ => true,
    };
    let within = match reading {
        Reading::Within(first, last) => (first..=last).contains(&integer),
        _ => true,
    };
    (fits && within).then_some(integer)
}
