//! A session that only reads an archive, and the names of what is in it.

use sqlx::postgres::PgConnection;

use super::Settings;
use super::connect::{Mode, Server};
use super::schema::Names;
use crate::archive::ArchiveError;

/// A connection in one read-only transaction, which sees the archive as it was when it began. Takes no lock. Statements
/// with parameters must not be persistent: a named one would stay in a session that a pooler hands on.
pub struct Reader {
    /// The connection.
    pub connection: PgConnection,
    /// The table of messages, as SQL takes it.
    pub messages: String,
    /// The table of earlier revisions.
    pub revisions: String,
    /// The table of messages that vanished; it need not be there.
    pub vanished: String,
    /// The table that says whose the archive is.
    pub archive: String,
    /// The table of commits.
    pub commits: String,
    /// The table of manifests; an archive of an earlier version has none.
    pub manifests: String,
    server: Server,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("messages", &self.messages).field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Reader {
    /// Connects, and refuses a database that holds no archive.
    pub async fn open(settings: &Settings) -> Result<Self, ArchiveError> {
        let server = Server::new(&settings.url, settings.patience)?;
        let names = Names::new(&settings.schema, &settings.table)
            .map_err(|what| ArchiveError::Unusable(format!("the Postgres sink cannot be read: {what}")))?;
        let mut session = server.connect().await?;
        let begun = session.begin(Mode::Snapshot).await;
        begun.map_err(|error| server.report("cannot begin to read the archive", error))?;
        let mut connection = session.connection;
        let messages = names.qualified(&names.messages);
        let there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
            .persistent(false)
            .bind(&messages)
            .fetch_one(&mut connection)
            .await
            .map_err(|error| server.report("cannot look for the archive", error))?;
        if !there {
            let place = server.place();
            return Err(ArchiveError::Unusable(format!("{messages} is not there at {place}: has the job run?")));
        }
        Ok(Self {
            connection,
            messages,
            revisions: names.qualified(&names.revisions),
            vanished: names.qualified(&names.vanished),
            archive: names.qualified(&names.archive),
            commits: names.qualified(&names.commits),
            manifests: names.qualified(&names.manifests),
            server,
        })
    }

    /// Server and database, without credentials.
    pub fn place(&self) -> &str {
        self.server.place()
    }

    /// What an error of the database means.
    pub fn report(&self, doing: &str, error: sqlx::Error) -> ArchiveError {
        self.server.report(doing, error)
    }
}
