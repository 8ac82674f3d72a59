//! Why a run could not go on.

use tokio::task::JoinError;

use crate::archive::ArchiveError;
use crate::ledger::LedgerError;
use crate::model::summary::SumsDisagree;
use crate::panics::Panicked;
use crate::source::SourceError;
use crate::yunxin::Stop as ApiStop;

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source.
    #[error("the source cannot be read")]
    Source(#[from] SourceError),
    /// The archive.
    #[error("{}", match .0 { ArchiveError::Busy(who) => who, _ => "the archive cannot be used" })]
    Archive(#[from] ArchiveError),
    /// The ledger.
    #[error("{}", match .0 { LedgerError::Busy(why) | LedgerError::Refused(why) => why, _ => "the ledger cannot be used" })]
    Ledger(#[from] LedgerError),
    /// The API.
    #[error("the API stopped the run")]
    Api(#[from] ApiStop),
    /// The workers cannot be reached.
    #[error("the fleet cannot be used: {0}")]
    Fleet(String),
    /// The counts of the run do not add up: a defect.
    #[error(transparent)]
    Sums(#[from] SumsDisagree),
    /// A part of the run panicked: a defect.
    #[error("a part of the run died: {0}; this is a defect, please report it")]
    Died(String),
}

impl RunError {
    /// The exit code that the contract gives this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Source(SourceError::Unusable(_))
            | Self::Archive(ArchiveError::NotOurs(_) | ArchiveError::Unusable(_))
            | Self::Ledger(
                LedgerError::Refused(_)
                | LedgerError::Foreign { .. }
                | LedgerError::Version { .. }
                | LedgerError::UnknownRun { .. },
            ) => 2,
            Self::Source(SourceError::Denied(_))
            | Self::Archive(ArchiveError::Denied(_))
            | Self::Api(ApiStop::Credentials { .. }) => 4,
            Self::Api(ApiStop::Cancelled) => 5,
            Self::Archive(ArchiveError::Busy(_)) | Self::Ledger(LedgerError::Busy(_)) => 75,
            Self::Source(SourceError::Failed { .. })
            | Self::Archive(ArchiveError::Failed { .. })
            | Self::Ledger(_)
            | Self::Api(ApiStop::Unreachable { .. })
            | Self::Fleet(_)
            | Self::Sums(_)
            | Self::Died(_) => 1,
        }
    }

    /// The error of a part that panicked.
    pub(super) fn died(part: &str, panicked: &Panicked) -> Self {
        Self::Died(format!("{part} {panicked}"))
    }
}

/// What a task of the run came to. Its panic is caught here; a task that was aborted counts as cancelled.
pub(crate) fn joined<T>(part: &str, result: Result<Result<T, RunError>, JoinError>) -> Result<T, RunError> {
    result.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(payload) => Err(RunError::died(part, &Panicked::of(&*payload))),
        Err(_) => Err(RunError::Api(ApiStop::Cancelled)),
    })
}

/// An error with its causes, in one line.
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = source.source();
    }
    text
}
