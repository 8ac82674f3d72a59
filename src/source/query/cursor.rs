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
    Text,
    /// SQLite's columns hold what they are given: integers or text, integers first.
    Any,
}

/// Where a query begins and how far its cursor has moved.
#[derive(Debug)]
pub(in crate::source) struct Tracker {
    kind: CursorKind,
    prior: Option<CursorValue>,
    highest: Option<CursorValue>,
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
        Ok(Self { kind, prior, highest: None, after, times: times.clone(), limit, local_limit })
    }

    /// Takes note of a value of the cursor's column. Null and times in the future never move the cursor.
    pub(in crate::source) fn observe(&mut self, value: &Value<'_>) -> Result<(), SourceError> {
        let met = match value {
            Value::Null | Value::Other(_) => return Ok(()),
            Value::Integer(number) if matches!(self.kind, CursorKind::Integer | CursorKind::Any) => {
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
            Value::Text(bytes) if matches!(self.kind, CursorKind::Text | CursorKind::Any) => {
                return self.observe_text(bytes);
            }
            other => {
                return Err(SourceError::Unusable(format!(
                    "query: the cursor's column holds {other}, which a cursor cannot be; cast it to an integer or text"
                )));
            }
        };
        if self.highest.as_ref().is_none_or(|highest| is_greater(&met, highest)) {
            self.highest = Some(met);
        }
        Ok(())
    }

    fn observe_text(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        let greater = match &self.highest {
            Some(CursorValue::Text(highest)) => bytes > highest.as_bytes(),
            _ => true,
        };
        if !greater || self.times.is_after(bytes, self.limit) {
            return Ok(());
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| SourceError::Unusable("query: the cursor's column holds text that is not UTF-8".to_owned()))?;
        match &mut self.highest {
            Some(CursorValue::Text(highest)) => {
                highest.clear();
                highest.push_str(text);
            }
            other => *other = Some(CursorValue::Text(text.to_owned())),
        }
        Ok(())
    }

    /// The highest value met, and never less than the one before.
    pub(in crate::source) fn checkpoint(self) -> Option<Checkpoint> {
        let value = match (self.prior, self.highest) {
            (Some(prior), Some(highest)) => Some(if is_greater(&highest, &prior) { highest } else { prior }),
            (prior, highest) => prior.or(highest),
        };
        value.map(Checkpoint::Value)
    }
}

fn fits(value: &CursorValue, kind: CursorKind) -> bool {
    match (value, kind) {
        (CursorValue::Integer(_), CursorKind::Integer | CursorKind::Any)
        | (CursorValue::Text(_), CursorKind::Text | CursorKind::Any)
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
        // SQLite sorts text behind numbers.
        (CursorValue::Text(_), _) => true,
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
        (CursorKind::Timestamp { .. } | CursorKind::Date | CursorKind::Text, Some(Overlap::Number(_))) => {
            return Err(SourceError::Unusable(format!(
                "cursor: {column} is no integer column: its overlap is a duration such as 1d, not a number"
            )));
        }
        _ => {}
    }
    let start = cursor.start.as_deref().map(|text| parse(text, "start", column, kind, times)).transpose()?;
    let beginning = || {
        start.clone().unwrap_or(match kind {
            CursorKind::Integer | CursorKind::Any => CursorValue::Integer(0),
            CursorKind::Timestamp { zoned } => CursorValue::Timestamp { micros: 0, zoned },
            CursorKind::Date => CursorValue::Timestamp { micros: 0, zoned: false },
            CursorKind::Text => CursorValue::Text(String::new()),
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
        (CursorValue::Text(text), Some(Overlap::Duration(by))) => time::earlier(text, by)
            .map(CursorValue::Text)
            .ok_or_else(|| mismatch(&format!("{text:?}, which is no time: a duration cannot be its overlap"))),
        (CursorValue::Text(_), Some(Overlap::Number(_))) => Err(mismatch("text: a number cannot be its overlap")),
        (CursorValue::Text(text), None) => {
            Ok(CursorValue::Text(time::earlier(text, DEFAULT_DURATION).unwrap_or_else(|| text.clone())))
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
        CursorKind::Text => Ok(CursorValue::Text(text.to_owned())),
        CursorKind::Any => Ok(number().unwrap_or_else(|| CursorValue::Text(text.to_owned()))),
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
