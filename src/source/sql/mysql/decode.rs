//! The values of MySQL's columns.

use chrono::{NaiveDate, NaiveDateTime};
use sqlx::mysql::{MySqlColumn, MySqlRow};
use sqlx::{Column as _, Row as _, TypeInfo as _, ValueRef as _};

use crate::source::sql::cursor::CursorKind;
use crate::source::value::Value;

/// The types that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Unsigned,
    Decimal,
    Float,
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
    pub(super) fn of(column: &MySqlColumn) -> Self {
        match column.type_info().name() {
            "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Self::Integer,
            "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED" | "BIGINT UNSIGNED" => {
                Self::Unsigned
            }
            "DECIMAL" => Self::Decimal,
            "FLOAT" | "DOUBLE" => Self::Float,
            // Text of a binary collation and text that functions compose have binary types.
            "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM" | "JSON" | "BINARY"
            | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => Self::Text,
            "TIMESTAMP" => Self::Instant,
            "DATETIME" => Self::Time,
            "DATE" => Self::Date,
            "NULL" => Self::Null,
            _ => Self::Unknown,
        }
    }

    /// The kind of cursor that can run on such a column.
    pub(super) fn cursor(self) -> Option<CursorKind> {
        match self {
            Self::Integer | Self::Unsigned | Self::Decimal => Some(CursorKind::Integer),
            Self::Time => Some(CursorKind::Timestamp { zoned: false }),
            Self::Instant => Some(CursorKind::Timestamp { zoned: true }),
            Self::Date => Some(CursorKind::Date),
            Self::Float | Self::Text | Self::Null | Self::Unknown => None,
        }
    }
}

/// The value of a column. An instant is a time without a zone here.
pub(super) fn value(row: &MySqlRow, column: usize, kind: Kind) -> Value<'static> {
    if row.try_get_raw(column).map_or(true, |value| value.is_null()) {
        return Value::Null;
    }
    let decoded = match kind {
        Kind::Integer => row.try_get_unchecked(column).map(Value::Integer),
        Kind::Unsigned => row.try_get_unchecked(column).map(Value::unsigned),
        Kind::Decimal => row.try_get_unchecked(column).map(Value::decimal),
        Kind::Float => row.try_get_unchecked(column).map(Value::Float),
        Kind::Text => row.try_get_unchecked::<&[u8], _>(column).map(Value::owned),
        Kind::Time | Kind::Instant => row.try_get_unchecked::<NaiveDateTime, _>(column).map(|time| {
            let micros = time.and_utc().timestamp_micros();
            Value::Timestamp { micros, zoned: false }
        }),
        Kind::Date => row
            .try_get_unchecked::<NaiveDate, _>(column)
            .map(|date| Value::Date((date - NaiveDate::default()).num_days() as i32)),
        Kind::Null => return Value::Null,
        Kind::Unknown => return Value::Other("an unreadable value"),
    };
    decoded.unwrap_or(Value::Other("an unreadable value"))
}
