//! Whether an archive is what its manifests say: nothing changed, removed, added or written twice, and all sums agree.
//!
//! Verifying needs the archive and nothing else: no service, no ledger, no key except a public one. The chain of manifests
//! is the same for every store and is checked here; what the manifests name is checked beside each store.

pub(super) mod chain;

use std::path::PathBuf;

use serde::Serialize;

use crate::model::manifest::PublicKey;
use crate::model::summary::ManifestHead;

/// How many findings of one kind are listed one by one, where there may be as many as messages.
pub(super) const LISTED: usize = 100;

/// What an archive is checked against beyond itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether data is left unread: only the chain, the owner record, and which files are there with which sizes are
    /// checked; in a database, the chain and the counts of each run.
    pub quick: bool,
    /// Known keys. The last manifest must be signed with one of them; if there is none, any key will do.
    pub keys: Vec<PublicKey>,
    /// Hashes of manifests that were kept outside the archive.
    pub kept: Vec<Kept>,
    /// Bytes of memory for sorting the keys of messages.
    pub memory: usize,
    /// The directory for sorting more. The files there have no names.
    pub temporary: PathBuf,
}

impl Settings {
    /// Checks an archive only against itself.
    pub fn new() -> Self {
        Self { quick: false, keys: Vec::new(), kept: Vec::new(), memory: 64 << 20, temporary: std::env::temp_dir() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

/// The hash of a manifest, kept outside the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// Who kept it, such as `--head`.
    pub by: String,
    /// Whether no manifest may follow it.
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
    /// A hash that was kept outside the archive is not in the chain.
    Head,
    /// The owner record is missing, cannot be read, or is older than the manifests.
    Owner,
    /// The counts of a manifest do not agree with each other.
    Sums,
    /// A file that a manifest names is missing.
    Missing,
    /// A file is not the one that its manifest names.
    Altered,
    /// No manifest names a file, or messages.
    Unnamed,
    /// A file, or a run, does not have the messages that its manifest says.
    Content,
    /// A message is there twice in one revision, or is noted twice as vanished.
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
            Self::Owner => "owner",
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

/// Whether the content of an archive was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Content {
    /// It was.
    #[default]
    #[serde(rename = "checked")]
    Checked,
    /// It was not: `--quick`.
    #[serde(rename = "not checked")]
    NotChecked,
}

/// Who signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Signatures {
    /// Manifests with a valid signature.
    pub right: u64,
    /// Manifests without a signature.
    pub unsigned: u64,
    /// The fingerprints of the keys that signed.
    pub keys: Vec<String>,
    /// The fingerprints of the known keys; empty if signatures were not checked against known keys.
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
    /// Whether the content was checked.
    pub content: Content,
    /// Manifests that could be read.
    pub manifests: u64,
    /// The last one.
    pub head: Option<ManifestHead>,
    /// Who signed.
    pub signatures: Signatures,
    /// Files that are as their manifests say. If content was not checked, these have the right size.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Messages, counting every revision. If the content of files was not checked, as many as the manifests say.
    pub rows: u64,
    /// Notes of messages that vanished. The same holds for them.
    pub vanished: u64,
    /// Messages that are there more than once in one revision. `None` if content was not checked.
    pub twice: Option<u64>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is not wrong but worth mentioning.
    pub notes: Vec<String>,
}

impl Verification {
    pub(super) fn new(archive: String, kind: &'static str, settings: &Settings) -> Self {
        let content = if settings.quick { Content::NotChecked } else { Content::Checked };
        Self { version: 1, archive, kind, content, ..Self::default() }
    }

    pub(super) fn wrong(&mut self, kind: Wrong, subject: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { kind, subject: subject.into(), message: message.into() });
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Puts the problems in order and says whether there are any.
    pub(super) fn done(mut self) -> Self {
        self.problems.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
        self.ok = self.problems.is_empty();
        self
    }
}
