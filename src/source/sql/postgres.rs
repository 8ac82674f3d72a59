//! Queries on Postgres.

mod decode;
mod error;
mod session;
mod tls;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use secrecy::SecretString;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, Kind as TypeKind, ToSql, Type, to_sql_checked};

use self::decode::{EPOCH_SECONDS, Kind, decode};
use self::error::{PgError, explain};
use self::session::{Server, Session};
use super::cursor::CursorKind;
use super::database::{Column, Database, RowStream, Statement, connect};
use crate::source::checkpoint::CursorValue;
use crate::source::error::SourceError;
use crate::source::value::Value;
use crate::sql::Dialect;

/// A session of Postgres. Everything happens in one read-only transaction.
pub(in crate::source) struct Postgres {
    server: String,
    session: Session,
    kinds: Vec<Kind>,
}

impl Postgres {
    pub(in crate::source) async fn connect(url: SecretString) -> Result<Self, SourceError> {
        let server = Server::new(&url).map_err(|error| {
            SourceError::Unusable(format!("the Postgres URL cannot be read, or does not fit: {error}"))
        })?;
        let name = server.name();
        match connect(|| server.connect(), PgError::is_passing).await {
            Ok(session) => Ok(Self { server: name, session, kinds: Vec::new() }),
            Err(error) => Err(explain(&name, error)),
        }
    }

    /// Begins the transaction, and returns names and types of the columns.
    ///
    /// `:after` will be of the type of one of them, so it has no type yet. Where an untyped null leaves the statement
    /// ambiguous, a null of each type is tried.
    async fn describe(&self, pieces: &[&str]) -> Result<Vec<(String, Type)>, PgError> {
        let (mut first_error, mut begin) = (None, "begin transaction read only");
        for after in ["null", "null::bigint", "null::timestamptz", "null::timestamp", "null::date"] {
            match self.prepare(&mut begin, &pieces.join(&format!("({after})"))).await {
                Err(error) if pieces.len() > 1 && !error.code().is_empty() => {
                    first_error = first_error.or(Some(error));
                }
                columns => return columns,
            }
        }
        Err(first_error.unwrap_or_else(|| PgError::Other("query: it cannot be asked".to_owned())))
    }

    async fn prepare(&self, begin: &mut &str, sql: &str) -> Result<Vec<(String, Type)>, PgError> {
        /// How many names may be taken by what other clients of a pooler left in the connection.
        const TAKEN: usize = 100;
        let client = &self.session.client;
        for _ in 0..TAKEN {
            client.batch_execute(begin).await?;
            *begin = "rollback; begin transaction read only";
            let statement = match client.prepare(sql).await {
                Err(error) if error.code() == Some(&SqlState::DUPLICATE_PSTATEMENT) => continue,
                prepared => prepared?,
            };
            if !statement.params().is_empty() {
                return Err(PgError::Other("query: a `$1` in it is no parameter of this program".to_owned()));
            }
            let columns = statement.columns().iter();
            return Ok(columns.map(|column| (column.name().to_owned(), column.type_().clone())).collect());
        }
        Err(PgError::Other(
            "other clients of the pooler left their prepared statements: use `pool_mode = session`".to_owned(),
        ))
    }
}

impl Database for Postgres {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres { backslashes: self.session.backslashes }
    }

    async fn columns(&mut self, pieces: &[&str]) -> Result<Vec<Column>, SourceError> {
        let columns = self.describe(pieces).await.map_err(|error| explain(&self.server, error))?;
        self.kinds = columns.iter().map(|(_, kind)| Kind::of(kind)).collect();
        let columns = columns.into_iter().zip(&self.kinds).map(|((name, of_type), kind)| Column {
            name,
            type_name: type_name(&of_type),
            is_readable: *kind != Kind::Unknown,
            cursor: kind.cursor(),
        });
        Ok(columns.collect())
    }

    async fn rows<'a>(&'a mut self, statement: &'a Statement) -> Result<RowStream<'a>, SourceError> {
        let Self { server, session, kinds } = self;
        let after = statement.after.as_ref().and_then(|after| bound(after, statement.cursor));
        let rows = session.client.query_typed_raw(&statement.pieces.join("$1"), after).await;
        let rows = rows.map_err(|error| explain(server, error.into()))?;
        let rows = rows.map(|row| {
            let row = row.map_err(|error| explain(server, error.into()))?;
            let value = |(column, kind): (usize, &Kind)| match row.try_get(column) {
                Ok(Some(Raw(bytes))) => decode(*kind, bytes).unwrap_or(Value::Other("an unreadable value")),
                _ => Value::Null,
            };
            Ok(kinds.iter().enumerate().map(value).collect())
        });
        Ok(rows.boxed())
    }

    async fn close(self) {
        self.session.end().await;
    }
}

/// What is bound to `:after`, in the column's own type.
fn bound(after: &CursorValue, cursor: Option<CursorKind>) -> Option<(Bound, Type)> {
    let since = |micros: i64| micros.saturating_sub(EPOCH_SECONDS * 1_000_000);
    let (bytes, kind) = match after {
        CursorValue::Integer(number) => (number.to_be_bytes().to_vec(), Type::INT8),
        CursorValue::Timestamp { micros, .. } if cursor == Some(CursorKind::Date) => {
            ((since(*micros).div_euclid(86_400_000_000) as i32).to_be_bytes().to_vec(), Type::DATE)
        }
        CursorValue::Timestamp { micros, zoned } => {
            (since(*micros).to_be_bytes().to_vec(), if *zoned { Type::TIMESTAMPTZ } else { Type::TIMESTAMP })
        }
        CursorValue::Text(_) => return None,
    };
    Some((Bound(bytes), kind))
}

/// A value to be sent, in Postgres's binary form.
#[derive(Debug)]
struct Bound(Vec<u8>);

impl ToSql for Bound {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value that arrives, in Postgres's binary form.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A type as SQL names it.
fn type_name(kind: &Type) -> String {
    match kind.kind() {
        TypeKind::Array(item) => format!("{}[]", item.name().to_uppercase()),
        _ => kind.name().to_uppercase(),
    }
}
