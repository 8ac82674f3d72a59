//! Why a source could not be read.

use std::io::{self, ErrorKind};

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The settings name something that does not exist or does not fit: a file, a column, a query that returns no rows. Exit 2.
    #[error("{0}")]
    Unusable(String),
    /// Credentials or permission refused. Exit 4.
    #[error("{0}")]
    Denied(String),
    /// Anything else: the connection broke, a compressed file is cut short. Exit 1.
    #[error("{context}")]
    Failed {
        /// What was being read.
        context: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SourceError {
    /// The error of a file that cannot be read.
    pub(super) fn of_file(name: &str, error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Unusable(format!("{name}: there is no such file")),
            ErrorKind::IsADirectory => {
                Self::Unusable(format!("{name}: is a directory; name the files in it by a glob, such as {name}/*"))
            }
            ErrorKind::PermissionDenied => Self::Denied(format!("{name}: may not be read: permission denied")),
            ErrorKind::UnexpectedEof => Self::failed(format!("{name}: is cut short"), error),
            _ => Self::failed(format!("{name}: cannot be read"), error),
        }
    }

    pub(super) fn failed(context: String, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed { context, source: source.into() }
    }
}
