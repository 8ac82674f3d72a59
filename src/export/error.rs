//! Why an export failed.

/// Why an export failed. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The archive does not exist, or the directory cannot be used. Exit 2.
    #[error("{0}")]
    Unusable(String),
    /// The archive's database refused or failed.
    #[error(transparent)]
    Archive(#[from] crate::archive::ArchiveError),
    /// It was told to stop. Exit 5.
    #[error("stopped; nothing was exported")]
    Stopped,
    /// Reading or writing failed. Exit 1.
    #[error("{context}")]
    Failed {
        /// What was being done, and to what.
        context: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ExportError {
    pub(crate) fn failed(
        context: impl Into<String>,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { context: context.into(), source: error.into() }
    }
}
