//! Queries, their cursors, and where they bind `:after`.

use std::time::Duration;

use jiff::civil;

use super::document::CursorDocument;
use super::reading::{Reading, duration};
use super::written::{Leaf, Position, Written};

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

/// Whose SQL a query is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
    Mysql,
}

pub(super) fn read_query(
    reading: &mut Reading<'_>,
    query: &Leaf,
    cursor: Option<&Written<CursorDocument>>,
    dialect: Dialect,
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
    match (cursor, names_after(&sql, dialect)) {
        (Some(cursor), false) => {
            let message = "the query does not use it: compare the column with :after, as in \
                           `where id > :after`, or leave the cursor out";
            reading.mistake(cursor.at, &cursor_key, message);
            None
        }
        (None, true) => {
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

/// Whether SQL names `:after` outside of texts, quoted names and comments; `::after` is a cast.
fn names_after(sql: &str, dialect: Dialect) -> bool {
    let mut rest = sql.as_bytes();
    while !rest.is_empty() {
        let length = match rest {
            [b'\'' | b'"' | b'`', ..] => quoted(rest, dialect == Dialect::Mysql && rest[0] != b'`'),
            [b'-', b'-', ..] => line(rest),
            [b'#', ..] if dialect == Dialect::Mysql => line(rest),
            [b'/', b'*', inner @ ..] => {
                2 + inner.windows(2).position(|end| end == b"*/").map_or(inner.len(), |end| end + 2)
            }
            [b'$', ..] if dialect == Dialect::Postgres => dollar_quoted(rest),
            [b':', b':', ..] => 2,
            [b':', after @ ..] if after.starts_with(b"after") => {
                if !after.get(5).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                    return true;
                }
                6
            }
            _ => 1,
        };
        rest = &rest[length.min(rest.len())..];
    }
    false
}

/// The length of a text in quotes. A doubled quote reads as two texts side by side, which is as good.
fn quoted(rest: &[u8], backslashes: bool) -> usize {
    let mut i = 1;
    while i < rest.len() && rest[i] != rest[0] {
        i += if backslashes && rest[i] == b'\\' { 2 } else { 1 };
    }
    i + 1
}

fn line(rest: &[u8]) -> usize {
    rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
}

/// The length of a `$tag$…$tag$` text, or 1 when it is none.
fn dollar_quoted(rest: &[u8]) -> usize {
    let Some(end) = rest[1..].iter().position(|b| *b == b'$') else { return 1 };
    let tag = &rest[..end + 2];
    if !tag[1..=end].iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        return 1;
    }
    let inner = &rest[tag.len()..];
    inner.windows(tag.len()).position(|window| window == tag).map_or(1, |at| at + 2 * tag.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn after_counts_only_where_a_database_would_bind_it() {
        use Dialect::{Mysql, Postgres, Sqlite};
        for (dialect, sql) in [
            (Sqlite, "id > :after"),
            (Sqlite, "id>:after)"),
            (Sqlite, "'it''s' and id > :after"),
            (Sqlite, "/* :x */ :after"),
            (Postgres, "a::text > :after"),
            (Postgres, "$1 :after"),
            (Postgres, "'\\' || :after"),
            (Mysql, "'it\\'s' and id > :after"),
        ] {
            assert!(names_after(sql, dialect), "{sql}");
        }
        for (dialect, sql) in [
            (Sqlite, "id > ':after'"),
            (Sqlite, "-- :after"),
            (Sqlite, "/* :after */"),
            (Sqlite, ":afterwards"),
            (Sqlite, "\":after\""),
            (Postgres, "x::after"),
            (Postgres, "$q$ :after $q$"),
            (Mysql, "# :after"),
            (Mysql, "'\\' :after'"),
        ] {
            assert!(!names_after(sql, dialect), "{sql}");
        }
    }

    proptest! {
        #[test]
        fn no_sql_makes_the_scan_panic(sql in "([-:$'\"`/*#\\\\a-z0-9 ]|:after|\\$q\\$|é){0,40}") {
            for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql] {
                let _ = names_after(&sql, dialect);
            }
        }
    }
}
