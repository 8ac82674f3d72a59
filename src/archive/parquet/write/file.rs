//! A Parquet file that is being written: row groups, footer, hash.

use std::io::{self, ErrorKind, Write};
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
use crate::failpoint::reach;
use crate::model::manifest::{DataFile, FileRange, StagedFile};
use crate::storage::{StagedOutput, Storage};

/// A file that is being written. Between row groups it has no descriptor open.
pub(super) struct PartFile {
    writer: SerializedFileWriter<Output>,
    path: String,
    /// Where it is staged, as people name it.
    at: String,
    rows: u64,
    range: Option<FileRange>,
    last_group: u64,
}

impl PartFile {
    /// A staged file that will be published at this path.
    pub(super) fn new(
        storage: &dyn Storage,
        path: String,
        encoder: &Encoder,
        properties: &WriterPropertiesPtr,
    ) -> Result<Self, ArchiveError> {
        let staged = storage.stage(&path)?;
        let at = staged.at();
        let failed = |error| failure(&at, error);
        let schema = ArrowSchemaConverter::new().schema_root("message").convert(encoder.schema()).map_err(failed)?;
        let output = Output { staged, hash: Sha256::new(), bytes: 0 };
        let writer = SerializedFileWriter::new(output, schema.root_schema_ptr(), Arc::clone(properties));
        Ok(Self { writer: writer.map_err(failed)?, path, at, rows: 0, range: None, last_group: 0 })
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
        result.map_err(|error| failure(&self.at, error))
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
        self.writer.inner_mut().staged.pause();
        Ok(())
    }

    /// Writes the footer and makes the content durable.
    pub(super) fn finish(self) -> Result<StagedFile, ArchiveError> {
        reach("file.close");
        let Output { staged, hash, bytes } = self.writer.into_inner().map_err(|error| failure(&self.at, error))?;
        let staged = staged.finish()?;
        let sha256 = hex::encode(hash.finalize());
        Ok(StagedFile { file: DataFile { path: self.path, rows: self.rows, bytes, sha256, range: self.range }, staged })
    }
}

impl std::fmt::Debug for PartFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartFile").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

fn failure(at: &str, error: ParquetError) -> ArchiveError {
    let source = match error {
        ParquetError::External(source) => source,
        error => Box::new(error),
    };
    if source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::PermissionDenied) {
        return ArchiveError::Denied(format!("writing {at}: permission denied"));
    }
    ArchiveError::failed(format!("writing {at}"), source)
}

/// The way to the storage. Hashes and counts what is written.
struct Output {
    staged: Box<dyn StagedOutput>,
    hash: Sha256,
    bytes: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.staged.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
