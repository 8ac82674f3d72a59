//! A connection that only reads an archive, and the names of its tables.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, FromRow};

use super::connect::{Mode, Server};
use super::schema::Names;
use super::settings::Settings;
use crate::archive::ArchiveError;

/// A connection in one read-only transaction, which sees the archive as it was when the transaction began. Takes no lock.
/// Statements must not be persistent: a named one would stay in a session that a pooler shares.
pub(super) struct Snapshot {
    /// The connection.
    pub(super) connection: PgConnection,
    /// The table of messages, as SQL takes it.
    pub(super) messages: String,
    /// The table of earlier revisions.
    pub(super) revisions: String,
    /// The table of messages that vanished; it need not be there.
    pub(super) vanished: String,
    /// The table that says whose the archive is.
    pub(super) archive: String,
    /// The table of commits.
    pub(super) commits: String,
    /// The table of manifests; an archive of an earlier version has none.
    pub(super) manifests: String,
    /// The same tables as messages name them.
    pub(super) names: Names,
    server: Server,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("messages", &self.messages)
            .field("place", &self.place())
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Connects. Refuses a database that has no archive.
    pub(super) async fn open(settings: &Settings) -> Result<Self, ArchiveError> {
        let (server, names) = (Server::new(settings)?, Names::of(settings)?);
        let mut session = server.connect().await?;
        let begun = session.begin(Mode::Snapshot).await;
        begun.map_err(|error| server.report("cannot begin to read the archive", error))?;
        let mut connection = session.connection;
        let messages = names.qualified(&names.messages);
        let found = exists(&mut connection, &messages).await;
        if !found.map_err(|error| server.report("cannot look for the archive", error))? {
            let place = server.place();
            let table = names.shown(&names.messages);
            return Err(ArchiveError::Unusable(format!("there is no table {table} at {place}: has the job run?")));
        }
        Ok(Self {
            connection,
            messages,
            revisions: names.qualified(&names.revisions),
            vanished: names.qualified(&names.vanished),
            archive: names.qualified(&names.archive),
            commits: names.qualified(&names.commits),
            manifests: names.qualified(&names.manifests),
            names,
            server,
        })
    }

    /// Server and database, without credentials.
    pub(super) fn place(&self) -> &str {
        self.server.place()
    }

    /// What an error of the database means.
    pub(super) fn report(&self, doing: &str, error: sqlx::Error) -> ArchiveError {
        self.server.report(doing, error)
    }

    /// Whether there is such a table. An archive of an earlier version may lack some.
    pub(super) async fn exists(&mut self, table: &str) -> Result<bool, ArchiveError> {
        let found = exists(&mut self.connection, table).await;
        found.map_err(|error| self.report("cannot look for a table", error))
    }

    /// The rows of a query without parameters. `doing` says what fails if it fails.
    pub(super) async fn rows<T>(&mut self, doing: &str, sql: String) -> Result<Vec<T>, ArchiveError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let rows = sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(&mut self.connection).await;
        rows.map_err(|error| self.report(doing, error))
    }
}

/// Whether there is a table of this name.
pub(super) async fn exists(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar("select to_regclass($1) is not null").persistent(false).bind(table);
    found.fetch_one(connection).await
}
