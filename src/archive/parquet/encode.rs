//! Messages as Arrow record batches.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, new_null_array,
};
use arrow_schema::ArrowError;
use arrow_schema::SchemaRef;

use super::schema;
use crate::model::columns::{Access, Definition, Storage};
use crate::model::message::{MessageRows, Row, TextColumn};
use crate::model::{Column, ColumnType};

/// Rows of a batch: enough to amortise its arrays, few enough to keep them in the cache, and each of them so small that
/// the allocator hands its memory on instead of returning it to the system.
pub(super) const BATCH_ROWS: usize = 512;
/// Text of a batch, in bytes, from which on it is closed. Keeps 32-bit offsets far from their end.
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// Turns messages of one run into record batches.
#[derive(Debug)]
pub(super) struct Encoder {
    columns: &'static [Definition],
    schema: SchemaRef,
    app_key: StringArray,
    run_id: StringArray,
}

impl Encoder {
    /// An encoder for what this run writes.
    pub(super) fn new(app_key: &str, run_id: &str, raw: bool) -> Self {
        Self {
            columns: Column::all(raw),
            schema: schema::arrow(raw),
            app_key: repeated(app_key, BATCH_ROWS),
            run_id: repeated(run_id, BATCH_ROWS),
        }
    }

    /// The schema of every batch.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// One batch of these messages.
    ///
    /// # Errors
    ///
    /// A column that is never null has no value, or a list is no JSON array of strings.
    pub(super) fn encode(&self, rows: &MessageRows) -> Result<RecordBatch, ArrowError> {
        let columns = self.columns.iter().map(|column| self.array(column, rows));
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_, _>>()?)
    }

    fn array(&self, column: &Definition, rows: &MessageRows) -> Result<ArrayRef, ArrowError> {
        let messages = rows.rows();
        let kind = || schema::data_type(column.kind);
        let nulls = || Ok(new_null_array(&kind(), messages.len()));
        Ok(match column.storage {
            Storage::Run if column.column == Column::AppKey => constant(&self.app_key, messages.len()),
            Storage::Run => constant(&self.run_id, messages.len()),
            Storage::Text(text) => {
                let Some(bytes) = text_size(rows, text) else { return nulls() };
                if column.kind == ColumnType::TextList {
                    return lists(column, rows, text, bytes);
                }
                let mut builder = StringBuilder::with_capacity(messages.len(), bytes);
                for row in messages {
                    builder.append_option(rows.get(row, text));
                }
                Arc::new(builder.finish())
            }
            Storage::Int64(Access { get, .. }) if all_null(messages, get) => return nulls(),
            Storage::Int64(Access { get, .. }) if column.kind == ColumnType::Time => {
                let times = messages.iter().map(get).collect::<TimestampMillisecondArray>();
                Arc::new(times.with_data_type(kind()))
            }
            Storage::Int64(Access { get, .. }) => Arc::new(messages.iter().map(get).collect::<Int64Array>()),
            Storage::Int32(Access { get, .. }) if all_null(messages, get) => return nulls(),
            Storage::Int32(Access { get, .. }) => Arc::new(messages.iter().map(get).collect::<Int32Array>()),
            Storage::Boolean(Access { get, .. }) if all_null(messages, get) => return nulls(),
            Storage::Boolean(Access { get, .. }) => Arc::new(messages.iter().map(get).collect::<BooleanArray>()),
        })
    }
}

fn repeated(value: &str, rows: usize) -> StringArray {
    let mut builder = StringBuilder::with_capacity(rows, rows * value.len());
    builder.append_value_n(value, rows);
    builder.finish()
}

fn constant(values: &StringArray, rows: usize) -> ArrayRef {
    use arrow_array::Array as _;
    if rows <= values.len() {
        return Arc::new(values.slice(0, rows));
    }
    Arc::new(repeated(values.value(0), rows))
}

fn all_null<V>(rows: &[Row], value: fn(&Row) -> Option<V>) -> bool {
    rows.iter().all(|row| value(row).is_none())
}

/// The bytes of a text column, or `None` when every value is null.
fn text_size(rows: &MessageRows, column: TextColumn) -> Option<usize> {
    rows.rows()
        .iter()
        .filter_map(|row| rows.get(row, column))
        .fold(None, |sum, text| Some(sum.unwrap_or(0) + text.len()))
}

fn lists(column: &Definition, rows: &MessageRows, text: TextColumn, bytes: usize) -> Result<ArrayRef, ArrowError> {
    let items = StringBuilder::with_capacity(rows.len(), bytes);
    let mut builder = ListBuilder::with_capacity(items, rows.len()).with_field(schema::element());
    for row in rows.rows() {
        let Some(text) = rows.get(row, text) else {
            builder.append_null();
            continue;
        };
        let texts: Vec<Option<String>> = serde_json::from_str(text).map_err(|error| {
            ArrowError::JsonError(format!("{} of message {}: {error}", column.name, row.message_server_id))
        })?;
        for text in texts {
            builder.values().append_option(text);
        }
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow_array::Array as _;

    use super::*;

    fn rows(count: i64) -> MessageRows {
        let mut rows = MessageRows::default();
        for id in 0..count {
            let mut row = Row::new(id, 0, 1, 0);
            row.text[TextColumn::ConversationKey as usize] = rows.intern("1|a|b");
            row.text[TextColumn::ConversationId as usize] = rows.intern("a|1|b");
            rows.push(row);
        }
        rows
    }

    #[test]
    fn constant_columns_reach_over_batches_of_any_length() {
        let encoder = Encoder::new("key", "run", false);
        for count in [0, 1, BATCH_ROWS as i64, BATCH_ROWS as i64 + 1] {
            let batch = encoder.encode(&rows(count)).unwrap();
            assert_eq!(batch.num_rows() as i64, count);
            let run = batch.column_by_name("run_id").unwrap().as_any().downcast_ref::<StringArray>().unwrap();
            assert!(run.iter().all(|value| value == Some("run")));
        }
    }

    #[test]
    fn a_row_without_its_conversation_is_an_error() {
        let mut rows = rows(1);
        rows.push(Row::new(7, 0, 1, 0));
        let error = Encoder::new("key", "run", false).encode(&rows).unwrap_err();
        assert!(error.to_string().contains("conversation_key"), "{error}");
    }

    #[test]
    fn receivers_that_are_no_list_are_an_error_that_names_the_message() {
        let mut rows = rows(1);
        let span = rows.intern("{");
        rows.rows_mut()[0].text[TextColumn::ReceiverAccountIds as usize] = span;
        let error = Encoder::new("key", "run", false).encode(&rows).unwrap_err();
        assert!(error.to_string().contains("receiver_account_ids of message 0"), "{error}");
    }
}
