//! Queries on MySQL and MariaDB.

use std::sync::OnceLock;

use chrono::NaiveDateTime;
use jiff::Timestamp;
use jiff::tz::Offset;
use secrecy::SecretString;
use sqlx::mysql::{MySqlColumn, MySqlConnection, MySqlDatabaseError, MySqlRow, MySqlStatement};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Decode, Executor, Row, SqlSafeStr, Statement, TypeInfo, ValueRef,
};

use super::intake::Intake;
use super::query::{Cells, CursorKind, Shape, Tracker, connect, drain, pieces, require_cursor};
use super::reading::Reading;
use super::settings::{Begin, Query};
use super::value::Value;
use super::{Checkpoint, CursorValue, SourceError};

mod session;
mod zone;

pub(super) async fn begin(
    url: SecretString,
    query: Query,
    checkpoint: Option<Checkpoint>,
    from: Option<Begin>,
    mut intake: Intake,
) -> Result<Reading, SourceError> {
    require_cursor(&query, from.as_ref())?;
    let options = session::options(&url)?;
    let server = format!("mysql at {}:{}", options.get_host(), options.get_port());
    let mut cells = MySqlCells { server, kinds: OnceLock::new(), used: Vec::new(), instants: Vec::new() };
    let mut connection = connect(|| options.connect(), |error| matches!(error, sqlx::Error::Io(_)))
        .await
        .map_err(|error| cells.explain(error))?;
    let dialect = session::settle(&mut connection).await.map_err(|error| cells.explain(error))?;
    let parts = pieces(&query, dialect)?;
    let (mut sql, placeholders) = (parts.join("?"), parts.len() - 1);
    let statement = prepare(&mut connection, &sql).await.map_err(|error| cells.explain(error))?;
    let header: Vec<String> = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let kinds: Vec<Kind> = statement.columns().iter().map(Kind::of).collect();
    let types: Vec<String> = statement.columns().iter().map(|column| column.type_info().name().to_owned()).collect();
    let shape = Shape::new(&intake.names(), header, &query, dialect)?;
    if let Some(place) = (0..kinds.len()).find(|&place| kinds[place] == Kind::Unknown && shape.uses(place)) {
        return Err(shape.unusable(place, &types[place]));
    }
    cells.used = (0..kinds.len()).map(|place| shape.uses(place)).collect();
    if (0..kinds.len()).any(|place| kinds[place] == Kind::Instant && cells.used[place]) {
        cells.instants = kinds.iter().map(|kind| *kind == Kind::Instant).collect();
        sql = zone::with_instants(&mut connection, &sql, &shape.header, &cells.instants)
            .await
            .map_err(|error| cells.explain(error))?;
    }
    let mut tracker = match (&query.cursor, shape.cursor) {
        (Some(cursor), Some(place)) => {
            let kind = kinds[place].cursor().ok_or_else(|| shape.unusable(place, &types[place]))?;
            Some(Tracker::new(cursor, kind, checkpoint, from.as_ref(), intake.times(), Timestamp::now())?)
        }
        _ => None,
    };
    let after = match tracker.as_ref().map(|tracker| &tracker.after) {
        Some(CursorValue::Integer(number)) => After::Integer(*number),
        Some(CursorValue::Timestamp { micros, zoned: true }) => {
            let local = zone::at_or_before(&mut connection, *micros).await.map_err(|error| cells.explain(error))?;
            After::Time(local.ok_or_else(|| {
                SourceError::Unusable(format!(
                    "cursor: {} is beyond the times that a TIMESTAMP holds",
                    Value::Timestamp { micros: *micros, zoned: true }
                ))
            })?)
        }
        Some(CursorValue::Timestamp { micros, zoned: false }) => After::Time(naive(*micros)),
        Some(CursorValue::Text(_)) | None => After::Nothing,
    };
    // The server gives up a reader that pauses for longer than this.
    (&mut connection).execute("set session net_write_timeout = 3600").await.map_err(|error| cells.explain(error))?;
    (&mut connection).execute("start transaction read only").await.map_err(|error| cells.explain(error))?;
    let is_date = shape.cursor.is_some_and(|place| kinds[place] == Kind::Date);
    Ok(Reading::on_task(move |outlet| async move {
        let mut bound = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        for _ in 0..placeholders {
            bound = match &after {
                After::Integer(number) => bound.bind(*number),
                After::Time(time) if is_date => bound.bind(time.date()),
                After::Time(time) => bound.bind(*time),
                After::Nothing => bound,
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

/// What is bound to `:after`.
enum After {
    Integer(i64),
    /// A date and time as the column holds it, or as the session's zone shows it.
    Time(NaiveDateTime),
    Nothing,
}

async fn prepare(connection: &mut MySqlConnection, sql: &str) -> Result<MySqlStatement, sqlx::Error> {
    connection.prepare(AssertSqlSafe(sql.to_owned()).into_sql_str()).await
}

fn naive(micros: i64) -> NaiveDateTime {
    chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc()
}

/// The types that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Unsigned,
    Decimal,
    Float,
    Double,
    Text,
    /// A date and time without a zone.
    Time,
    /// A TIMESTAMP: an instant, which the server shows in the session's zone.
    Instant,
    Date,
    Null,
    Unknown,
}

impl Kind {
    fn of(column: &MySqlColumn) -> Self {
        match column.type_info().name() {
            "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Self::Integer,
            "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED" | "BIGINT UNSIGNED" => {
                Self::Unsigned
            }
            "DECIMAL" => Self::Decimal,
            "FLOAT" => Self::Float,
            "DOUBLE" => Self::Double,
            // Text of a binary collation, and text that functions put together, is called binary.
            "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM" | "JSON" | "BINARY"
            | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => Self::Text,
            "TIMESTAMP" => Self::Instant,
            "DATETIME" => Self::Time,
            "DATE" => Self::Date,
            "NULL" => Self::Null,
            _ => Self::Unknown,
        }
    }

    fn cursor(self) -> Option<CursorKind> {
        match self {
            Self::Integer | Self::Unsigned | Self::Decimal => Some(CursorKind::Integer),
            Self::Time => Some(CursorKind::Timestamp { zoned: false }),
            Self::Instant => Some(CursorKind::Timestamp { zoned: true }),
            Self::Date => Some(CursorKind::Date),
            Self::Float | Self::Double | Self::Text | Self::Null | Self::Unknown => None,
        }
    }
}

struct MySqlCells {
    server: String,
    /// The kinds of the columns as they arrive: a placeholder has no type before it is bound, and the expressions around
    /// it are of another type then.
    kinds: OnceLock<Vec<Kind>>,
    /// Which columns something depends on.
    used: Vec<bool>,
    /// Which columns arrive as seconds since the epoch.
    instants: Vec<bool>,
}

impl Cells for MySqlCells {
    type Row = MySqlRow;
    type Error = sqlx::Error;

    fn cell<'r>(&self, row: &'r MySqlRow, column: usize) -> Value<'r> {
        let kinds = self.kinds.get_or_init(|| row.columns().iter().map(Kind::of).collect());
        let (Ok(value), Some(kind)) = (row.try_get_raw(column), kinds.get(column)) else { return Value::Null };
        if value.is_null() {
            return Value::Null;
        }
        let bytes = <&'r [u8] as Decode<'r, sqlx::MySql>>::decode(value);
        if *kind == Kind::Instant && self.used.get(column) == Some(&true) {
            return Value::Other("a TIMESTAMP whose type the server told too late: select unix_timestamp(…) instead");
        }
        let value = bytes.ok().and_then(|bytes| decode(*kind, bytes)).unwrap_or(Value::Other("an unreadable value"));
        if self.instants.get(column) == Some(&true) { zone::instant(&value) } else { value }
    }

    fn explain(&self, error: sqlx::Error) -> SourceError {
        let server = &self.server;
        let (number, code) = match &error {
            sqlx::Error::Database(error) => (
                error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number),
                error.code().unwrap_or_default().into_owned(),
            ),
            sqlx::Error::Configuration(_) => {
                return SourceError::Unusable(format!("{server}: the URL does not fit: {error}"));
            }
            sqlx::Error::Protocol(message) if message.contains("parameters") => {
                return SourceError::Unusable(format!(
                    "{server}: query: a `?` in it is no parameter of this program: {error}"
                ));
            }
            _ => (0, String::new()),
        };
        match (number, code.as_str()) {
            // Access denied: to the database, to a table, to a column, to a privilege.
            (1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698, _) => SourceError::Denied(format!("{server}: {error}")),
            (_, code) if code.starts_with("28") => SourceError::Denied(format!("{server}: {error}")),
            (1792, _) => SourceError::Unusable(format!("{server}: query: it must only read: {error}")),
            // No such database; no such time zone, collation.
            (1049 | 1298 | 1273 | 1253, _) => SourceError::Unusable(format!("{server}: {error}")),
            (_, code) if code.starts_with("42") => SourceError::Unusable(format!("{server}: query: {error}")),
            (0, "") => {
                SourceError::Failed { context: format!("{server}: the connection failed"), source: error.into() }
            }
            _ => SourceError::Failed { context: format!("{server}: query failed"), source: error.into() },
        }
    }
}

/// A value in MySQL's binary form.
fn decode(kind: Kind, bytes: &[u8]) -> Option<Value<'_>> {
    Some(match kind {
        Kind::Integer => Value::Integer(match bytes.len() {
            1 => i64::from(bytes[0] as i8),
            2 => i16::from_le_bytes(bytes.try_into().ok()?).into(),
            4 => i32::from_le_bytes(bytes.try_into().ok()?).into(),
            _ => i64::from_le_bytes(bytes.try_into().ok()?),
        }),
        Kind::Unsigned => {
            let mut wide = [0; 8];
            wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
            let number = u64::from_le_bytes(wide);
            i64::try_from(number).map_or(Value::Unsigned(number), Value::Integer)
        }
        Kind::Decimal => Value::decimal_text(std::str::from_utf8(bytes).ok()?),
        Kind::Float => Value::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        Kind::Double => Value::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        Kind::Text => Value::bytes(bytes),
        Kind::Time | Kind::Instant => Value::Timestamp { micros: micros(bytes)?, zoned: false },
        Kind::Date => Value::Date(micros(bytes)?.div_euclid(86_400_000_000) as i32),
        Kind::Null => Value::Null,
        Kind::Unknown => return None,
    })
}

/// A date and time: its length, then year, month, day, hour, minute, second and microsecond as far as they are not zero.
fn micros(bytes: &[u8]) -> Option<i64> {
    let (_, parts) = bytes.split_first()?;
    let part = |place: usize| parts.get(place).copied().unwrap_or(0) as i8;
    let year = i16::from_le_bytes([*parts.first()?, *parts.get(1)?]);
    let civil = jiff::civil::DateTime::new(year, part(2), part(3), part(4), part(5), part(6), 0).ok()?;
    let fraction = parts.get(7..11).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    Some(Offset::UTC.to_timestamp(civil).ok()?.as_microsecond() + i64::from(fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_length() {
        for (bytes, expected) in [
            (&[4, 0xE9, 7, 7, 31][..], Some(1_753_920_000_000_000)),
            (&[7, 0xE9, 7, 7, 31, 8, 50, 5], Some(1_753_951_805_000_000)),
            (&[11, 0xE9, 7, 7, 31, 8, 50, 5, 0xC1, 0xC8, 3, 0], Some(1_753_951_805_248_001)),
            (&[4, 0, 0, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(micros(bytes), expected);
        }
    }

    #[test]
    fn integers_are_read_in_every_width() {
        assert_eq!(decode(Kind::Integer, &[0xFF]), Some(Value::Integer(-1)));
        assert_eq!(decode(Kind::Unsigned, &[0xFF]), Some(Value::Integer(255)));
        assert_eq!(decode(Kind::Unsigned, &[0xFF; 8]), Some(Value::Unsigned(u64::MAX)));
        assert_eq!(decode(Kind::Integer, &[0xFF; 3]), None);
    }
}
