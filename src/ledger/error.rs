//! What can go wrong with a ledger, with the file's name and what to do about it.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::bits::Damaged;

/// Why the ledger could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The job, or another process of its app, is running. Exit 75.
    #[error("{0}")]
    Busy(String),
    /// What was asked would lose or repeat something. Exit 2.
    #[error("{0}")]
    Refused(String),
    /// The file is no ledger of this program. Exit 2.
    #[error("{} is no ledger: {why}. Move it away, or name another `state` directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How that shows.
        why: String,
    },
    /// The file was made by another version of this program. Exit 2.
    #[error("{} has form {found}, and this version knows form {known}: {advice}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The form it has.
        found: i64,
        /// The form this version knows.
        known: i64,
        /// What to do.
        advice: &'static str,
    },
    /// What was stored cannot be read back. Exit 1.
    #[error("{} is damaged: {what}. Move it away and take the archive over with `adopt`, or restore the file from a backup together with its archive", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        what: String,
    },
    /// Something was to be stored through a ledger that was opened for reading.
    #[error("{} was opened for reading only", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// What was to be stored contradicts what is stored: a defect of this program. Nothing was stored. Exit 1.
    #[error("{}: {what}", path.display())]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        what: String,
    },
    /// No manifest was written for a run of this ID. Exit 2.
    #[error("{} knows no finished run {run}: `status` lists them", path.display())]
    UnknownRun {
        /// The file.
        path: PathBuf,
        /// The run.
        run: Uuid,
    },
    /// The database or the file system failed. Exit 1; nothing was stored, and the same can be tried again.
    #[error("{doing} failed at {}{advice}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What to do about it, after a colon and a space; or nothing.
        advice: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What went wrong, before it is known with which file.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(sqlx::Error),
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

impl Fault {
    /// Something stored that cannot be read back.
    pub(super) fn damaged(what: impl std::fmt::Display) -> impl FnOnce(Damaged) -> Self {
        move |damage| Self::Damaged(format!("{what}: {damage}"))
    }

    /// The error to show, about the ledger at `path`.
    pub(super) fn at(self, path: &Path, doing: &'static str) -> LedgerError {
        let path = path.to_owned();
        match self {
            Self::Sql(error) => from_sql(path, doing, error),
            Self::Damaged(what) => LedgerError::Damaged { path, what },
            Self::Inconsistent(what) => LedgerError::Inconsistent { path, what },
            Self::Refused(what) => LedgerError::Refused(what),
            Self::UnknownRun(run) => LedgerError::UnknownRun { path, run },
            Self::ReadOnly => LedgerError::ReadOnly { path },
        }
    }
}

/// SQLite's primary result code, which the low byte of the extended one is.
pub(super) fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    Some(error.as_database_error()?.code()?.parse::<u32>().ok()? & 0xff)
}

fn from_sql(path: PathBuf, doing: &'static str, error: sqlx::Error) -> LedgerError {
    let advice = match sqlite_code(&error) {
        Some(11) => return LedgerError::Damaged { path, what: error.to_string() },
        Some(26) => return LedgerError::Foreign { path, why: "it is no SQLite database".to_owned() },
        Some(5 | 6) => ": another process holds it; only one may write",
        Some(13) => ": the disk is full; make room and run again, nothing is lost",
        Some(3 | 8 | 14 | 23) => ": check the owner and the rights of the file and of its directory",
        Some(10) => ": check the disk; the ledger must be on a local one, not on NFS",
        _ => "",
    };
    LedgerError::Failed { path, doing, advice, source: Box::new(error) }
}

pub(super) fn from_io(path: &Path, doing: &'static str, error: std::io::Error) -> LedgerError {
    let advice = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            ": check the owner and the rights of the file and of its directory"
        }
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            ": the disk is full; make room and run again, nothing is lost"
        }
        _ => "",
    };
    LedgerError::Failed { path: path.to_owned(), doing, advice, source: Box::new(error) }
}
