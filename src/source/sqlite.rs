//! Queries on a SQLite file.

use std::path::PathBuf;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Decode, Executor, Row, SqlSafeStr, Statement, TypeInfo,
    Value as _, ValueRef,
};

use super::intake::Intake;
use super::lines::failed;
use super::query::{Cells, CursorKind, Dialect, Shape, Tracker, drain, pieces, require_cursor};
use super::reading::Reading;
use super::settings::{Begin, Query};
use super::value::Value;
use super::{Checkpoint, CursorValue, SourceError};

pub(super) async fn begin(
    path: PathBuf,
    query: Query,
    checkpoint: Option<Checkpoint>,
    from: Option<Begin>,
    mut intake: Intake,
) -> Result<Reading, SourceError> {
    require_cursor(&query, from.as_ref())?;
    let sql = pieces(&query, Dialect::Sqlite)?.join("?1");
    let name = path.display().to_string();
    let found = std::fs::metadata(&path).map_err(|error| failed(&name, error))?;
    if found.is_dir() {
        return Err(SourceError::Unusable(format!("{name}: is a directory, not a SQLite file")));
    }
    let cells = SqliteCells { name };
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .read_only(true)
        .create_if_missing(false)
        .row_buffer_size(1024)
        .disable_statement_logging();
    let mut connection = options.connect().await.map_err(|error| cells.explain(error))?;
    let statement = (&mut connection)
        .prepare(AssertSqlSafe(sql.clone()).into_sql_str())
        .await
        .map_err(|error| cells.explain(error))?;
    let header = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let shape = Shape::new(&intake.names(), header, &query)?;
    let mut tracker = match &query.cursor {
        None => None,
        Some(cursor) => {
            Some(Tracker::new(cursor, CursorKind::Any, checkpoint, from.as_ref(), intake.times(), Timestamp::now())?)
        }
    };
    Ok(Reading::on_task(move |outlet| async move {
        let mut bound = sqlx::query(AssertSqlSafe(sql));
        match tracker.as_ref().map(|tracker| tracker.after.clone()) {
            Some(CursorValue::Integer(number)) => bound = bound.bind(number),
            Some(CursorValue::Text(text)) => bound = bound.bind(text),
            Some(CursorValue::Timestamp { .. }) | None => {}
        }
        let rows = bound.fetch(&mut connection);
        let ended = drain(rows, &cells, &shape, &mut tracker, &mut intake, &outlet).await;
        // A connection that does not close properly has no say in what was read.
        let _ = connection.close().await;
        (outlet, ended.map(|()| tracker.and_then(Tracker::checkpoint)))
    }))
}

struct SqliteCells {
    name: String,
}

impl Cells for SqliteCells {
    type Row = SqliteRow;

    fn cell<'r>(&self, row: &'r SqliteRow, column: usize) -> Value<'r> {
        let Ok(value) = row.try_get_raw(column) else { return Value::Null };
        if value.is_null() {
            return Value::Null;
        }
        let owned = value.to_owned();
        let kind = owned.type_info();
        let decoded = match kind.name() {
            "INTEGER" => <i64 as Decode<'_, sqlx::Sqlite>>::decode(value).map(Value::Integer),
            "TEXT" => <&'r str as Decode<'r, sqlx::Sqlite>>::decode(value).map(Value::text),
            "REAL" => <f64 as Decode<'_, sqlx::Sqlite>>::decode(value).map(Value::Float),
            _ => return Value::Other("a blob"),
        };
        decoded.unwrap_or(Value::Other("text that is not UTF-8"))
    }

    fn explain(&self, error: sqlx::Error) -> SourceError {
        let code = match &error {
            sqlx::Error::Database(error) => {
                error.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xFF)
            }
            _ => None,
        };
        let name = &self.name;
        match code {
            // An error in the statement, a read-only file, or a file that cannot be opened or is no database.
            Some(1 | 25) => SourceError::Unusable(format!("{name}: query: {error}")),
            Some(8) => SourceError::Unusable(format!("{name}: query: it must only read: {error}")),
            Some(14 | 26) => SourceError::Unusable(format!("{name}: cannot be opened as a SQLite file: {error}")),
            Some(3 | 23) => SourceError::Denied(format!("{name}: {error}")),
            _ => SourceError::Failed { context: format!("{name}: query failed"), source: error.into() },
        }
    }
}
