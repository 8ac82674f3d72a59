//! The IDs in a Parquet file, of two columns.

use std::fs::File;
use std::path::Path;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::statistics::Statistics;
use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;

use super::WantedIds;
use crate::export::error::ExportError;
use crate::model::Column;

const ID: &str = Column::MessageServerId.name();
const APP: &str = Column::AppKey.name();
/// Rows that are decoded at once.
const BATCH: usize = 65_536;

/// Why the IDs of a file are not known.
pub(super) enum Unread {
    /// The file cannot be read.
    File(Box<dyn std::error::Error + Send + Sync>),
    /// They cannot be taken.
    Taker(ExportError),
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Unread {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}

/// Hands over the IDs in a file of so many bytes.
pub(super) fn of_file(
    path: &Path,
    bytes: u64,
    wanted: WantedIds<'_>,
    mut take: impl FnMut(i64) -> Result<(), ExportError>,
) -> Result<(), Unread> {
    let file = File::open(path)?;
    let there = file.metadata()?.len();
    if there != bytes {
        return Err(format!("it has {there} bytes, and {bytes} are recorded").into());
    }
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())?;
    let groups = metadata.metadata().row_groups().iter().enumerate();
    let groups: Vec<usize> = groups.filter(|(_, group)| may_hold(group, wanted)).map(|(index, _)| index).collect();
    if groups.is_empty() {
        return Ok(());
    }
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let projection = ProjectionMask::columns(builder.parquet_schema(), [APP, ID]);
    for batch in builder.with_projection(projection).with_batch_size(BATCH).with_row_groups(groups).build()? {
        let batch = batch?;
        let column = |name: &str, kind: &DataType| match batch.column_by_name(name) {
            Some(column) if column.data_type() == kind => Ok(column.clone()),
            Some(column) => Err(format!("its column {name} is of type {}", column.data_type())),
            None => Err(format!("it has no column {name}")),
        };
        let (ids, apps) = (column(ID, &DataType::Int64)?, column(APP, &DataType::Utf8)?);
        let (ids, apps) = (ids.as_primitive::<Int64Type>(), apps.as_string::<i32>());
        for row in 0..batch.num_rows() {
            let id = ids.value(row);
            if ids.is_valid(row) && (wanted.first..=wanted.last).contains(&id) && apps.value(row) == wanted.app_key {
                take(id).map_err(Unread::Taker)?;
            }
        }
    }
    Ok(())
}

fn may_hold(group: &RowGroupMetaData, wanted: WantedIds<'_>) -> bool {
    group.columns().iter().all(|column| match (column.column_path().string().as_str(), column.statistics()) {
        (ID, Some(Statistics::Int64(range))) => {
            range.max_opt().is_none_or(|max| *max >= wanted.first)
                && range.min_opt().is_none_or(|min| *min <= wanted.last)
        }
        _ => true,
    })
}
