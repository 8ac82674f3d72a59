//! The Postgres sink: messages in a table, every commit one transaction.
//!
//! - A commit writes its messages and a row that says so (ledger, sequence, counts) in one transaction that is on disk
//!   when it returns. The archive's own row carries the sequence of its last commit and is updated first, so a commit
//!   is made once, and by the ledger that owns the archive.
//! - A commit moves the archive's row on from exactly the commit that its process saw last. So of two processes that
//!   write at once (two copies of a ledger) one is refused by its next commit, and so is one that did not see that the
//!   server lost commits.
//! - Every transaction that writes holds an advisory lock. Who gets the lock knows that no commit is still under way: that
//!   is how the archive is opened. After a connection broke, the sink connects again, takes the lock (ending its own former
//!   session if that still holds it), and reads from the archive whether the commit under way was made, by this run.
//! - The connections may be those of a pooler: nothing but, in a session of our own, the lock outlives its transaction (see
//!   `connect`).
//! - What counts is what is there: see `attempt`.
//!
//! `messages` has exactly one row for every message: (`app_key`, `message_server_id`) is its key, and the row is the
//! latest revision. Earlier ones are in `message_revisions`, by (`app_key`, `message_server_id`, `revision`); for any
//! other table the name is `<table>_revisions`. A version with a later time of edit replaces the one that is there, the
//! same version changes nothing, and an earlier one is ignored. Beside these stand `<table>_vanished` (messages that the
//! service no longer has), `<table>_archive`, `<table>_commits`, `<table>_manifests` and `<table>_migrations`.

mod attempt;
#[doc(hidden)]
pub mod bench;
mod commit;
mod connect;
mod copy;
mod held;
mod json;
mod open;
mod probe;
mod reader;
mod schema;
mod seal;
mod statements;
mod stream;
mod takeover;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::task::yield_now;
use tokio::time::sleep;
use uuid::Uuid;

use self::commit::{Commit, CommitId, Way};
use self::connect::{Refusal, Server, Session, Trouble, delays, trouble};
use self::copy::Encoder;
use self::schema::{Locks, Names};
use self::statements::Statements;
use self::stream::{Start, Stream};
use super::{ArchiveError, ArchiveFile, ArchiveWriter, Claim, ExistingVersions, Opened, Prepared, RunStamp};
use crate::model::manifest::Sealed;
use crate::model::message::{MessageRows, Vanished};

pub use self::probe::probe;
pub use self::reader::Reader;
pub use self::schema::{script, type_name};
pub use self::takeover::PostgresTakeover;

/// Messages that make a commit due: more would make a transaction long.
const DUE_ROWS: u64 = 75_000;
/// Bytes in memory that make a commit due.
const DUE_BYTES: usize = 24 * 1024 * 1024;
/// How long one try of a commit may take before its connection is given up.
const COMMIT: Duration = Duration::from_mins(10);
/// How often a commit, or the opening, is tried.
const TRIES: usize = 5;

/// Where and how to write.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `postgres://user:password@host:port/database?sslmode=…`
    pub url: SecretString,
    /// The schema, created when missing. Any name.
    pub schema: String,
    /// The table of messages, created when missing. Any name of at most 50 bytes.
    pub table: String,
    /// Whether to keep every item's own JSON text in a column `raw`.
    pub raw: bool,
    /// How long to go on trying to reach a server that is starting, failing over or full.
    pub patience: Duration,
}

impl Settings {
    /// Settings of which only the URL is not the default: `public.messages`, no `raw`, 30 seconds.
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            schema: "public".to_owned(),
            table: "messages".to_owned(),
            raw: false,
            patience: Duration::from_secs(30),
        }
    }
}

/// Writes messages to a table in Postgres.
pub struct PostgresSink {
    target: Target,
    writing: Option<Writing>,
    pending: Vec<Arc<MessageRows>>,
    vanished: Vec<Vanished>,
    rows: u64,
    bytes: usize,
}

/// Where to write and in whose name.
struct Target {
    server: Server,
    names: Names,
    raw: bool,
    stamp: RunStamp,
}

/// What an open sink has.
struct Writing {
    ledger_id: Uuid,
    statements: Arc<Statements>,
    encoder: Encoder,
    /// Taken while it is used: what is interrupted must not be gone on with.
    session: Option<Session>,
    /// Has the session while messages are on their way into the table.
    stream: Option<Stream>,
    /// The last commit that the archive is known to hold.
    committed: u64,
    /// The last commit that was tried.
    tried: u64,
    /// The way that suited the messages written last.
    way: Way,
}

impl PostgresSink {
    /// A sink that is not yet open. Connects to nothing.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unusable`] if the URL or a name cannot be used; the URL is never quoted.
    pub fn new(settings: &Settings, stamp: RunStamp) -> Result<Self, ArchiveError> {
        let server = Server::new(&settings.url, settings.patience)?;
        let names = Names::new(&settings.schema, &settings.table)
            .map_err(|what| ArchiveError::Unusable(format!("the Postgres sink cannot be used: {what}")))?;
        let target = Target { server, names, raw: settings.raw, stamp };
        Ok(Self { target, writing: None, pending: Vec::new(), vanished: Vec::new(), rows: 0, bytes: 0 })
    }
}

impl Writing {
    fn id(&self, target: &Target, sequence: u64) -> CommitId {
        CommitId {
            app_key: target.stamp.app_key.clone(),
            ledger_id: self.ledger_id,
            locks: target.locks(),
            before: self.committed,
            sequence,
        }
    }

    /// Sends messages on their way into the table, if that is likely to be the way: the first of a commit begin its
    /// transaction. Returns whether these did.
    fn stream(&mut self, target: &Target, before: &[Arc<MessageRows>], rows: &Arc<MessageRows>) -> bool {
        if let Some(stream) = &self.stream {
            stream.send(Arc::clone(rows));
            return false;
        }
        if !before.is_empty() || self.way != Way::Copy {
            return false;
        }
        let Some(session) = self.session.take() else { return false };
        self.stream = Some(Stream::begin(Start {
            session,
            statements: Arc::clone(&self.statements),
            encoder: Encoder::new(&target.stamp, target.raw),
            id: self.id(target, self.committed + 1),
            first: Arc::clone(rows),
        }));
        true
    }
}

impl Target {
    fn table(&self) -> String {
        self.names.qualified(&self.names.messages)
    }

    fn locks(&self) -> Locks {
        self.names.locks(self.stamp.run_id)
    }

    fn not_set_up(&self, error: sqlx::Error) -> ArchiveError {
        match self.server.report(&format!("cannot set up {}", self.table()), error) {
            ArchiveError::Denied(sentence) => ArchiveError::Denied(format!(
                "{sentence}; grant the role what it needs, or have somebody run what `schema postgres` prints"
            )),
            error => error,
        }
    }

    fn failed(&self, what: &str) -> ArchiveError {
        ArchiveError::Failed {
            context: format!("cannot commit to {} at {}", self.table(), self.server.place()),
            source: Box::from(what),
        }
    }

    /// What was written to this table is not there.
    fn dropped(&self, table: &str, what: &str, triggers: Option<&str>) -> ArchiveError {
        let triggers = triggers.map(|triggers| format!(" (its triggers: {})", triggers.escape_debug()));
        self.failed(&format!(
            "{} {what} written to it: a trigger, a rule or a policy there drops rows{}. Everything that was not committed is \
             still pending: remove what drops rows, and run again",
            self.names.qualified(table),
            triggers.unwrap_or_default()
        ))
    }
}

#[async_trait]
impl ArchiveWriter for PostgresSink {
    async fn open(&mut self, claim: &Claim) -> Result<Opened, ArchiveError> {
        let target = &self.target;
        self.writing = None;
        let mut delays = delays();
        let mut tries = 0;
        let (found, session) = loop {
            let mut session = target.server.session(target.locks(), tries > 0).await?;
            tries += 1;
            match open::open(&target.server, &mut session, &target.names, claim, target.raw).await {
                Ok(found) => break (found, session),
                Err(Refusal::Sink(error)) => return Err(error),
                Err(Refusal::Database(error)) if trouble(&error) == Trouble::Transient && tries < TRIES => {
                    tracing::debug!(%error, "setting up again");
                }
                Err(Refusal::Database(error)) => return Err(target.not_set_up(error)),
            }
            drop(session);
            sleep(delays.next().unwrap_or_default()).await;
        };
        let mut warnings = target.server.warnings.clone();
        if !session.durable {
            warnings.push(format!(
                "The server {} runs with fsync=off: commits that it confirmed are lost when its machine fails.",
                target.server.place()
            ));
        }
        self.writing = Some(Writing {
            ledger_id: claim.ledger_id,
            statements: Arc::new(Statements::new(&target.names, found.raw, target.raw)),
            encoder: Encoder::new(&target.stamp, target.raw),
            session: Some(session),
            committed: found.commit,
            stream: None,
            tried: 0,
            way: if found.triggers { Way::Sift } else { Way::Copy },
        });
        Ok(Opened { commit: found.commit, holds: found.holds, missing: Vec::new(), warnings })
    }

    async fn write(&mut self, rows: Arc<MessageRows>) -> Result<(), ArchiveError> {
        if let Some(writing) = &mut self.writing
            && writing.stream(&self.target, &self.pending, &rows)
        {
            // A task that was just spawned waits for this one: the database would be idle until then.
            yield_now().await;
        }
        self.rows += rows.len() as u64;
        self.bytes += rows.size();
        self.pending.push(rows);
        Ok(())
    }

    async fn write_vanished(&mut self, vanished: Vec<Vanished>) -> Result<(), ArchiveError> {
        self.vanished.extend(vanished);
        Ok(())
    }

    async fn held(&mut self, since: i64) -> Result<Box<dyn ExistingVersions>, ArchiveError> {
        let session = self.target.server.connect().await?;
        let app_key = self.target.stamp.app_key.clone();
        Ok(Box::new(held::Held::new(session, &self.target.names, &self.target.server, app_key, since)))
    }

    fn is_due(&self) -> bool {
        self.rows + self.vanished.len() as u64 >= DUE_ROWS || self.bytes >= DUE_BYTES
    }

    fn needs_intent(&self) -> bool {
        true
    }

    async fn prepare(&mut self, commit: u64) -> Result<Prepared, ArchiveError> {
        let Some(writing) = &mut self.writing else {
            return Err(self.target.failed("the sink is not open"));
        };
        let id = writing.id(&self.target, commit);
        let commit = Commit {
            id: &id,
            run_id: self.target.stamp.run_id,
            pending: &self.pending,
            vanished: &self.vanished,
            messages: self.rows,
        };
        let bytes = self.target.commit(writing, &commit).await?;
        writing.committed = id.sequence;
        let prepared = Prepared { rows: self.rows, bytes, files: Vec::new() };
        self.pending.clear();
        self.vanished.clear();
        (self.rows, self.bytes) = (0, 0);
        Ok(prepared)
    }

    /// A committed transaction is visible.
    async fn publish(&mut self, _commit: u64, _files: &[ArchiveFile]) -> Result<(), ArchiveError> {
        Ok(())
    }

    async fn manifest(&mut self, sequence: u64) -> Result<Option<Sealed>, ArchiveError> {
        self.target.manifest(self.writing.as_mut(), sequence).await
    }

    async fn seal(&mut self, sealed: &Sealed) -> Result<(), ArchiveError> {
        self.target.seal(self.writing.as_mut(), sealed).await
    }
}
