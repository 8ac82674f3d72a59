//! Queries on a SQLite file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Connection, Either, Executor, Row, SqlSafeStr, Statement as _,
    TypeInfo, ValueRef,
};

use super::cursor::CursorKind;
use super::database::{Column, Database, RowStream, Statement};
use crate::source::checkpoint::CursorValue;
use crate::source::error::SourceError;
use crate::source::value::Value;
use crate::sql::Dialect;

/// A SQLite file, opened to be read only.
pub(in crate::source) struct Sqlite {
    name: String,
    connection: SqliteConnection,
}

impl Sqlite {
    pub(in crate::source) async fn open(path: PathBuf) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let found = std::fs::metadata(&path).map_err(|error| SourceError::of_file(&name, error))?;
        if found.is_dir() {
            return Err(SourceError::Unusable(format!("{name}: is a directory, not a SQLite file")));
        }
        // Not by opening it: to close a file gives up the locks of every other connection of this process.
        rustix::fs::access(&path, rustix::fs::Access::READ_OK)
            .map_err(|error| SourceError::of_file(&name, error.into()))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .read_only(true)
            .create_if_missing(false)
            .row_buffer_size(1024)
            .disable_statement_logging();
        match options.connect().await {
            Ok(connection) => Ok(Self { name, connection }),
            Err(error) => Err(explain(&name, error)),
        }
    }
}

impl Database for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn columns(&mut self, pieces: &[&str]) -> Result<Vec<Column>, SourceError> {
        let sql = AssertSqlSafe(pieces.join("?1")).into_sql_str();
        let statement = (&mut self.connection).prepare(sql).await.map_err(|error| explain(&self.name, error))?;
        if statement.parameters() != Some(Either::Right(usize::from(pieces.len() > 1))) {
            // SQLite would take it for null.
            return Err(SourceError::Unusable(
                "query: it holds a parameter other than :after (`?`, `@x`, `$x` or `:x`), which nothing is bound to"
                    .to_owned(),
            ));
        }
        let columns = statement.columns().iter().map(|column| Column {
            name: column.name().to_owned(),
            type_name: column.type_info().name().to_owned(),
            is_readable: true,
            cursor: Some(CursorKind::Dynamic),
        });
        Ok(columns.collect())
    }

    async fn rows<'a>(&'a mut self, statement: &'a Statement) -> Result<RowStream<'a>, SourceError> {
        let Self { name, connection } = self;
        let mut query = sqlx::query(AssertSqlSafe(statement.pieces.join("?1")));
        match &statement.after {
            Some(CursorValue::Integer(number)) => query = query.bind(*number),
            Some(CursorValue::Text(text)) => query = query.bind(text.clone()),
            Some(CursorValue::Timestamp { .. }) | None => {}
        }
        let rows = query.fetch(connection).map(|row| {
            let row = row.map_err(|error| explain(name, error))?;
            Ok((0..row.len()).map(|column| value(&row, column)).collect())
        });
        Ok(rows.boxed())
    }

    async fn close(self) {
        let _ = self.connection.close().await;
    }
}

fn value(row: &SqliteRow, column: usize) -> Value<'static> {
    let Ok(value) = row.try_get_raw(column) else { return Value::Null };
    if value.is_null() {
        return Value::Null;
    }
    let decoded = match value.type_info().name() {
        "INTEGER" => row.try_get_unchecked(column).map(Value::Integer),
        "TEXT" => row.try_get_unchecked::<String, _>(column).map(Value::owned),
        "REAL" => row.try_get_unchecked(column).map(real),
        _ => return Value::Other("a blob"),
    };
    decoded.unwrap_or(Value::Other("text that is not UTF-8"))
}

/// A number of a column for reals, or of one without a type. Whole numbers are exact below 2^53.
fn real(number: f64) -> Value<'static> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT { Value::Integer(number as i64) } else { Value::Float(number) }
}

fn explain(name: &str, error: sqlx::Error) -> SourceError {
    let code = match &error {
        sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default(),
        _ => 0,
    };
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
        (8, _) => unusable(&format!("query: it must only read: {error}")),
        (1 | 25, _) => unusable(&format!("query: {error}")),
        (14, _) => unusable(&format!("cannot be opened as a SQLite file: {error}")),
        (26, _) => unusable("is no SQLite file, or an encrypted one"),
        (3 | 23, _) => SourceError::Denied(format!("{name}: {error}")),
        (5 | 6, _) => SourceError::failed(
            format!("{name}: another program holds it locked; run again when that has finished"),
            error,
        ),
        _ => SourceError::failed(format!("{name}: query failed"), error),
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
