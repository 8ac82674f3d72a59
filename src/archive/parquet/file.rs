//! One file: row groups, footer, hash.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::iter::Enumerate;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::IntoIter;

use ::parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use ::parquet::errors::ParquetError;
use ::parquet::file::writer::SerializedFileWriter;
use arrow_array::ArrayRef;
use arrow_schema::SchemaRef;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::coding::Layout;
use super::disk;
use super::encode::Encoder;
use super::pack::Block;
use crate::archive::ArchiveError;
use crate::failpoint::reach;
use crate::model::manifest::FileRange;

/// A file being written. Between row groups it holds no descriptor.
pub(super) struct PartFile {
    writer: SerializedFileWriter<Outlet>,
    rows: u64,
    range: Option<FileRange>,
    last_group: u64,
}

/// What a finished file is.
#[derive(Debug)]
pub(super) struct Finished {
    /// Messages in it.
    pub(super) rows: u64,
    /// Its size.
    pub(super) bytes: u64,
    /// Its SHA-256, lower-case hex.
    pub(super) sha256: String,
    /// The range of its times and IDs.
    pub(super) range: Option<FileRange>,
}

impl PartFile {
    /// A file that comes to be at this path with its first row group.
    pub(super) fn new(path: &Path, layout: &Layout) -> Result<Self, ArchiveError> {
        let outlet = Outlet { path: path.to_path_buf(), open: None, created: false, hash: Sha256::new(), bytes: 0 };
        let writer = SerializedFileWriter::new(outlet, layout.schema.clone(), layout.properties.clone())
            .map_err(|error| failure(path, error))?;
        Ok(Self { writer, rows: 0, range: None, last_group: 0 })
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Bytes of the last row group: what another one may cost.
    pub(super) fn last_group(&self) -> u64 {
        self.last_group
    }

    /// Appends blocks as one row group, whose columns are shared out among `threads` threads of the runtime, if there is
    /// one. Blocks.
    pub(super) fn append(
        &mut self,
        encoder: &Encoder,
        blocks: impl IntoIterator<Item = io::Result<Block>>,
        threads: usize,
    ) -> Result<(), ArchiveError> {
        let before = self.bytes();
        let result = self.append_group(encoder, blocks, threads);
        self.last_group = self.bytes() - before;
        result.map_err(|error| failure(&self.writer.inner().path, error))
    }

    fn append_group(
        &mut self,
        encoder: &Encoder,
        blocks: impl IntoIterator<Item = io::Result<Block>>,
        threads: usize,
    ) -> Result<(), ParquetError> {
        let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::new(); encoder.schema().fields().len()];
        let mut blocks = blocks.into_iter();
        let mut lent = Vec::new();
        while let Some(block) = blocks.next() {
            let mut block = block?;
            // What waited in the scratch file comes back in small pieces.
            while !block.is_full() {
                let Some(next) = blocks.next() else { break };
                block.append(&next?);
            }
            let rows = block.unpack(lent).map_err(|error| ParquetError::External(Box::new(error)))?;
            for (column, array) in columns.iter_mut().zip(encoder.encode(&rows)?.columns()) {
                column.push(Arc::clone(array));
            }
            self.rows += rows.len() as u64;
            let ranges = rows.rows().iter().map(|row| FileRange::of(row.create_time, row.message_server_id));
            self.range = self.range.into_iter().chain(ranges).reduce(FileRange::with);
            lent = rows.into_parts().1;
        }
        drop(lent);
        let factory = ArrowRowGroupWriterFactory::new(&self.writer, encoder.schema().clone());
        let writers = factory.create_column_writers(self.writer.flushed_row_groups().len())?;
        let chunks = encode(encoder.schema(), writers.into_iter().zip(columns).collect(), threads)?;
        let mut group = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.writer.flush()?;
        self.writer.inner_mut().open = None;
        Ok(())
    }

    /// Writes the footer and makes the file durable.
    pub(super) fn finish(mut self) -> Result<Finished, ArchiveError> {
        let path = self.writer.inner().path.clone();
        reach("file.close");
        self.writer.finish().map_err(|error| failure(&path, error))?;
        reach("file.fsync");
        let outlet = self.writer.inner_mut();
        outlet.file().and_then(|file| file.sync_all()).map_err(|error| disk::failure("writing", &path, error))?;
        reach("file.fsynced");
        let hash = std::mem::take(&mut outlet.hash).finalize();
        Ok(Finished { rows: self.rows, bytes: outlet.bytes, sha256: hex::encode(hash), range: self.range })
    }
}

/// A column to be written, and what is to be written to it.
type Column = (ArrowColumnWriter, Vec<ArrayRef>);

/// Encodes the columns of a row group. A column is encoded from end to end before the next: what compressing one takes,
/// more than a megabyte, is needed once for each thread.
fn encode(schema: &SchemaRef, columns: Vec<Column>, threads: usize) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let waiting = Mutex::new(columns.into_iter().enumerate());
    let task = Arc::new(Task { schema: Arc::clone(schema), waiting, done: Mutex::default() });
    let others: Vec<_> = match Handle::try_current() {
        Ok(runtime) => (1..threads)
            .map(|_| {
                let task = Arc::clone(&task);
                (runtime.clone(), runtime.spawn_blocking(move || task.work()))
            })
            .collect(),
        Err(_) => Vec::new(),
    };
    let mut result = task.work();
    for (runtime, other) in others {
        let died = |_| Err(ParquetError::General("an encoder died".to_owned()));
        result = result.and(runtime.block_on(other).unwrap_or_else(died));
    }
    result?;
    let mut done = std::mem::take(&mut *locked(&task.done));
    done.sort_unstable_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, chunk)| chunk).collect())
}

/// Columns of a row group on their way into pages. Every field of the schema is one column of Parquet: the one list among
/// them is of plain values.
struct Task {
    schema: SchemaRef,
    waiting: Mutex<Enumerate<IntoIter<Column>>>,
    done: Mutex<Vec<(usize, ArrowColumnChunk)>>,
}

impl Task {
    fn work(&self) -> Result<(), ParquetError> {
        loop {
            let next = locked(&self.waiting).next();
            let Some((index, (mut writer, arrays))) = next else { return Ok(()) };
            for array in arrays {
                for leaf in compute_leaves(self.schema.field(index), &array)? {
                    writer.write(&leaf)?;
                }
            }
            let chunk = writer.close()?;
            locked(&self.done).push((index, chunk));
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for PartFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartFile")
            .field("path", &self.writer.inner().path)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

fn failure(path: &Path, error: ParquetError) -> ArchiveError {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => disk::failure("writing", path, *error),
            Err(source) => ArchiveError::Failed { context: format!("writing {}", path.display()), source },
        },
        error => ArchiveError::Failed { context: format!("writing {}", path.display()), source: Box::new(error) },
    }
}

/// The way to disk: hashes and counts what passes, and opens the file only while something does.
struct Outlet {
    path: PathBuf,
    open: Option<File>,
    created: bool,
    hash: Sha256,
    bytes: u64,
}

impl Outlet {
    fn file(&mut self) -> io::Result<&mut File> {
        if self.open.is_none() {
            let file = if self.created {
                let file = OpenOptions::new().append(true).open(&self.path)?;
                if file.metadata()?.len() != self.bytes {
                    return Err(io::Error::other("somebody else changed this file"));
                }
                file
            } else {
                disk::create_new(&self.path)?
            };
            self.created = true;
            self.open = Some(file);
        }
        Ok(self.open.as_mut().expect("it was opened above"))
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file()?.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
