//! Values of fields, to their columns.

#![expect(clippy::inline_always, reason = "see the scanner, which these are part of")]

use super::json::{Broken, Scanner, Value};
use crate::message::{MessageRows, Row, Span, TextColumn};

/// The end of the year 9999 in milliseconds. What is later, or before the epoch, is no time that every store could hold.
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

/// The integer as a time.
pub(super) fn time(integer: i64) -> Option<i64> {
    (0..=LAST_MILLISECOND).contains(&integer).then_some(integer)
}

/// Takes an integer, also one that a string spells if it may be `quoted`, when it is next, without white space before
/// it. `None` takes nothing.
#[inline(always)]
pub(super) fn read_integer(scanner: &mut Scanner<'_>, quoted: bool) -> Option<i64> {
    if quoted && scanner.is_at(b'"') { scanner.quoted_integer() } else { scanner.plain_integer() }
}

/// Takes a string, whose opening quote is next, into a text column; whether a character of it was replaced.
#[inline(always)]
pub(super) fn read_text(scanner: &mut Scanner<'_>, rows: &mut MessageRows, column: &mut Span) -> Result<bool, Broken> {
    let (span, lone) = rows.intern_with(|out| scanner.string_into(out));
    *column = span;
    lone.ok_or_else(|| scanner.broken_string())
}

/// Stores a value in a text column; false when it is neither a string nor null.
pub(super) fn set_text(rows: &mut MessageRows, row: &mut Row, column: TextColumn, value: Value<'_>) -> bool {
    let (span, known) = match value {
        Value::Null => (Span::NULL, true),
        Value::String(text) => {
            row.substituted |= text.lone;
            (rows.intern_with(|out| text.resolve_into(out)).0, true)
        }
        _ => (Span::NULL, false),
    };
    row.text[column as usize] = span;
    known
}
