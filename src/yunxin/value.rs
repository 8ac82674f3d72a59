//! Values of fields, to their columns.

#![expect(clippy::inline_always, reason = "see the scanner, which these are part of")]

use super::escape::{quote_into, repair_into};
use super::extra::{Extra, Scope};
use super::json::{self, Broken, Scanner, Text, Traits, Value, value_into};
use crate::model::columns::{Access, Column, ColumnType, Origin, Reading, Storage};
use crate::model::message::{MessageRows, Row, Span, TextColumn};

/// The end of the year 9999 in milliseconds. What is later, or before the epoch, is no time that every store could hold.
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

/// A field of an answer that goes to a column: what the column's definition says, at hand for every message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    place: Place,
    /// Whether a string that spells an integer is as good.
    digits: bool,
    /// Whether 0 means null.
    zero_is_null: bool,
    /// The least and the greatest integer that the column takes.
    range: (i64, i64),
}

/// Where values go.
#[derive(Debug, Clone, Copy)]
enum Place {
    Text(TextColumn),
    Json(TextColumn),
    TextList(TextColumn),
    Int64(Access<i64>),
    Int32(Access<i32>),
    Boolean(Access<bool>),
}

/// The fields of an object of an item, by the columns whose values come from there.
pub(super) fn fields(is_there: fn(Origin) -> bool) -> impl Iterator<Item = (&'static str, Field)> {
    Column::all(true).iter().filter(move |column| is_there(column.origin)).filter_map(|column| {
        let place = match (column.storage, column.kind) {
            (Storage::Run, _) => return None,
            (Storage::Text(text), ColumnType::Json) => Place::Json(text),
            (Storage::Text(text), ColumnType::TextList) => Place::TextList(text),
            (Storage::Text(text), _) => Place::Text(text),
            (Storage::Int64(access), _) => Place::Int64(access),
            (Storage::Int32(access), _) => Place::Int32(access),
            (Storage::Boolean(access), _) => Place::Boolean(access),
        };
        let reading = column.origin.reading();
        let held = match column.kind {
            ColumnType::Time => (0, LAST_MILLISECOND),
            ColumnType::Int32 => (i32::MIN.into(), i32::MAX.into()),
            _ => (i64::MIN, i64::MAX),
        };
        let range = match reading {
            Reading::Within(first, last) => (held.0.max(first), held.1.min(last)),
            _ => held,
        };
        let (digits, zero_is_null) = (reading == Reading::Digits, reading == Reading::ZeroIsNull);
        Some((column.key(), Field { place, digits, zero_is_null, range }))
    })
}

/// Where the fields of a message go.
pub(super) struct Columns<'c, 't> {
    pub(super) rows: &'c mut MessageRows,
    pub(super) row: &'c mut Row,
    pub(super) extra: &'c mut Extra<'t>,
    pub(super) scratch: &'c mut String,
}

impl<'t> Columns<'_, 't> {
    /// Reads the next value as that of a field. What its column cannot hold goes to `extra`.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        scanner: &mut Scanner<'t>,
        scope: Scope,
        name: &'static str,
        field: Field,
    ) -> Result<(), Broken> {
        let mut start = scanner.position();
        let (held, traits) = match field.place {
            Place::Text(column) if scanner.is_at(b'"') => {
                let (span, lone) = self.rows.intern_with(|out| scanner.string_into(out));
                self.row.text[column as usize] = span;
                self.row.substituted |= lone.ok_or_else(|| scanner.broken_string())?;
                (true, Traits::default())
            }
            Place::Int64(_) | Place::Int32(_) if let Some(integer) = read_integer(scanner, field.digits) => {
                (self.set_integer(field, Some(integer)), Traits::default())
            }
            _ => {
                scanner.peek();
                start = scanner.position();
                let (value, _, traits) = scanner.value_text()?;
                (self.set(field, value), traits)
            }
        };
        if held {
            self.extra.forget(scope, name);
        } else {
            self.extra.surprise(scope, name, scanner.slice(start, scanner.position()), traits);
        }
        Ok(())
    }

    /// Stores a value; false, with null in its place, when the column cannot hold it.
    fn set(&mut self, field: Field, value: Value<'t>) -> bool {
        let (column, span) = match (field.place, value) {
            (Place::Int64(_) | Place::Int32(_), _) => {
                let integer = if field.digits { value.integer_or_digits() } else { value.integer() };
                return self.set_integer(field, integer) || value == Value::Null;
            }
            (Place::Boolean(Access { set, .. }), _) => {
                let truth = if let Value::Bool(truth) = value { Some(truth) } else { None };
                set(self.row, truth);
                return truth.is_some() || value == Value::Null;
            }
            (Place::Text(column), Value::String(text)) => (column, Some(self.text(text))),
            (Place::Json(column), Value::String(text)) => (column, Some(self.json_in(text))),
            (Place::Json(column), Value::Object(json, traits)) => (column, Some(self.json(json, traits))),
            (Place::TextList(column), Value::Array(json, traits)) => (column, self.list(json, traits)),
            (Place::Text(column) | Place::Json(column) | Place::TextList(column), _) => (column, None),
        };
        self.row.text[column as usize] = span.unwrap_or_default();
        span.is_some() || value == Value::Null
    }

    /// Stores an integer; false, with null in its place, when the column cannot hold it.
    #[inline]
    fn set_integer(&mut self, field: Field, integer: Option<i64>) -> bool {
        let integer = integer.filter(|integer| (field.range.0..=field.range.1).contains(integer));
        let value = integer.filter(|integer| *integer != 0 || !field.zero_is_null);
        match field.place {
            Place::Int64(Access { set, .. }) => set(self.row, value),
            Place::Int32(Access { set, .. }) => set(self.row, value.map(|value| value as i32)),
            _ => {}
        }
        integer.is_some()
    }

    /// Forgets what an earlier value of the same key stored.
    pub(super) fn clear(&mut self, field: Field) {
        match field.place {
            Place::Text(column) | Place::Json(column) | Place::TextList(column) => {
                self.row.text[column as usize] = Span::NULL;
            }
            Place::Int64(Access { set, .. }) => set(self.row, None),
            Place::Int32(Access { set, .. }) => set(self.row, None),
            Place::Boolean(Access { set, .. }) => set(self.row, None),
        }
    }

    fn text(&mut self, text: Text<'t>) -> Span {
        self.row.substituted |= text.lone;
        self.rows.intern_with(|out| text.resolve_into(out)).0
    }

    fn json(&mut self, json: &str, traits: Traits) -> Span {
        if json.starts_with('{') && json[1..json.len() - 1].bytes().all(|byte| byte.is_ascii_whitespace()) {
            return Span::NULL;
        }
        self.row.substituted |= traits.lone;
        self.rows.intern_with(|out| value_into(out, json, traits)).0
    }

    /// JSON that came as a string: what the string holds, and if that is none, the string itself.
    fn json_in(&mut self, text: Text<'t>) -> Span {
        self.row.substituted |= text.lone;
        let mut content = std::mem::take(self.scratch);
        content.clear();
        text.resolve_into(&mut content);
        let span = match json::parse(&content) {
            Ok((Value::Null, ..)) => Span::NULL,
            Ok((_, json, traits)) => self.json(json, traits),
            Err(_) => self.rows.intern_with(|out| quote_into(out, &content)).0,
        };
        *self.scratch = content;
        span
    }

    /// A list of strings, without white space; nothing when it holds something else.
    fn list(&mut self, json: &str, traits: Traits) -> Option<Span> {
        let mark = self.rows.mark();
        let (span, strings) = self.rows.intern_with(|out| strings_into(out, json));
        if !strings {
            self.rows.rewind(mark);
            return None;
        }
        self.row.substituted |= traits.lone;
        Some(span)
    }
}

/// Takes an integer, also one that a string spells if `digits`, when it is next, without white space before it. `None`
/// takes nothing.
#[inline(always)]
fn read_integer(scanner: &mut Scanner<'_>, digits: bool) -> Option<i64> {
    if digits && scanner.is_at(b'"') { scanner.quoted_integer() } else { scanner.plain_integer() }
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
