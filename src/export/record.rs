//! One version of a message: a value for every column of the archive.

use serde::{Deserialize, Serialize};

/// A value. Times are milliseconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// None.
    #[default]
    Null,
    /// A boolean.
    Flag(bool),
    /// An integer or a time.
    Integer(i64),
    /// Texts.
    List(Vec<String>),
    /// A text, or the text of a JSON value.
    Text(String),
}

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// The text of a JSON value.
    Json,
    /// An integer.
    Integer,
    /// An ID: an integer of up to 64 bits, with more digits than JSON readers and spreadsheets keep.
    Id,
    /// Milliseconds since the epoch.
    Time,
    /// A boolean.
    Flag,
    /// Texts.
    List,
}

macro_rules! columns {
    ($($column:ident $name:literal $kind:ident),+ $(,)?) => {
        /// A column of the archive.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Column {
            $(#[doc = concat!("`", $name, "`")] $column),+
        }

        impl Column {
            /// Every column, in the order of the archive.
            pub const ALL: &[Self] = &[$(Self::$column),+];

            /// The column's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$column => $name),+ }
            }

            /// What its values are.
            pub fn kind(self) -> Kind {
                match self { $(Self::$column => Kind::$kind),+ }
            }
        }
    };
}

columns! {
    AppKey "app_key" Text,
    ConversationKey "conversation_key" Text,
    ConversationId "conversation_id" Text,
    ConversationType "conversation_type" Integer,
    MessageServerId "message_server_id" Id,
    Revision "revision" Integer,
    MessageClientId "message_client_id" Text,
    SenderId "sender_id" Text,
    ReceiverId "receiver_id" Text,
    TeamId "team_id" Id,
    CreateTime "create_time" Time,
    MessageType "message_type" Integer,
    SubType "sub_type" Integer,
    SenderClientType "sender_client_type" Integer,
    Text "text" Text,
    Attachment "attachment" Json,
    Extension "extension" Text,
    ModifyAccountId "modify_account_id" Text,
    ModifyTime "modify_time" Time,
    ReceiverAccountIds "receiver_account_ids" List,
    Inclusive "inclusive" Flag,
    NewMemberVisible "new_member_visible" Flag,
    ThreadRootSenderId "thread_root_sender_id" Text,
    ThreadRootReceiverId "thread_root_receiver_id" Text,
    ThreadRootCreateTime "thread_root_create_time" Time,
    ThreadRootMessageServerId "thread_root_message_server_id" Id,
    ThreadRootMessageClientId "thread_root_message_client_id" Text,
    ThreadReplySenderId "thread_reply_sender_id" Text,
    ThreadReplyReceiverId "thread_reply_receiver_id" Text,
    ThreadReplyCreateTime "thread_reply_create_time" Time,
    ThreadReplyMessageServerId "thread_reply_message_server_id" Id,
    ThreadReplyMessageClientId "thread_reply_message_client_id" Text,
    Extra "extra" Json,
    Substituted "substituted" Flag,
    Requested "requested" Flag,
    RunId "run_id" Text,
    FetchedAt "fetched_at" Time,
    Raw "raw" Text,
}

/// One version of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record {
    values: Vec<Value>,
}

impl Record {
    /// One without any value.
    pub fn new() -> Self {
        Self { values: vec![Value::Null; Column::ALL.len()] }
    }

    /// The value of a column.
    pub fn get(&self, column: Column) -> &Value {
        self.values.get(column as usize).unwrap_or(&Value::Null)
    }

    /// Gives a column a value.
    pub fn set(&mut self, column: Column, value: Value) {
        if let Some(place) = self.values.get_mut(column as usize) {
            *place = value;
        }
    }

    /// The text of a column of text, when it has one.
    pub fn text(&self, column: Column) -> Option<&str> {
        match self.get(column) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer or time of a column.
    pub fn integer(&self, column: Column) -> Option<i64> {
        match self.get(column) {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The boolean of a column.
    pub fn flag(&self, column: Column) -> Option<bool> {
        match self.get(column) {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The texts of a column of lists; none when it has no list.
    pub fn list(&self, column: Column) -> &[String] {
        match self.get(column) {
            Value::List(list) => list,
            _ => &[],
        }
    }

    /// The message's ID.
    pub fn id(&self) -> i64 {
        self.integer(Column::MessageServerId).unwrap_or_default()
    }

    /// When it was created.
    pub fn create_time(&self) -> i64 {
        self.integer(Column::CreateTime).unwrap_or_default()
    }

    /// The dialogue it belongs to.
    pub fn conversation_key(&self) -> &str {
        self.text(Column::ConversationKey).unwrap_or_default()
    }

    /// The application it belongs to.
    pub fn app_key(&self) -> &str {
        self.text(Column::AppKey).unwrap_or_default()
    }

    /// One-to-one 1, team 2, super team 3.
    pub fn conversation_type(&self) -> i64 {
        self.integer(Column::ConversationType).unwrap_or_default()
    }

    /// The bytes of memory that it occupies, about.
    pub fn size(&self) -> usize {
        let heap = |value: &Value| match value {
            Value::Text(text) => text.len(),
            Value::List(list) => list.iter().map(|text| text.len() + size_of::<String>()).sum(),
            _ => 0,
        };
        self.values.len() * size_of::<Value>() + self.values.iter().map(heap).sum::<usize>()
    }
}

/// A message as an export shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its latest version.
    pub latest: Record,
    /// The versions before it, the oldest first.
    pub earlier: Vec<Record>,
    /// Whether it was not selected itself, and is here because a selected message belongs to its thread.
    pub context: bool,
    /// Whether it has since vanished from the service.
    pub vanished: Option<Vanished>,
}

impl Item {
    /// Whether it was edited, as far as the archive knows.
    pub fn is_edited(&self) -> bool {
        !self.earlier.is_empty() || self.latest.integer(Column::ModifyTime).is_some()
    }
}

/// That the service no longer has a message that was archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vanished {
    /// When a run noticed, in milliseconds since the epoch.
    pub noticed_at: Option<i64>,
    /// What the service answered.
    pub code: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::parquet::schema;

    #[test]
    fn every_column_of_the_archive_is_known_in_its_order() {
        let known: Vec<&str> = Column::ALL.iter().map(|column| column.name()).collect();
        assert_eq!(known, schema::names(true).collect::<Vec<_>>());
    }

    #[test]
    fn a_record_survives_its_way_to_disk() {
        let mut record = Record::new();
        record.set(Column::MessageServerId, Value::Integer(i64::MAX));
        record.set(Column::Text, Value::Text("null".to_owned()));
        record.set(Column::ReceiverAccountIds, Value::List(Vec::new()));
        record.set(Column::Inclusive, Value::Flag(false));
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
