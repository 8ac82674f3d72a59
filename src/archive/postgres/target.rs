//! The tables that are written, in whose name, and over which connection.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::connect::{Server, Session};
use super::encode::Encoder;
use super::schema::{Locks, Names};
use super::settings::Settings;
use super::statements::Statements;
use crate::archive::{ArchiveError, RunStamp};

/// How long one try of a commit, or of a manifest, may take before its connection is given up.
pub(super) const PATIENCE: Duration = Duration::from_mins(10);

/// Where to write, and in whose name.
pub(super) struct Target {
    pub(super) server: Server,
    pub(super) names: Names,
    pub(super) raw: bool,
    pub(super) stamp: RunStamp,
}

/// The state of an archive that was opened to be written.
pub(super) struct OpenArchive {
    pub(super) ledger_id: Uuid,
    pub(super) statements: Arc<Statements>,
    pub(super) encoder: Encoder,
    /// Taken while it is used: a connection whose use was interrupted must not be used again.
    pub(super) session: Option<Session>,
    /// The last commit that the archive is known to have.
    pub(super) committed: u64,
    /// The last commit that was tried.
    pub(super) tried: u64,
    /// Whether to look which messages are there before copying any: some of the last commit's were.
    pub(super) look_first: bool,
}

impl Target {
    /// Connects to nothing.
    pub(super) fn new(settings: &Settings, stamp: RunStamp) -> Result<Self, ArchiveError> {
        let (server, names) = (Server::new(settings)?, Names::of(settings)?);
        Ok(Self { server, names, raw: settings.sink.raw, stamp })
    }

    /// The table of messages as messages name it.
    pub(super) fn table(&self) -> String {
        self.names.shown(&self.names.messages)
    }

    pub(super) fn locks(&self) -> Locks {
        self.names.locks(self.stamp.run_id)
    }

    pub(super) fn failed(&self, what: &str) -> ArchiveError {
        ArchiveError::failed(format!("cannot commit to {} at {}", self.table(), self.server.place()), what)
    }

    /// What was written to this table is not there.
    pub(super) fn dropped(&self, table: &str, what: &str, triggers: Option<&str>) -> ArchiveError {
        let triggers = triggers.map(|triggers| format!(" (its triggers: {})", triggers.escape_debug()));
        self.failed(&format!(
            "{} {what} written to it: a trigger, a rule or a policy there drops rows{}. Everything that was not committed is \
             still pending: remove what drops rows, and run again",
            self.names.shown(table),
            triggers.unwrap_or_default()
        ))
    }
}
