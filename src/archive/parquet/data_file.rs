//! A Parquet file of an archive, of which a few columns are read.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use ::parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use ::parquet::file::reader::Length as _;
use ::parquet::file::statistics::{Statistics, ValueStatistics};
use arrow::array::{Array as _, ArrowPrimitiveType, AsArray as _, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};

use super::ranges::{RangedFile, Unread};
use crate::archive::ArchiveError;
use crate::model::Column;
use crate::model::manifest::{Bounds, FileRange};
use crate::storage::{Storage, StorageError};

pub(super) const APP: &str = Column::AppKey.name();
pub(super) const ID: &str = Column::MessageServerId.name();
pub(super) const REVISION: &str = Column::Revision.name();
pub(super) const TIME: &str = Column::CreateTime.name();

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is not there.
    #[error("it is not there")]
    Missing,
    /// Its storage does not give it.
    #[error("{0}")]
    Storage(Unread, #[source] ArchiveError),
    /// It is no such file, or is damaged.
    #[error("{0}")]
    Content(String),
}

/// A Parquet file that is open.
pub(super) struct ParquetFile {
    file: RangedFile,
    metadata: ArrowReaderMetadata,
}

impl ParquetFile {
    /// Opens a file and reads its footer. If `bytes` are recorded, it must have so many.
    pub(super) fn open(storage: &Arc<dyn Storage>, path: &str, bytes: Option<u64>) -> Result<Self, Unreadable> {
        let file = RangedFile::open(storage, path)?.ok_or(Unreadable::Missing)?;
        let found = file.len();
        if let Some(bytes) = bytes.filter(|bytes| *bytes != found) {
            return Err(Unreadable::Content(format!("it has {found} bytes, and {bytes} are recorded")));
        }
        Self::of(file)
    }

    /// Reads the footer of a file.
    pub(super) fn of(file: RangedFile) -> Result<Self, Unreadable> {
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default()).map_err(not_parquet)?;
        Ok(Self { file, metadata })
    }

    /// Its size.
    pub(super) fn bytes(&self) -> u64 {
        self.file.len()
    }

    /// Its SHA-256, lower-case hex.
    pub(super) fn hash(&self) -> Result<String, StorageError> {
        self.file.hash()
    }

    /// Whether there is such a row group.
    pub(super) fn has_group(&self, is_it: impl Fn(&RowGroupMetaData) -> bool) -> bool {
        self.metadata.metadata().row_groups().iter().any(is_it)
    }

    /// How many rows it has.
    pub(super) fn rows(&self) -> u64 {
        self.metadata.metadata().file_metadata().num_rows().max(0) as u64
    }

    /// The range of its times and IDs, if its statistics tell.
    pub(super) fn range(&self) -> Option<FileRange> {
        let bounds = |group: &RowGroupMetaData, name: &str| {
            let column = group.columns().iter().find(|column| column.column_path().string() == name)?;
            match column.statistics()? {
                Statistics::Int64(range) => Some(Bounds { min: *range.min_opt()?, max: *range.max_opt()? }),
                _ => None,
            }
        };
        let of = |group| Some(FileRange { create_time: bounds(group, TIME)?, message_server_id: bounds(group, ID)? });
        self.metadata.metadata().row_groups().iter().map(of).reduce(|all, one| Some(all?.with(one?))).flatten()
    }

    /// Insists that the file has these columns.
    pub(super) fn require(&self, columns: &[&str]) -> Result<(), Unreadable> {
        let schema = self.metadata.schema();
        match columns.iter().find(|column| schema.column_with_name(column).is_none()) {
            Some(column) => Err(Unreadable::Content(format!("it has no column {column}"))),
            None => Ok(()),
        }
    }

    /// A builder of a reader of these columns (all, if there are none), in the row groups whose statistics may hold
    /// something that is wanted.
    pub(super) fn groups(
        mut self,
        columns: &[&str],
        may_hold: impl Fn(&RowGroupMetaData) -> bool,
    ) -> ParquetRecordBatchReaderBuilder<RangedFile> {
        let metadata = Arc::clone(self.metadata.metadata());
        let all = metadata.row_groups().iter().enumerate();
        let groups: Vec<usize> = all.filter(|(_, group)| may_hold(group)).map(|(index, _)| index).collect();
        let chunks = groups.iter().flat_map(|group| metadata.row_group(*group).columns());
        let chunks = chunks.filter(|chunk| {
            columns.is_empty()
                || chunk.column_path().parts().first().is_some_and(|name| columns.contains(&name.as_str()))
        });
        let mut ranges: Vec<Range<u64>> =
            chunks.map(ColumnChunkMetaData::byte_range).map(|(start, length)| start..start + length).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        self.file.plan(ranges);
        ParquetRecordBatchReaderBuilder::new_with_metadata(self.file, self.metadata).with_row_groups(groups)
    }

    /// Reads these columns, `rows` rows at a time, of the row groups that may hold something that is wanted.
    pub(super) fn batches(
        self,
        columns: &[&str],
        rows: usize,
        may_hold: impl Fn(&RowGroupMetaData) -> bool,
    ) -> Result<Batches, Unreadable> {
        self.require(columns)?;
        let builder = self.groups(columns, may_hold);
        let projection = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder.with_projection(projection).with_batch_size(rows).build().map(Batches).map_err(not_parquet)
    }
}

/// Rows of a file, batch by batch.
pub(super) struct Batches(ParquetRecordBatchReader);

impl Iterator for Batches {
    type Item = Result<Rows, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(Rows).map_err(not_parquet))
    }
}

/// Rows of a file. Every column is read by its name and must be of the type that is asked for.
pub(super) struct Rows(RecordBatch);

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.0.num_rows()
    }

    pub(super) fn texts(&self, name: &str) -> Result<&StringArray, Unreadable> {
        let column = self.0.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        column.filter(|column| column.null_count() == 0).ok_or_else(|| self.mismatch(name))
    }

    pub(super) fn flag(&self, name: &str, row: usize) -> Result<bool, Unreadable> {
        let column = self.0.column_by_name(name).and_then(|column| column.as_boolean_opt());
        column.map(|column| column.value(row)).ok_or_else(|| self.mismatch(name))
    }

    pub(super) fn int64s(&self, name: &str) -> Result<&[i64], Unreadable> {
        self.values::<Int64Type>(name)
    }

    pub(super) fn int32s(&self, name: &str) -> Result<&[i32], Unreadable> {
        self.values::<Int32Type>(name)
    }

    /// Times in milliseconds since the epoch.
    pub(super) fn times(&self, name: &str) -> Result<&[i64], Unreadable> {
        self.values::<TimestampMillisecondType>(name)
    }

    /// A time that may be null.
    pub(super) fn time(&self, name: &str, row: usize) -> Result<Option<i64>, Unreadable> {
        let column = self.primitive::<TimestampMillisecondType>(name).ok_or_else(|| self.mismatch(name))?;
        Ok(column.is_valid(row).then(|| column.value(row)))
    }

    fn values<T: ArrowPrimitiveType>(&self, name: &str) -> Result<&[T::Native], Unreadable> {
        let column = self.primitive::<T>(name).filter(|column| column.null_count() == 0);
        column.map(|column| &**column.values()).ok_or_else(|| self.mismatch(name))
    }

    fn primitive<T: ArrowPrimitiveType>(&self, name: &str) -> Option<&PrimitiveArray<T>> {
        self.0.column_by_name(name)?.as_primitive_opt::<T>()
    }

    fn mismatch(&self, name: &str) -> Unreadable {
        Unreadable::Content(match self.0.column_by_name(name) {
            Some(column) => format!("its column {name} is of another type ({}), or has nulls", column.data_type()),
            None => format!("it has no column {name}"),
        })
    }
}

impl From<StorageError> for Unreadable {
    fn from(error: StorageError) -> Self {
        let error = ArchiveError::from(error);
        let said = match &error {
            ArchiveError::Failed { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        Self::Storage(Unread(said), error)
    }
}

impl Unreadable {
    /// The error of an archive that needs this file. `content` says what its content should be.
    pub(super) fn of(self, at: &str, content: impl FnOnce(String) -> ArchiveError) -> ArchiveError {
        match self {
            Self::Missing => ArchiveError::failed(format!("reading {at}"), io::Error::from(io::ErrorKind::NotFound)),
            Self::Storage(_, error) => error,
            Self::Content(why) => content(why),
        }
    }
}

fn not_parquet(error: impl std::fmt::Display) -> Unreadable {
    Unreadable::Content(format!("it cannot be read as Parquet: {error}"))
}

/// Whether the statistics of a column allow a value from `first` to `last`.
pub(super) fn overlaps(statistics: &ValueStatistics<i64>, first: i64, last: i64) -> bool {
    statistics.max_opt().is_none_or(|max| *max >= first) && statistics.min_opt().is_none_or(|min| *min <= last)
}
