//! A Parquet file that is being written: row groups, footer, hash.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowSchemaConverter;
use ::parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterPropertiesPtr;
use ::parquet::file::writer::SerializedFileWriter;
use arrow::array::ArrayRef;
use sha2::{Digest, Sha256};

use super::encode::Encoder;
use super::pack::Block;
use crate::archive::ArchiveError;
use crate::archive::parquet::storage;
use crate::failpoint::reach;
use crate::model::manifest::FileRange;

/// A file that is being written. Between row groups it has no descriptor open.
pub(super) struct PartFile {
    writer: SerializedFileWriter<Output>,
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
    /// A file at this path. It is created with its first row group.
    pub(super) fn new(path: &Path, encoder: &Encoder, properties: &WriterPropertiesPtr) -> Result<Self, ArchiveError> {
        let failed = |error| failure(path, error);
        let schema = ArrowSchemaConverter::new().schema_root("message").convert(encoder.schema()).map_err(failed)?;
        let output = Output { path: path.to_path_buf(), open: None, created: false, hash: Sha256::new(), bytes: 0 };
        let writer = SerializedFileWriter::new(output, schema.root_schema_ptr(), Arc::clone(properties));
        Ok(Self { writer: writer.map_err(failed)?, rows: 0, range: None, last_group: 0 })
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Bytes of the last row group. Another one will probably take as many.
    pub(super) fn last_group(&self) -> u64 {
        self.last_group
    }

    /// Appends blocks as one row group. Blocks.
    pub(super) fn append(
        &mut self,
        encoder: &Encoder,
        blocks: impl IntoIterator<Item = io::Result<Block>>,
    ) -> Result<(), ArchiveError> {
        let before = self.bytes();
        let result = self.append_group(encoder, blocks);
        self.last_group = self.bytes() - before;
        result.map_err(|error| failure(&self.writer.inner().path, error))
    }

    fn append_group(
        &mut self,
        encoder: &Encoder,
        blocks: impl IntoIterator<Item = io::Result<Block>>,
    ) -> Result<(), ParquetError> {
        let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::new(); encoder.schema().fields().len()];
        let mut blocks = blocks.into_iter();
        while let Some(block) = blocks.next() {
            let mut block = block?;
            // Blocks from the scratch file may be small.
            while !block.is_full() {
                let Some(next) = blocks.next() else { break };
                block.append(&next?);
            }
            let rows = block.unpack().map_err(|error| ParquetError::External(Box::new(error)))?;
            for (column, array) in columns.iter_mut().zip(encoder.encode(&rows)?.columns()) {
                column.push(Arc::clone(array));
            }
            self.rows += rows.len() as u64;
            let ranges = rows.rows().iter().map(|row| FileRange::of(row.create_time, row.message_server_id));
            self.range = self.range.into_iter().chain(ranges).reduce(FileRange::with);
        }
        // Every field is one column of Parquet, even the list. A column is encoded from its first value to its last before
        // the next one: the memory for compressing, more than a megabyte, is then needed once.
        let factory = ArrowRowGroupWriterFactory::new(&self.writer, Arc::clone(encoder.schema()));
        let writers = factory.create_column_writers(self.writer.flushed_row_groups().len())?;
        let mut group = self.writer.next_row_group()?;
        for ((mut writer, arrays), field) in writers.into_iter().zip(columns).zip(encoder.schema().fields()) {
            for array in arrays {
                for leaf in compute_leaves(field, &array)? {
                    writer.write(&leaf)?;
                }
            }
            writer.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.writer.flush()?;
        self.writer.inner_mut().open = None;
        Ok(())
    }

    /// Writes the footer and makes the content durable.
    pub(super) fn finish(mut self) -> Result<Finished, ArchiveError> {
        let path = self.writer.inner().path.clone();
        reach("file.close");
        self.writer.finish().map_err(|error| failure(&path, error))?;
        reach("file.fsync");
        let output = self.writer.inner_mut();
        output.file().and_then(|file| file.sync_all()).map_err(|error| storage::failure("writing", &path, error))?;
        reach("file.fsynced");
        let hash = std::mem::take(&mut output.hash).finalize();
        Ok(Finished { rows: self.rows, bytes: output.bytes, sha256: hex::encode(hash), range: self.range })
    }
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
    let source = match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => return storage::failure("writing", path, *error),
            Err(source) => source,
        },
        error => Box::new(error),
    };
    ArchiveError::failed(format!("writing {}", path.display()), source)
}

/// The way to disk. Hashes and counts what is written, and opens the file only when something is.
struct Output {
    path: PathBuf,
    open: Option<File>,
    created: bool,
    hash: Sha256,
    bytes: u64,
}

impl Output {
    fn file(&mut self) -> io::Result<&mut File> {
        if self.open.is_none() {
            let created =
                if self.created { storage::append(&self.path, self.bytes)? } else { storage::create(&self.path)? };
            self.created = true;
            self.open = Some(created);
        }
        Ok(self.open.as_mut().expect("it was opened above"))
    }
}

impl Write for Output {
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
