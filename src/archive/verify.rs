//! Whether an archive is what its manifests say: nothing changed, removed, added or written twice, and all sums agree.
//!
//! Needs the archive and nothing else: no service, no ledger, no key beyond a public one. Files are hashed as they are
//! read, by as many threads as there are processors; what decides whether a message is there twice is sorted in bounded
//! memory.

mod chain;
mod columns;
mod files;
mod found;
mod keys;
mod list;
mod postgres;

use std::path::PathBuf;

use serde::Serialize;

use crate::archive::ArchiveError;
use crate::model::manifest::PublicKey;
use crate::model::summary::ManifestHead;

pub use files::verify as parquet;
pub use postgres::verify as postgres;

/// How many findings of one kind are told one by one, where there may be as many as messages.
const TOLD: usize = 100;

/// What an archive is checked against beyond itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Keys that are known; the last manifest must be signed with one of them. None: any key will do.
    pub keys: Vec<PublicKey>,
    /// Hashes of manifests that were kept elsewhere.
    pub kept: Vec<Kept>,
    /// Bytes of memory in which keys of messages are sorted.
    pub memory: usize,
    /// Where they lie when they are more. Only files without a name are made there.
    pub temporary: PathBuf,
}

impl Settings {
    /// Checks the archive against itself alone.
    pub fn new() -> Self {
        Self { keys: Vec::new(), kept: Vec::new(), memory: 64 << 20, temporary: std::env::temp_dir() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

/// The hash of a manifest, kept outside of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// Who kept it, such as `--head`.
    pub by: String,
    /// Whether nothing may have come after it.
    pub last: bool,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// A manifest cannot be read, or is not what its name or row says.
    Manifest,
    /// A manifest is missing, or there twice.
    Sequence,
    /// A manifest does not hold the hash of the one before it.
    Chain,
    /// A signature is wrong, missing, or of another key.
    Signature,
    /// What was kept elsewhere is not in the chain.
    Head,
    /// A manifest's counts do not agree with each other.
    Sums,
    /// A file that a manifest names is not there.
    Missing,
    /// A file is not the one that its manifest names.
    Altered,
    /// A file, or messages, that no manifest names.
    Unnamed,
    /// A file, or a run, does not hold the messages that its manifest says.
    Content,
    /// A message is there twice in one revision, or noted twice as vanished.
    Twice,
    /// The list of hashes says something else than the manifests.
    List,
}

impl Wrong {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Sequence => "sequence",
            Self::Chain => "chain",
            Self::Signature => "signature",
            Self::Head => "head",
            Self::Sums => "sums",
            Self::Missing => "missing",
            Self::Altered => "altered",
            Self::Unnamed => "unnamed",
            Self::Content => "content",
            Self::Twice => "twice",
            Self::List => "list",
        }
    }
}

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind of thing.
    pub kind: Wrong,
    /// The file (relative to the archive), the manifest, or the run.
    pub subject: String,
    /// In words.
    pub message: String,
}

/// Who signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Signatures {
    /// Manifests with a signature that is right.
    pub right: u64,
    /// Manifests without one.
    pub unsigned: u64,
    /// The fingerprints of the keys that signed.
    pub keys: Vec<String>,
    /// The fingerprints of the keys that were known; empty when signatures were checked against no known key.
    pub known: Vec<String>,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verification {
    /// The version of this document's form: 1.
    pub version: u32,
    /// Where the archive is.
    pub archive: String,
    /// `parquet` or `postgres`.
    pub kind: &'static str,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Manifests that could be read.
    pub manifests: u64,
    /// The last one.
    pub head: Option<ManifestHead>,
    /// Who signed.
    pub signatures: Signatures,
    /// Files that were read and are what their manifests say.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Messages that were counted, every revision of one.
    pub rows: u64,
    /// Notes, beside the messages, of such as vanished.
    pub vanished: u64,
    /// Messages that are there more than once in one revision.
    pub twice: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is not wrong, and yet worth a word.
    pub notes: Vec<String>,
}

impl Verification {
    fn new(archive: String, kind: &'static str) -> Self {
        Self { version: 1, archive, kind, ..Self::default() }
    }

    fn wrong(&mut self, kind: Wrong, subject: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { kind, subject: subject.into(), message: message.into() });
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn done(mut self) -> Self {
        self.ok = self.problems.is_empty();
        self
    }
}

/// Why an archive could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no archive. Exit 2.
    #[error("{0}")]
    Unusable(String),
    /// The sink's server.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Reading broke off. Exit 1.
    #[error("{context}")]
    Failed {
        /// What was being done.
        context: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl VerifyError {
    fn failed(context: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed { context: context.into(), source: source.into() }
    }
}
