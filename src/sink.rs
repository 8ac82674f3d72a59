//! Where messages go, and what a commit of them promises.
//!
//! A sink *accepts* rows and, later, *commits* them. Rows are safe only once the ledger has recorded the commit,
//! and the sink always commits first:
//!
//! 1. [`Sink::prepare`] makes everything accepted so far durable at the destination.
//! 2. The ledger records the commit.
//! 3. [`Sink::publish`] makes files visible under their final names. A database has nothing left to do.

pub mod parquet;
pub mod postgres;

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::manifest::Manifest;
use crate::message::MessageRows;

/// What a sink writes beside every message.
#[derive(Debug, Clone)]
pub struct RunStamp {
    /// The job's name.
    pub job: String,
    /// The `AppKey`, an identifier and no secret.
    pub app_key: String,
    /// The run, a `UUIDv7`.
    pub run_id: Uuid,
    /// The ledger that owns the archive.
    pub ledger_id: Uuid,
}

/// A file that a commit made. Paths are relative to the archive, with `/`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SinkFile {
    /// Where the file is (or will be) found.
    pub path: String,
    /// Where it stands until it is published.
    pub temporary: String,
    /// Messages in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
}

/// What a commit holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Messages made durable.
    pub rows: u64,
    /// Bytes written for them, as far as the sink knows.
    pub bytes: u64,
    /// Files, for sinks that write files.
    pub files: Vec<SinkFile>,
}

/// What the ledger knows of its archive when a run starts.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The ledger.
    pub ledger_id: Uuid,
    /// The job it belongs to.
    pub job: String,
    /// The last commit that the ledger recorded; 0 for a ledger that never committed.
    pub recorded: u64,
    /// A commit that was announced to the ledger and not yet recorded: the process died between sink and ledger.
    pub announced: Option<u64>,
    /// Files that the ledger recorded and did not yet see published.
    pub unpublished: Vec<SinkFile>,
}

/// What a sink found when it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// The last commit that the archive holds. Less than recorded: the archive lost commits.
    pub commit: u64,
    /// Recorded files that were nowhere, neither published nor to be published. Their commit was taken back, so that
    /// `commit` is less than recorded and its messages are fetched again.
    pub missing: Vec<SinkFile>,
    /// Things an operator should know, each a sentence.
    pub warnings: Vec<String>,
}

/// Why a sink could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The archive belongs to another ledger, or is ahead of this one. Exit 2.
    #[error("{0}")]
    NotOurs(String),
    /// Credentials or permission refused. Exit 4.
    #[error("{0}")]
    Denied(String),
    /// The sink cannot be set up as configured: a path that is no directory, a table of another shape. Exit 2.
    #[error("{0}")]
    Unusable(String),
    /// Another process is writing the archive. Exit 75.
    #[error("{0}")]
    Busy(String),
    /// Anything else: the disk is full, the database is gone. Exit 1; pending batches stay pending.
    #[error("{context}")]
    Failed {
        /// What was being done, and to what.
        context: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Where messages go.
#[async_trait]
pub trait Sink: Send {
    /// Takes possession of the archive, or refuses: creates what is missing, checks that this ledger owns it, finishes
    /// recorded renames, and removes what was never recorded. Nothing is written by a refusal.
    async fn open(&mut self, claim: &Claim) -> Result<Opened, SinkError>;

    /// Accepts rows. They are not safe until committed.
    async fn write(&mut self, rows: Arc<MessageRows>) -> Result<(), SinkError>;

    /// Whether a bound (file size, rows) says that it is time to commit.
    fn is_due(&self) -> bool;

    /// Whether the ledger must know of a commit before the sink makes it, because the sink's own commit is final.
    fn announces(&self) -> bool;

    /// Makes everything accepted durable as commit `commit`.
    async fn prepare(&mut self, commit: u64) -> Result<Prepared, SinkError>;

    /// Makes a recorded commit visible.
    async fn publish(&mut self, commit: u64, files: &[SinkFile]) -> Result<(), SinkError>;

    /// Writes the manifest of a run, last and atomically. Writing the same one again does nothing.
    async fn seal(&mut self, manifest: &Manifest) -> Result<(), SinkError>;
}
