//! Messages as the archive holds them: rows over one text buffer, no allocation per message or field.

/// The columns that hold text, in the order of [`Row::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum TextColumn {
    /// The dialogue, see [`ConversationKey`](crate::reference::ConversationKey). Never null.
    ConversationKey,
    /// The conversation as it was asked and answered, `owner|type|other`. Never null.
    ConversationId,
    /// The client's own ID of the message.
    MessageClientId,
    /// Who sent it.
    SenderId,
    /// Who got it; one-to-one only.
    ReceiverId,
    /// The text.
    Text,
    /// JSON text.
    Attachment,
    /// Free text, usually JSON.
    Extension,
    /// Who edited the message.
    ModifyAccountId,
    /// The receivers of a targeted message, as a JSON array of strings without white space.
    ReceiverAccountIds,
    /// The sender of the message that started the thread.
    ThreadRootSenderId,
    /// The receiver (for a team, the team's ID) of the message that started the thread.
    ThreadRootReceiverId,
    /// The client's ID of the message that started the thread.
    ThreadRootMessageClientId,
    /// The sender of the message that this one answers.
    ThreadReplySenderId,
    /// The receiver (for a team, the team's ID) of the message that this one answers.
    ThreadReplyReceiverId,
    /// The client's ID of the message that this one answers.
    ThreadReplyMessageClientId,
    /// JSON object of unknown fields, and of known fields whose type surprised.
    Extra,
    /// The item's own JSON text, only when asked for.
    Raw,
}

/// The number of text columns.
pub const TEXT_COLUMNS: usize = 18;

/// A piece of a [`MessageRows`] buffer; [`Span::NULL`] is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// No value.
    pub const NULL: Self = Self { start: u32::MAX, len: 0 };

    /// So many bytes from `start` on; nothing past 4 GiB.
    pub fn new(start: usize, len: usize) -> Self {
        match (u32::try_from(start), u32::try_from(start + len)) {
            (Ok(start), Ok(_)) => Self { start, len: len as u32 },
            _ => Self::NULL,
        }
    }

    /// Whether there is no value.
    #[inline]
    pub fn is_null(self) -> bool {
        self.start == u32::MAX
    }
}

/// One message. Times are milliseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The message's ID.
    pub message_server_id: i64,
    /// When it was created: as answered, else as the reference said.
    pub create_time: i64,
    /// When it was fetched.
    pub fetched_at: i64,
    /// 0 for the first version met, counting up.
    pub revision: i32,
    /// 1, 2 or 3.
    pub conversation_type: i32,
    /// The team, for teams.
    pub team_id: Option<i64>,
    /// 0 text, 1 image, … 100 custom; others pass through.
    pub message_type: Option<i32>,
    /// The custom subtype.
    pub sub_type: Option<i32>,
    /// The kind of client it was sent with.
    pub sender_client_type: Option<i32>,
    /// When it was edited; null when never.
    pub modify_time: Option<i64>,
    /// Targeted message: whether the listed receivers are those who see it.
    pub inclusive: Option<bool>,
    /// Targeted message: whether members who join later see it.
    pub new_member_visible: Option<bool>,
    /// When the message that started the thread was created.
    pub thread_root_create_time: Option<i64>,
    /// The ID of the message that started the thread.
    pub thread_root_message_server_id: Option<i64>,
    /// When the message that this one answers was created.
    pub thread_reply_create_time: Option<i64>,
    /// The ID of the message that this one answers.
    pub thread_reply_message_server_id: Option<i64>,
    /// Whether a character that no store can hold was replaced by U+FFFD.
    pub substituted: bool,
    /// Whether a reference asked for it; false when it was fetched to complete a thread.
    pub requested: bool,
    /// The text columns, by [`TextColumn`].
    pub text: [Span; TEXT_COLUMNS],
}

impl Row {
    /// An empty row of this message.
    pub fn new(message_server_id: i64, create_time: i64, conversation_type: i32, fetched_at: i64) -> Self {
        Self {
            message_server_id,
            create_time,
            fetched_at,
            revision: 0,
            conversation_type,
            team_id: None,
            message_type: None,
            sub_type: None,
            sender_client_type: None,
            modify_time: None,
            inclusive: None,
            new_member_visible: None,
            thread_root_create_time: None,
            thread_root_message_server_id: None,
            thread_reply_create_time: None,
            thread_reply_message_server_id: None,
            substituted: false,
            requested: true,
            text: [Span::NULL; TEXT_COLUMNS],
        }
    }
}

/// A version of a message that an archive holds, as far as asking for the message again needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldVersion {
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
        (!span.is_null()).then(|| &self.text[span.start as usize..(span.start + span.len) as usize])
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
