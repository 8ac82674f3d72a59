//! Queries, their cursors, and where they bind `:after`.

use std::time::Duration;

use jiff::civil;
use serde_json::{Value as Json, json};

use super::reader::Reader;
use super::scalar::{duration, seconds};
use super::setting::{Scalar, Text};
use crate::sql::{Dialect, split_at_after};

settings! {
    /// A query and its cursor.
    pub Query {
        /// The SQL that selects references. It names `:after` exactly when there is a cursor.
        sql ("query"): String as Sql,
            sample "select id, conversation_id, message_server_id, create_time from message_refs where id > :after";
        /// The [column](#what-a-cursor-can-be) that tells new rows from old ones. Without it every run reads everything;
        /// what is archived already costs no request.
        cursor: Option<Cursor>, default "null", sample "{ column: id, start: 0, overlap: 1000 }";
    }
}

settings! {
    /// The column that tells new rows from old ones.
    pub Cursor {
        /// A column of the query's result. It holds integers or timestamps, see [below](#what-a-cursor-can-be).
        column: String as ColumnName, sample "id";
        /// What the first run binds to `:after`. Without it: 0, or the epoch for a timestamp column, whose starts are
        /// written such as `2026-01-31` or `2026-01-31T08:00:00+08:00`.
        start: Option<String> as Option<Start>, default "null";
        /// How far each run reads back behind the highest value that was planned, for rows that became visible late.
        /// Without it: 1000, or `1d` for a timestamp column, whose overlaps are durations.
        overlap: Option<Overlap>, default "null";
    }
    check |cursor, reader, key| {
        let starts_with_number = cursor.start.as_ref().map(|start| start.parse::<i64>().is_ok());
        let message = match (starts_with_number, cursor.overlap) {
            (Some(true), Some(Overlap::Duration(_))) => {
                "is a duration, and start is an integer: write both for one type of column"
            }
            (Some(false), Some(Overlap::Number(_))) => {
                "is a number, and start is a time: write a duration, such as 1d"
            }
            _ => return,
        };
        reader.mistake(&format!("{key}.overlap"), message);
    }
}

/// How far each run reads back for rows that came late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Of an integer column.
    Number(u64),
    /// Of a timestamp column.
    Duration(Duration),
}

impl Query {
    /// Checks that the query is one statement that uses `:after` exactly when there is a cursor. `key` is the source.
    pub(super) fn check(&self, reader: &mut Reader<'_>, key: &str, dialects: &[Dialect]) {
        let (query, cursor) = (format!("{key}.query"), format!("{key}.cursor"));
        // How the server reads quotes is known only when it is asked: what one way of reading allows is no mistake yet.
        let pieces = dialects.iter().filter_map(|dialect| split_at_after(&self.sql, *dialect).ok());
        let placeholders: Vec<usize> = pieces.map(|pieces| pieces.len() - 1).collect();
        if placeholders.is_empty() {
            reader.mistake(&query, "is more than one statement: nothing may stand behind its `;`");
        } else if self.cursor.is_some() && placeholders.iter().all(|n| *n == 0) {
            let message = "the query does not use it: compare the column with :after, as in `where id > :after`, \
                           or leave the cursor out";
            reader.mistake(&cursor, message);
        } else if !reader.is_written(&cursor) && placeholders.iter().all(|n| *n > 0) {
            reader.mistake(&query, "uses :after, and there is no cursor to bind it from");
        }
    }
}

/// The SQL of a query.
pub(super) struct Sql;

impl Text for Sql {
    const FORM: &'static str = "SQL";

    fn parse(text: &str) -> Result<&str, &'static str> {
        if text.trim().is_empty() { Err("is empty: write the SQL that selects references") } else { Ok(text) }
    }
}

/// The name of a column of the query's result.
pub(super) struct ColumnName;

impl Text for ColumnName {
    const FORM: &'static str = "name";

    fn parse(text: &str) -> Result<&str, &'static str> {
        if text.is_empty() { Err("names no column") } else { Ok(text) }
    }
}

/// Where a cursor starts.
pub(super) struct Start;

impl Text for Start {
    const FORM: &'static str = "integer, date or time";

    fn parse(text: &str) -> Result<&str, &'static str> {
        let is_time = || text.parse::<jiff::Timestamp>().is_ok() || text.parse::<civil::DateTime>().is_ok();
        if text.parse::<i64>().is_ok() || is_time() {
            return Ok(text);
        }
        Err("is neither an integer nor a time, such as 0, 2026-01-31 or 2026-01-31T08:00:00Z")
    }
}

impl Scalar for Overlap {
    type Value = Self;

    fn schema() -> Json {
        json!({ "type": ["integer", "string"], "title": "number or duration" })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse().map(Self::Number);
        number
            .or_else(|_| duration(text).map(Self::Duration))
            .map_err(|_| "is neither a number nor a duration, such as 1000 or 1d".to_owned())
    }

    fn canonical(value: &Self) -> Json {
        match value {
            Self::Number(number) => json!(number),
            Self::Duration(span) => seconds(*span),
        }
    }
}
