//! Parquet files.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, PrimitiveArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::ParquetMetaData;

use super::SourceError;
use super::intake::Intake;
use super::mapping::Columns;
use super::reading::{Outlet, Stop};
use super::value::Value;

/// The rows that are decoded at once.
const BATCH: usize = 8192;

/// Reads all rows of a file, and of its columns only those that are fields.
pub(super) fn read(file: File, name: &str, intake: &mut Intake, outlet: &Outlet) -> Result<(), Stop> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Stop::Error(SourceError::Failed { context: format!("{name}: cannot be read as Parquet"), source: error })
    };
    check_beginning(&file, name)?;
    let builder = builder(file).map_err(|error| failed(error.into()))?;
    let schema = builder.schema().clone();
    let header: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let columns = intake.names().columns(name, &header)?;
    let mut wanted: Vec<usize> = columns.places.into_iter().flatten().chain(columns.event).collect();
    if columns.event.is_some() {
        wanted = columns.event.into_iter().collect();
    }
    wanted.sort_unstable();
    wanted.dedup();
    for &place in &wanted {
        let field = schema.field(place);
        if !is_readable(field.data_type()) {
            return Err(SourceError::Unusable(format!(
                "{name}: column {:?} is of type {}, which no field can be",
                field.name(),
                field.data_type()
            ))
            .into());
        }
        if is_encrypted(builder.metadata(), place) {
            let message = format!("{name}: column {:?} is encrypted; write it without encryption", field.name());
            return Err(SourceError::Unusable(message).into());
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
    let mut rows = 0_u64;
    let read = || {
        for batch in batches {
            let batch = batch.map_err(|error| failed(error.into()))?;
            let readers: Vec<Reader<'_>> = batch.columns().iter().map(|array| reader(array)).collect();
            for row in 0..batch.num_rows() {
                rows += 1;
                let position = || format!("{name}: row {rows}");
                intake.cells(&columns, &header, |place| readers[place](row), position);
                if intake.is_full() {
                    outlet.send_blocking(intake.take())?;
                }
            }
        }
        Ok(intake.end_columns(name, &columns, &header)?)
    };
    let ended = read();
    if !matches!(ended, Err(Stop::Unheard)) {
        outlet.send_blocking(intake.take())?;
    }
    ended
}

/// Refuses what is no Parquet file, or one of which not even the footer can be read.
fn check_beginning(mut file: &File, name: &str) -> Result<(), SourceError> {
    let mut head = Vec::with_capacity(4);
    file.take(4)
        .read_to_end(&mut head)
        .and_then(|_| file.rewind())
        .map_err(|error| super::lines::failed(name, error))?;
    let why = match head.as_slice() {
        b"PARE" => "is encrypted as a whole, its footer included; write it without encryption",
        // What is cut short is told by its other end.
        b"PAR1" | [_, _, _] | [_, _] | [_] | [] => return Ok(()),
        _ => "is no Parquet file, which begins with PAR1",
    };
    Err(SourceError::Unusable(format!("{name}: {why}")))
}

/// Reads the footer. INT96, the time of Spark, Hive and Impala, is UTC and in milliseconds, so that no year overflows.
fn builder(file: File) -> parquet::errors::Result<ParquetRecordBatchReaderBuilder<File>> {
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
    let roots = metadata.parquet_schema().root_schema().get_fields();
    let is_int96 = |place: usize| {
        roots.get(place).is_some_and(|kind| kind.is_primitive() && kind.get_physical_type() == PhysicalType::INT96)
    };
    if !(0..roots.len()).any(is_int96) {
        return Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata));
    }
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let fields = metadata.schema().fields().iter().enumerate().map(|(place, field)| {
        let field = field.as_ref().clone();
        if is_int96(place) { field.with_data_type(time.clone()) } else { field }
    });
    let schema = Schema::new_with_metadata(fields.collect::<Vec<Field>>(), metadata.schema().metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?;
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata))
}

/// Whether a column is encrypted in a file whose footer is not.
fn is_encrypted(metadata: &ParquetMetaData, root: usize) -> bool {
    let schema = metadata.file_metadata().schema_descr();
    let groups = metadata.row_groups().iter().flat_map(|group| group.columns().iter().enumerate());
    groups
        .filter(|(column, _)| schema.get_column_root_idx(*column) == root)
        .any(|(_, chunk)| chunk.crypto_metadata().is_some())
}

/// The type of a column's values.
fn values_type(data_type: &DataType) -> &DataType {
    if let DataType::Dictionary(_, values) = data_type { values_type(values) } else { data_type }
}

/// Whether a column can be a field, even if only to be refused row by row.
fn is_readable(data_type: &DataType) -> bool {
    match values_type(data_type) {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => *scale >= 0,
        data_type => matches!(
            data_type,
            DataType::Null
                | DataType::Int8
                | DataType::Int16
                | DataType::Int32
                | DataType::Int64
                | DataType::UInt8
                | DataType::UInt16
                | DataType::UInt32
                | DataType::UInt64
                | DataType::Float32
                | DataType::Float64
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::Timestamp(_, _)
                | DataType::Date32
                | DataType::Date64
        ),
    }
}

type Reader<'a> = Box<dyn Fn(usize) -> Value<'a> + 'a>;

/// What reads the values of a column.
fn reader(array: &dyn Array) -> Reader<'_> {
    match array.data_type() {
        DataType::Int8 => primitive::<Int8Type>(array, |value| Value::Integer(value.into())),
        DataType::Int16 => primitive::<Int16Type>(array, |value| Value::Integer(value.into())),
        DataType::Int32 => primitive::<Int32Type>(array, |value| Value::Integer(value.into())),
        DataType::Int64 => primitive::<Int64Type>(array, Value::Integer),
        DataType::UInt8 => primitive::<UInt8Type>(array, |value| Value::Integer(value.into())),
        DataType::UInt16 => primitive::<UInt16Type>(array, |value| Value::Integer(value.into())),
        DataType::UInt32 => primitive::<UInt32Type>(array, |value| Value::Integer(value.into())),
        DataType::UInt64 => {
            primitive::<UInt64Type>(array, |value| i64::try_from(value).map_or(Value::Unsigned(value), Value::Integer))
        }
        DataType::Float32 => primitive::<Float32Type>(array, |value| Value::Float(value.into())),
        DataType::Float64 => primitive::<Float64Type>(array, Value::Float),
        DataType::Decimal32(_, scale) => {
            let scale = u32::from(scale.unsigned_abs());
            primitive::<Decimal32Type>(array, move |value| Value::decimal(value.into(), scale))
        }
        DataType::Decimal64(_, scale) => {
            let scale = u32::from(scale.unsigned_abs());
            primitive::<Decimal64Type>(array, move |value| Value::decimal(value.into(), scale))
        }
        DataType::Decimal128(_, scale) => {
            let scale = u32::from(scale.unsigned_abs());
            primitive::<Decimal128Type>(array, move |value| Value::decimal(value, scale))
        }
        DataType::Timestamp(unit, zone) => {
            let zoned = zone.is_some();
            let scaled = move |value: i64, factor: i64| {
                // A time that does not fit is beyond all calendars either way.
                Value::Timestamp { micros: value.saturating_mul(factor), zoned }
            };
            match unit {
                TimeUnit::Second => primitive::<TimestampSecondType>(array, move |value| scaled(value, 1_000_000)),
                TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(array, move |value| scaled(value, 1000)),
                TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(array, move |value| scaled(value, 1)),
                TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(array, move |value| Value::Timestamp {
                    micros: value.div_euclid(1000),
                    zoned,
                }),
            }
        }
        DataType::Date32 => primitive::<Date32Type>(array, Value::Date),
        DataType::Date64 => primitive::<Date64Type>(array, |value| Value::Date(value.div_euclid(86_400_000) as i32)),
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            Box::new(move |row| if array.is_null(row) { Value::Null } else { Value::text(array.value(row)) })
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            Box::new(move |row| if array.is_null(row) { Value::Null } else { Value::text(array.value(row)) })
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            Box::new(move |row| if array.is_null(row) { Value::Null } else { Value::text(array.value(row)) })
        }
        // Some writers do not mark text as text.
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            Box::new(move |row| if array.is_null(row) { Value::Null } else { Value::bytes(array.value(row)) })
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            Box::new(move |row| if array.is_null(row) { Value::Null } else { Value::bytes(array.value(row)) })
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            Box::new(move |row| if array.is_null(row) { Value::Null } else { Value::bytes(array.value(row)) })
        }
        DataType::Dictionary(_, _) => {
            let array = array.as_any_dictionary();
            if array.values().is_empty() {
                return Box::new(|_| Value::Null);
            }
            let (keys, value) = (array.normalized_keys(), reader(array.values()));
            Box::new(move |row| if array.is_null(row) { Value::Null } else { value(keys[row]) })
        }
        _ => Box::new(|_| Value::Null),
    }
}

fn primitive<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    value: impl Fn(T::Native) -> Value<'a> + 'a,
) -> Reader<'a> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(move |row| if array.is_null(row) { Value::Null } else { value(array.value(row)) })
}
