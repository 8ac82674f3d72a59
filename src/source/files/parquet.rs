//! Parquet files.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float64Type, Int64Type, Schema, TimeUnit, UInt64Type,
};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::ParquetMetaData;

use crate::source::error::SourceError;
use crate::source::mapping::names::Columns;
use crate::source::read_ahead::ChunkSender;
use crate::source::rows::RowCollector;
use crate::source::value::Value;

/// The rows that are decoded at once.
const BATCH: usize = 8192;

/// Reads all rows of a file, and only those columns that are fields.
pub(super) fn read(file: File, name: &str, rows: &mut RowCollector, sender: &ChunkSender) -> Result<(), SourceError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        SourceError::failed(format!("{name}: cannot be read as Parquet"), error)
    };
    check_beginning(&file, name)?;
    let builder = builder(file).map_err(|error| failed(error.into()))?;
    let schema = builder.schema().clone();
    let header: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let columns = rows.mapping().names.columns(name, &header)?;
    let mut wanted: Vec<usize> = columns.used().collect();
    wanted.sort_unstable();
    let mut kinds = Vec::new();
    for &place in &wanted {
        let field = schema.field(place);
        let Some(kind) = Kind::of(field.data_type()) else {
            return Err(SourceError::Unusable(format!(
                "{name}: column {:?} is of type {}, which no field can be",
                field.name(),
                field.data_type()
            )));
        };
        kinds.push(kind);
        if is_encrypted(builder.metadata(), place) {
            let message = format!("{name}: column {:?} is encrypted; write it without encryption", field.name());
            return Err(SourceError::Unusable(message));
        }
    }
    let projected = |place: usize| wanted.iter().position(|&column| column == place);
    let columns = Columns {
        places: columns.places.map(|place| place.and_then(projected)),
        event: columns.event.and_then(projected),
    };
    let header: Vec<String> = wanted.iter().map(|&place| header[place].clone()).collect();
    let projection = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().copied());
    let batches =
        builder.with_projection(projection).with_batch_size(BATCH).build().map_err(|error| failed(error.into()))?;
    let mut count = 0_u64;
    for batch in batches {
        let batch = batch.map_err(|error| failed(error.into()))?;
        let arrays: Vec<ArrayRef> = batch
            .columns()
            .iter()
            .zip(&kinds)
            .map(|(array, kind)| arrow::compute::cast(array, &kind.read_as))
            .collect::<Result<_, _>>()
            .map_err(|error| failed(error.into()))?;
        for row in 0..batch.num_rows() {
            count += 1;
            let position = || format!("{name}: row {count}");
            rows.cells(&columns, &header, |place| kinds[place].value(&arrays[place], row), position);
            if rows.is_full() {
                sender.send_blocking(rows.take())?;
            }
        }
    }
    rows.end_columns(name, &columns, &header)
}

/// Refuses a file that is no Parquet, or whose footer cannot be read.
fn check_beginning(mut file: &File, name: &str) -> Result<(), SourceError> {
    let mut head = Vec::with_capacity(4);
    let read = file.take(4).read_to_end(&mut head).and_then(|_| file.rewind());
    read.map_err(|error| SourceError::of_file(name, error))?;
    let why = match head.as_slice() {
        b"PARE" => "is encrypted as a whole, its footer included; write it without encryption",
        // The other end of a file shows that it is cut short.
        b"PAR1" | [_, _, _] | [_, _] | [_] | [] => return Ok(()),
        _ => "is no Parquet file, which begins with PAR1",
    };
    Err(SourceError::Unusable(format!("{name}: {why}")))
}

/// Reads the footer. INT96, the time of Spark, Hive and Impala, is read as UTC in milliseconds, in which no year overflows.
fn builder(file: File) -> parquet::errors::Result<ParquetRecordBatchReaderBuilder<File>> {
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
    let roots = metadata.parquet_schema().root_schema().get_fields();
    let is_int96: Vec<bool> =
        roots.iter().map(|root| root.is_primitive() && root.get_physical_type() == PhysicalType::INT96).collect();
    if !is_int96.contains(&true) {
        return Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata));
    }
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let fields = metadata.schema().fields().iter().zip(is_int96).map(|(field, is_int96)| {
        let field = field.as_ref().clone();
        if is_int96 { field.with_data_type(time.clone()) } else { field }
    });
    let schema = Schema::new_with_metadata(fields.collect::<Vec<Field>>(), metadata.schema().metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?;
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata))
}

/// Whether a column is encrypted in a file whose footer is not.
fn is_encrypted(metadata: &ParquetMetaData, root: usize) -> bool {
    let schema = metadata.file_metadata().schema_descr();
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns().iter().enumerate());
    chunks
        .filter(|(column, _)| schema.get_column_root_idx(*column) == root)
        .any(|(_, chunk)| chunk.crypto_metadata().is_some())
}

/// How the values of a column are read.
struct Kind {
    /// What they are, once dictionaries and run-ends are looked up.
    values: DataType,
    /// The type that arrays of them are cast to, so that few types are left.
    read_as: DataType,
}

impl Kind {
    /// `None` for a type that no field can be.
    fn of(data_type: &DataType) -> Option<Self> {
        let read_as = match data_type {
            DataType::Dictionary(_, values) => return Self::of(values),
            DataType::RunEndEncoded(_, values) => return Self::of(values.data_type()),
            DataType::Null => DataType::Null,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Timestamp(_, _) => {
                DataType::Int64
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => DataType::UInt64,
            DataType::Float32 | DataType::Float64 => DataType::Float64,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
                if *scale >= 0 =>
            {
                DataType::Decimal128(*precision, *scale)
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::LargeUtf8,
            // Some writers do not mark text as text.
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::LargeBinary,
            DataType::Date32 | DataType::Date64 => DataType::Date32,
            _ => return None,
        };
        Some(Self { values: data_type.clone(), read_as })
    }

    /// A value of an array that was cast.
    fn value<'a>(&self, array: &'a ArrayRef, row: usize) -> Value<'a> {
        if array.is_null(row) {
            return Value::Null;
        }
        let integer = || array.as_primitive::<Int64Type>().value(row);
        match (&self.read_as, &self.values) {
            (_, DataType::Timestamp(unit, zone)) => {
                // A time that does not fit is beyond all calendars either way.
                let micros = match unit {
                    TimeUnit::Second => integer().saturating_mul(1_000_000),
                    TimeUnit::Millisecond => integer().saturating_mul(1000),
                    TimeUnit::Microsecond => integer(),
                    TimeUnit::Nanosecond => integer().div_euclid(1000),
                };
                Value::Timestamp { micros, zoned: zone.is_some() }
            }
            (DataType::Int64, _) => Value::Integer(integer()),
            (DataType::UInt64, _) => Value::unsigned(array.as_primitive::<UInt64Type>().value(row)),
            (DataType::Float64, _) => Value::Float(array.as_primitive::<Float64Type>().value(row)),
            (DataType::Decimal128(..), _) => {
                Value::decimal(&array.as_primitive::<Decimal128Type>().value_as_string(row))
            }
            (DataType::LargeUtf8, _) => Value::text(array.as_string::<i64>().value(row)),
            (DataType::LargeBinary, _) => Value::bytes(array.as_binary::<i64>().value(row)),
            (DataType::Date32, _) => Value::Date(array.as_primitive::<Date32Type>().value(row)),
            _ => Value::Null,
        }
    }
}
