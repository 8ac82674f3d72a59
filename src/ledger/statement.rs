//! Statements over many rows at once: each statement is a journey to SQLite's thread and back.

use std::fmt::Write as _;

use sqlx::AssertSqlSafe;

/// How many rows one statement inserts.
const ROWS: usize = 32;
/// How many IDs one statement is handed.
pub(super) const IDS: usize = 10_000;

/// `items` in runs of 32, and the rest one by one: two statements to prepare, however many items there are.
pub(super) fn runs<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let whole = items.len() - items.len() % ROWS;
    items[..whole].chunks(ROWS).chain(items[whole..].chunks(1))
}

/// `head (?, …), (?, …) tail`, for so many rows of so many columns.
pub(super) fn values(head: &str, columns: usize, rows: usize, tail: &str) -> AssertSqlSafe<String> {
    let mut sql = String::with_capacity(head.len() + tail.len() + rows * (columns * 2 + 3));
    sql.push_str(head);
    for row in 0..rows {
        sql.push_str(if row == 0 { " (" } else { ",(" });
        for column in 0..columns {
            sql.push_str(if column == 0 { "?" } else { ",?" });
        }
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(tail);
    AssertSqlSafe(sql)
}

/// IDs as the JSON array that `json_each` takes apart.
pub(super) fn json<'a>(ids: impl IntoIterator<Item = &'a i64>) -> String {
    let mut text = String::from("[");
    for (index, id) in ids.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let _ = write!(text, "{id}");
    }
    text.push(']');
    text
}
