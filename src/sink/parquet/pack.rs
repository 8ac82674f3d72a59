//! Messages in compact form: what partitions buffer, and what goes to the scratch file.
//!
//! A row costs about 85 bytes and its text. Blocks are of the size of a record batch, so that a block's text becomes
//! that of its batch as it is, neither copied nor checked again. The form is private to one process and may change at
//! any time.

use super::encode::{BATCH_BYTES, BATCH_ROWS};
use crate::message::{MessageRows, Row, Span, TEXT_COLUMNS, TextColumn};

const TEXTS: [TextColumn; TEXT_COLUMNS] = [
    TextColumn::ConversationKey,
    TextColumn::ConversationId,
    TextColumn::MessageClientId,
    TextColumn::SenderId,
    TextColumn::ReceiverId,
    TextColumn::Text,
    TextColumn::Attachment,
    TextColumn::Extension,
    TextColumn::ModifyAccountId,
    TextColumn::ReceiverAccountIds,
    TextColumn::ThreadRootSenderId,
    TextColumn::ThreadRootReceiverId,
    TextColumn::ThreadRootMessageClientId,
    TextColumn::ThreadReplySenderId,
    TextColumn::ThreadReplyReceiverId,
    TextColumn::ThreadReplyMessageClientId,
    TextColumn::Extra,
    TextColumn::Raw,
];

/// Optional 64-bit and 32-bit integers of a row.
const LONGS: usize = 6;
const SHORTS: usize = 3;

// What a row has, as bits of one mask: texts, then these flags, then the optional integers.
const FLAGS: usize = TEXT_COLUMNS;
const SUBSTITUTED: u64 = 1 << FLAGS;
const REQUESTED: u64 = 1 << (FLAGS + 1);
const INCLUSIVE: u64 = 1 << (FLAGS + 2);
const INCLUSIVE_TRUE: u64 = 1 << (FLAGS + 3);
const NEW_MEMBER: u64 = 1 << (FLAGS + 4);
const NEW_MEMBER_TRUE: u64 = 1 << (FLAGS + 5);
const LONG: usize = FLAGS + 6;
const SHORT: usize = LONG + LONGS;
const BITS: usize = SHORT + SHORTS;

const _: () = {
    assert!(BITS <= u64::BITS as usize, "the mask has no bit left: make it wider");
    let mut place = 0;
    while place < TEXT_COLUMNS {
        assert!(TEXTS[place] as usize == place, "texts stand in the order of their columns");
        place += 1;
    }
};

/// Bytes that are no packed rows: the scratch file was changed by somebody else.
#[derive(Debug, thiserror::Error)]
#[error("buffered rows read back from the scratch file are damaged")]
pub(super) struct Damaged;

fn longs(row: &Row) -> [Option<i64>; LONGS] {
    [
        row.team_id,
        row.modify_time,
        row.thread_root_create_time,
        row.thread_root_message_server_id,
        row.thread_reply_create_time,
        row.thread_reply_message_server_id,
    ]
}

fn shorts(row: &Row) -> [Option<i32>; SHORTS] {
    [row.message_type, row.sub_type, row.sender_client_type]
}

/// Messages of one partition.
#[derive(Debug, Default)]
pub(super) struct Packed {
    blocks: Vec<Block>,
    len: usize,
    rows: usize,
}

/// Messages of one record batch: texts apart from everything else.
#[derive(Debug, Default)]
pub(super) struct Block {
    fixed: Vec<u8>,
    text: String,
    rows: usize,
}

impl Packed {
    /// Bytes of all messages.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number of messages.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether there is no message.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Appends one message; returns the bytes that it takes.
    pub(super) fn push(&mut self, rows: &MessageRows, row: &Row) -> usize {
        let (fixed, text) = match self.blocks.last() {
            Some(last) if !last.is_full() => (0, 0),
            // The next block is most likely about as large.
            Some(last) => (last.fixed.len() + last.fixed.len() / 16, last.text.len() + last.text.len() / 16),
            None => (1, 1),
        };
        if fixed > 0 {
            self.blocks.push(Block {
                fixed: Vec::with_capacity(fixed),
                text: String::with_capacity(text.min(BATCH_BYTES)),
                rows: 0,
            });
        }
        let Some(block) = self.blocks.last_mut() else { return 0 };
        let before = block.len();
        block.push(rows, row);
        let added = block.len() - before;
        self.len += added;
        self.rows += 1;
        added
    }

    /// The blocks, in order.
    pub(super) fn into_blocks(self) -> impl Iterator<Item = Block> {
        self.blocks.into_iter()
    }

    /// Everything as bytes, which [`read`] takes.
    pub(super) fn write_into(&self, out: &mut Vec<u8>) {
        out.clear();
        for block in &self.blocks {
            for length in [block.rows, block.fixed.len(), block.text.len()] {
                out.extend_from_slice(&(length as u32).to_le_bytes());
            }
            out.extend_from_slice(&block.fixed);
            out.extend_from_slice(block.text.as_bytes());
        }
    }
}

/// Takes the first block off `input`.
pub(super) fn read(input: &mut &[u8]) -> Result<Block, Damaged> {
    let [rows, fixed, text] =
        [take::<4>(input)?, take::<4>(input)?, take::<4>(input)?].map(|length| u32::from_le_bytes(length) as usize);
    let (fixed, rest) = input.split_at_checked(fixed).ok_or(Damaged)?;
    let (text, rest) = rest.split_at_checked(text).ok_or(Damaged)?;
    *input = rest;
    let text = std::str::from_utf8(text).map_err(|_| Damaged)?;
    // Every row takes more than a byte, so that no damage asks for more memory than the file has.
    if rows > fixed.len() {
        return Err(Damaged);
    }
    Ok(Block { fixed: fixed.to_vec(), text: text.to_owned(), rows })
}

impl Block {
    fn len(&self) -> usize {
        self.fixed.len() + self.text.len()
    }

    /// Whether a record batch should hold no more than this.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.len() >= BATCH_BYTES
    }

    /// Appends the messages of another block.
    pub(super) fn append(&mut self, other: &Self) {
        self.fixed.extend_from_slice(&other.fixed);
        self.text.push_str(&other.text);
        self.rows += other.rows;
    }

    /// Appends one message.
    fn push(&mut self, rows: &MessageRows, row: &Row) {
        let mut mask = 0_u64;
        let mut set = |condition: bool, bit: u64| mask |= if condition { bit } else { 0 };
        set(row.substituted, SUBSTITUTED);
        set(row.requested, REQUESTED);
        set(row.inclusive.is_some(), INCLUSIVE);
        set(row.inclusive == Some(true), INCLUSIVE_TRUE);
        set(row.new_member_visible.is_some(), NEW_MEMBER);
        set(row.new_member_visible == Some(true), NEW_MEMBER_TRUE);
        let (longs, shorts) = (longs(row), shorts(row));
        for (index, value) in longs.iter().enumerate() {
            set(value.is_some(), 1 << (LONG + index));
        }
        for (index, value) in shorts.iter().enumerate() {
            set(value.is_some(), 1 << (SHORT + index));
        }
        for (index, span) in row.text.iter().enumerate() {
            set(!span.is_null(), 1 << index);
        }
        let out = &mut self.fixed;
        out.extend_from_slice(&mask.to_le_bytes());
        out.extend_from_slice(&row.message_server_id.to_le_bytes());
        out.extend_from_slice(&row.create_time.to_le_bytes());
        out.extend_from_slice(&row.fetched_at.to_le_bytes());
        out.extend_from_slice(&row.revision.to_le_bytes());
        out.extend_from_slice(&row.conversation_type.to_le_bytes());
        for value in longs.into_iter().flatten() {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for value in shorts.into_iter().flatten() {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for text in TEXTS.iter().filter_map(|column| rows.get(row, *column)) {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            self.text.push_str(text);
        }
        self.rows += 1;
    }

    /// The messages, over this block's own text. `rows` lends its memory.
    pub(super) fn unpack(self, mut rows: Vec<Row>) -> Result<MessageRows, Damaged> {
        rows.clear();
        rows.reserve(self.rows);
        let (mut input, mut end) = (self.fixed.as_slice(), 0);
        for _ in 0..self.rows {
            rows.push(unpack(&mut input, &self.text, &mut end)?);
        }
        Ok(MessageRows::from_parts(self.text, rows))
    }
}

/// Takes the first message off `input`; its text begins at `end` of `text`, which moves behind it.
fn unpack(input: &mut &[u8], text: &str, end: &mut usize) -> Result<Row, Damaged> {
    let mask = u64::from_le_bytes(take(input)?);
    let has = |bit: u64| mask & bit != 0;
    let mut row = Row::new(long(input)?, long(input)?, 0, long(input)?);
    row.revision = short(input)?;
    row.conversation_type = short(input)?;
    row.substituted = has(SUBSTITUTED);
    row.requested = has(REQUESTED);
    row.inclusive = has(INCLUSIVE).then(|| has(INCLUSIVE_TRUE));
    row.new_member_visible = has(NEW_MEMBER).then(|| has(NEW_MEMBER_TRUE));
    let longs: [&mut Option<i64>; LONGS] = [
        &mut row.team_id,
        &mut row.modify_time,
        &mut row.thread_root_create_time,
        &mut row.thread_root_message_server_id,
        &mut row.thread_reply_create_time,
        &mut row.thread_reply_message_server_id,
    ];
    for (index, field) in longs.into_iter().enumerate() {
        if has(1 << (LONG + index)) {
            *field = Some(long(input)?);
        }
    }
    let shorts: [&mut Option<i32>; SHORTS] = [&mut row.message_type, &mut row.sub_type, &mut row.sender_client_type];
    for (index, field) in shorts.into_iter().enumerate() {
        if has(1 << (SHORT + index)) {
            *field = Some(short(input)?);
        }
    }
    for (index, span) in row.text.iter_mut().enumerate() {
        if has(1 << index) {
            let length = u32::from_le_bytes(take(input)?) as usize;
            *span = Span::new(*end, length);
            *end += length;
            if !text.is_char_boundary(*end) {
                return Err(Damaged);
            }
        }
    }
    Ok(row)
}

fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], Damaged> {
    let (head, rest) = input.split_first_chunk::<N>().ok_or(Damaged)?;
    *input = rest;
    Ok(*head)
}

fn long(input: &mut &[u8]) -> Result<i64, Damaged> {
    take(input).map(i64::from_le_bytes)
}

fn short(input: &mut &[u8]) -> Result<i32, Damaged> {
    take(input).map(i32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn message()(
            numbers in any::<[i64; 3]>(),
            small in any::<[i32; 2]>(),
            longs in any::<[Option<i64>; 6]>(),
            shorts in any::<[Option<i32>; 3]>(),
            flags in any::<([bool; 2], [Option<bool>; 2])>(),
            text in vec(option::of(any::<String>()), TEXT_COLUMNS),
        ) -> (Row, Vec<Option<String>>) {
            let mut row = Row::new(numbers[0], numbers[1], small[0], numbers[2]);
            row.revision = small[1];
            [row.team_id, row.modify_time, row.thread_root_create_time, row.thread_root_message_server_id,
                row.thread_reply_create_time, row.thread_reply_message_server_id] = longs;
            [row.message_type, row.sub_type, row.sender_client_type] = shorts;
            ([row.substituted, row.requested], [row.inclusive, row.new_member_visible]) = flags;
            (row, text)
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(messages in vec(message(), 0..8), on_disk in any::<bool>()) {
            let mut rows = MessageRows::default();
            let mut packed = Packed::default();
            let mut bytes = 0;
            for (mut row, text) in messages.clone() {
                for (span, text) in row.text.iter_mut().zip(&text) {
                    *span = text.as_deref().map_or(Span::NULL, |text| rows.intern(text));
                }
                rows.push(row);
                bytes += packed.push(&rows, &row);
            }
            prop_assert_eq!((packed.rows(), packed.len()), (rows.len(), bytes));
            let mut written = Vec::new();
            packed.write_into(&mut written);
            let blocks: Vec<Block> = if on_disk {
                let mut input = written.as_slice();
                std::iter::from_fn(|| (!input.is_empty()).then(|| read(&mut input).unwrap())).collect()
            } else {
                packed.into_blocks().collect()
            };
            let mut after = blocks.into_iter().flat_map(|block| {
                let back = block.unpack(Vec::new()).unwrap();
                let messages = back.rows().iter().map(|row| {
                    let text: Vec<_> = TEXTS.iter().map(|column| back.get(row, *column).map(ToOwned::to_owned)).collect();
                    (*row, text)
                });
                messages.collect::<Vec<_>>()
            });
            for (before, (_, text)) in rows.rows().iter().zip(&messages) {
                let (mut row, back) = after.next().unwrap();
                prop_assert_eq!(&back, text);
                row.text = before.text;
                prop_assert_eq!(format!("{before:?}"), format!("{row:?}"));
            }
            prop_assert!(after.next().is_none());
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_but_never_panic(bytes in vec(any::<u8>(), 0..200), fixed in 0_u8..100) {
            let mut bytes = bytes;
            // A plausible head, so that more than the head is looked at.
            if let Some(head) = bytes.first_chunk_mut::<12>() {
                *head = [1, 0, 0, 0, fixed, 0, 0, 0, head[8] & 15, 0, 0, 0];
            }
            let mut input = bytes.as_slice();
            while let Ok(block) = read(&mut input) {
                if let Ok(rows) = block.unpack(Vec::new()) {
                    for row in rows.rows() {
                        for column in TEXTS {
                            let _ = rows.get(row, column);
                        }
                    }
                }
            }
        }
    }
}
