//! Messages as the archive holds them: rows over one text buffer, no allocation per message or field.

use serde::{Deserialize, Serialize};

pub use super::columns::{Row, TEXT_COLUMNS, TextColumn};
pub use super::span::Span;

impl Row {
    /// An empty row of this message.
    #[inline]
    pub fn new(message_server_id: i64, create_time: i64, conversation_type: i32, fetched_at: i64) -> Self {
        Self { message_server_id, create_time, conversation_type, fetched_at, requested: true, ..Self::default() }
    }
}

/// A version of a message that an archive holds, as far as asking for the message again needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingVersion {
    /// The message's ID.
    pub message_server_id: i64,
    /// The conversation as it was asked and answered, `owner|type|other`.
    pub conversation_id: String,
    /// When it was created, milliseconds since the epoch.
    pub create_time: i64,
    /// 0 for the first version met, counting up.
    pub revision: i32,
    /// When it was edited; null when never.
    pub modify_time: Option<i64>,
    /// When it was fetched.
    pub fetched_at: i64,
    /// Whether a reference asked for it.
    pub requested: bool,
}

/// A message that was archived and that the service no longer has. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vanished {
    /// The dialogue.
    pub conversation_key: String,
    /// The conversation as it was asked.
    pub conversation_id: String,
    /// 1, 2 or 3.
    pub conversation_type: i32,
    /// The message's ID.
    pub message_server_id: i64,
    /// When it was created, as far as the archive knows.
    pub create_time: i64,
    /// What the service answered.
    pub code: i64,
    /// When it answered so.
    pub noticed_at: i64,
}

/// Messages over one text buffer of at most 4 GiB.
#[derive(Debug, Clone, Default)]
pub struct MessageRows {
    text: String,
    rows: Vec<Row>,
}

impl MessageRows {
    /// Messages whose spans are of this text.
    pub fn from_parts(text: String, rows: Vec<Row>) -> Self {
        Self { text, rows }
    }

    /// The text and the messages.
    pub fn into_parts(self) -> (String, Vec<Row>) {
        (self.text, self.rows)
    }

    /// Room for `rows` messages and `text` bytes of their text.
    pub fn with_capacity(rows: usize, text: usize) -> Self {
        Self { text: String::with_capacity(text), rows: Vec::with_capacity(rows) }
    }

    /// The messages.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The messages, to be amended.
    pub fn rows_mut(&mut self) -> &mut [Row] {
        &mut self.rows
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The bytes that rows and text occupy: what memory bounds count.
    pub fn size(&self) -> usize {
        self.text.len() + self.rows.len() * size_of::<Row>()
    }

    /// The whole buffer.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of one column of a row of this buffer.
    #[inline]
    pub fn get(&self, row: &Row, column: TextColumn) -> Option<&str> {
        self.resolve(row.text[column as usize])
    }

    /// The text of a span of this buffer.
    #[inline]
    pub fn resolve(&self, span: Span) -> Option<&str> {
        span.of(&self.text)
    }

    /// Appends text to the buffer. Past 4 GiB the span is null: callers bound their buffers far below.
    pub fn intern(&mut self, text: &str) -> Span {
        let span = Span::new(self.text.len(), text.len());
        if !span.is_null() {
            self.text.push_str(text);
        }
        span
    }

    /// Lets `write` append text to the buffer, and returns what it appended.
    pub fn intern_with<R>(&mut self, write: impl FnOnce(&mut String) -> R) -> (Span, R) {
        let start = self.text.len();
        let result = write(&mut self.text);
        let start = start.min(self.text.len());
        (Span::new(start, self.text.len() - start), result)
    }

    /// Where the buffer stands, to go back to by [`Self::rewind`].
    pub fn mark(&self) -> (usize, usize) {
        (self.rows.len(), self.text.len())
    }

    /// Forgets what was appended since `mark`. Spans of forgotten text must not be used again.
    pub fn rewind(&mut self, mark: (usize, usize)) {
        self.rows.truncate(mark.0);
        self.text.truncate(mark.1);
    }

    /// Appends a message whose spans are of this buffer.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Appends a copy of a message of another buffer, its text included.
    pub fn push_copy(&mut self, from: &Self, row: &Row) {
        let mut copy = *row;
        for span in &mut copy.text {
            if let Some(text) = from.resolve(*span) {
                *span = self.intern(text);
            }
        }
        self.rows.push(copy);
    }

    /// Gives back the memory that no message needs: what is left is [`Self::size`].
    pub fn shrink_to_fit(&mut self) {
        self.text.shrink_to_fit();
        self.rows.shrink_to_fit();
    }

    /// Forgets every message and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
    }
}

/// The name of a message type, as the API's documentation has it.
pub fn type_name(message_type: i32) -> Option<&'static str> {
    Some(match message_type {
        0 => "text",
        1 => "image",
        2 => "audio",
        3 => "video",
        4 => "location",
        5 => "notification",
        6 => "file",
        7 => "call",
        10 => "tip",
        11 => "robot",
        12 => "call record",
        100 => "custom",
        _ => return None,
    })
}
