//! Where references are read from.
//!
//! [`open`] begins to read what [`Settings`] say, [`sample`] shows the first rows and how each is understood.
//! Files are read on a thread of their own, queries on a task; both run a few chunks ahead of their reader.
//!
//! A row that is no reference is handed on as [`Invalid`](crate::model::reference::Invalid) with its position, and never
//! stops the reading. What stops it is a [`SourceError`], and it comes after everything that was read before it.

mod copy_event;
mod csv;
mod files;
mod intake;
mod jsonl;
mod lines;
mod mapping;
mod message_id;
mod mysql;
mod parquet;
mod postgres;
mod query;
mod reading;
mod settings;
mod sqlite;
mod time;
mod value;
mod values;

use std::io::Read;

use async_trait::async_trait;

use crate::model::reference::ReferenceChunk;

pub use intake::{SampleRow, Understood};
pub use mapping::field_names;
pub use settings::{Begin, Cursor, Files, Format, Input, Overlap, Query, Settings, TimeUnit};

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
    /// A time as text of one form, in a database that has no type for it.
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

/// Begins to read references; `-` as a path is the standard input.
///
/// A database is connected to and its query is checked before this returns; a file may turn out to be unusable only
/// when it is its turn. `checkpoint` is what an earlier source of these settings returned.
pub async fn open(settings: Settings, checkpoint: Option<Checkpoint>) -> Result<Box<dyn Source>, SourceError> {
    open_with_stdin(settings, checkpoint, Box::new(std::io::stdin())).await
}

/// As [`open`], with another reader in the place of the standard input.
pub async fn open_with_stdin(
    settings: Settings,
    checkpoint: Option<Checkpoint>,
    stdin: Box<dyn Read + Send>,
) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(reading::begin(settings, checkpoint, stdin, 0).await?))
}

/// The first `rows` rows, as they are and as they are understood. A query is asked from its start.
pub async fn sample(settings: Settings, rows: usize) -> Result<Vec<SampleRow>, SourceError> {
    let mut reading = reading::begin(settings, None, Box::new(std::io::stdin()), rows).await?;
    let mut samples = Vec::new();
    while samples.len() < rows {
        let Some(run) = reading.run().await? else { break };
        samples.extend(run.samples);
    }
    samples.truncate(rows);
    Ok(samples)
}
