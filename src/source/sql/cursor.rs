//! How far a query was read, and where it begins again.

use std::time::Duration;

use jiff::Timestamp;

use crate::source::checkpoint::{Checkpoint, CursorValue};
use crate::source::error::SourceError;
use crate::source::mapping::time::{self, Times};
use crate::source::settings::{Begin, Cursor, Overlap};
use crate::source::value::Value;

/// How far a cursor reaches back by default.
const DEFAULT_NUMBER: u64 = 1000;
const DEFAULT_DURATION: Duration = Duration::from_hours(24);

/// How far into the future a time may lie and still move the cursor: clocks differ a little.
const TOLERANCE: Duration = Duration::from_mins(1);

/// The kind of column that a cursor runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum CursorKind {
    Integer,
    Timestamp {
        zoned: bool,
    },
    /// Stored as the timestamp of its midnight.
    Date,
    /// A column of SQLite may hold anything. A cursor needs integers, or times as text of one form, which sorts by time.
    Dynamic,
}

/// Where a query begins and how far its cursor has moved.
#[derive(Debug)]
pub(super) struct Tracker {
    kind: CursorKind,
    prior: Option<CursorValue>,
    highest: Option<CursorValue>,
    /// A time as the column spells it in text.
    form: Option<String>,
    /// Whether the user said where to begin. The column may then hold something other than before.
    begins_anew: bool,
    /// What is bound to `:after`.
    pub(super) after: CursorValue,
    times: Times,
    limit: Timestamp,
    /// The limit as microseconds of a column without a zone.
    local_limit: i64,
}

impl Tracker {
    pub(super) fn new(
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
        // A value that was stored for a column of another type says nothing about this one.
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

    /// Takes note of a value of the cursor's column. Nulls and times in the future do not move the cursor.
    pub(super) fn observe(&mut self, value: &Value<'_>) -> Result<(), SourceError> {
        let observed = match (value, self.kind) {
            (Value::Integer(number), CursorKind::Integer | CursorKind::Dynamic) => {
                self.form.as_ref().map_or(Ok(()), |form| Err(mixed(value, &format!("{form:?}"))))?;
                Some(CursorValue::Integer(*number))
            }
            // Of a number that is no 64-bit integer, the integer below it is certain.
            (Value::Decimal(text), CursorKind::Integer) => {
                let whole = text.split('.').next().and_then(|whole| whole.parse::<i64>().ok());
                let below = i64::from(text.starts_with('-'));
                whole.map(|whole| CursorValue::Integer(whole.saturating_sub(below)))
            }
            (Value::Timestamp { micros, zoned }, _) => {
                let limit = if *zoned { self.limit.as_microsecond() } else { self.local_limit };
                (*micros <= limit).then_some(CursorValue::Timestamp { micros: *micros, zoned: *zoned })
            }
            (Value::Date(days), _) => {
                let micros = i64::from(*days).saturating_mul(86_400_000_000);
                (micros <= self.local_limit).then_some(CursorValue::Timestamp { micros, zoned: false })
            }
            (Value::Text(bytes), CursorKind::Dynamic) => self.time_in_text(value, bytes)?,
            (Value::Null, _) | (Value::Unsigned(_), CursorKind::Integer) => None,
            (Value::Other(_), kind) if kind != CursorKind::Dynamic => None,
            _ => {
                return Err(SourceError::Unusable(format!(
                    "query: the cursor's column holds {value}, which a cursor cannot be; cast it to an integer"
                )));
            }
        };
        if let Some(observed) = observed
            && self.highest.as_ref().is_none_or(|highest| is_greater(&observed, highest))
        {
            self.highest = Some(observed);
        }
        Ok(())
    }

    fn time_in_text(&mut self, value: &Value<'_>, bytes: &[u8]) -> Result<Option<CursorValue>, SourceError> {
        let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| is_time(text)) else {
            return Err(SourceError::Unusable(format!(
                "query: the cursor's column holds the text {value}, whose order is the database's own: rows would be \
                 passed over. Compare and select an integer, or a time such as 2025-07-31 08:50:05"
            )));
        };
        if self.times.is_after(text, self.limit) {
            return Ok(None);
        }
        let prior = self.prior.as_ref().filter(|_| !self.begins_anew);
        if let Some(CursorValue::Integer(number)) = self.highest.as_ref().or(prior) {
            return Err(mixed(value, &number.to_string()));
        }
        let form = self.form.get_or_insert_with(|| text.to_owned());
        if !is_of_one_form(form, text) {
            return Err(mixed(value, &format!("{form:?}")));
        }
        Ok(Some(CursorValue::Text(text.to_owned())))
    }

    /// Whether a run that continues an earlier one found nothing beyond it.
    pub(super) fn stands_still(&self) -> bool {
        let is_beyond = |prior| self.highest.as_ref().is_some_and(|highest| is_greater(highest, prior));
        !self.begins_anew && self.prior.as_ref().is_some_and(|prior| !is_beyond(prior))
    }

    /// The highest value that was observed, but never less than that of the run before.
    pub(super) fn checkpoint(self) -> Option<Checkpoint> {
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

/// Whether two times sort as text as they do as times: they agree in everything but their digits. They may have different
/// numbers of decimals if what stands behind the decimals sorts before the point and the digits.
fn is_of_one_form(a: &str, b: &str) -> bool {
    let parts = |text: &str| {
        let (decimals, zone) = text[19..].split_at(time::decimals(&text[19..]));
        (text.as_bytes()[10], decimals.len(), zone.to_owned())
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
    // A mistake is reported before it matters.
    match kind {
        CursorKind::Integer => {
            number_of(cursor)?;
        }
        CursorKind::Timestamp { .. } | CursorKind::Date => {
            duration_of(cursor)?;
        }
        CursorKind::Dynamic => {}
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
                    "cursor: {column} is of another type than when {prior} was reached; say --from start or --from VALUE"
                )));
            }
            let reached_back = reach_back(prior, cursor, times)?;
            // Rows before an explicit start were never asked for.
            Ok(start.filter(|start| is_greater(start, &reached_back)).unwrap_or(reached_back))
        }
    }
}

/// Where a run that continues begins. If the column has no zone and clocks went back at this time, rows that were written
/// afterwards may have earlier times: it begins that much earlier.
fn reach_back(prior: &CursorValue, cursor: &Cursor, times: &Times) -> Result<CursorValue, SourceError> {
    match prior {
        CursorValue::Integer(number) => {
            Ok(CursorValue::Integer(number.saturating_sub_unsigned(number_of(cursor)?)))
        }
        CursorValue::Timestamp { micros, zoned } => {
            let repeated = if *zoned { Duration::ZERO } else { times.repeated(*micros) };
            let by = i64::try_from((duration_of(cursor)? + repeated).as_micros()).unwrap_or(i64::MAX);
            Ok(CursorValue::Timestamp { micros: micros.saturating_sub(by).max(0), zoned: *zoned })
        }
        CursorValue::Text(text) => {
            time::earlier(text, duration_of(cursor)? + times.repeated_text(text)).map(CursorValue::Text).ok_or_else(|| {
                SourceError::Unusable(format!(
                    "cursor: {} holds the text {text:?}, whose order is the database's own: rows may have been passed over. \
                     Compare and select an integer or a time, and go on with `--from start` or `--from VALUE`: what is \
                     archived costs no request",
                    cursor.column
                ))
            })
        }
    }
}

/// The overlap of a column of integers.
fn number_of(cursor: &Cursor) -> Result<u64, SourceError> {
    match cursor.overlap {
        None => Ok(DEFAULT_NUMBER),
        Some(Overlap::Number(number)) => Ok(number),
        Some(Overlap::Duration(_)) => Err(SourceError::Unusable(format!(
            "cursor: {} holds integers: its overlap is a number, not a duration",
            cursor.column
        ))),
    }
}

/// The overlap of a column of times.
fn duration_of(cursor: &Cursor) -> Result<Duration, SourceError> {
    match cursor.overlap {
        None => Ok(DEFAULT_DURATION),
        Some(Overlap::Duration(duration)) => Ok(duration),
        Some(Overlap::Number(_)) => Err(SourceError::Unusable(format!(
            "cursor: {} holds times: its overlap is a duration such as 1d, not a number",
            cursor.column
        ))),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
