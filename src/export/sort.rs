//! The order of an export: by application, conversation, time, ID and revision.

use std::cmp::Ordering;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::model::Column;
use crate::model::record::Record;
use crate::sort::Sortable;

/// A version of a message to be sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Whether it is thread context, not selected itself.
    pub(super) context: bool,
    /// The version.
    pub(super) record: Record,
}

impl Entry {
    fn key(&self) -> (&str, &str, i64, i64, i64, bool) {
        let record = &self.record;
        let revision = record.integer(Column::Revision).unwrap_or_default();
        (record.app_key(), record.conversation_key(), record.create_time(), record.id(), revision, self.context)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Sortable for Entry {
    fn size(&self) -> usize {
        self.record.size()
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    fn read(input: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::record::Value;
    use crate::sort::Sorter;

    fn entry(conversation: &str, time: i64, id: i64) -> Entry {
        let mut record = Record::new();
        record.set(Column::ConversationKey, Value::Text(conversation.to_owned()));
        record.set(Column::CreateTime, Value::Integer(time));
        record.set(Column::MessageServerId, Value::Integer(id));
        record.set(Column::Text, Value::Text(format!("text {id}\n\"中文\"")));
        Entry { context: false, record }
    }

    #[test]
    fn messages_come_back_from_disk_as_they_were_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let small = entry("1|a|b", 0, 0).size() * 3;
        let mut sorter = Sorter::new(directory.path().to_path_buf(), small);
        for n in 0..100 {
            let id = n * 37 % 100;
            sorter.push(entry(if id % 3 == 0 { "1|a|b" } else { "2|7" }, id / 2, id)).unwrap();
        }
        let all: Vec<Entry> = sorter.finish().unwrap().map(Result::unwrap).collect();
        assert_eq!(all.len(), 100);
        assert!(all.windows(2).all(|pair| pair[0].key() < pair[1].key()));
        assert!(all.iter().all(|entry| entry.record.text(Column::Text).unwrap().ends_with("\n\"中文\"")));
    }
}
