//! Messages as Parquet files in Hive directories.
//!
//! Rows are buffered per partition in compact form. A partition with enough rows becomes a row group of its open file;
//! when memory runs short, the largest partitions are written out: as a row group when they make a fair one, else as
//! they are to a scratch file without a name. Between row groups a file costs no descriptor and a few kilobytes.
//!
//! A commit finishes every open file under `_tmp/<ledger id>/`, and publishing renames them into place.

mod archive;
#[doc(hidden)]
pub mod bench;
mod beside;
mod coding;
mod disk;
mod encode;
mod file;
mod held;
mod list;
mod pack;
mod partition;
mod probe;
pub mod schema;
mod scratch;
mod seal;
mod takeover;
mod vanished;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::tz::TimeZone;

pub use self::beside::beside;
pub use self::list::{listed, listed_beside};
pub use self::takeover::ParquetTakeover;

use self::archive::Archive;
use self::held::Held;
use self::vanished::{Notes, Sheet};
use self::writer::Writer;
use super::{ArchiveError, ArchiveFile, ArchiveWriter, Claim, ExistingVersions, Opened, Prepared, RunStamp};
use crate::model::manifest::Sealed;
use crate::model::message::{MessageRows, Vanished};
use crate::panics::unended;

/// Vanished messages that make a commit due: they are in memory until it.
const NOTES_DUE: usize = 200_000;

/// How and where an archive is written.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The archive's directory. Created with mode 0700 when absent; an existing one keeps its mode.
    pub path: PathBuf,
    /// The levels of directories, each column at most once.
    pub partition_by: Vec<PartitionColumn>,
    /// The zone in which `date` and `month` are told.
    pub timezone: TimeZone,
    /// How pages are compressed.
    pub compression: Compression,
    /// The size in bytes at which a file is closed.
    pub max_file_size: u64,
    /// The memory in bytes that the sink may use. A quarter of it buffers rows; encoding takes from the rest.
    pub memory: usize,
    /// Which encodings may be used.
    pub encodings: Encodings,
    /// Whether there is a column `raw`.
    pub raw: bool,
}

/// A column by which files are put into directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartitionColumn {
    /// `date=2026-11-22`, the day of `create_time`.
    Date,
    /// `month=2026-11`, the month of `create_time`.
    Month,
    /// `conversation_type=1`. The column is in the files as well.
    ConversationType,
    /// `app_key=…`. The column is in the files as well.
    AppKey,
}

/// Which encodings may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encodings {
    /// What Spark, Hive, ClickHouse, Doris, BigQuery and DuckDB all read: plain and dictionary.
    Compatible,
    /// Delta encodings too, for smaller files.
    Compact,
}

/// How pages are compressed. A level out of its codec's range counts as the nearest one in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy.
    Snappy,
    /// LZ4, as Parquet's `LZ4_RAW`.
    Lz4,
    /// Gzip, 0 to 9.
    Gzip(u32),
    /// Brotli, 0 to 11.
    Brotli(u32),
    /// Zstandard, 1 to 22.
    Zstd(i32),
}

/// The sink of an archive of Parquet files.
#[derive(Debug)]
pub struct ParquetSink {
    archive: Arc<Archive>,
    settings: Settings,
    stamp: RunStamp,
    state: State,
    notes: Notes,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Box<Writer>),
    /// Rows were lost on the way to disk. Nothing more is accepted, or the next commit would miss them.
    Broken,
}

/// Looks whether an archive at this path could be written, without writing to it. Says what was found.
pub fn probe(path: &std::path::Path) -> Result<String, ArchiveError> {
    probe::probe(path)
}

impl ParquetSink {
    /// A sink that touches nothing until it is opened.
    pub fn new(settings: Settings, stamp: RunStamp) -> Self {
        let archive = Arc::new(Archive::new(settings.path.clone(), stamp.ledger_id, stamp.job.clone(), stamp.run_id));
        let notes = Notes::new(&settings, &stamp);
        Self { archive, settings, stamp, state: State::Closed, notes }
    }

    /// Takes the writer out. Until it is put back the sink counts as broken, so that neither an error nor a call that
    /// was dropped half-way can lead to a commit that misses rows.
    fn take_writer(&mut self) -> Result<Box<Writer>, ArchiveError> {
        let why = match std::mem::replace(&mut self.state, State::Broken) {
            State::Open(writer) => return Ok(writer),
            State::Closed => {
                self.state = State::Closed;
                "the archive was not opened"
            }
            State::Broken => "an earlier write failed or was cut off, and what it held is lost",
        };
        let context = format!("writing to the archive at {}", self.settings.path.display());
        Err(ArchiveError::Failed { context, source: why.into() })
    }
}

#[async_trait]
impl ArchiveWriter for ParquetSink {
    async fn open(&mut self, claim: &Claim) -> Result<Opened, ArchiveError> {
        let (archive, claim) = (Arc::clone(&self.archive), claim.clone());
        let opened = blocking(move || archive.open(&claim)).await?;
        self.state = State::Open(Box::new(Writer::new(&self.settings, &self.stamp, self.archive.temporary())));
        Ok(opened)
    }

    async fn write(&mut self, rows: Arc<MessageRows>) -> Result<(), ArchiveError> {
        let mut writer = self.take_writer()?;
        writer.write(&rows).await?;
        self.state = State::Open(writer);
        Ok(())
    }

    async fn write_vanished(&mut self, vanished: Vec<Vanished>) -> Result<(), ArchiveError> {
        self.notes.add(vanished);
        Ok(())
    }

    async fn held(&mut self, since: i64) -> Result<Box<dyn ExistingVersions>, ArchiveError> {
        let (archive, app_key) = (Arc::clone(&self.archive), self.stamp.app_key.clone());
        Ok(Box::new(blocking(move || Held::open(&archive, app_key, since)).await?))
    }

    fn is_due(&self) -> bool {
        self.notes.len() >= NOTES_DUE || matches!(&self.state, State::Open(writer) if writer.is_due())
    }

    fn needs_intent(&self) -> bool {
        false
    }

    async fn prepare(&mut self, _commit: u64) -> Result<Prepared, ArchiveError> {
        let mut writer = self.take_writer()?;
        let mut files = writer.finish().await?;
        let rows = files.iter().map(|file| file.rows).sum();
        if self.notes.len() > 0 {
            let sheets = self.notes.take(&self.archive.temporary_beside()?);
            files.extend(blocking(move || sheets.into_iter().map(Sheet::write).collect::<Result<Vec<_>, _>>()).await?);
        }
        if !files.is_empty() {
            let archive = Arc::clone(&self.archive);
            blocking(move || archive.still_ours().and_then(|()| archive.sync_temporary())).await?;
        }
        self.state = State::Open(writer);
        Ok(Prepared { rows, bytes: files.iter().map(|file| file.bytes).sum(), files })
    }

    async fn publish(&mut self, commit: u64, files: &[ArchiveFile]) -> Result<(), ArchiveError> {
        let (archive, files) = (Arc::clone(&self.archive), files.to_vec());
        blocking(move || archive.publish(commit, &files)).await
    }

    async fn manifest(&mut self, sequence: u64) -> Result<Option<Sealed>, ArchiveError> {
        let archive = Arc::clone(&self.archive);
        blocking(move || archive.manifest(sequence)).await
    }

    async fn seal(&mut self, sealed: &Sealed) -> Result<(), ArchiveError> {
        let (archive, sealed) = (Arc::clone(&self.archive), sealed.clone());
        blocking(move || archive.seal(&sealed)).await
    }
}

/// Runs what blocks or computes away from the runtime's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// The outcome of a task. Its panic goes on in whoever waits for it.
fn joined<T>(outcome: Result<Result<T, ArchiveError>, tokio::task::JoinError>) -> Result<T, ArchiveError> {
    outcome.unwrap_or_else(|error| {
        Err(ArchiveError::Failed { context: "writing Parquet".to_owned(), source: Box::new(unended(error)) })
    })
}
