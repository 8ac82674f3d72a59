//! Why completeness cannot be examined.

use std::io;

use crate::archive::ArchiveError;
use crate::ledger::LedgerError;
use crate::source::SourceError;

/// The context of an error in sorting.
const SORTING: &str = "sorting in temporary files (TMPDIR names their directory)";

/// Why completeness cannot be examined.
#[derive(Debug, thiserror::Error)]
pub enum CompletenessError {
    /// The references cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file that was given cannot be used. Exit 2.
    #[error("{0}")]
    Unusable(String),
    /// Sorting or writing failed. Exit 1.
    #[error("{context}")]
    Failed {
        /// What was being done.
        context: &'static str,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The sums disagree: a defect of this program. Exit 1.
    #[error("of {0} rows not every one is accounted for: a defect of this program; nothing is certified")]
    Sums(u64),
}

pub(super) fn sorting(source: io::Error) -> CompletenessError {
    CompletenessError::Failed { context: SORTING, source }
}
