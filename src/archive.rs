//! Where messages go, and what a commit of them promises.
//!
//! A sink *accepts* rows and, later, *commits* them. Rows are safe only once the ledger has recorded the commit,
//! and the sink always commits first:
//!
//! 1. [`ArchiveWriter::prepare`] makes everything accepted so far durable at the destination.
//! 2. The ledger records the commit.
//! 3. [`ArchiveWriter::publish`] makes files visible under their final names. A database has nothing left to do.

pub mod parquet;
pub mod postgres;
pub mod verify;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::model::manifest::{FileRange, Sealed};
use crate::model::message::{ExistingVersion, MessageRows, Vanished};

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
pub struct ArchiveFile {
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
    /// The range of its times and IDs, as far as it is known.
    #[serde(default)]
    pub range: Option<FileRange>,
}

/// What a commit holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Messages made durable.
    pub rows: u64,
    /// Bytes written for them, as far as the sink knows.
    pub bytes: u64,
    /// Files, for sinks that write files.
    pub files: Vec<ArchiveFile>,
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
    /// The commit of the ledger's intent, if it was not recorded: the process died between archive and ledger.
    pub intent: Option<u64>,
    /// Files that the ledger recorded and did not yet see published.
    pub unpublished: Vec<ArchiveFile>,
    /// The ledger's last commits, that of the intent included, and the runs that made them. Two copies of a ledger that
    /// went on apart have the same ID and may have the same number of commits; the runs tell them apart.
    pub runs: Vec<(u64, Uuid)>,
}

impl Claim {
    /// The run that made this commit, if the ledger still knows.
    pub fn run_of(&self, commit: u64) -> Option<Uuid> {
        self.runs.iter().rev().find(|(number, _)| *number == commit).map(|(_, run)| *run)
    }

    /// What is wrong, in words, if the archive says of its last commit that another run made it than the ledger says.
    pub fn contradiction(&self, commit: u64, run: &str) -> Option<String> {
        let known = self.run_of(commit)?;
        (known.to_string() != run).then(|| {
            format!(
                "its commit {commit} was made by run {run}, and the ledger's by run {known}: two copies of the ledger \
                 went on apart, and this one is not the archive's; rebuild it from the archive with \
                 `yunxin-archiver adopt {}`",
                self.job
            )
        })
    }
}

/// What a sink found when it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// The last commit that the archive holds. Less than recorded: the archive lost commits.
    pub commit: u64,
    /// What the archive says that this commit holds, if it keeps that: a database does.
    pub holds: Option<Prepared>,
    /// Recorded files that were nowhere, neither published nor to be published. Their commit was taken back, so that
    /// `commit` is less than recorded and its messages are fetched again.
    pub missing: Vec<ArchiveFile>,
    /// Things an operator should know, each a sentence.
    pub warnings: Vec<String>,
}

/// Why a sink could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
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
pub trait ArchiveWriter: Send {
    /// Takes possession of the archive, or refuses: creates what is missing, checks that this ledger owns it, finishes
    /// recorded renames, and removes what was never recorded. Nothing is written by a refusal.
    async fn open(&mut self, claim: &Claim) -> Result<Opened, ArchiveError>;

    /// Accepts rows. They are not safe until committed.
    async fn write(&mut self, rows: Arc<MessageRows>) -> Result<(), ArchiveError>;

    /// Accepts messages that are in the archive and that the service no longer has, to be noted beside the messages with
    /// the next commit.
    async fn write_vanished(&mut self, vanished: Vec<Vanished>) -> Result<(), ArchiveError>;

    /// What the archive holds of the messages of the job's app that were archived since then (milliseconds since the
    /// epoch), in any version: all that was published, without what is noted to have vanished. Rows that were accepted
    /// and not committed are not among it.
    async fn held(&mut self, since: i64) -> Result<Box<dyn ExistingVersions>, ArchiveError>;

    /// Whether a bound (file size, rows) says that it is time to commit.
    fn is_due(&self) -> bool;

    /// Whether preparing a commit already makes it final, so that the ledger must hold its intent before.
    fn needs_intent(&self) -> bool;

    /// Makes everything accepted durable as commit `commit`. Repeating one that failed, or was given up, does it once.
    async fn prepare(&mut self, commit: u64) -> Result<Prepared, ArchiveError>;

    /// Makes a recorded commit visible.
    async fn publish(&mut self, commit: u64, files: &[ArchiveFile]) -> Result<(), ArchiveError>;

    /// The manifest of this number as it stands in the archive, without its signature.
    async fn manifest(&mut self, sequence: u64) -> Result<Option<Sealed>, ArchiveError>;

    /// Writes the manifest of a run, last and atomically. Writing the same one again completes what may lie beside it,
    /// and does nothing else.
    async fn seal(&mut self, sealed: &Sealed) -> Result<(), ArchiveError>;
}

/// Reads what an archive holds of messages.
#[async_trait]
pub trait ExistingVersions: Send {
    /// The next versions, in bounded portions; `None` after the last.
    ///
    /// Whatever is known of later versions (revision 1 and more) comes first, of any time: of a message that has some,
    /// its latest among them. Then come first versions, of the time that was asked for.
    async fn next(&mut self) -> Result<Option<Vec<ExistingVersion>>, ArchiveError>;
}

/// What an archive holds, as found without changing anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The ledger that owns it and that ledger's job, if it says.
    pub owner: Option<(String, String)>,
    /// The last commit that it names; 0 if it names none.
    pub commit: u64,
    /// Whether nothing is there at all.
    pub is_empty: bool,
    /// Its manifests, in order, each with those of its files that are there; `None` where the archive keeps none.
    pub manifests: Option<Vec<HeldManifest>>,
    /// Files that are complete and that no manifest names, in the order of their runs.
    pub unnamed: Vec<ArchiveFile>,
    /// Runs whose commits are there and that no manifest names, in order: of a database, which has no files.
    pub unsealed: Vec<UnsealedRun>,
    /// Files that a manifest names and that are not there: run and path.
    pub missing: Vec<(Uuid, String)>,
    /// Temporary files, which are no data.
    pub temporary_files: u64,
    /// Their size.
    pub temporary_bytes: u64,
}

/// A run that left commits and no manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsealedRun {
    /// The run.
    pub run_id: Uuid,
    /// When it made its first commit.
    pub began: Timestamp,
    /// Messages that its commits hold.
    pub rows: u64,
    /// Bytes sent for them.
    pub bytes: u64,
}

/// A manifest in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldManifest {
    /// Its number.
    pub sequence: u64,
    /// The run.
    pub run_id: Uuid,
    /// SHA-256 of its exact bytes, lower-case hex.
    pub sha256: String,
    /// Its files that are there, in its order. Their `temporary` is empty.
    pub files: Vec<ArchiveFile>,
}

/// Some of the message IDs of an archive, in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExistingIds {
    /// IDs of first versions (revision 0), one for each row.
    pub first: Vec<i64>,
    /// IDs and revisions of later versions, one for each row.
    pub later: Vec<(i64, i32)>,
    /// Messages of other apps.
    pub other_apps: u64,
}

/// An archive that gets another ledger.
#[async_trait]
pub trait Takeover: Send {
    /// Keeps other writers out and looks what is there. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Busy`] when another process writes the archive, [`ArchiveError::Unusable`] when something in it cannot
    /// be read and has to be repaired or moved away first.
    async fn look(&mut self) -> Result<Inventory, ArchiveError>;

    /// The next IDs of the job's app, in bounded portions; `None` after the last. Only after [`Self::look`].
    async fn ids(&mut self) -> Result<Option<ExistingIds>, ArchiveError>;

    /// Makes the archive the stamp's ledger's, at this commit, in one step. Leftovers of former ledgers that are no
    /// data are removed afterwards.
    async fn hand_over(&mut self, commit: u64) -> Result<(), ArchiveError>;
}
