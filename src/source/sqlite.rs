//! Queries on a SQLite file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Decode, Either, Executor, Row, SqlSafeStr, Statement, TypeInfo,
    Value as _, ValueRef,
};

use super::intake::Intake;
use super::lines::failed;
use super::query::{Cells, CursorKind, Shape, Tracker, drain, pieces, require_cursor};
use super::reading::Reading;
use super::settings::{Begin, Query};
use super::value::Value;
use super::{Checkpoint, CursorValue, SourceError};
use crate::sql::Dialect;

pub(super) async fn begin(
    path: PathBuf,
    query: Query,
    checkpoint: Option<Checkpoint>,
    from: Option<Begin>,
    mut intake: Intake,
) -> Result<Reading, SourceError> {
    require_cursor(&query, from.as_ref())?;
    let parts = pieces(&query, Dialect::Sqlite)?;
    let (sql, placeholders) = (parts.join("?1"), parts.len() - 1);
    let name = path.display().to_string();
    let found = std::fs::metadata(&path).map_err(|error| failed(&name, error))?;
    if found.is_dir() {
        return Err(SourceError::Unusable(format!("{name}: is a directory, not a SQLite file")));
    }
    // Not by opening it: closing a file gives up the locks of every other connection of this process.
    rustix::fs::access(&path, rustix::fs::Access::READ_OK).map_err(|error| failed(&name, error.into()))?;
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
    if statement.parameters() != Some(Either::Right(placeholders.min(1))) {
        // SQLite would take it for null.
        return Err(SourceError::Unusable(
            "query: it holds a parameter other than :after (`?`, `@x`, `$x` or `:x`), which nothing is bound to"
                .to_owned(),
        ));
    }
    let header = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let shape = Shape::new(&intake.names(), header, &query, Dialect::Sqlite)?;
    let mut tracker = match &query.cursor {
        None => None,
        Some(cursor) => Some(Tracker::new(
            cursor,
            CursorKind::Dynamic,
            checkpoint,
            from.as_ref(),
            intake.times(),
            Timestamp::now(),
        )?),
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
    type Error = sqlx::Error;

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
            "REAL" => <f64 as Decode<'_, sqlx::Sqlite>>::decode(value).map(real),
            _ => return Value::Other("a blob"),
        };
        decoded.unwrap_or(Value::Other("text that is not UTF-8"))
    }

    fn explain(&self, error: sqlx::Error) -> SourceError {
        let code = match &error {
            sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default(),
            _ => 0,
        };
        let name = &self.name;
        let unusable = |what: &str| SourceError::Unusable(format!("{name}: {what}"));
        match (code & 0xFF, code) {
            // SQLITE_READONLY_ROLLBACK
            (_, 776) => unusable(
                "a program that wrote it died, and its journal (the file `-journal` beside it) waits to be rolled back, \
                 which only one that may write can do: open it once with the program that it belongs to, or as its owner \
                 with `sqlite3 FILE 'select count(*) from sqlite_master'`",
            ),
            // SQLITE_READONLY_RECOVERY, SQLITE_READONLY_CANTLOCK, SQLITE_READONLY_CANTINIT, SQLITE_READONLY_DIRECTORY
            (_, 264 | 520 | 1288 | 1544) => unusable(WAL),
            (14, _) if is_wal(Path::new(name)) => unusable(WAL),
            (8, _) => SourceError::Unusable(format!("{name}: query: it must only read: {error}")),
            (1 | 25, _) => SourceError::Unusable(format!("{name}: query: {error}")),
            (14, _) => SourceError::Unusable(format!("{name}: cannot be opened as a SQLite file: {error}")),
            (26, _) => unusable("is no SQLite file, or an encrypted one"),
            (3 | 23, _) => SourceError::Denied(format!("{name}: {error}")),
            (5 | 6, _) => SourceError::Failed {
                context: format!("{name}: another program holds it locked; run again when that has finished"),
                source: error.into(),
            },
            _ => SourceError::Failed { context: format!("{name}: query failed"), source: error.into() },
        }
    }
}

const WAL: &str = "it is in WAL mode, in which a reader, too, writes the files `-wal` and `-shm` beside it, and this user may \
                   not: let it write in that directory, or read a copy made by `sqlite3 FILE '.backup COPY'` as the owner \
                   and set with `sqlite3 COPY 'pragma journal_mode=delete'`";

/// Whether a file's header says that it is in WAL mode.
fn is_wal(path: &Path) -> bool {
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header[18..] == [2, 2]
}

/// A number of a column without a type, or of one for reals: whole ones are exact below 2^53.
fn real(number: f64) -> Value<'static> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT { Value::Integer(number as i64) } else { Value::Float(number) }
}
