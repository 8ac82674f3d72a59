//! Queries: `:after`, the cursor, the columns, and the reading of rows, whatever database answers.

mod cursor;
mod database;
pub(super) mod mysql;
pub(super) mod postgres;
mod shape;
pub(super) mod sqlite;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use self::cursor::Tracker;
use self::database::{Database, Statement};
use self::shape::Shape;
use super::checkpoint::Checkpoint;
use super::error::SourceError;
use super::read_ahead::{ChunkSender, ReadAhead};
use super::rows::RowCollector;
use super::settings::{Begin, Query};
use crate::sql::{Dialect, SecondStatement, split_at_after};

/// Checks a query and begins to read its rows.
pub(super) async fn read<D: Database>(
    connecting: impl Future<Output = Result<D, SourceError>>,
    query: Query,
    checkpoint: Option<Checkpoint>,
    from: Option<Begin>,
    mut rows: RowCollector,
) -> Result<ReadAhead, SourceError> {
    if let (None, Some(Begin::Value(value))) = (&query.cursor, &from) {
        return Err(SourceError::Unusable(format!(
            "--from {}: the query has no cursor that could begin there",
            value.escape_debug()
        )));
    }
    let mut database = connecting.await?;
    let dialect = database.dialect();
    let pieces = pieces(&query, dialect)?;
    let columns = database.columns(&pieces).await?;
    let mapping = rows.mapping();
    let shape = Shape::new(&mapping.names, &columns, &query, dialect)?;
    let mut tracker = match (&query.cursor, shape.cursor) {
        (Some(cursor), Some((_, kind))) => {
            Some(Tracker::new(cursor, kind, checkpoint, from.as_ref(), &mapping.times, Timestamp::now())?)
        }
        _ => None,
    };
    let statement = Statement {
        pieces: pieces.into_iter().map(str::to_owned).collect(),
        after: tracker.as_ref().map(|tracker| tracker.after.clone()),
        cursor: shape.cursor.map(|(_, kind)| kind),
        used: (0..shape.header.len()).map(|place| shape.uses(place)).collect(),
    };
    Ok(ReadAhead::on_task(move |sender| async move {
        let ended = drain(&mut database, &statement, &shape, &mut tracker, &mut rows, &sender).await;
        // What was read before an error is handed over before the error.
        sender.send(rows.take()).await?;
        ended?;
        database.close().await;
        Ok(tracker.and_then(Tracker::checkpoint))
    }))
}

/// The statement cut at `:after`. A query with a cursor must hold it, and one without must not.
fn pieces(query: &Query, dialect: Dialect) -> Result<Vec<&str>, SourceError> {
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

/// Reads all rows of a query.
async fn drain<D: Database>(
    database: &mut D,
    statement: &Statement,
    shape: &Shape,
    tracker: &mut Option<Tracker>,
    rows: &mut RowCollector,
    sender: &ChunkSender,
) -> Result<(), SourceError> {
    let mut stream = database.rows(statement).await?;
    let mut count = 0_u64;
    while let Some(row) = stream.next().await {
        let row = row?;
        count += 1;
        if let (Some(tracker), Some((place, _))) = (tracker.as_mut(), shape.cursor) {
            tracker.observe(&row[place])?;
        }
        let position = || format!("query: row {count}");
        rows.cells(&shape.columns, &shape.header, |place| row[place].clone(), position);
        if rows.is_full() {
            sender.send(rows.take()).await?;
        }
    }
    rows.end_columns("query", &shape.columns, &shape.header)?;
    match shape.limit {
        Some(limit) if count >= limit && tracker.as_ref().is_some_and(Tracker::stands_still) => {
            Err(SourceError::Unusable(format!(
                "query: it ends at its limit of {limit} rows, all of which the cursor's overlap reads again, so no new row is \
                 ever read: leave the limit out, or make it larger than what the overlap holds"
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::settings::Cursor;

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
