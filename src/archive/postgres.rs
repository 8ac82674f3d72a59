//! Messages in a table of Postgres. Every commit is one transaction.
//!
//! - A commit writes its messages and a row that says so (ledger, sequence, counts) in one transaction, which is on disk
//!   when it returns. First it moves the archive's row on: from exactly the commit that its process saw last. So a commit
//!   is made once, and by the ledger that owns the archive. Of two processes that write at once (with two copies of a
//!   ledger) one is refused by its next commit. So is a process that did not see that the server lost commits.
//! - Every transaction that writes holds an advisory lock. Whoever gets the lock knows that no commit is under way. After a
//!   connection broke, the writer connects again, takes the lock (and ends its own former session if that still holds it),
//!   and reads from the archive whether this run made the commit.
//! - The connection may be one to a pooler. See `connect` for what that means.
//! - A commit counts what the database stored. See `commit`.
//!
//! `messages` has one row for each message, with the key (`app_key`, `message_server_id`): its latest revision. Earlier
//! revisions are in `message_revisions`, with the key (`app_key`, `message_server_id`, `revision`); for any other table the
//! name is `<table>_revisions`. A version with a later time of edit replaces the row; the same version or an earlier one
//! changes nothing. The other tables are `<table>_vanished` (messages that the service no longer has), `<table>_archive`
//! (the owner record), `<table>_commits`, `<table>_manifests` and `<table>_migrations`.

mod adopt;
mod commit;
mod connect;
mod encode;
mod existing;
mod json;
mod manifests;
mod open;
mod probe;
mod read;
mod schema;
mod settings;
mod snapshot;
mod statements;
mod target;
mod transaction;
mod unlogged;
mod verify;
mod versions;
mod write;

use std::collections::BTreeMap;

use async_trait::async_trait;

use self::adopt::PostgresTakeover;
use self::read::PostgresReader;
pub use self::schema::{script, type_name};
pub use self::settings::Settings;
use self::target::Target;
use self::write::PostgresWriter;
use super::read::ArchiveReader;
use super::verify::Verification;
use super::{Archive, ArchiveError, ArchiveOwner, ArchiveWriter, RunStamp, Takeover, Upkeep};
use crate::storage::Lifecycle;

/// An archive in Postgres.
#[derive(Debug, Clone)]
pub struct PostgresArchive {
    settings: Settings,
}

impl PostgresArchive {
    /// The archive of these settings. Connects to nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

#[async_trait]
impl Archive for PostgresArchive {
    /// # Errors
    ///
    /// [`ArchiveError::Unusable`] if the URL or a name cannot be used. The URL is never quoted.
    fn writer(&self, stamp: RunStamp) -> Result<Box<dyn ArchiveWriter>, ArchiveError> {
        Ok(Box::new(PostgresWriter::new(Target::new(&self.settings, stamp)?)))
    }

    fn takeover(&self, stamp: RunStamp) -> Result<Box<dyn Takeover>, ArchiveError> {
        Ok(Box::new(PostgresTakeover::new(Target::new(&self.settings, stamp)?)))
    }

    async fn verify(&self, settings: super::verify::Settings) -> Result<Verification, ArchiveError> {
        verify::verify(&self.settings, &settings).await
    }

    async fn reader(&self) -> Result<Box<dyn ArchiveReader>, ArchiveError> {
        Ok(Box::new(PostgresReader::open(&self.settings).await?))
    }

    async fn probe(&self) -> Result<String, ArchiveError> {
        probe::probe(&self.settings).await
    }

    async fn owner(&self) -> Result<Option<ArchiveOwner>, ArchiveError> {
        probe::owner(&self.settings).await
    }

    async fn upkeep(&self) -> Result<Upkeep, ArchiveError> {
        Ok(Upkeep { lifecycle: Lifecycle::None, temporary: BTreeMap::new() })
    }
}
