//! What a database can do.

use std::time::Duration;

use futures_util::stream::BoxStream;

use super::cursor::CursorKind;
use crate::retry::{Jitter, Policy};
use crate::source::checkpoint::CursorValue;
use crate::source::error::SourceError;
use crate::source::value::Value;
use crate::sql::Dialect;

/// A connection to a database, in which one query is asked.
pub(in crate::source) trait Database: Send + 'static {
    /// How the session reads SQL.
    fn dialect(&self) -> Dialect;

    /// The columns of a query, which is cut at every `:after`. Fails if the server refuses the query.
    fn columns(&mut self, pieces: &[&str]) -> impl Future<Output = Result<Vec<Column>, SourceError>> + Send;

    /// Asks the query.
    fn rows<'a>(
        &'a mut self,
        statement: &'a Statement,
    ) -> impl Future<Output = Result<RowStream<'a>, SourceError>> + Send;

    /// Closes the connection, once all rows were read. Whatever fails here, the rows were read.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Rows, each with the values of all its columns.
pub(in crate::source) type RowStream<'a> = BoxStream<'a, Result<Vec<Value<'static>>, SourceError>>;

/// A column of a query.
#[derive(Debug)]
pub(in crate::source) struct Column {
    pub(in crate::source) name: String,
    /// Its type, as the database names it.
    pub(in crate::source) type_name: String,
    /// Whether a field can be of this type.
    pub(in crate::source) is_readable: bool,
    /// The kind of cursor that can run on it; `None` if its order is the database's own.
    pub(in crate::source) cursor: Option<CursorKind>,
}

/// A query that can be asked.
#[derive(Debug)]
pub(in crate::source) struct Statement {
    /// The query, cut at every `:after`.
    pub(in crate::source) pieces: Vec<String>,
    /// What is bound to `:after`.
    pub(in crate::source) after: Option<CursorValue>,
    /// The kind of the cursor's column.
    pub(in crate::source) cursor: Option<CursorKind>,
    /// For each column, whether its values are used.
    pub(in crate::source) used: Vec<bool>,
}

/// How a connection that is refused or dropped is tried again: a server may only be starting.
const RETRY: Policy = Policy {
    first: Duration::from_millis(250),
    factor: 4.0,
    longest: Duration::from_secs(1),
    jitter: Jitter::Added,
    attempts: Some(3),
};
/// How long one try may take. One that takes longer is the last.
const CONNECT: Duration = Duration::from_secs(30);

/// Connects. Tries again a little later if nobody answers or the server is only starting.
pub(in crate::source) async fn connect<C, E, F>(
    attempt: impl Fn() -> F,
    is_passing: impl Fn(&E) -> bool,
) -> Result<C, E>
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
