//! What can go wrong with a ledger, with the file's name and what to do about it.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::encoding::Damaged;

/// Why the ledger could not do its work. Where there is a path, it is the ledger's.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The job, or another process of its app, is running. Exit 75.
    #[error("{0}")]
    Busy(String),
    /// What was asked would lose or repeat something. Exit 2.
    #[error("{0}")]
    Refused(String),
    /// The file is not a ledger of this program, for this reason. Exit 2.
    #[error("{path} is not a ledger: {1}. Move it away, or name another `state` directory", path = .0.display())]
    Foreign(PathBuf, String),
    /// Another version of this program made the file. Exit 2.
    #[error("{} has format {found}, and this version knows format {known}: {advice}", path.display())]
    #[expect(missing_docs, reason = "the message says what they are")]
    Version { path: PathBuf, found: i64, known: i64, advice: &'static str },
    /// This, which was stored, cannot be read back. Exit 1.
    #[error("{path} is damaged: {1}. Move it away and take the archive over with `adopt`, or restore the file from a backup together with its archive", path = .0.display())]
    Damaged(PathBuf, String),
    /// Something was to be stored through a ledger that is open for reading.
    #[error("{path} is open for reading only", path = .0.display())]
    ReadOnly(PathBuf),
    /// What was to be stored contradicts what is stored: a defect of this program. Nothing was stored. Exit 1.
    #[error("{path}: {1}", path = .0.display())]
    Inconsistent(PathBuf, String),
    /// No manifest was written for a run of this ID. Exit 2.
    #[error("{path} knows no finished run {1}: `status` lists the runs", path = .0.display())]
    UnknownRun(PathBuf, Uuid),
    /// The database or the file system failed. Exit 1; nothing was stored, and the same can be tried again.
    #[error("{doing} failed at {}{advice}", path.display())]
    #[expect(missing_docs, reason = "the message says what they are; `advice` may be empty")]
    Failed { path: PathBuf, doing: &'static str, advice: &'static str, source: Box<dyn Error + Send + Sync> },
}

/// What went wrong, without the file's name.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(sqlx::Error),
    Io(io::Error),
    Foreign(String),
    Version { found: i64, known: i64, advice: &'static str },
    Damaged(String),
    Inconsistent(String),
    Refused(String),
    UnknownRun(Uuid),
    ReadOnly,
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

const NO_RIGHTS: &str = ": check the owner and the permissions of the file and of its directory";
const FULL: &str = ": the disk is full; make room and run again, nothing is lost";

impl Fault {
    /// Names what cannot be read back.
    pub(super) fn damaged(what: impl std::fmt::Display) -> impl FnOnce(Damaged) -> Self {
        move |damage| Self::Damaged(format!("{what}: {damage}"))
    }

    /// The error to show, about the ledger at `path`.
    pub(super) fn at(self, path: &Path, doing: &'static str) -> LedgerError {
        let path = path.to_owned();
        let (advice, source): (_, Box<dyn Error + Send + Sync>) = match self {
            Self::Foreign(why) => return LedgerError::Foreign(path, why),
            Self::Version { found, known, advice } => return LedgerError::Version { path, found, known, advice },
            Self::Damaged(what) => return LedgerError::Damaged(path, what),
            Self::Inconsistent(what) => return LedgerError::Inconsistent(path, what),
            Self::Refused(what) => return LedgerError::Refused(what),
            Self::UnknownRun(run) => return LedgerError::UnknownRun(path, run),
            Self::ReadOnly => return LedgerError::ReadOnly(path),
            Self::Sql(error) => {
                let advice = match sqlite_code(&error) {
                    Some(11) => return LedgerError::Damaged(path, error.to_string()),
                    Some(26) => return LedgerError::Foreign(path, "it is not an SQLite database".to_owned()),
                    Some(5 | 6) => ": another process holds it; only one may write",
                    Some(13) => FULL,
                    Some(3 | 8 | 14 | 23) => NO_RIGHTS,
                    Some(10) => ": check the disk; the ledger must be on a local one, not on NFS",
                    _ => "",
                };
                (advice, Box::new(error))
            }
            Self::Io(error) => {
                let advice = match error.kind() {
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => NO_RIGHTS,
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FULL,
                    _ => "",
                };
                (advice, Box::new(error))
            }
        };
        LedgerError::Failed { path, doing, advice, source }
    }
}

/// SQLite's primary result code, which is the low byte of the extended one.
pub(super) fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    Some(error.as_database_error()?.code()?.parse::<u32>().ok()? & 0xff)
}
