//! Queries on MySQL and MariaDB.

mod decode;
mod session;
mod zone;

use chrono::NaiveDateTime;
use futures_util::StreamExt as _;
use secrecy::SecretString;
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions, Connection, Executor, Row, Statement as _, TypeInfo};

use self::decode::{Kind, value};
use super::cursor::CursorKind;
use super::database::{Column, Database, RowStream, Statement, connect};
use crate::source::checkpoint::CursorValue;
use crate::source::error::SourceError;
use crate::source::value::Value;
use crate::sql::Dialect;

/// A session of MySQL or MariaDB. The query runs in a read-only transaction.
pub(in crate::source) struct Mysql {
    server: String,
    connection: MySqlConnection,
    dialect: Dialect,
    header: Vec<String>,
    kinds: Vec<Kind>,
}

impl Mysql {
    pub(in crate::source) async fn connect(url: SecretString) -> Result<Self, SourceError> {
        let options = session::options(&url)?;
        let server = format!("mysql at {}:{}", options.get_host(), options.get_port());
        let prepared = async {
            let mut connection = connect(|| options.connect(), |error| matches!(error, sqlx::Error::Io(_))).await?;
            let dialect = session::prepare(&mut connection).await?;
            Ok((connection, dialect))
        };
        match prepared.await {
            Ok((connection, dialect)) => {
                Ok(Self { server, connection, dialect, header: Vec::new(), kinds: Vec::new() })
            }
            Err(error) => Err(explain(&server, error)),
        }
    }

    /// What is bound to `:after`.
    async fn bound(&mut self, statement: &Statement) -> Result<After, SourceError> {
        Ok(match statement.after {
            Some(CursorValue::Integer(number)) => After::Integer(number),
            Some(CursorValue::Timestamp { micros, zoned: true }) => {
                let local = zone::at_or_before(&mut self.connection, micros).await;
                let local = local.map_err(|error| explain(&self.server, error))?;
                After::Time(local.ok_or_else(|| {
                    SourceError::Unusable(format!(
                        "cursor: {} is beyond the times that a TIMESTAMP holds",
                        Value::Timestamp { micros, zoned: true }
                    ))
                })?)
            }
            Some(CursorValue::Timestamp { micros, zoned: false }) => {
                let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc();
                if statement.cursor == Some(CursorKind::Date) { After::Date(time.date()) } else { After::Time(time) }
            }
            Some(CursorValue::Text(_)) | None => After::Nothing,
        })
    }
}

/// What is bound to `:after`.
enum After {
    Integer(i64),
    /// A date and time as the column holds it, or as the session's zone shows it.
    Time(NaiveDateTime),
    Date(chrono::NaiveDate),
    Nothing,
}

impl Database for Mysql {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    async fn columns(&mut self, pieces: &[&str]) -> Result<Vec<Column>, SourceError> {
        let statement = session::statement(&mut self.connection, &pieces.join("?")).await;
        let statement = statement.map_err(|error| explain(&self.server, error))?;
        let columns = statement.columns().iter().map(|column| {
            let kind = Kind::of(column);
            Column {
                name: column.name().to_owned(),
                type_name: column.type_info().name().to_owned(),
                is_readable: kind != Kind::Unknown,
                cursor: kind.cursor(),
            }
        });
        let columns: Vec<Column> = columns.collect();
        self.header = columns.iter().map(|column| column.name.clone()).collect();
        self.kinds = statement.columns().iter().map(Kind::of).collect();
        Ok(columns)
    }

    async fn rows<'a>(&'a mut self, statement: &'a Statement) -> Result<RowStream<'a>, SourceError> {
        let mut sql = statement.pieces.join("?");
        let is_instant = |place: usize| self.kinds[place] == Kind::Instant;
        let mut instants = vec![false; self.kinds.len()];
        if (0..instants.len()).any(|place| is_instant(place) && statement.used[place]) {
            instants = (0..instants.len()).map(is_instant).collect();
            sql = zone::with_instants(&mut self.connection, &sql, &self.header, &instants)
                .await
                .map_err(|error| explain(&self.server, error))?;
        }
        let after = self.bound(statement).await?;
        let Self { server, connection, .. } = self;
        // The server closes a session whose reader pauses for longer than this many seconds.
        for command in ["set session net_write_timeout = 3600", "start transaction read only"] {
            (&mut *connection).execute(command).await.map_err(|error| explain(server, error))?;
        }
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        for _ in 1..statement.pieces.len() {
            query = match &after {
                After::Integer(number) => query.bind(*number),
                After::Time(time) => query.bind(*time),
                After::Date(date) => query.bind(*date),
                After::Nothing => query,
            };
        }
        // The types are those of the rows as they arrive: a placeholder has no type before it is bound, and then the
        // expressions around it are of another type.
        let mut kinds: Option<Vec<Kind>> = None;
        let rows = query.fetch(connection).map(move |row| {
            let row = row.map_err(|error| explain(server, error))?;
            let kinds = kinds.get_or_insert_with(|| row.columns().iter().map(Kind::of).collect());
            let value = |(column, kind): (usize, &Kind)| match value(&row, column, *kind) {
                Value::Null => Value::Null,
                _ if *kind == Kind::Instant && statement.used[column] => {
                    Value::Other("a TIMESTAMP whose type the server told too late: select unix_timestamp(…) instead")
                }
                value if instants[column] => zone::instant(&value),
                value => value,
            };
            Ok(kinds.iter().enumerate().map(value).collect())
        });
        Ok(rows.boxed())
    }

    async fn close(self) {
        let _ = self.connection.close().await;
    }
}

/// What an error of a server means.
fn explain(server: &str, error: sqlx::Error) -> SourceError {
    let (number, code) = match &error {
        sqlx::Error::Database(error) => (
            error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number),
            error.code().unwrap_or_default().into_owned(),
        ),
        sqlx::Error::Configuration(_) => {
            return SourceError::Unusable(format!("{server}: the URL does not fit: {error}"));
        }
        sqlx::Error::Protocol(message) if message.contains("parameters") => {
            return SourceError::Unusable(format!(
                "{server}: query: a `?` in it is no parameter of this program: {error}"
            ));
        }
        _ => (0, String::new()),
    };
    match (number, code.as_str()) {
        // Access denied: to the database, to a table, to a column, to a privilege.
        (1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698, _) => SourceError::Denied(format!("{server}: {error}")),
        (_, code) if code.starts_with("28") => SourceError::Denied(format!("{server}: {error}")),
        (1792, _) => SourceError::Unusable(format!("{server}: query: it must only read: {error}")),
        // No such database; no such time zone, collation.
        (1049 | 1298 | 1273 | 1253, _) => SourceError::Unusable(format!("{server}: {error}")),
        (_, code) if code.starts_with("42") => SourceError::Unusable(format!("{server}: query: {error}")),
        (0, "") => SourceError::failed(format!("{server}: the connection failed"), error),
        _ => SourceError::failed(format!("{server}: query failed"), error),
    }
}
