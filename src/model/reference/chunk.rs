//! A chunk of references in the order of their source.

use super::conversation::{ConversationId, ConversationType};

/// One reference, borrowed from its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The account that sees the message, as the reference names it.
    pub owner: &'a str,
    /// One-to-one, team or super team.
    pub conversation_type: ConversationType,
    /// The other account, or the team's ID.
    pub other: &'a str,
    /// The message's ID, positive.
    pub message_server_id: i64,
    /// When the message was created, in milliseconds since the epoch.
    pub create_time: i64,
}

impl Reference<'_> {
    /// The conversation, spelled as in the reference.
    pub fn conversation_id(&self) -> ConversationId {
        ConversationId {
            owner: self.owner.to_owned(),
            conversation_type: self.conversation_type,
            other: self.other.to_owned(),
        }
    }
}

/// An input row that is no reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where it stands: `refs.csv:17`, or `query: row 17`.
    pub position: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
    /// The conversation, if it could be read.
    pub conversation_id: Option<String>,
    /// The message's ID, if it could be read.
    pub message_server_id: Option<i64>,
    /// The create time in milliseconds since the epoch, if it could be read.
    pub create_time: Option<i64>,
}

impl Invalid {
    /// The number of the row within its input, as in the position.
    pub fn row(&self) -> &str {
        &self.position[self.position.trim_end_matches(|c: char| c.is_ascii_digit()).len()..]
    }

    /// The input in which it stands: the position without the row.
    pub fn input(&self) -> &str {
        let input = self.position.trim_end_matches(|c: char| c.is_ascii_digit());
        input.strip_suffix(": row ").or_else(|| input.strip_suffix(':')).unwrap_or(input)
    }
}

#[derive(Debug, Clone, Copy)]
struct Row {
    start: u32,
    owner_len: u16,
    other_len: u16,
    conversation_type: ConversationType,
    message_server_id: i64,
    create_time: i64,
}

/// A chunk of references in the order of their source. `read = len + invalid + skipped`.
///
/// Accounts stand in one buffer, so that a reference costs no allocation.
#[derive(Debug, Clone, Default)]
pub struct ReferenceChunk {
    text: String,
    rows: Vec<Row>,
    /// Rows that are no reference.
    pub invalid: Vec<Invalid>,
    /// How many references come before each of these rows.
    invalid_after: Vec<usize>,
    /// How many references come before each row that is skipped.
    skipped_after: Vec<usize>,
}

impl ReferenceChunk {
    /// Appends a reference.
    ///
    /// Returns `false` and appends nothing if an account is longer than 65,535 bytes, which no account is.
    pub fn push(&mut self, reference: Reference<'_>) -> bool {
        let (Ok(owner_len), Ok(other_len), Ok(start)) = (
            u16::try_from(reference.owner.len()),
            u16::try_from(reference.other.len()),
            u32::try_from(self.text.len()),
        ) else {
            return false;
        };
        self.text.push_str(reference.owner);
        self.text.push_str(reference.other);
        self.rows.push(Row {
            start,
            owner_len,
            other_len,
            conversation_type: reference.conversation_type,
            message_server_id: reference.message_server_id,
            create_time: reference.create_time,
        });
        true
    }

    /// Appends a row that is no reference.
    pub fn push_invalid(&mut self, invalid: Invalid) {
        self.invalid.push(invalid);
        self.invalid_after.push(self.rows.len());
    }

    /// Appends a row that is skipped: a copy event about something other than a conversation's message.
    pub fn push_skipped(&mut self) {
        self.skipped_after.push(self.rows.len());
    }

    /// Drops the rows behind the first `len` references.
    pub fn truncate(&mut self, len: usize) {
        self.rows.truncate(len);
        let within = |after: &mut Vec<usize>| after.truncate(after.partition_point(|before| *before < len));
        within(&mut self.invalid_after);
        within(&mut self.skipped_after);
        self.invalid.truncate(self.invalid_after.len());
    }

    /// How many rows are skipped.
    pub fn skipped(&self) -> u64 {
        self.skipped_after.len() as u64
    }

    /// The number of references.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no reference.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many input rows the chunk accounts for.
    pub fn read(&self) -> u64 {
        self.rows.len() as u64 + self.invalid.len() as u64 + self.skipped()
    }

    /// The reference at `index`.
    pub fn get(&self, index: usize) -> Option<Reference<'_>> {
        self.rows.get(index).map(|row| self.view(row))
    }

    /// The references in order.
    pub fn iter(&self) -> impl Iterator<Item = Reference<'_>> {
        self.rows.iter().map(|row| self.view(row))
    }

    #[inline]
    fn view(&self, row: &Row) -> Reference<'_> {
        let start = row.start as usize;
        let middle = start + usize::from(row.owner_len);
        Reference {
            owner: &self.text[start..middle],
            conversation_type: row.conversation_type,
            other: &self.text[middle..middle + usize::from(row.other_len)],
            message_server_id: row.message_server_id,
            create_time: row.create_time,
        }
    }
}
