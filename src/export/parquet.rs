//! Parquet files with the archive's own schema.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::error::ExportError;
use super::item::Item;
use super::output::{Output, OutputFile};
use super::transcript::Transcript;
use crate::archive::parquet::schema;
use crate::model::Column;
use crate::model::record::{Record, Value};

/// Rows that become one batch.
const ROWS: usize = 1024;
/// The approximate size in bytes at which a row group is closed.
const GROUP: usize = 32 << 20;

/// `messages.parquet` with every version, `context.parquet` with thread context, `vanished.parquet`.
pub(super) struct Files {
    raw: bool,
    schema: SchemaRef,
    messages: Option<File>,
    context: Option<File>,
    vanished: Option<File>,
}

struct File {
    name: &'static str,
    schema: SchemaRef,
    writer: ArrowWriter<OutputFile>,
    rows: u64,
    held: Vec<Vec<Value>>,
}

impl File {
    fn create(name: &'static str, schema: &SchemaRef, output: &Output) -> Result<Self, ExportError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap_or_default()))
            .set_statistics_enabled(EnabledStatistics::Page)
            .build();
        let writer = ArrowWriter::try_new(output.file(name)?, Arc::clone(schema), Some(properties))
            .map_err(|error| failed(name, error))?;
        Ok(Self { name, schema: Arc::clone(schema), writer, rows: 0, held: Vec::new() })
    }

    fn push(&mut self, row: Vec<Value>) -> Result<(), ExportError> {
        self.held.push(row);
        if self.held.len() >= ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        let fields = self.schema.fields().iter().enumerate();
        let columns = fields.map(|(place, field)| array(field, &self.held, place)).collect::<Result<Vec<_>, _>>();
        let batch = columns.and_then(|columns| RecordBatch::try_new(Arc::clone(&self.schema), columns));
        let batch = batch.map_err(|error| failed(self.name, error))?;
        self.writer.write(&batch).map_err(|error| failed(self.name, error))?;
        self.rows += self.held.len() as u64;
        self.held.clear();
        if self.writer.in_progress_size() >= GROUP {
            self.writer.flush().map_err(|error| failed(self.name, error))?;
        }
        Ok(())
    }

    fn close(mut self, output: &mut Output) -> Result<(), ExportError> {
        self.flush()?;
        let file = self.writer.into_inner().map_err(|error| failed(self.name, error))?;
        output.close(file, self.rows)
    }
}

fn failed(name: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ExportError {
    ExportError::failed(format!("writing {name}"), error)
}

fn array(field: &FieldRef, rows: &[Vec<Value>], place: usize) -> Result<ArrayRef, ArrowError> {
    let values = rows.iter().map(|row| row.get(place).unwrap_or(&Value::Null));
    let integer = |value: &Value| match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    };
    Ok(match field.data_type() {
        DataType::Utf8 => Arc::new(
            values
                .map(|value| match value {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<StringArray>(),
        ),
        DataType::Int64 => Arc::new(values.map(integer).collect::<Int64Array>()),
        DataType::Int32 => {
            Arc::new(values.map(|value| integer(value).and_then(|n| i32::try_from(n).ok())).collect::<Int32Array>())
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let times = values.map(integer).collect::<TimestampMillisecondArray>();
            Arc::new(times.with_data_type(field.data_type().clone()))
        }
        DataType::Boolean => Arc::new(
            values
                .map(|value| match value {
                    Value::Flag(flag) => Some(*flag),
                    _ => None,
                })
                .collect::<BooleanArray>(),
        ),
        DataType::List(item) => {
            let mut lists = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item));
            for value in values {
                match value {
                    Value::List(list) => lists.append_value(list.iter().map(Some)),
                    _ => lists.append_null(),
                }
            }
            Arc::new(lists.finish())
        }
        other => return Err(ArrowError::SchemaError(format!("no values of type {other} are known"))),
    })
}

fn vanished_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("app_key", DataType::Utf8, false),
        Field::new("conversation_key", DataType::Utf8, false),
        Field::new("message_server_id", DataType::Int64, false),
        Field::new("create_time", time.clone(), false),
        Field::new("noticed_at", time, true),
        Field::new("code", DataType::Int64, true),
    ]))
}

impl Files {
    /// Files with or without the column `raw`.
    pub(super) fn new(raw: bool, output: &Output) -> Result<Self, ExportError> {
        let schema = schema::arrow(raw);
        let messages = Some(File::create("messages.parquet", &schema, output)?);
        Ok(Self { raw, schema, messages, context: None, vanished: None })
    }
}

/// Opens a file when it is first needed.
fn opened<'a>(
    place: &'a mut Option<File>,
    name: &'static str,
    schema: &SchemaRef,
    output: &Output,
) -> Result<&'a mut File, ExportError> {
    match place {
        Some(file) => Ok(file),
        None => Ok(place.insert(File::create(name, schema, output)?)),
    }
}

fn row(raw: bool, record: &Record) -> Vec<Value> {
    Column::all(raw).iter().map(|column| record.get(column.column).clone()).collect()
}

impl Transcript for Files {
    fn write(&mut self, item: &Item, output: &mut Output) -> Result<(), ExportError> {
        let (place, name) = if item.context {
            (&mut self.context, "context.parquet")
        } else {
            (&mut self.messages, "messages.parquet")
        };
        let file = opened(place, name, &self.schema, output)?;
        for record in item.earlier.iter().chain([&item.latest]) {
            file.push(row(self.raw, record))?;
        }
        if let Some(vanished) = &item.vanished {
            let record = &item.latest;
            let integer = |number: Option<i64>| number.map_or(Value::Null, Value::Integer);
            opened(&mut self.vanished, "vanished.parquet", &vanished_schema(), output)?.push(vec![
                record.get(Column::AppKey).clone(),
                record.get(Column::ConversationKey).clone(),
                record.get(Column::MessageServerId).clone(),
                record.get(Column::CreateTime).clone(),
                integer(vanished.noticed_at),
                integer(vanished.code),
            ])?;
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), ExportError> {
        for file in [self.messages.take(), self.context.take(), self.vanished.take()].into_iter().flatten() {
            file.close(output)?;
        }
        Ok(())
    }
}
