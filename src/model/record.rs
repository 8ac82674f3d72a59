//! One version of a message as it is read from an archive: a value for every column.

use serde::{Deserialize, Serialize};

use super::Column;

/// The value of a column. Times are milliseconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// No value.
    #[default]
    Null,
    /// A boolean.
    Flag(bool),
    /// An integer or a time.
    Integer(i64),
    /// A list of texts.
    List(Vec<String>),
    /// A text, or the text of a JSON value.
    Text(String),
}

/// One version of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record {
    values: Vec<Value>,
}

impl Record {
    /// A record in which every column is null.
    pub fn new() -> Self {
        Self { values: vec![Value::Null; Column::COUNT] }
    }

    /// The value of a column.
    pub fn get(&self, column: Column) -> &Value {
        self.values.get(column as usize).unwrap_or(&Value::Null)
    }

    /// Sets the value of a column.
    pub fn set(&mut self, column: Column, value: Value) {
        if let Some(place) = self.values.get_mut(column as usize) {
            *place = value;
        }
    }

    /// The text of a column, if it holds text.
    pub fn text(&self, column: Column) -> Option<&str> {
        match self.get(column) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer or time of a column, if it holds one.
    pub fn integer(&self, column: Column) -> Option<i64> {
        match self.get(column) {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The boolean of a column, if it holds one.
    pub fn flag(&self, column: Column) -> Option<bool> {
        match self.get(column) {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The list of texts of a column; empty if it holds none.
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

    /// When it was created, in milliseconds since the epoch.
    pub fn create_time(&self) -> i64 {
        self.integer(Column::CreateTime).unwrap_or_default()
    }

    /// The key of its conversation.
    pub fn conversation_key(&self) -> &str {
        self.text(Column::ConversationKey).unwrap_or_default()
    }

    /// The AppKey of its application.
    pub fn app_key(&self) -> &str {
        self.text(Column::AppKey).unwrap_or_default()
    }

    /// One-to-one 1, team 2, super team 3.
    pub fn conversation_type(&self) -> i64 {
        self.integer(Column::ConversationType).unwrap_or_default()
    }

    /// Roughly how many bytes of memory it occupies.
    pub fn size(&self) -> usize {
        let heap = |value: &Value| match value {
            Value::Text(text) => text.len(),
            Value::List(list) => list.iter().map(|text| text.len() + size_of::<String>()).sum(),
            _ => 0,
        };
        self.values.len() * size_of::<Value>() + self.values.iter().map(heap).sum::<usize>()
    }
}

/// A note that the service no longer has an archived message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VanishedNote {
    /// When a run noticed, in milliseconds since the epoch.
    pub noticed_at: Option<i64>,
    /// What the service answered.
    pub code: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

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
