//! Where references are read from.
//!
//! [`open`] begins to read what [`Settings`] name. [`sample`] shows the first rows and how each is understood. Files are
//! read on a thread of their own and queries on a task; both run a few chunks ahead of their reader.
//!
//! A row that is no reference is handed on as [`Invalid`](crate::model::reference::Invalid) with its position, and reading
//! goes on. Reading stops with a [`SourceError`], after everything that was read before it has been handed over.
//!
//! Modules import in one direction: values and errors, then `mapping`, then `rows` and `read_ahead`, then the readers in
//! `files` and `sql`. A new kind of source is a module, a kind of [`config::Source`] and an arm in `begin`.

mod checkpoint;
mod error;
mod files;
mod mapping;
mod read_ahead;
mod rows;
mod settings;
mod sql;
mod value;

use std::io::Read;

use async_trait::async_trait;

use self::files::FileFormat;
use self::read_ahead::ReadAhead;
use self::rows::RowCollector;
use crate::config::{self, Secret};
use crate::model::reference::ReferenceChunk;

pub use self::checkpoint::{Checkpoint, ConsumedFile, CursorValue};
pub use self::error::SourceError;
pub use self::mapping::names::field_names;
pub use self::rows::{SampleRow, Understood};
pub use self::settings::{Begin, Cursor, Files, Format, Overlap, Query, Rows, Settings, TimeUnit};

/// Where references are read from. Reading runs ahead of its reader by a few chunks at most.
#[async_trait]
pub trait Source: Send {
    /// The next chunk of references; `None` when everything was read.
    async fn next(&mut self) -> Result<Option<ReferenceChunk>, SourceError>;

    /// How far the source was read, once [`Self::next`] has returned `None`; `None` for a source without a cursor.
    fn checkpoint(&self) -> Option<Checkpoint>;
}

#[async_trait]
impl Source for ReadAhead {
    async fn next(&mut self) -> Result<Option<ReferenceChunk>, SourceError> {
        Ok(ReadAhead::next(self).await?.map(|sampled| sampled.chunk))
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        ReadAhead::checkpoint(self)
    }
}

/// Begins to read references; `-` as a path is the standard input.
///
/// This connects to a database and checks its query before it returns. A file may turn out to be unusable only when it is
/// its turn. `checkpoint` is what an earlier source of these settings returned.
pub async fn open(settings: Settings, checkpoint: Option<Checkpoint>) -> Result<Box<dyn Source>, SourceError> {
    open_with_stdin(settings, checkpoint, Box::new(std::io::stdin())).await
}

/// As [`open`], with another reader in the place of the standard input.
pub async fn open_with_stdin(
    settings: Settings,
    checkpoint: Option<Checkpoint>,
    stdin: Box<dyn Read + Send>,
) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(begin(settings, checkpoint, stdin, None).await?))
}

/// Reads the first chunk of a source already, so that one that cannot be read is refused now. Nothing is left out: the
/// source that is returned begins with that chunk.
pub async fn probed(mut source: Box<dyn Source>) -> Result<Box<dyn Source>, SourceError> {
    let first = source.next().await?;
    Ok(Box::new(Probed { first, source }))
}

struct Probed {
    /// The first chunk, until it is handed on. A source that has none goes on to have none.
    first: Option<ReferenceChunk>,
    source: Box<dyn Source>,
}

#[async_trait]
impl Source for Probed {
    async fn next(&mut self) -> Result<Option<ReferenceChunk>, SourceError> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.source.next().await,
        }
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        self.source.checkpoint()
    }
}

/// The first `rows` rows, as they are and as they are understood. A query is asked from its start.
pub async fn sample(settings: Settings, rows: usize) -> Result<Vec<SampleRow>, SourceError> {
    let mut source = begin(settings, None, Box::new(std::io::stdin()), Some(rows)).await?;
    let mut samples = Vec::new();
    while samples.len() < rows {
        let Some(next) = source.next().await? else { break };
        samples.extend(next.samples);
    }
    Ok(samples)
}

async fn begin(
    settings: Settings,
    checkpoint: Option<Checkpoint>,
    stdin: Box<dyn Read + Send>,
    samples: Option<usize>,
) -> Result<ReadAhead, SourceError> {
    let is_csv = settings.source.kind() == config::SourceKind::Csv;
    let rows = RowCollector::new(settings.source.rows(), is_csv, samples)?;
    let from = settings.from;
    let look_up = |url: &Secret| url.look_up().map_err(|error| SourceError::Unusable(error.to_string()));
    let (files, format) = match settings.source {
        config::Source::Csv(csv) => (csv.files, FileFormat::Csv { delimiter: csv.delimiter }),
        config::Source::Jsonl(jsonl) => (jsonl.files, FileFormat::Jsonl),
        config::Source::Parquet(parquet) => (parquet.files, FileFormat::Parquet),
        config::Source::Sqlite(sqlite) => {
            return sql::read(sql::sqlite::Sqlite::open(sqlite.path), sqlite.query, checkpoint, from, rows).await;
        }
        config::Source::Postgres(postgres) => {
            let connecting = sql::postgres::Postgres::connect(look_up(&postgres.url)?);
            return sql::read(connecting, postgres.query, checkpoint, from, rows).await;
        }
        config::Source::Mysql(mysql) => {
            let connecting = sql::mysql::Mysql::connect(look_up(&mysql.url)?);
            return sql::read(connecting, mysql.query, checkpoint, from, rows).await;
        }
    };
    files::read(&files, format, checkpoint, from.as_ref(), rows, stdin).await
}
