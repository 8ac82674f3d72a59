//! Where references are read from.

use async_trait::async_trait;

use crate::reference::ReferenceChunk;

/// How far a source was consumed. Stored by the ledger when the source was read to its end, and handed back as it was.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checkpoint {
    /// The highest value of a query's cursor column.
    Value(CursorValue),
    /// Files consumed, with what was read of each.
    Files(Vec<ConsumedFile>),
}

/// A cursor value in its column's own type and precision.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CursorValue {
    /// An integer column.
    Integer(i64),
    /// A timestamp column: microseconds since the epoch, and whether the column carries a zone.
    Timestamp {
        /// Microseconds since the epoch; of a column without a zone, as if it were UTC.
        micros: i64,
        /// Whether the column carries a zone.
        zoned: bool,
    },
    /// A text column, compared as the database compares it.
    Text(String),
}

/// A file read to its end.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConsumedFile {
    /// Its path.
    pub path: String,
    /// Its size in bytes when it was read.
    pub bytes: u64,
    /// SHA-256 of what was read, lower-case hex.
    pub sha256: String,
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// What was configured does not exist or does not fit: a missing file, a missing column, a query that is no query. Exit 2.
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

/// Where references are read from. Reading runs ahead of its reader by a few chunks at most.
#[async_trait]
pub trait Source: Send {
    /// The next run of references; `None` when everything was read.
    async fn next(&mut self) -> Result<Option<ReferenceChunk>, SourceError>;

    /// How far the source was consumed, once [`Self::next`] has returned `None`; `None` for a source without a cursor.
    fn checkpoint(&self) -> Option<Checkpoint>;
}
