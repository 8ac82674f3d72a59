//! Queries, their cursors, and where they bind `:after`.

use std::time::Duration;

use jiff::civil;

use super::document::CursorDocument;
use super::reading::{Reading, duration};
use super::written::{Leaf, Position, Written};
use crate::sql::{Dialect, split_at_after};

/// A query and its cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The SQL; it names `:after` exactly when there is a cursor.
    pub sql: String,
    /// The column that tells new rows from old ones.
    pub cursor: Option<Cursor>,
}

/// The column that tells new rows from old ones. What is absent has the default of the column's type, which only the
/// database knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The column of the result.
    pub column: String,
    /// Where the first run starts: an integer, a date, a date and time, or an RFC 3339 time. Absent: 0 or the epoch.
    pub start: Option<String>,
    /// How far each run reads back. Absent: 1000, or a day.
    pub overlap: Option<Overlap>,
}

/// How far each run reads back for rows that came late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Of an integer column.
    Number(u64),
    /// Of a timestamp column.
    Duration(Duration),
}

pub(super) fn read_query(
    reading: &mut Reading<'_>,
    query: &Leaf,
    cursor: Option<&Written<CursorDocument>>,
    dialects: &[Dialect],
    at: Position,
    key: &str,
) -> Option<Query> {
    let query_key = format!("{key}.query");
    let cursor_key = format!("{key}.cursor");
    let read = cursor.and_then(|cursor| read_cursor(reading, cursor, &cursor_key));
    let Some(query) = query else {
        reading.missing(at, &query_key, "the SQL that selects references");
        return None;
    };
    let sql = reading.text(query, &query_key)?.value;
    if sql.trim().is_empty() {
        reading.mistake(query.at, &query_key, "is empty: write the SQL that selects references");
        return None;
    }
    // How the server reads quotes is known only when it is asked: what one way of reading allows is no mistake yet.
    let mut placeholders = Vec::new();
    for dialect in dialects {
        placeholders.extend(split_at_after(&sql, *dialect).map(|pieces| pieces.len() - 1));
    }
    if placeholders.is_empty() {
        reading.mistake(query.at, &query_key, "is more than one statement: nothing may stand behind its `;`");
        return None;
    }
    let (least, most) = (placeholders.iter().min(), placeholders.iter().max());
    match (cursor, least != Some(&0), most != Some(&0)) {
        (Some(cursor), _, false) => {
            let message = "the query does not use it: compare the column with :after, as in \
                           `where id > :after`, or leave the cursor out";
            reading.mistake(cursor.at, &cursor_key, message);
            None
        }
        (None, true, _) => {
            reading.mistake(query.at, &query_key, "uses :after, and there is no cursor to bind it from");
            None
        }
        _ => Some(Query { sql, cursor: read }),
    }
}

fn read_cursor(reading: &mut Reading<'_>, cursor: &Written<CursorDocument>, key: &str) -> Option<Cursor> {
    let (at, cursor) = (cursor.at, &cursor.value);
    let column_key = format!("{key}.column");
    if cursor.column.is_none() {
        reading.missing(at, &column_key, "a column of the query's result");
    }
    let column = reading.optional(&cursor.column, &column_key, |text| {
        if text.is_empty() { Err("names no column".to_owned()) } else { Ok(text.to_owned()) }
    });
    let start = reading.optional(&cursor.start, &format!("{key}.start"), start);
    let overlap_key = format!("{key}.overlap");
    let overlap = reading.optional(&cursor.overlap, &overlap_key, overlap);
    let clash = match (&start, overlap) {
        (Some((_, StartKind::Integer)), Some(Overlap::Duration(_))) => {
            Some("is a duration, and start is an integer: write both for one type of column")
        }
        (Some((_, StartKind::Time)), Some(Overlap::Number(_))) => {
            Some("is a number, and start is a time: write a duration, such as 1d")
        }
        _ => None,
    };
    if let Some(message) = clash {
        let at = cursor.overlap.as_ref().map_or(at, |leaf| leaf.at);
        reading.mistake(at, &overlap_key, message);
    }
    column.map(|column| Cursor { column, start: start.map(|(text, _)| text), overlap })
}

enum StartKind {
    Integer,
    Time,
}

fn start(text: &str) -> Result<(String, StartKind), String> {
    let kind = if text.parse::<i64>().is_ok() {
        StartKind::Integer
    } else if text.parse::<jiff::Timestamp>().is_ok() || text.parse::<civil::DateTime>().is_ok() {
        StartKind::Time
    } else {
        return Err("is neither an integer nor a time, such as 0, 2026-01-31 or 2026-01-31T08:00:00Z".to_owned());
    };
    Ok((text.to_owned(), kind))
}

fn overlap(text: &str) -> Result<Overlap, String> {
    match text.parse() {
        Ok(number) => Ok(Overlap::Number(number)),
        Err(_) => duration(text)
            .map(Overlap::Duration)
            .map_err(|_| "is neither a number nor a duration, such as 1000 or 1d".to_owned()),
    }
}
