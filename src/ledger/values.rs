//! How values are stored in columns, and read back.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{Decode, Row as _, Type};
use uuid::Uuid;

use super::error::Fault;
use crate::model::failure::Class;
use crate::plan::Purpose;

/// How many rows one statement inserts: each statement is a round trip to SQLite's thread.
pub(super) const ROWS: usize = 32;
/// How many IDs one statement is given.
pub(super) const IDS: usize = 10_000;

/// Reads the columns of a row, by their names.
pub(super) trait Columns {
    /// A value as SQLite has it.
    fn value<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(&'r self, column: &str) -> Result<T, Fault>;

    /// A count, 0 where there is none.
    fn count(&self, column: &str) -> Result<u64, Fault> {
        Ok(count(self.value::<Option<i64>>(column)?.unwrap_or_default()))
    }

    fn time(&self, column: &str) -> Result<Timestamp, Fault> {
        Ok(timestamp(self.value(column)?))
    }

    fn optional_time(&self, column: &str) -> Result<Option<Timestamp>, Fault> {
        Ok(self.value::<Option<i64>>(column)?.map(timestamp))
    }

    fn run_id(&self, column: &str) -> Result<Uuid, Fault> {
        let text: &str = self.value(column)?;
        Uuid::try_parse(text).map_err(|_| Fault::Damaged(format!("{text:?} is not a run ID")))
    }

    fn class(&self, column: &str) -> Result<Class, Fault> {
        let name: &str = self.value(column)?;
        name.parse().map_err(|_| Fault::Damaged(format!("{name:?} is not a failure class")))
    }

    fn purpose(&self, column: &str) -> Result<Purpose, Fault> {
        let number = self.value(column)?;
        Purpose::from_number(number).ok_or_else(|| Fault::Damaged(format!("{number} is not the purpose of a batch")))
    }
}

impl Columns for SqliteRow {
    fn value<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(&'r self, column: &str) -> Result<T, Fault> {
        Ok(self.try_get(column)?)
    }
}

/// A time as it is stored.
pub(super) fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// The time so long before another, as it is stored.
pub(super) fn millis_before(time: Timestamp, ago: Duration) -> i64 {
    millis(time).saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
}

/// A time as it was stored.
fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// A count as it was stored.
pub(super) fn count(value: i64) -> u64 {
    value.max(0) as u64
}

/// IDs as the JSON array that `json_each` reads.
pub(super) fn json<'a>(ids: impl IntoIterator<Item = &'a i64>) -> String {
    let mut text = String::from("[");
    for (index, id) in ids.into_iter().enumerate() {
        let _ = write!(text, "{}{id}", if index == 0 { "" } else { "," });
    }
    text.push(']');
    text
}
