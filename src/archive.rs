//! Where messages go, and everything that can be done with them there.
//!
//! An [`Archive`] is one value for each kind of store. It is written, adopted, verified, read and probed through the
//! traits below; a further store is one more folder beside `parquet` and `postgres`, and one line where `cli` makes the
//! archive of a job.
//!
//! A commit takes these steps, in this order. Messages are safe once the ledger has recorded their commit:
//!
//! 1. [`ArchiveWriter::prepare`] makes everything accepted so far durable in the store.
//! 2. The ledger records the commit.
//! 3. [`ArchiveWriter::publish`] moves files to their final names. A database has nothing left to do.

pub mod parquet;
pub mod postgres;
pub mod read;
pub mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use self::read::ArchiveReader;
use self::verify::Verification;
use crate::model::manifest::{DataFile, Sealed, StagedFile};
use crate::model::message::{ExistingVersion, MessageRows, Vanished};
use crate::storage::{Lifecycle, StorageError};

/// An archive. Making one touches nothing.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Writes the archive in the name of a run. Touches nothing until it is opened.
    fn writer(&self, stamp: RunStamp) -> Result<Box<dyn ArchiveWriter>, ArchiveError>;

    /// Gives the archive to the stamp's ledger. Touches nothing until it is looked at.
    fn takeover(&self, stamp: RunStamp) -> Result<Box<dyn Takeover>, ArchiveError>;

    /// Writes files that another process commits, in the name of a run. The last argument tells them from those of other writers.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unusable`] if the archive is not made of files.
    fn stager(&self, _stamp: RunStamp, _part: Uuid) -> Result<Box<dyn Stager>, ArchiveError> {
        Err(ArchiveError::of_no_files())
    }

    /// Where the workers of a fleet deliver what they did for this ledger.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unusable`] if a fleet cannot write this archive.
    fn deliveries(&self, _ledger_id: Uuid) -> Result<Arc<dyn Deliveries>, ArchiveError> {
        Err(ArchiveError::of_no_files())
    }

    /// Checks that the archive is what its manifests say.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unusable`] if there is no archive. What is wrong with one is in the [`Verification`].
    async fn verify(&self, settings: verify::Settings) -> Result<Verification, ArchiveError>;

    /// Opens the archive for reading, as it is now.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unusable`] if there is no archive.
    async fn reader(&self) -> Result<Box<dyn ArchiveReader>, ArchiveError>;

    /// Checks that the archive could be written, and leaves nothing behind. Returns a sentence about what was found.
    async fn probe(&self) -> Result<String, ArchiveError>;

    /// Whose the archive is, as its owner record says. `None` if there is no record. Takes no lock.
    async fn owner(&self) -> Result<Option<ArchiveOwner>, ArchiveError>;

    /// What is temporary in the archive, and what its place does by itself.
    async fn upkeep(&self) -> Result<Upkeep, ArchiveError>;
}

/// Whose an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveOwner {
    /// The ledger's ID.
    pub ledger_id: String,
    /// The ledger's job.
    pub job: String,
    /// The last commit.
    pub commit: u64,
}

/// What is temporary in an archive, and what its place does by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upkeep {
    /// What the place does by itself to what is in it.
    pub lifecycle: Lifecycle,
    /// How many temporary files there are of each ledger.
    pub temporary: BTreeMap<String, u64>,
}

/// What is stored with every message besides the message.
#[derive(Debug, Clone)]
pub struct RunStamp {
    /// The job's name.
    pub job: String,
    /// The `AppKey`, which identifies the app and is no secret.
    pub app_key: String,
    /// The run, a `UUIDv7`.
    pub run_id: Uuid,
    /// The ledger that owns the archive.
    pub ledger_id: Uuid,
}

/// What a commit holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Messages made durable.
    pub rows: u64,
    /// Bytes written for them.
    pub bytes: u64,
    /// The files, in a store that has files. Their paths are relative to the archive, with `/`.
    pub files: Vec<StagedFile>,
}

/// What the ledger knows of its archive when a run starts.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The ledger.
    pub ledger_id: Uuid,
    /// The job it belongs to.
    pub job: String,
    /// The last commit that the ledger recorded; 0 if it never committed.
    pub recorded: u64,
    /// The number of a commit that the ledger only has the intent of: the process died between archive and ledger.
    pub intent: Option<u64>,
    /// Files that the ledger recorded and has not seen published.
    pub unpublished: Vec<StagedFile>,
    /// The ledger's last commits, including the intent, with the runs that made them. Two copies of a ledger that were
    /// both used have the same ID and may have the same number of commits; the runs tell them apart.
    pub runs: Vec<(u64, Uuid)>,
    /// The last manifest that the ledger knows to be written, and those that are due, with their runs, ascending. Empty if nothing
    /// is known of them.
    pub manifests: Vec<(u64, Uuid)>,
}

impl Claim {
    /// A ledger that has recorded nothing yet.
    pub fn of_new(ledger_id: Uuid, job: String) -> Self {
        let (unpublished, runs, manifests) = (Vec::new(), Vec::new(), Vec::new());
        Self { ledger_id, job, recorded: 0, intent: None, unpublished, runs, manifests }
    }

    /// Explains, if this ledger does not know the last manifest that the archive names, what that means.
    pub fn unknown_manifest(&self, sequence: u64, run: &str) -> Option<String> {
        let is_earlier = self.manifests.first().is_none_or(|(first, _)| sequence < *first);
        let is_known = self.manifests.iter().any(|(known, by)| *known == sequence && by.to_string() == run);
        (!is_earlier && !is_known).then(|| {
            format!(
                "its manifest {sequence} is of run {run}, which this ledger does not know. The ledger is an old copy, or \
                 another copy was used: rebuild it from the archive with `yunxin-archiver adopt {}`",
                self.job
            )
        })
    }

    /// The run that made this commit, if the ledger still knows.
    pub fn run_of(&self, commit: u64) -> Option<Uuid> {
        self.runs.iter().rev().find(|(number, _)| *number == commit).map(|(_, run)| *run)
    }

    /// Explains, if archive and ledger disagree about which run made the archive's last commit, what that means.
    pub fn contradiction(&self, commit: u64, run: &str) -> Option<String> {
        let known = self.run_of(commit)?;
        (known.to_string() != run).then(|| {
            format!(
                "its commit {commit} was made by run {run}, but this ledger's commit {commit} was made by run {known}: \
                 two copies of the ledger were used, and this one is not the archive's; rebuild it from the archive \
                 with `yunxin-archiver adopt {}`",
                self.job
            )
        })
    }
}

/// What a writer found when it opened the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// The last commit in the archive. If it is less than the ledger recorded, the archive has lost commits.
    pub commit: u64,
    /// What the archive says this commit holds, if it keeps that. Databases do.
    pub holds: Option<Prepared>,
    /// Recorded files that are neither published nor staged. Their commit was taken back: `commit` is less than
    /// recorded, and their messages are fetched again.
    pub missing: Vec<DataFile>,
    /// What the operator should know, each a sentence.
    pub warnings: Vec<String>,
}

/// Why something could not be done with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive belongs to another ledger, or is ahead of this one. Exit 2.
    #[error("{0}")]
    NotOurs(String),
    /// Credentials or permission refused. Exit 4.
    #[error("{0}")]
    Denied(String),
    /// There is no archive, or it cannot be used as configured: the path is no directory, the table has another shape.
    /// Exit 2.
    #[error("{0}")]
    Unusable(String),
    /// Another process is writing the archive. Exit 75.
    #[error("{0}")]
    Busy(String),
    /// Anything else, such as a full disk or a database that is gone. Exit 1; pending batches stay pending.
    #[error("{context}")]
    Failed {
        /// What was being done, and to what.
        context: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ArchiveError {
    fn of_no_files() -> Self {
        let why = "a fleet archives in a bucket, which all of its workers reach, and this archive is a database: give the \
                   job a sink such as parquet: { path: s3://bucket/prefix }, or run without --fleet";
        Self::Unusable(why.to_owned())
    }

    pub(crate) fn failed(
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { context: context.into(), source: source.into() }
    }
}

impl From<StorageError> for ArchiveError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Denied(what) => Self::Denied(what),
            StorageError::Unusable(what) => Self::Unusable(what),
            StorageError::Busy(what) => Self::Busy(what),
            StorageError::Failed { doing, source } => Self::Failed { context: doing, source },
        }
    }
}

/// Writes an archive.
#[async_trait]
pub trait ArchiveWriter: Send {
    /// Takes possession of the archive, or refuses and writes nothing. Creates what is missing, checks that this ledger
    /// owns the archive, publishes the files that were recorded, and removes those that were not.
    async fn open(&mut self, claim: &Claim) -> Result<Opened, ArchiveError>;

    /// Accepts messages. They are not safe until they are committed.
    async fn write(&mut self, rows: Arc<MessageRows>) -> Result<(), ArchiveError>;

    /// Accepts notes of archived messages that the service no longer has. The next commit stores them beside the
    /// messages.
    async fn write_vanished(&mut self, vanished: Vec<Vanished>) -> Result<(), ArchiveError>;

    /// Accepts files that a [`Stager`] finished elsewhere. The next commit holds them.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unusable`] if the archive is not made of files.
    async fn accept(&mut self, _files: Vec<StagedFile>) -> Result<(), ArchiveError> {
        Err(ArchiveError::of_no_files())
    }

    /// The versions in the archive of messages of the job's app that were archived since a time (milliseconds since the
    /// epoch). Includes what is published, but neither messages that are noted as vanished nor rows not yet committed.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unusable`] if one of the files that were `published` is not there, or has another size.
    async fn existing_versions(
        &mut self,
        since: i64,
        published: Vec<DataFile>,
    ) -> Result<Box<dyn ExistingVersions>, ArchiveError>;

    /// Whether a limit (file size, rows) is reached, so that it is time to commit.
    fn is_due(&self) -> bool;

    /// Whether preparing a commit already makes it final. The ledger must then record the intent first.
    fn needs_intent(&self) -> bool;

    /// Makes everything accepted durable as commit `commit`. A commit that failed or was abandoned may be prepared
    /// again, and is then made once.
    async fn prepare(&mut self, commit: u64) -> Result<Prepared, ArchiveError>;

    /// Makes a recorded commit visible.
    async fn publish(&mut self, commit: u64, files: &[StagedFile]) -> Result<(), ArchiveError>;

    /// The manifest of this number as it is in the archive, without its signature.
    async fn manifest(&mut self, sequence: u64) -> Result<Option<Sealed>, ArchiveError>;

    /// Writes the manifest of a run, last and atomically. Writing the same manifest again completes what belongs beside
    /// it and changes nothing else.
    async fn write_manifest(&mut self, sealed: &Sealed) -> Result<(), ArchiveError>;
}

/// Writes files of an archive that another process commits.
#[async_trait]
pub trait Stager: Send {
    /// Accepts messages.
    async fn write(&mut self, rows: Arc<MessageRows>) -> Result<(), ArchiveError>;

    /// Accepts notes of archived messages that the service no longer has.
    async fn write_vanished(&mut self, vanished: Vec<Vanished>) -> Result<(), ArchiveError>;

    /// Whether a limit (file size) is reached, so that it is time to finish.
    fn is_due(&self) -> bool;

    /// Makes everything accepted durable as staged files.
    async fn finish(&mut self) -> Result<Vec<StagedFile>, ArchiveError>;
}

/// What the workers of a fleet deliver through the archive, for one ledger.
#[async_trait]
pub trait Deliveries: std::fmt::Debug + Send + Sync {
    /// Delivers something under a name of its own.
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), ArchiveError>;

    /// The names of what is there.
    async fn names(&self) -> Result<Vec<String>, ArchiveError>;

    /// What was delivered under this name. `None` if it is gone.
    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ArchiveError>;

    /// Refuses a delivery: removes it, and gives up the files that it names.
    async fn refuse(&self, name: &str, files: Vec<StagedFile>) -> Result<(), ArchiveError>;

    /// Removes all deliveries, and gives up everything that was staged for the ledger. Only while all that the ledger
    /// recorded is published.
    async fn clear(&self) -> Result<(), ArchiveError>;
}

/// Reads which versions of messages an archive has.
#[async_trait]
pub trait ExistingVersions: Send {
    /// The next versions, in bounded portions; `None` after the last.
    ///
    /// Later versions (revision 1 and more) come first, of any time; of every message that has some, its latest is
    /// among them. Then come first versions, of the time that was asked for.
    async fn next(&mut self) -> Result<Option<Vec<ExistingVersion>>, ArchiveError>;
}

/// What is in an archive, found without changing anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The owner, if the archive names one: the ledger's ID and its job.
    pub owner: Option<(String, String)>,
    /// The last commit that the owner record names; 0 if there is none.
    pub commit: u64,
    /// Whether there is nothing at all.
    pub is_empty: bool,
    /// The manifests, in order. `None` if the archive was made by a version that wrote none.
    pub manifests: Option<Vec<ListedManifest>>,
    /// Complete files that no manifest names, in the order of their runs.
    pub unnamed: Vec<DataFile>,
    /// Runs that made commits and whose manifests are still to be written, in order: in a database each that has none; where
    /// there are files the one, if any, whose manifest the archive names as its next.
    pub unsealed: Vec<UnsealedRun>,
    /// Files that a manifest names and that are missing, each with its run.
    pub missing: Vec<(Uuid, String)>,
    /// How many temporary files there are. They are not part of the archive.
    pub temporary_files: u64,
    /// Their size in bytes.
    pub temporary_bytes: u64,
}

impl Inventory {
    /// Complete files that no manifest names, also those of runs whose manifest is still to be written.
    pub fn without_manifest(&self) -> impl Iterator<Item = &DataFile> {
        self.unsealed.iter().flat_map(|run| &run.files).chain(&self.unnamed)
    }
}

/// A run that made commits and left no manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsealedRun {
    /// The run.
    pub run_id: Uuid,
    /// When it made its first commit.
    pub began: Timestamp,
    /// Messages in its commits.
    pub rows: u64,
    /// Bytes sent for them.
    pub bytes: u64,
    /// Its files, in a store that has files.
    pub files: Vec<DataFile>,
}

/// A manifest of an [`Inventory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedManifest {
    /// Its number.
    pub sequence: u64,
    /// The run.
    pub run_id: Uuid,
    /// The `AppKey` of the run.
    pub app_key: String,
    /// SHA-256 of its exact bytes, lower-case hex.
    pub sha256: String,
    /// Those of its files that are there, in its order.
    pub files: Vec<DataFile>,
}

/// Some of the message IDs in an archive, in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExistingIds {
    /// IDs of first versions (revision 0), one for each row.
    pub first: Vec<i64>,
    /// IDs and revisions of later versions, one for each row.
    pub later: Vec<(i64, i32)>,
    /// How many messages of other apps there are.
    pub other_apps: u64,
}

/// Gives an archive to another ledger.
#[async_trait]
pub trait Takeover: Send {
    /// Locks the archive against other writers and lists what is in it. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Busy`] if another process is writing the archive. [`ArchiveError::Unusable`] if something in it
    /// cannot be read and has to be repaired or moved away first.
    async fn look(&mut self) -> Result<Inventory, ArchiveError>;

    /// The next IDs of the job's app, in bounded portions; `None` after the last. Only after [`Self::look`].
    async fn ids(&mut self) -> Result<Option<ExistingIds>, ArchiveError>;

    /// Makes the stamp's ledger the owner of the archive, at this commit, in one step. Then removes the temporary files
    /// of former ledgers, so that nobody can publish them any more.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Busy`] if the archive is not as [`Self::look`] found it: another process wrote it meanwhile.
    async fn hand_over(&mut self, commit: u64) -> Result<(), ArchiveError>;
}
