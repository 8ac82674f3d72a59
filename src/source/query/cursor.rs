//! How far a query was read, and where it begins again.

use std::time::Duration;

use jiff::Timestamp;

use crate::source::settings::{Begin, Cursor, Overlap};
use crate::source::time::{self, Times};
use crate::source::value::Value;
use crate::source::{Checkpoint, CursorValue, SourceError};

/// What a cursor reaches back when nothing is said.
const DEFAULT_NUMBER: u64 = 1000;
const DEFAULT_DURATION: Duration = Duration::from_hours(24);

/// How far into the future a time may lie and still move the cursor: clocks differ a little.
const TOLERANCE: Duration = Duration::from_mins(1);

/// What kind of column a cursor runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum CursorKind {
    Integer,
    Timestamp {
        zoned: bool,
    },
    /// Kept as the timestamp of its midnight.
    Date,
    /// SQLite's columns hold what they are given: integers, or times as text of one form, whose order is that of time.
    Dynamic,
}

/// Where a query begins and how far its cursor has moved.
#[derive(Debug)]
pub(in crate::source) struct Tracker {
    kind: CursorKind,
    prior: Option<CursorValue>,
    highest: Option<CursorValue>,
    /// A time as the column's text spells it.
    form: Option<String>,
    /// Whether it was said where to begin, so that the column may hold something else than before.
    begins_anew: bool,
    /// What is bound to `:after`.
    pub(in crate::source) after: CursorValue,
    times: Times,
    limit: Timestamp,
    /// The limit as microseconds of a column without a zone.
    local_limit: i64,
}

impl Tracker {
    pub(in crate::source) fn new(
        cursor: &Cursor,
        kind: CursorKind,
        checkpoint: Option<Checkpoint>,
        from: Option<&Begin>,
        times: &Times,
        now: Timestamp,
    ) -> Result<Self, SourceError> {
        let prior = match checkpoint {
            Some(Checkpoint::Value(value)) => Some(value),
            _ => None,
        };
        let after = bound(cursor, kind, prior.as_ref(), from, times)?;
        let limit = now.saturating_add(TOLERANCE).unwrap_or(Timestamp::MAX);
        let local_limit = times.local_micros(limit);
        // What was stored for a column of another type says nothing about this one.
        let prior = prior.filter(|prior| fits(prior, kind));
        let form = match &after {
            CursorValue::Text(text) if is_time(text) => Some(text.clone()),
            _ => None,
        };
        Ok(Self {
            kind,
            prior,
            highest: None,
            form,
            begins_anew: from.is_some(),
            after,
            times: times.clone(),
            limit,
            local_limit,
        })
    }

    /// Takes note of a value of the cursor's column. Null and times in the future never move the cursor.
    pub(in crate::source) fn observe(&mut self, value: &Value<'_>) -> Result<(), SourceError> {
        let met = match value {
            Value::Null => return Ok(()),
            Value::Other(_) if self.kind != CursorKind::Dynamic => return Ok(()),
            Value::Integer(number) if matches!(self.kind, CursorKind::Integer | CursorKind::Dynamic) => {
                self.form.as_ref().map_or(Ok(()), |form| Err(mixed(value, &format!("{form:?}"))))?;
                CursorValue::Integer(*number)
            }
            // Numbers that are no 64-bit integers: what lies below them is certain.
            Value::Decimal(text) if self.kind == CursorKind::Integer => {
                match text.split('.').next().and_then(|whole| whole.parse::<i64>().ok()) {
                    Some(whole) => CursorValue::Integer(if text.starts_with('-') { whole - 1 } else { whole }),
                    None => return Ok(()),
                }
            }
            Value::Unsigned(_) if self.kind == CursorKind::Integer => return Ok(()),
            Value::Timestamp { micros, zoned } => {
                let limit = if *zoned { self.limit.as_microsecond() } else { self.local_limit };
                if *micros > limit {
                    return Ok(());
                }
                CursorValue::Timestamp { micros: *micros, zoned: *zoned }
            }
            Value::Date(days) => {
                let micros = i64::from(*days).saturating_mul(86_400_000_000);
                if micros > self.local_limit {
                    return Ok(());
                }
                CursorValue::Timestamp { micros, zoned: false }
            }
            Value::Text(bytes) if self.kind == CursorKind::Dynamic => return self.observe_text(value, bytes),
            other => {
                return Err(SourceError::Unusable(format!(
                    "query: the cursor's column holds {other}, which a cursor cannot be; cast it to an integer"
                )));
            }
        };
        if self.highest.as_ref().is_none_or(|highest| is_greater(&met, highest)) {
            self.highest = Some(met);
        }
        Ok(())
    }

    fn observe_text(&mut self, value: &Value<'_>, bytes: &[u8]) -> Result<(), SourceError> {
        let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| is_time(text)) else {
            return Err(SourceError::Unusable(format!(
                "query: the cursor's column holds the text {value}, whose order is the database's own: rows would be \
                 passed over. Compare and select an integer, or a time such as 2025-07-31 08:50:05"
            )));
        };
        if self.times.is_after(bytes, self.limit) {
            return Ok(());
        }
        let prior = self.prior.as_ref().filter(|_| !self.begins_anew);
        if let Some(CursorValue::Integer(number)) = self.highest.as_ref().or(prior) {
            return Err(mixed(value, &number.to_string()));
        }
        match &self.form {
            Some(form) if !is_of_one_form(form, text) => return Err(mixed(value, &format!("{form:?}"))),
            Some(_) => {}
            None => self.form = Some(text.to_owned()),
        }
        match &mut self.highest {
            Some(CursorValue::Text(highest)) if highest.as_str() < text => text.clone_into(highest),
            Some(_) => {}
            None => self.highest = Some(CursorValue::Text(text.to_owned())),
        }
        Ok(())
    }

    /// Whether a run that goes on from an earlier one met nothing beyond it.
    pub(in crate::source) fn stands_still(&self) -> bool {
        let is_beyond = |prior| self.highest.as_ref().is_some_and(|highest| is_greater(highest, prior));
        !self.begins_anew && self.prior.as_ref().is_some_and(|prior| !is_beyond(prior))
    }

    /// The highest value met, and never less than the one before.
    pub(in crate::source) fn checkpoint(self) -> Option<Checkpoint> {
        let value = match (self.prior, self.highest) {
            (Some(prior), Some(highest)) => Some(if is_greater(&prior, &highest) { prior } else { highest }),
            (prior, highest) => prior.or(highest),
        };
        value.map(Checkpoint::Value)
    }
}

fn mixed(value: &Value<'_>, other: &str) -> SourceError {
    SourceError::Unusable(format!(
        "query: the cursor's column holds both {value} and {other}, which SQLite does not sort by time or size; write all of \
         it in one form, or compare and select a cast of it. Then go on with `--from start` or `--from VALUE`"
    ))
}

fn is_time(text: &str) -> bool {
    time::earlier(text, Duration::ZERO).is_some()
}

/// Whether two times as text are sorted as the times are: they agree in everything but their digits. They may have more or
/// fewer decimals where what stands behind them sorts before the point and the digits.
fn is_of_one_form(a: &str, b: &str) -> bool {
    let parts = |text: &'_ str| {
        let tail = &text[19..];
        let width = tail.bytes().skip(1).take_while(u8::is_ascii_digit).count();
        let decimals = if tail.starts_with('.') { width + 1 } else { 0 };
        (text.as_bytes()[10], decimals, tail[decimals..].to_owned())
    };
    let ((a, a_decimals, a_zone), (b, b_decimals, b_zone)) = (parts(a), parts(b));
    let is_any_width = a_zone.as_bytes().first().is_none_or(|byte| *byte < b'.');
    a == b && a_zone == b_zone && (is_any_width || a_decimals == b_decimals)
}

fn fits(value: &CursorValue, kind: CursorKind) -> bool {
    match (value, kind) {
        (CursorValue::Integer(_), CursorKind::Integer | CursorKind::Dynamic)
        | (CursorValue::Text(_), CursorKind::Dynamic)
        | (CursorValue::Timestamp { zoned: false, .. }, CursorKind::Date) => true,
        (CursorValue::Timestamp { zoned, .. }, CursorKind::Timestamp { zoned: column }) => *zoned == column,
        _ => false,
    }
}

fn is_greater(a: &CursorValue, b: &CursorValue) -> bool {
    match (a, b) {
        (CursorValue::Integer(a), CursorValue::Integer(b))
        | (CursorValue::Timestamp { micros: a, .. }, CursorValue::Timestamp { micros: b, .. }) => a > b,
        (CursorValue::Text(a), CursorValue::Text(b)) => a > b,
        _ => false,
    }
}

/// What is bound to `:after`.
fn bound(
    cursor: &Cursor,
    kind: CursorKind,
    prior: Option<&CursorValue>,
    from: Option<&Begin>,
    times: &Times,
) -> Result<CursorValue, SourceError> {
    let column = &cursor.column;
    match (kind, cursor.overlap) {
        (CursorKind::Integer, Some(Overlap::Duration(_))) => {
            return Err(SourceError::Unusable(format!(
                "cursor: {column} is an integer column: its overlap is a number, not a duration"
            )));
        }
        (CursorKind::Timestamp { .. } | CursorKind::Date, Some(Overlap::Number(_))) => {
            return Err(SourceError::Unusable(format!(
                "cursor: {column} is no integer column: its overlap is a duration such as 1d, not a number"
            )));
        }
        _ => {}
    }
    let start = cursor.start.as_deref().map(|text| parse(text, "start", column, kind, times)).transpose()?;
    let beginning = || {
        start.clone().unwrap_or(match kind {
            CursorKind::Integer | CursorKind::Dynamic => CursorValue::Integer(0),
            CursorKind::Timestamp { zoned } => CursorValue::Timestamp { micros: 0, zoned },
            CursorKind::Date => CursorValue::Timestamp { micros: 0, zoned: false },
        })
    };
    match (from, prior) {
        (Some(Begin::Start), _) | (None, None) => Ok(beginning()),
        (Some(Begin::Value(text)), _) => parse(text, "--from", column, kind, times),
        (None, Some(prior)) => {
            if !fits(prior, kind) {
                return Err(SourceError::Unusable(format!(
                    "cursor: {column} is of another type than when {} was reached; say --from start or --from VALUE",
                    shown(prior)
                )));
            }
            let reached_back = reach_back(prior, cursor.overlap, column)?;
            // What lies before an explicit start was never asked for.
            Ok(start.filter(|start| is_greater(start, &reached_back)).unwrap_or(reached_back))
        }
    }
}

fn reach_back(prior: &CursorValue, overlap: Option<Overlap>, column: &str) -> Result<CursorValue, SourceError> {
    let mismatch = |what: &str| SourceError::Unusable(format!("cursor: {column} holds {what}"));
    match (prior, overlap) {
        (CursorValue::Integer(number), None) => {
            Ok(CursorValue::Integer(number.saturating_sub_unsigned(DEFAULT_NUMBER)))
        }
        (CursorValue::Integer(number), Some(Overlap::Number(overlap))) => {
            Ok(CursorValue::Integer(number.saturating_sub_unsigned(overlap)))
        }
        (CursorValue::Integer(_), Some(Overlap::Duration(_))) => {
            Err(mismatch("integers: its overlap is a number, not a duration"))
        }
        (CursorValue::Timestamp { micros, zoned }, overlap) => {
            let by = match overlap {
                Some(Overlap::Duration(by)) => by,
                Some(Overlap::Number(_)) => return Err(mismatch("times: its overlap is a duration such as 1d")),
                None => DEFAULT_DURATION,
            };
            let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
            Ok(CursorValue::Timestamp { micros: micros.saturating_sub(by).max(0), zoned: *zoned })
        }
        (CursorValue::Text(_), Some(Overlap::Number(_))) => Err(mismatch("text: a number cannot be its overlap")),
        (CursorValue::Text(text), overlap) => {
            let by = if let Some(Overlap::Duration(by)) = overlap { by } else { DEFAULT_DURATION };
            time::earlier(text, by).map(CursorValue::Text).ok_or_else(|| {
                mismatch(&format!(
                    "the text {text:?}, whose order is the database's own: rows may have been passed over. Compare and select \
                     an integer or a time, and go on with `--from start` or `--from VALUE`: what is archived costs no request"
                ))
            })
        }
    }
}

/// A cursor value as a person writes it.
fn parse(text: &str, setting: &str, column: &str, kind: CursorKind, times: &Times) -> Result<CursorValue, SourceError> {
    let wrong = |right: &str| SourceError::Unusable(format!("{setting}: {text:?} is no value of {column}: {right}"));
    let number = || text.trim().parse::<i64>().ok().map(CursorValue::Integer);
    let micros = |zoned| {
        let micros = times.column_micros(text, zoned);
        micros.ok_or_else(|| wrong("give a time such as 2025-07-31T08:50:05Z, or milliseconds since the epoch"))
    };
    match kind {
        CursorKind::Integer => number().ok_or_else(|| wrong("give an integer")),
        CursorKind::Timestamp { zoned } => Ok(CursorValue::Timestamp { micros: micros(zoned)?, zoned }),
        CursorKind::Date => Ok(CursorValue::Timestamp { micros: micros(false)?, zoned: false }),
        CursorKind::Dynamic if is_time(text) || text.parse::<jiff::civil::Date>().is_ok() => {
            Ok(CursorValue::Text(text.to_owned()))
        }
        CursorKind::Dynamic => number().ok_or_else(|| wrong("give an integer, or a time as the column spells it")),
    }
}

fn shown(value: &CursorValue) -> String {
    match value {
        CursorValue::Integer(number) => number.to_string(),
        CursorValue::Timestamp { micros, zoned } => Value::Timestamp { micros: *micros, zoned: *zoned }.to_string(),
        CursorValue::Text(text) => format!("{text:?}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "cursor_tests.rs"]
mod tests;
