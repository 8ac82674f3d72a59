//! Values of fields, to their columns.

#![expect(clippy::inline_always, reason = "see the scanner, which these are part of")]

use super::escape::{quote_into, repair_into};
use super::extra::{Extra, Scope};
use super::json::{self, Broken, Scanner, Text, Traits, Value, value_into};
use crate::message::{MessageRows, Row, Span};
use crate::model::columns::{Access, ColumnType, Definition, Reading, Storage};

/// The end of the year 9999 in milliseconds. What is later, or before the epoch, is no time that every store could hold.
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

/// Where the fields of a message go.
pub(super) struct Columns<'c, 't> {
    pub(super) rows: &'c mut MessageRows,
    pub(super) row: &'c mut Row,
    pub(super) extra: &'c mut Extra<'t>,
    pub(super) scratch: &'c mut String,
}

impl<'t> Columns<'_, 't> {
    /// Reads the next value as that of a column's field. What the column cannot hold goes to `extra`.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        scanner: &mut Scanner<'t>,
        scope: Scope,
        name: &'static str,
        column: &Definition,
    ) -> Result<(), Broken> {
        let start = scanner.position();
        let (held, json, traits) = match column.storage {
            Storage::Text(text) if column.kind == ColumnType::Text && scanner.is_at(b'"') => {
                let (span, lone) = self.rows.intern_with(|out| scanner.string_into(out));
                self.row.text[text as usize] = span;
                self.row.substituted |= lone.ok_or_else(|| scanner.broken_string())?;
                (true, "", Traits::default())
            }
            Storage::Int64(_) | Storage::Int32(_) => match read_integer(scanner, column) {
                Some(integer) => {
                    let held = self.set_integer(column, Some(integer));
                    (held, scanner.slice(start, scanner.position()), Traits::default())
                }
                None => self.read_any(scanner, column)?,
            },
            _ => self.read_any(scanner, column)?,
        };
        if held {
            self.extra.forget(scope, name);
        } else {
            self.extra.surprise(scope, name, json, traits);
        }
        Ok(())
    }

    /// Reads a value of any type.
    fn read_any(&mut self, scanner: &mut Scanner<'t>, column: &Definition) -> Result<(bool, &'t str, Traits), Broken> {
        let (value, json, traits) = scanner.value_text()?;
        Ok((self.set(column, value), json, traits))
    }

    /// Stores a value; false, with null in its place, when the column cannot hold it.
    pub(super) fn set(&mut self, column: &Definition, value: Value<'t>) -> bool {
        let held = match column.storage {
            Storage::Run => false,
            Storage::Text(text) => {
                let span = match (column.kind, value) {
                    (ColumnType::Text, Value::String(text)) => Some(self.text(text)),
                    (ColumnType::Json, Value::String(text)) => Some(self.json_in(text)),
                    (ColumnType::Json, Value::Object(json, traits)) => Some(self.json(json, traits)),
                    (ColumnType::TextList, Value::Array(json, traits)) => self.list(json, traits),
                    _ => None,
                };
                self.row.text[text as usize] = span.unwrap_or_default();
                span.is_some()
            }
            Storage::Int64(_) | Storage::Int32(_) => {
                let quoted = column.origin.reading() == Reading::Digits;
                self.set_integer(column, if quoted { value.integer_or_digits() } else { value.integer() })
            }
            Storage::Boolean(Access { set, .. }) => {
                let truth = if let Value::Bool(truth) = value { Some(truth) } else { None };
                set(self.row, truth);
                truth.is_some()
            }
        };
        held || value == Value::Null
    }

    /// Stores an integer; false, with null in its place, when the column cannot hold it.
    fn set_integer(&mut self, column: &Definition, integer: Option<i64>) -> bool {
        let integer = integer.filter(|integer| match column.origin.reading() {
            Reading::Within(first, last) => (first..=last).contains(integer),
            _ => true,
        });
        let integer = integer.filter(|integer| match column.kind {
            ColumnType::Time => (0..=LAST_MILLISECOND).contains(integer),
            ColumnType::Int32 => i32::try_from(*integer).is_ok(),
            _ => true,
        });
        let value = integer.filter(|integer| *integer != 0 || column.origin.reading() != Reading::ZeroIsNull);
        match column.storage {
            Storage::Int64(Access { set, .. }) => set(self.row, value),
            Storage::Int32(Access { set, .. }) => set(self.row, value.map(|value| value as i32)),
            _ => return false,
        }
        integer.is_some()
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

/// Takes an integer, also one that a string spells if the column may be read so, when it is next, without white space
/// before it. `None` takes nothing.
#[inline(always)]
fn read_integer(scanner: &mut Scanner<'_>, column: &Definition) -> Option<i64> {
    if scanner.is_at(b'"') && column.origin.reading() == Reading::Digits {
        scanner.quoted_integer()
    } else {
        scanner.plain_integer()
    }
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
