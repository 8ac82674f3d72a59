//! The Postgres sink: messages in a table, every commit one transaction.
//!
//! - A commit writes its messages and a row that says so (ledger, sequence, counts) in one transaction that is on disk
//!   when it returns. The archive's own row carries the sequence of its last commit and is updated first, so a commit
//!   is made once, and by the ledger that owns the archive.
//! - While the sink is open its session holds an advisory lock: of two processes one is refused. Whoever holds the lock
//!   knows that no transaction of an earlier session is still under way. After a connection broke, the sink connects
//!   again, takes the lock, and reads from the archive whether the commit under way was made.
//! - The session must be its own: behind a pooler that hands out connections by the transaction, neither holds.
//!
//! `messages` has exactly one row for every message: (`app_key`, `message_server_id`) is its key, and the row is the
//! latest revision. Earlier ones are in `message_revisions`, by (`app_key`, `message_server_id`, `revision`); for any
//! other table the name is `<table>_revisions`. A version with a later time of edit replaces the one that is there, the
//! same version changes nothing, and an earlier one is ignored. Beside these stand `<table>_vanished` (messages that the
//! service no longer has), `<table>_archive`, `<table>_commits`, `<table>_manifests` and `<table>_migrations`.

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
mod takeover;
mod versions;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use sqlx::AssertSqlSafe;
use tokio::time::{sleep, timeout};

use self::commit::{Commit, Counts, Statements, Way};
use self::connect::{Backend, Refusal, Server, Session, Trouble, delays, trouble};
use self::copy::Encoder;
use self::schema::{LockPurpose, Names};
use super::{Claim, HeldVersions, Opened, Prepared, RunStamp, Sink, SinkError, SinkFile};
use crate::manifest::Sealed;
use crate::message::{MessageRows, Vanished};

pub use self::probe::probe;
pub use self::reader::Reader;
pub use self::schema::script;
pub use self::takeover::PostgresTakeover;

/// Messages that make a commit due: more would make a transaction long.
const DUE_ROWS: u64 = 50_000;
/// Bytes in memory that make a commit due.
const DUE_BYTES: usize = 32 * 1024 * 1024;
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
    ledger_id: String,
    statements: Statements,
    encoder: Encoder,
    /// Taken while it is used: what is interrupted must not be gone on with.
    session: Option<Session>,
    /// The session's backend, remembered to end it should the session break.
    backend: Backend,
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
    /// [`SinkError::Unusable`] if the URL or a name cannot be used; the URL is never quoted.
    pub fn new(settings: &Settings, stamp: RunStamp) -> Result<Self, SinkError> {
        let server = Server::new(&settings.url, settings.patience)?;
        let names = Names::new(&settings.schema, &settings.table)
            .map_err(|what| SinkError::Unusable(format!("the Postgres sink cannot be used: {what}")))?;
        let target = Target { server, names, raw: settings.raw, stamp };
        Ok(Self { target, writing: None, pending: Vec::new(), vanished: Vec::new(), rows: 0, bytes: 0 })
    }
}

impl Target {
    fn table(&self) -> String {
        self.names.qualified(&self.names.messages)
    }

    fn lock_key(&self) -> i64 {
        self.names.lock_key(LockPurpose::Own)
    }

    fn not_set_up(&self, error: sqlx::Error) -> SinkError {
        match self.server.report(&format!("cannot set up {}", self.table()), error) {
            SinkError::Denied(sentence) => SinkError::Denied(format!(
                "{sentence}; grant the role what it needs, or have somebody run what `schema postgres` prints"
            )),
            error => error,
        }
    }

    fn failed(&self, what: &str) -> SinkError {
        SinkError::Failed {
            context: format!("cannot commit to {} at {}", self.table(), self.server.place()),
            source: Box::from(what),
        }
    }

    /// Makes the commit, over as many connections as it takes. Returns the bytes written.
    async fn commit(&self, writing: &mut Writing, commit: &Commit<'_>) -> Result<u64, SinkError> {
        let mut delays = delays();
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match timeout(COMMIT, self.attempt(writing, commit)).await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(Refusal::Sink(error))) => return Err(error),
                Ok(Err(Refusal::Database(error))) => error,
                Err(_) => io::Error::new(io::ErrorKind::TimedOut, "the commit took too long").into(),
            };
            if trouble(&error) != Trouble::Transient || tries == TRIES {
                return Err(self.server.report(&format!("cannot commit to {}", self.table()), error));
            }
            tracing::warn!(commit = commit.sequence, %error, "the commit is tried again over a new connection");
            sleep(delays.next().unwrap_or_default()).await;
        }
    }

    /// Makes the commit over one connection, a new one if there is none. Returns the bytes written.
    async fn attempt(&self, writing: &mut Writing, commit: &Commit<'_>) -> Result<u64, Refusal> {
        let mut session = match writing.session.take() {
            Some(session) => session,
            None => match self.resume(writing, commit).await? {
                Resumed::ToCommit(session) => session,
                Resumed::Committed(session, bytes) => {
                    writing.session = Some(session);
                    return Ok(bytes);
                }
            },
        };
        writing.tried = commit.sequence;
        let statements = &writing.statements;
        if writing.way == Way::Copy && commit::met(&mut session, statements, commit).await? {
            writing.way = Way::Sift;
        }
        let counts = loop {
            let result = commit::commit(&mut session, statements, &mut writing.encoder, commit, writing.way).await;
            writing.way = match (&result, writing.way) {
                (Err(Refusal::Database(error)), Way::Copy) if trouble(error) == Trouble::Conflict => Way::Sift,
                (Err(Refusal::Database(error)), Way::Sift) if trouble(error) == Trouble::Conflict => Way::Merge,
                _ => break result?,
            };
        };
        let Some(counts) = counts else {
            return Err(SinkError::NotOurs(format!(
                "the archive {} at {} does not wait for commit {} of ledger {}: another ledger took it over, or an \
                 old copy of this one is in use",
                self.table(),
                self.server.place(),
                commit.sequence,
                commit.ledger_id
            ))
            .into());
        };
        let Counts { inserted, revised, bytes } = counts;
        tracing::debug!(commit = commit.sequence, messages = commit.messages, inserted, revised, bytes, "committed");
        // Where nothing was there already, the next messages are likely to be new as well.
        let all_new = inserted == commit.passes.first().map_or(0, Vec::len) as u64;
        writing.way = if all_new { Way::Copy } else { Way::Sift };
        writing.session = Some(session);
        Ok(bytes)
    }

    /// Connects again, and finds out what became of the commit under way.
    async fn resume(&self, writing: &mut Writing, commit: &Commit<'_>) -> Result<Resumed, Refusal> {
        let mut session = self.server.session(self.lock_key(), Some(&writing.backend)).await?;
        writing.backend = session.backend.clone();
        let archive = self.names.qualified(&self.names.archive);
        let commits = self.names.qualified(&self.names.commits);
        let found: Option<(i64, Option<i64>)> = sqlx::query_as(AssertSqlSafe(format!(
            "select a.sequence, c.bytes from {archive} a left join {commits} c using (ledger_id, sequence) \
             where ledger_id = $1"
        )))
        .bind(commit.ledger_id)
        .fetch_optional(&mut session.connection)
        .await?;
        let sequence = found.map(|(sequence, _)| sequence as u64);
        if sequence.is_some_and(|sequence| sequence < writing.committed) {
            return Err(self
                .failed(&format!(
                    "the server lost commits up to {}, as by a failover to a standby that did not have them yet; \
                     the next run fetches their messages again",
                    writing.committed
                ))
                .into());
        }
        match found {
            Some((_, bytes)) if sequence == Some(commit.sequence) && writing.tried == commit.sequence => {
                tracing::info!(commit = commit.sequence, "the commit had been made before the connection broke");
                Ok(Resumed::Committed(session, bytes.unwrap_or(0) as u64))
            }
            // Anything else that is amiss the commit itself meets.
            _ => Ok(Resumed::ToCommit(session)),
        }
    }
}

enum Resumed {
    ToCommit(Session),
    Committed(Session, u64),
}

#[async_trait]
impl Sink for PostgresSink {
    async fn open(&mut self, claim: &Claim) -> Result<Opened, SinkError> {
        let target = &self.target;
        self.writing = None;
        let mut former: Option<Backend> = None;
        let mut delays = delays();
        let mut tries = 0;
        let (found, session) = loop {
            let mut session = target.server.session(target.lock_key(), former.as_ref()).await?;
            former = Some(session.backend.clone());
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
            ledger_id: claim.ledger_id.to_string(),
            statements: Statements::new(&target.names, found.raw, target.raw),
            encoder: Encoder::new(&target.stamp, target.raw),
            backend: session.backend.clone(),
            session: Some(session),
            committed: found.commit,
            tried: 0,
            way: Way::Copy,
        });
        Ok(Opened { commit: found.commit, missing: Vec::new(), warnings })
    }

    async fn write(&mut self, rows: Arc<MessageRows>) -> Result<(), SinkError> {
        self.rows += rows.len() as u64;
        self.bytes += rows.size();
        self.pending.push(rows);
        Ok(())
    }

    async fn write_vanished(&mut self, vanished: Vec<Vanished>) -> Result<(), SinkError> {
        self.vanished.extend(vanished);
        Ok(())
    }

    async fn held(&mut self, since: i64) -> Result<Box<dyn HeldVersions>, SinkError> {
        let mut session = self.target.server.connect().await?;
        sqlx::query("set statement_timeout = 0")
            .execute(&mut session.connection)
            .await
            .map_err(|error| self.target.server.report("cannot begin to read the archive", error))?;
        let app_key = self.target.stamp.app_key.clone();
        Ok(Box::new(held::Held::new(session, &self.target.names, &self.target.server, app_key, since)))
    }

    fn is_due(&self) -> bool {
        self.rows + self.vanished.len() as u64 >= DUE_ROWS || self.bytes >= DUE_BYTES
    }

    fn announces(&self) -> bool {
        true
    }

    /// Makes everything accepted durable. Repeating a commit that failed, or was given up, does it once.
    async fn prepare(&mut self, commit: u64) -> Result<Prepared, SinkError> {
        let Some(writing) = &mut self.writing else {
            return Err(self.target.failed("the sink is not open"));
        };
        let (ledger_id, run_id) = (writing.ledger_id.clone(), self.target.stamp.run_id.to_string());
        let passes = versions::passes(&self.pending);
        let commit = Commit {
            app_key: &self.target.stamp.app_key,
            ledger_id: &ledger_id,
            run_id: &run_id,
            sequence: commit,
            pending: &self.pending,
            passes: &passes,
            vanished: &self.vanished,
            messages: self.rows,
        };
        let bytes = self.target.commit(writing, &commit).await?;
        writing.committed = commit.sequence;
        let prepared = Prepared { rows: self.rows, bytes, files: Vec::new() };
        self.pending.clear();
        self.vanished.clear();
        (self.rows, self.bytes) = (0, 0);
        Ok(prepared)
    }

    /// A committed transaction is visible.
    async fn publish(&mut self, _commit: u64, _files: &[SinkFile]) -> Result<(), SinkError> {
        Ok(())
    }

    async fn manifest(&mut self, sequence: u64) -> Result<Option<Sealed>, SinkError> {
        self.target.manifest(self.writing.as_mut(), sequence).await
    }

    async fn seal(&mut self, sealed: &Sealed) -> Result<(), SinkError> {
        self.target.seal(self.writing.as_mut(), sealed).await
    }
}
