//! What all queries share: `:after`, the cursor, the columns, and the reading of rows.

use std::time::Duration;

use futures_util::{Stream, StreamExt};

use super::SourceError;
use super::intake::Intake;
use super::mapping::{self, Columns, Names};
use super::reading::{Outlet, Stop};
use super::settings::{Begin, Cursor, Query};
use super::value::Value;
use crate::retry::{Jitter, Policy};
use crate::sql::{self, Dialect, SecondStatement, split_at_after};

mod cursor;

pub(super) use cursor::{CursorKind, Tracker};

/// The statement cut at `:after`, which a query with a cursor must hold, and another must not.
pub(super) fn pieces(query: &Query, dialect: Dialect) -> Result<Vec<&str>, SourceError> {
    let pieces = split_at_after(&query.sql, dialect).map_err(|SecondStatement| {
        SourceError::Unusable("query: it is more than one statement: nothing may stand behind its `;`".to_owned())
    })?;
    match (&query.cursor, pieces.len()) {
        (Some(cursor), 1) => Err(SourceError::Unusable(format!(
            "query: there is a cursor on {:?}, and no :after where it would be bound; write for example `where {} > :after`",
            cursor.column, cursor.column
        ))),
        (None, 2..) => Err(SourceError::Unusable(
            "query: there is an :after and no cursor that would be bound to it; set `cursor: { column: … }`".to_owned(),
        )),
        _ => Ok(pieces),
    }
}

/// The columns of a query.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) header: Vec<String>,
    pub(super) columns: Columns,
    /// The cursor's column.
    pub(super) cursor: Option<usize>,
    /// How many rows the query itself lets through.
    limit: Option<u64>,
}

impl Shape {
    pub(super) fn new(
        names: &Names,
        header: Vec<String>,
        query: &Query,
        dialect: Dialect,
    ) -> Result<Self, SourceError> {
        if header.is_empty() {
            return Err(SourceError::Unusable("query: it is no query that gives rows".to_owned()));
        }
        let columns = names.columns("query", &header)?;
        let cursor = match &query.cursor {
            None => None,
            Some(Cursor { column, .. }) => {
                let place = mapping::find("query", &header, std::slice::from_ref(column))?;
                Some(place.ok_or_else(|| {
                    SourceError::Unusable(format!(
                        "query: the cursor's column {column:?} is not among its columns {}; select it too",
                        header.join(", ")
                    ))
                })?)
            }
        };
        Ok(Self { header, columns, cursor, limit: sql::limit(&query.sql, dialect) })
    }

    /// Whether anything depends on a column.
    pub(super) fn uses(&self, column: usize) -> bool {
        self.cursor == Some(column)
            || match self.columns.event {
                Some(event) => event == column,
                None => self.columns.places.contains(&Some(column)),
            }
    }

    /// The error of a column whose type no field can be.
    pub(super) fn unusable(&self, column: usize, type_name: &str) -> SourceError {
        let name = &self.header[column];
        SourceError::Unusable(if self.cursor == Some(column) {
            format!(
                "query: the cursor's column {name:?} is of type {type_name}, whose order is the database's own: rows would \
                 be passed over. Compare and select an integer or a timestamp instead, for example by a cast. If the \
                 cursor was on this column before, go on with `--from start` or `--from VALUE`: what is archived costs no \
                 request"
            )
        } else {
            format!(
                "query: column {name:?} is of type {type_name}, which a field cannot be; cast it to an integer, a \
                 timestamp or text"
            )
        })
    }
}

/// Rejects `--from` where there is nothing that could begin elsewhere.
pub(super) fn require_cursor(query: &Query, from: Option<&Begin>) -> Result<(), SourceError> {
    match (&query.cursor, from) {
        (None, Some(Begin::Value(value))) => Err(SourceError::Unusable(format!(
            "--from {}: the query has no cursor that could begin there",
            value.escape_debug()
        ))),
        _ => Ok(()),
    }
}

/// How a database's rows are read.
pub(super) trait Cells: Send + Sync {
    type Row: Send;
    type Error: Send;

    /// The value of a column.
    fn cell<'r>(&self, row: &'r Self::Row, column: usize) -> Value<'r>;

    /// What an error of the database means.
    fn explain(&self, error: Self::Error) -> SourceError;
}

/// Reads all rows of a query.
pub(super) async fn drain<C: Cells>(
    rows: impl Stream<Item = Result<C::Row, C::Error>> + Send,
    cells: &C,
    shape: &Shape,
    tracker: &mut Option<Tracker>,
    intake: &mut Intake,
    outlet: &Outlet,
) -> Result<(), Stop> {
    let mut rows = std::pin::pin!(rows);
    let mut count = 0_u64;
    while let Some(row) = rows.next().await {
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                outlet.send(intake.take()).await?;
                return Err(cells.explain(error).into());
            }
        };
        count += 1;
        if let (Some(tracker), Some(cursor)) = (tracker.as_mut(), shape.cursor) {
            tracker.observe(&cells.cell(&row, cursor))?;
        }
        let position = || format!("query: row {count}");
        intake.cells(&shape.columns, &shape.header, |column| cells.cell(&row, column), position);
        if intake.is_full() {
            outlet.send(intake.take()).await?;
        }
    }
    intake.end_columns("query", &shape.columns, &shape.header)?;
    outlet.send(intake.take()).await?;
    match shape.limit {
        Some(limit) if count >= limit && tracker.as_ref().is_some_and(Tracker::stands_still) => {
            Err(SourceError::Unusable(format!(
                "query: it ends at its limit of {limit} rows, all of which the cursor's overlap reads again, so no new row is \
                 ever read: leave the limit out, or make it larger than what the overlap holds"
            ))
            .into())
        }
        _ => Ok(()),
    }
}

/// Connections that are refused or dropped are tried again: a server may only be starting.
const RETRY: Policy = Policy {
    first: Duration::from_millis(250),
    factor: 4.0,
    longest: Duration::from_secs(1),
    jitter: Jitter::Added,
    attempts: Some(3),
};
/// How long one try may take. One that takes longer is the last.
const CONNECT: Duration = Duration::from_secs(30);

/// Connects, and tries again a little later when `is_passing` says that the error may pass.
pub(super) async fn connect<C, E, F>(attempt: impl Fn() -> F, is_passing: impl Fn(&E) -> bool) -> Result<C, E>
where
    E: From<std::io::Error>,
    F: Future<Output = Result<C, E>>,
{
    let mut tries = RETRY.start();
    loop {
        let error = match tokio::time::timeout(CONNECT, attempt()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        match tries.next() {
            Some(wait) if is_passing(&error) => tokio::time::sleep(wait).await,
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_and_its_placeholder_go_together() {
        let cursor = Cursor { column: "c".to_owned(), start: None, overlap: None };
        let query = |sql: &str, cursor: Option<&Cursor>| Query { sql: sql.to_owned(), cursor: cursor.cloned() };
        let message = |query: &Query| pieces(query, Dialect::Sqlite).unwrap_err().to_string();
        assert!(message(&query("select 1", Some(&cursor))).contains("where c > :after"));
        assert!(message(&query("select :after", None)).contains("no cursor"));
        assert!(message(&query("select 1; select 2", None)).contains("more than one statement"));
        assert_eq!(pieces(&query("select 1 ; ", None), Dialect::Sqlite).unwrap(), ["select 1 "]);
    }
}
