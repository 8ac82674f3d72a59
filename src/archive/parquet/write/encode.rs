//! Messages as Arrow record batches. Pure.

use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::archive::parquet::schema;
use crate::model::columns::{Access, Definition, Storage};
use crate::model::message::{MessageRows, TextColumn};
use crate::model::{Column, ColumnType};

/// Turns messages of one run into record batches.
#[derive(Debug)]
pub(super) struct Encoder {
    columns: &'static [Definition],
    schema: SchemaRef,
    app_key: String,
    run_id: String,
}

impl Encoder {
    pub(super) fn new(app_key: &str, run_id: &str, raw: bool) -> Self {
        let (app_key, run_id) = (app_key.to_owned(), run_id.to_owned());
        Self { columns: Column::all(raw), schema: schema::arrow(raw), app_key, run_id }
    }

    /// The schema of every batch.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// These messages as one batch.
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
        Ok(match column.storage {
            Storage::Run => {
                let value = if column.column == Column::AppKey { &self.app_key } else { &self.run_id };
                Arc::new(StringArray::from_iter_values(repeat_n(value, messages.len())))
            }
            Storage::Text(text) if column.kind == ColumnType::TextList => lists(column, rows, text)?,
            Storage::Text(text) => {
                let texts = || messages.iter().map(|row| rows.get(row, text));
                let mut builder = StringBuilder::with_capacity(messages.len(), texts().flatten().map(str::len).sum());
                builder.extend(texts());
                Arc::new(builder.finish())
            }
            Storage::Int64(Access { get, .. }) if column.kind == ColumnType::Time => {
                let times = messages.iter().map(get).collect::<TimestampMillisecondArray>();
                Arc::new(times.with_data_type(schema::data_type(column.kind)))
            }
            Storage::Int64(Access { get, .. }) => Arc::new(messages.iter().map(get).collect::<Int64Array>()),
            Storage::Int32(Access { get, .. }) => Arc::new(messages.iter().map(get).collect::<Int32Array>()),
            Storage::Boolean(Access { get, .. }) => Arc::new(messages.iter().map(get).collect::<BooleanArray>()),
        })
    }
}

fn lists(column: &Definition, rows: &MessageRows, text: TextColumn) -> Result<ArrayRef, ArrowError> {
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(schema::element());
    for row in rows.rows() {
        let Some(text) = rows.get(row, text) else {
            builder.append_null();
            continue;
        };
        let texts: Vec<Option<String>> = serde_json::from_str(text).map_err(|error| {
            ArrowError::JsonError(format!("{} of message {}: {error}", column.name, row.message_server_id))
        })?;
        builder.append_value(texts);
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::model::message::Row;

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
