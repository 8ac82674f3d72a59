//! Where the files of an archive are: a directory, or a prefix of a bucket.
//!
//! Everything above speaks to one seam, [`Storage`], so the commit protocol is written once. Names are relative to the
//! archive and use `/`. A name that begins with [`BESIDE`] is in the directory, or under
//! the prefix, beside the archive. No name leads out of these two. All calls block.
//!
//! | promise | directory | object store |
//! |---|---|---|
//! | a small file is created unless its name is taken | rename without replacing | put with `If-None-Match` |
//! | a small file is replaced unless somebody else changed it | compare and rename, under a lock | put with `If-Match` |
//! | a file is whole or not there | rename | multipart upload, completed when it is published |
//!
//! A staged file survives its process: the token that [`StagedOutput::finish`] returns is enough to publish or discard it
//! later and elsewhere.

mod above;
mod local;
mod object;
mod scratch;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use self::local::LocalStorage;
use self::object::ObjectStorage;
pub use self::object::{Conditions, Credentials, Encryption, ObjectSettings, Provider, Proxy};
use crate::failpoint::reach;
use crate::locked::Locked;
use crate::model::manifest::{BESIDE, StagedFile};

/// The directory of files that are not published. It has one directory for each ledger.
pub(crate) const TEMPORARY: &str = "_tmp";
/// Stands in the listed name of an object that no path can name, such as `a//b`, before each part that is the reason.
pub(crate) const NO_PATH: char = '\u{e000}';

/// Where an archive is.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there are only a few of them")]
pub enum Place {
    /// A directory.
    Directory(PathBuf),
    /// A prefix of a bucket.
    Bucket(ObjectSettings),
}

impl Place {
    /// The storage there, for a ledger that may stage files. Touches nothing.
    ///
    /// # Errors
    ///
    /// The client of an object store cannot be made of its settings.
    pub fn open(&self, ledger: Uuid) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(match self {
            Self::Directory(root) => Arc::new(LocalStorage::new(root.clone(), ledger)),
            Self::Bucket(settings) => Arc::new(ObjectStorage::new(settings, ledger)?),
        })
    }
}

/// The files of one archive, and those beside it.
pub trait Storage: fmt::Debug + Send + Sync {
    /// The place as people name it: `/srv/archive`, `s3://bucket/prefix`. It holds no secret.
    fn place(&self) -> &str;

    /// Where a file is, as people name it.
    fn at(&self, name: &str) -> String;

    /// The place beside the archive as seen from the archive. `None` if nothing can be beside it, as beside `/`.
    fn beside(&self) -> Option<String>;

    /// Checks that the archive can be written, and that the store keeps the promises above. Leaves nothing behind. Returns
    /// a sentence about what was found.
    fn probe(&self) -> Result<String, StorageError>;

    /// What the place does by itself to what is in it.
    fn lifecycle(&self) -> Lifecycle {
        Lifecycle::None
    }

    /// Whether writes on conditions keep another writer out. If not, that is the operator's word.
    fn has_conditions(&self) -> bool;

    /// Creates the place, and keeps other processes out for as long as the lock lives. Object stores and some file systems
    /// have no locks: there the owner record alone tells two writers apart.
    fn lock(&self) -> Result<PlaceLock, StorageError>;

    /// A local file without a name. It is gone when it is closed, even after a crash.
    fn scratch(&self) -> Result<File, StorageError>;

    /// The size of a file; `None` if it does not exist.
    fn size(&self, name: &str) -> Result<Option<u64>, StorageError>;

    /// Reads a small file, with its version. `None` if it does not exist.
    fn read(&self, name: &str) -> Result<Option<(Vec<u8>, Version)>, StorageError>;

    /// Reads `length` bytes of a file from `start`. It is an error if the file has fewer.
    fn read_range(&self, name: &str, start: u64, length: usize) -> Result<Vec<u8>, StorageError>;

    /// The size of a file and its last `length` bytes, or all of a shorter one. `None` if it does not exist.
    fn read_end(&self, name: &str, length: usize) -> Result<Option<(u64, Vec<u8>)>, StorageError>;

    /// Every file whose name begins with `below` (which ends with `/` or [`BESIDE`], or is
    /// empty), in the order of names. Names beside the archive are listed only if `below` begins with `BESIDE`. With
    /// `lenient`, skips directories that may not be read. A name with [`NO_PATH`] in it is for people to read only.
    fn list(&self, below: &str, lenient: bool) -> Result<Vec<Listed>, StorageError>;

    /// Where a file of this name is in a place above this one, or beside which this one, or one above it, is. `None` also
    /// where nobody may look.
    fn find_above(&self, name: &str) -> Result<Option<String>, StorageError>;

    /// Creates a small file unless its name is taken. An attempt that seemed to fail is looked up.
    fn create(&self, name: &str, content: &[u8]) -> Result<Created, StorageError>;

    /// Replaces a small file if it still has the version that was read. `None`: there was no file.
    fn replace(&self, name: &str, content: &[u8], read: Option<&Version>) -> Result<Replaced, StorageError>;

    /// Begins a file. Nobody sees it before it is published. Only after [`Self::clear`].
    fn stage(&self, name: &str) -> Result<Box<dyn StagedOutput>, StorageError>;

    /// Makes the names of finished staged files durable.
    fn sync_staged(&self) -> Result<(), StorageError>;

    /// Publishes staged files, of this process or another, and makes their names durable. May be repeated.
    fn publish(&self, files: &[StagedFile]) -> Result<Vec<Published>, StorageError>;

    /// Gives up a staged file. One that is unknown or already published is left alone.
    fn discard(&self, file: &StagedFile) -> Result<(), StorageError>;

    /// Gives up everything that ledgers of these IDs staged and did not publish, and makes ready for staging. Returns the
    /// other ledgers that staged something.
    fn clear(&self, is_given_up: &dyn Fn(&str) -> bool) -> Result<BTreeSet<String>, StorageError>;

    /// Removes a file, durably. It need not exist.
    fn remove(&self, name: &str) -> Result<(), StorageError>;
}

/// Keeps other processes out of a place, if it has locks.
#[derive(Debug, Default)]
pub struct PlaceLock {
    #[allow(dead_code, reason = "it counts for as long as it lives")]
    locked: Option<Locked>,
}

/// A staged file that is being written. If it is dropped unfinished, [`Storage::clear`] removes what is left of it.
pub trait StagedOutput: io::Write + fmt::Debug + Send + Sync {
    /// Where the bytes go, as people name it.
    fn at(&self) -> String;

    /// Frees what is only needed while bytes are written, such as a descriptor.
    fn pause(&mut self);

    /// Makes the content durable. Returns the token for [`StagedFile::staged`].
    fn finish(self: Box<Self>) -> Result<String, StorageError>;
}

/// Whether a file was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It was, or it was there already with the same content.
    Yes,
    /// Another file has the name.
    Taken,
}

/// Whether a file was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// It was, and now has this version.
    Yes(Version),
    /// Somebody else changed or removed it.
    Changed,
}

/// What became of a staged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It has its name and its size.
    Yes,
    /// It is neither staged nor published. If a file of another size is there, a sentence says so.
    Lost(Option<String>),
}

/// Tells two states of a file apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

/// What a place does by itself to what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifecycle {
    /// Nothing: it is a directory.
    None,
    /// It cannot be asked, for this reason.
    Unknown(String),
    /// What the rules of its bucket say.
    Known {
        /// Whether uploads end that nobody completes.
        ends_uploads: bool,
        /// Rules that take files away or out of reach, each in a few words.
        harmful: Vec<String>,
    },
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Why a storage cannot do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Credentials or permission refused.
    #[error("{0}")]
    Denied(String),
    /// It cannot be used as configured.
    #[error("{0}")]
    Unusable(String),
    /// Another process is writing.
    #[error("{0}")]
    Busy(String),
    /// Anything else. It may pass.
    #[error("{doing}")]
    Failed {
        /// What was being done, and to what.
        doing: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Steps at which a test can kill the process: a small file is written, and its name does not point to it yet.
fn reach_rename(name: &str) {
    match name.rsplit(['/', '.']).next() {
        _ if name.starts_with("_archive.") => reach("deed.rename"),
        Some("SHA256SUMS") => reach("sums.rename"),
        Some("sig") => reach("signature.rename"),
        _ => reach("manifest.rename"),
    }
}

/// The same when its name points to it, and a power cut may still undo that.
fn reach_fsync(name: &str) {
    match name.rsplit(['/', '.']).next() {
        _ if name.starts_with("_archive.") => reach("deed.fsync"),
        Some("SHA256SUMS") => reach("sums.fsync"),
        Some("sig") => reach("signature.fsync"),
        _ => reach("manifest.fsync"),
    }
}

/// Where a file waits until it is published, without the ending.
fn waiting(name: &str, ledger: Uuid) -> String {
    let beside = if name.starts_with(BESIDE) { BESIDE } else { "" };
    let file = name.rsplit(['/', ':']).next().unwrap_or(name);
    format!("{beside}{TEMPORARY}/{ledger}/{}", file.strip_suffix(".parquet").unwrap_or(file))
}
