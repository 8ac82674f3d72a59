//! Messages in compact form, as partitions buffer them and as the scratch file has them. Pure.
//!
//! A message takes about 85 bytes and its text. A block has as many messages as a record batch. The form is private to one
//! process and may change at any time.

use crate::model::Column;
use crate::model::columns::{Access, Storage};
use crate::model::message::{MessageRows, Row, Span};

/// Messages in a block: enough to make up for the cost of its arrays, few enough to stay in the cache.
const BLOCK_ROWS: usize = 512;
/// Bytes at which a block is closed. Keeps 32-bit offsets far from their end.
const BLOCK_BYTES: usize = 1 << 20;

const _: () = assert!(Column::COUNT <= u64::BITS as usize, "a row's mask has a bit for every column");

/// Bytes that are no packed messages: something else changed the scratch file.
#[derive(Debug, thiserror::Error)]
#[error("buffered rows read back from the scratch file are damaged")]
pub(super) struct Damaged;

/// Messages of one partition.
#[derive(Debug, Default)]
pub(super) struct Packed {
    blocks: Vec<Block>,
    len: usize,
    rows: usize,
}

/// Messages of one record batch. Text is apart from everything else, so that it becomes that of the batch as it is.
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

    /// Appends one message. Returns the bytes it takes.
    pub(super) fn push(&mut self, rows: &MessageRows, row: &Row) -> usize {
        let (fixed, text) = match self.blocks.last() {
            Some(last) if !last.is_full() => (0, 0),
            // The next block is probably about as large.
            Some(last) => (last.fixed.len() + last.fixed.len() / 16, last.text.len() + last.text.len() / 16),
            None => (1, 1),
        };
        if fixed > 0 {
            self.blocks.push(Block {
                fixed: Vec::with_capacity(fixed),
                text: String::with_capacity(text.min(BLOCK_BYTES)),
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

    /// Everything as bytes for [`read`].
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

/// Reads a block from the start of `input`, which then begins behind it.
pub(super) fn read(input: &mut &[u8]) -> Result<Block, Damaged> {
    let [rows, fixed, text] =
        [take::<4>(input)?, take::<4>(input)?, take::<4>(input)?].map(|length| u32::from_le_bytes(length) as usize);
    let (fixed, rest) = input.split_at_checked(fixed).ok_or(Damaged)?;
    let (text, rest) = rest.split_at_checked(text).ok_or(Damaged)?;
    *input = rest;
    let text = std::str::from_utf8(text).map_err(|_| Damaged)?;
    // Every message takes more than a byte. So damaged bytes cannot ask for more memory than they are.
    if rows > fixed.len() {
        return Err(Damaged);
    }
    Ok(Block { fixed: fixed.to_vec(), text: text.to_owned(), rows })
}

impl Block {
    fn len(&self) -> usize {
        self.fixed.len() + self.text.len()
    }

    /// Whether a record batch should have no more messages.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= BLOCK_ROWS || self.len() >= BLOCK_BYTES
    }

    /// Appends the messages of another block.
    pub(super) fn append(&mut self, other: &Self) {
        self.fixed.extend_from_slice(&other.fixed);
        self.text.push_str(&other.text);
        self.rows += other.rows;
    }

    /// Appends one message.
    fn push(&mut self, rows: &MessageRows, row: &Row) {
        let (mut mask, start) = (0_u64, self.fixed.len());
        self.fixed.extend_from_slice(&mask.to_le_bytes());
        for column in Column::all(true) {
            let there = match column.storage {
                Storage::Run => false,
                Storage::Text(text) => rows.get(row, text).is_some_and(|text| {
                    self.text.push_str(text);
                    self.put(Some((text.len() as u32).to_le_bytes()))
                }),
                Storage::Int64(Access { get, .. }) => self.put(get(row).map(i64::to_le_bytes)),
                Storage::Int32(Access { get, .. }) => self.put(get(row).map(i32::to_le_bytes)),
                Storage::Boolean(Access { get, .. }) => self.put(get(row).map(|flag| [u8::from(flag)])),
            };
            mask |= u64::from(there) << column.column as usize;
        }
        self.fixed[start..start + size_of::<u64>()].copy_from_slice(&mask.to_le_bytes());
        self.rows += 1;
    }

    /// Appends a value. Returns whether there is one.
    fn put<const N: usize>(&mut self, value: Option<[u8; N]>) -> bool {
        if let Some(value) = value {
            self.fixed.extend_from_slice(&value);
        }
        value.is_some()
    }

    /// The messages of this block.
    pub(super) fn unpack(self) -> Result<MessageRows, Damaged> {
        let mut rows = Vec::with_capacity(self.rows);
        let (mut input, mut end) = (self.fixed.as_slice(), 0);
        for _ in 0..self.rows {
            rows.push(unpack(&mut input, &self.text, &mut end)?);
        }
        Ok(MessageRows::from_parts(self.text, rows))
    }
}

/// Reads a message from the start of `input`. Its text begins at `end` of `text`. Both move behind it.
fn unpack(input: &mut &[u8], text: &str, end: &mut usize) -> Result<Row, Damaged> {
    let mask = u64::from_le_bytes(take(input)?);
    let mut row = Row::default();
    for column in Column::all(true).iter().filter(|column| mask >> column.column as usize & 1 == 1) {
        match column.storage {
            Storage::Run => return Err(Damaged),
            Storage::Text(column) => {
                let length = u32::from_le_bytes(take(input)?) as usize;
                row.text[column as usize] = Span::new(*end, length);
                *end += length;
                if !text.is_char_boundary(*end) {
                    return Err(Damaged);
                }
            }
            Storage::Int64(Access { set, .. }) => set(&mut row, Some(i64::from_le_bytes(take(input)?))),
            Storage::Int32(Access { set, .. }) => set(&mut row, Some(i32::from_le_bytes(take(input)?))),
            Storage::Boolean(Access { set, .. }) => set(&mut row, Some(take::<1>(input)? != [0])),
        }
    }
    Ok(row)
}

fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], Damaged> {
    let (head, rest) = input.split_first_chunk::<N>().ok_or(Damaged)?;
    *input = rest;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::model::message::TEXT_COLUMNS;

    prop_compose! {
        fn message()(
            values in vec(any::<Option<i64>>(), Column::COUNT),
            text in vec(option::of(any::<String>()), TEXT_COLUMNS),
        ) -> (Row, Vec<Option<String>>) {
            let mut row = Row::default();
            for (column, value) in Column::all(true).iter().zip(values) {
                match column.storage {
                    Storage::Run | Storage::Text(_) => {}
                    Storage::Int64(Access { set, .. }) => set(&mut row, value),
                    Storage::Int32(Access { set, .. }) => set(&mut row, value.map(|value| value as i32)),
                    Storage::Boolean(Access { set, .. }) => set(&mut row, value.map(|value| value > 0)),
                }
            }
            (row, text)
        }
    }

    fn texts(rows: &MessageRows, row: &Row) -> Vec<Option<String>> {
        row.text.iter().map(|span| rows.resolve(*span).map(ToOwned::to_owned)).collect()
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
                let back = block.unpack().unwrap();
                let messages = back.rows().iter().map(|row| (*row, texts(&back, row)));
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
            // A plausible head, so that more than the head is read.
            if let Some(head) = bytes.first_chunk_mut::<12>() {
                *head = [1, 0, 0, 0, fixed, 0, 0, 0, head[8] & 15, 0, 0, 0];
            }
            let mut input = bytes.as_slice();
            while let Ok(block) = read(&mut input) {
                if let Ok(rows) = block.unpack() {
                    for row in rows.rows() {
                        texts(&rows, row);
                    }
                }
            }
        }
    }
}
