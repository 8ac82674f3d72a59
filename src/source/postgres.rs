//! Queries on Postgres.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgStatement, PgTypeInfo, PgTypeKind};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Executor, Row, SqlSafeStr, Statement, TypeInfo, ValueRef,
};

use super::intake::Intake;
use super::query::{Cells, CursorKind, Dialect, Shape, Tracker, connect, drain, pieces, require_cursor};
use super::reading::Reading;
use super::settings::{Begin, Query};
use super::value::Value;
use super::{Checkpoint, CursorValue, SourceError};

/// Postgres counts from 2000-01-01: this many seconds after the epoch.
const EPOCH_SECONDS: i64 = 946_684_800;

pub(super) async fn begin(
    url: SecretString,
    query: Query,
    checkpoint: Option<Checkpoint>,
    from: Option<Begin>,
    mut intake: Intake,
) -> Result<Reading, SourceError> {
    require_cursor(&query, from.as_ref())?;
    let parts: Vec<String> = pieces(&query, Dialect::Postgres)?.into_iter().map(str::to_owned).collect();
    let options = PgConnectOptions::from_str(url.expose_secret())
        .map_err(|error| SourceError::Unusable(format!("the Postgres URL cannot be read: {error}")))?
        .application_name("yunxin-archiver")
        .disable_statement_logging();
    let mut cells =
        PgCells { server: format!("postgres at {}:{}", options.get_host(), options.get_port()), kinds: Vec::new() };
    let mut connection = connect(|| options.connect()).await.map_err(|error| cells.explain(error))?;
    let statement = describe(&mut connection, &parts).await.map_err(|error| cells.explain(error))?;
    let header = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let shape = Shape::new(&intake.names(), header, &query)?;
    for (place, column) in statement.columns().iter().enumerate() {
        let kind = Kind::of(column.type_info());
        if kind == Kind::Unknown && shape.uses(place) {
            return Err(shape.unusable(place, column.type_info().name()));
        }
        cells.kinds.push(kind);
    }
    let mut tracker = match (&query.cursor, shape.cursor) {
        (Some(cursor), Some(place)) => {
            let kind = cells.kinds[place]
                .cursor()
                .ok_or_else(|| shape.unusable(place, statement.columns()[place].type_info().name()))?;
            Some(Tracker::new(cursor, kind, checkpoint, from.as_ref(), intake.times(), Timestamp::now())?)
        }
        _ => None,
    };
    (&mut connection).execute("begin transaction read only").await.map_err(|error| cells.explain(error))?;
    let is_date = shape.cursor.is_some_and(|place| cells.kinds[place] == Kind::Date);
    Ok(Reading::on_task(move |outlet| async move {
        let mut bound = sqlx::query(AssertSqlSafe(parts.join("$1"))).persistent(false);
        if let Some(tracker) = &tracker {
            bound = match &tracker.after {
                CursorValue::Integer(number) => bound.bind(*number),
                CursorValue::Text(text) => bound.bind(text.clone()),
                CursorValue::Timestamp { micros, zoned } => {
                    let time = DateTime::<Utc>::from_timestamp_micros(*micros).unwrap_or_default();
                    match zoned {
                        true => bound.bind(time),
                        false if is_date => bound.bind(time.date_naive()),
                        false => bound.bind(time.naive_utc()),
                    }
                }
            };
        }
        let rows = bound.fetch(&mut connection);
        let ended = drain(rows, &cells, &shape, &mut tracker, &mut intake, &outlet).await;
        if ended.is_ok() {
            // What was read was read, however the connection ends.
            let _ = connection.close().await;
        }
        (outlet, ended.map(|()| tracker.and_then(Tracker::checkpoint)))
    }))
}

/// Learns the columns of the statement. The type of `:after` is the type of one of them, so it cannot be given yet; where
/// an untyped null leaves the statement ambiguous, a null of each type is tried.
async fn describe(connection: &mut PgConnection, parts: &[String]) -> Result<PgStatement, sqlx::Error> {
    let mut first_error = None;
    for after in ["null", "null::bigint", "null::timestamptz", "null::timestamp", "null::date", "null::text"] {
        let sql = parts.join(&format!("({after})"));
        match connection.prepare(AssertSqlSafe(sql).into_sql_str()).await {
            Ok(statement) => return Ok(statement),
            Err(error @ sqlx::Error::Database(_)) if parts.len() > 1 => first_error = first_error.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first_error.unwrap_or(sqlx::Error::RowNotFound))
}

/// The types that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Text,
    Jsonb,
    Timestamp { zoned: bool },
    Date,
    Unknown,
}

impl Kind {
    fn of(type_info: &PgTypeInfo) -> Self {
        match type_info.name() {
            "INT2" => Self::Int2,
            "INT4" => Self::Int4,
            "INT8" => Self::Int8,
            "NUMERIC" => Self::Numeric,
            "FLOAT4" => Self::Float4,
            "FLOAT8" => Self::Float8,
            "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "JSON" => Self::Text,
            "JSONB" => Self::Jsonb,
            "TIMESTAMP" => Self::Timestamp { zoned: false },
            "TIMESTAMPTZ" => Self::Timestamp { zoned: true },
            "DATE" => Self::Date,
            name if name.eq_ignore_ascii_case("citext") => Self::Text,
            _ if matches!(type_info.kind(), PgTypeKind::Enum(_)) => Self::Text,
            _ => Self::Unknown,
        }
    }

    fn cursor(self) -> Option<CursorKind> {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Numeric => Some(CursorKind::Integer),
            Self::Text => Some(CursorKind::Text),
            Self::Timestamp { zoned } => Some(CursorKind::Timestamp { zoned }),
            Self::Date => Some(CursorKind::Date),
            Self::Float4 | Self::Float8 | Self::Jsonb | Self::Unknown => None,
        }
    }
}

struct PgCells {
    server: String,
    kinds: Vec<Kind>,
}

impl Cells for PgCells {
    type Row = PgRow;

    fn cell<'r>(&self, row: &'r PgRow, column: usize) -> Value<'r> {
        let (Ok(value), Some(kind)) = (row.try_get_raw(column), self.kinds.get(column)) else { return Value::Null };
        if value.is_null() {
            return Value::Null;
        }
        value.as_bytes().ok().and_then(|bytes| decode(*kind, bytes)).unwrap_or(Value::Other("an unreadable value"))
    }

    fn explain(&self, error: sqlx::Error) -> SourceError {
        let server = &self.server;
        let code = match &error {
            sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
            sqlx::Error::Configuration(_) => {
                return SourceError::Unusable(format!("{server}: the URL does not fit: {error}"));
            }
            _ => String::new(),
        };
        match code.as_str() {
            "42501" => SourceError::Denied(format!("{server}: {error}")),
            "25006" => SourceError::Unusable(format!("{server}: query: it must only read: {error}")),
            "0A000" => SourceError::Unusable(format!("{server}: query: {error}")),
            "3D000" => SourceError::Unusable(format!("{server}: {error}")),
            code if code.starts_with("28") => SourceError::Denied(format!("{server}: {error}")),
            code if code.starts_with("42") => SourceError::Unusable(format!("{server}: query: {error}")),
            "" => SourceError::Failed { context: format!("{server}: the connection failed"), source: error.into() },
            _ => SourceError::Failed { context: format!("{server}: query failed"), source: error.into() },
        }
    }
}

/// A value in Postgres's binary form.
fn decode(kind: Kind, bytes: &[u8]) -> Option<Value<'_>> {
    Some(match kind {
        Kind::Int2 => Value::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Int4 => Value::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Int8 => Value::Integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        Kind::Numeric => numeric(bytes)?,
        Kind::Float4 => Value::Float(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Float8 => Value::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
        Kind::Text => Value::bytes(bytes),
        // One byte of version stands before the text.
        Kind::Jsonb => Value::bytes(bytes.get(1..)?),
        Kind::Timestamp { zoned } => match i64::from_be_bytes(bytes.try_into().ok()?) {
            i64::MAX | i64::MIN => Value::Other("infinity"),
            micros => Value::Timestamp { micros: micros.checked_add(EPOCH_SECONDS * 1_000_000)?, zoned },
        },
        Kind::Date => match i32::from_be_bytes(bytes.try_into().ok()?) {
            i32::MAX | i32::MIN => Value::Other("infinity"),
            days => Value::Date(days.checked_add((EPOCH_SECONDS / 86_400) as i32)?),
        },
        Kind::Unknown => return None,
    })
}

/// A numeric: digits in base 10,000 and the power of the first of them.
fn numeric(bytes: &[u8]) -> Option<Value<'static>> {
    let (header, digits) = bytes.split_at_checked(8)?;
    let word = |place: usize| u16::from_be_bytes([header[place], header[place + 1]]);
    let (weight, sign, scale) = (i32::from(word(2) as i16), word(4), u32::from(word(6)));
    if sign & 0x8000 != 0 {
        return Some(Value::Other("not a number"));
    }
    // Beyond 38 digits nothing is an ID or a time, and 128 bits are not enough.
    if weight > 8 || scale > 12 {
        return Some(Value::Other("a number of too many digits"));
    }
    let digit = |power: i32| {
        let place = usize::try_from(weight - power).ok()? * 2;
        Some(i128::from(u16::from_be_bytes([*digits.get(place)?, *digits.get(place + 1)?])))
    };
    let mut unscaled = 0_i128;
    let last = -(scale.div_ceil(4) as i32);
    for power in (last..=weight.max(0)).rev() {
        unscaled = unscaled.checked_mul(10_000)?.checked_add(digit(power).unwrap_or(0))?;
    }
    let surplus = 10_i128.pow((-last).unsigned_abs() * 4 - scale);
    let unscaled = unscaled / surplus * if sign == 0x4000 { -1 } else { 1 };
    Some(Value::decimal(unscaled, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(digits: &[u16], weight: i16, sign: u16, scale: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [digits.len() as u16, weight as u16, sign, scale].iter().chain(digits) {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn numerics_are_read_exactly() {
        for (bytes, expected) in [
            (encoded(&[], 0, 0, 0), Value::Integer(0)),
            (encoded(&[15, 8844, 5533, 3435, 8018], 4, 0, 0), Value::Integer(158_844_553_334_358_018)),
            (encoded(&[1], 1, 0, 2), Value::Integer(10_000)),
            (encoded(&[5], 0, 0x4000, 0), Value::Integer(-5)),
            (encoded(&[17, 5395, 1805, 2480], 2, 0, 3), Value::Decimal("1753951805.248".into())),
            (encoded(&[500], -1, 0, 2), Value::Decimal("0.05".into())),
            (encoded(&[922, 3372, 368, 5477, 5808], 4, 0, 0), Value::Unsigned(1 << 63)),
            (encoded(&[], 0, 0xC000, 0), Value::Other("not a number")),
            (encoded(&[1], 9, 0, 0), Value::Other("a number of too many digits")),
        ] {
            assert_eq!(numeric(&bytes), Some(expected));
        }
    }

    #[test]
    fn what_is_not_what_it_says_is_unreadable() {
        assert_eq!(decode(Kind::Int8, &[1, 2]), None);
        assert_eq!(decode(Kind::Jsonb, &[]), None);
        assert_eq!(numeric(&[0, 1]), None);
        assert_eq!(decode(Kind::Timestamp { zoned: true }, &i64::MAX.to_be_bytes()), Some(Value::Other("infinity")));
    }
}
