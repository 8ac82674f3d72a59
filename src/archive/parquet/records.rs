//! Record batches as records. Pure.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType};
use arrow::error::ArrowError;

use crate::model::Column;
use crate::model::record::{Record, Value};

/// The known columns of a batch. A column that is not in the batch is null in its records.
pub(super) struct Records {
    columns: Vec<(Column, ArrayRef)>,
    rows: usize,
}

impl Records {
    pub(super) fn of(batch: &RecordBatch) -> Self {
        let array = |name| batch.column_by_name(name).cloned();
        let columns = Column::all(true).iter().filter_map(|known| Some((known.column, array(known.name)?)));
        Self { columns: columns.collect(), rows: batch.num_rows() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Record, ArrowError>> {
        (0..self.rows).map(|row| {
            let mut record = Record::new();
            for (column, array) in &self.columns {
                let value = value(array, row).ok_or_else(|| {
                    ArrowError::SchemaError(format!("column {} is of type {}", column.name(), array.data_type()))
                })?;
                record.set(*column, value);
            }
            Ok(record)
        })
    }
}

/// The value in a row; `None` if the column is of a type that no column has.
fn value(array: &ArrayRef, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return Some(Value::Null);
    }
    Some(match array.data_type() {
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Int32 => Value::Integer(i64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => Value::Integer(array.as_primitive::<Int64Type>().value(row)),
        DataType::Boolean => Value::Flag(array.as_boolean().value(row)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Value::Integer(array.as_primitive::<TimestampMillisecondType>().value(row))
        }
        DataType::List(item) if *item.data_type() == DataType::Utf8 => {
            let items = array.as_list::<i32>().value(row);
            let items = items.as_string::<i32>();
            Value::List(items.iter().map(|item| item.unwrap_or_default().to_owned()).collect())
        }
        _ => return None,
    })
}
