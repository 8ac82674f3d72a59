//! Messages as a plain run of bytes: what partitions buffer, and what goes to the scratch file as it is.
//!
//! A row costs about 85 bytes and its text. The form is private to one process and may change at any time.

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

const SUBSTITUTED: u64 = 1 << 18;
const REQUESTED: u64 = 1 << 19;
const INCLUSIVE: u64 = 1 << 20;
const INCLUSIVE_TRUE: u64 = 1 << 21;
const NEW_MEMBER: u64 = 1 << 22;
const NEW_MEMBER_TRUE: u64 = 1 << 23;
/// Of the optional 64-bit and, behind them, 32-bit integers.
const LONG: u32 = 24;
const SHORT: u32 = 30;

/// Bytes that are no packed rows: the scratch file was changed by somebody else.
#[derive(Debug, thiserror::Error)]
#[error("buffered rows read back from the scratch file are damaged")]
pub(super) struct Damaged;

fn longs(row: &Row) -> [Option<i64>; 6] {
    [
        row.team_id,
        row.modify_time,
        row.thread_root_create_time,
        row.thread_root_message_server_id,
        row.thread_reply_create_time,
        row.thread_reply_message_server_id,
    ]
}

fn shorts(row: &Row) -> [Option<i32>; 3] {
    [row.message_type, row.sub_type, row.sender_client_type]
}

/// Appends one message.
pub(super) fn pack(out: &mut Vec<u8>, rows: &MessageRows, row: &Row) {
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
        set(value.is_some(), 1 << (LONG + index as u32));
    }
    for (index, value) in shorts.iter().enumerate() {
        set(value.is_some(), 1 << (SHORT + index as u32));
    }
    for (index, span) in row.text.iter().enumerate() {
        set(!span.is_null(), 1 << index);
    }
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
    }
    for text in TEXTS.iter().filter_map(|column| rows.get(row, *column)) {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Takes the first message off `input` and appends it to `rows`.
pub(super) fn unpack(input: &mut &[u8], rows: &mut MessageRows) -> Result<(), Damaged> {
    let mask = u64::from_le_bytes(take(input)?);
    let has = |bit: u64| mask & bit != 0;
    let mut row = Row::new(long(input)?, long(input)?, 0, long(input)?);
    row.revision = short(input)?;
    row.conversation_type = short(input)?;
    row.substituted = has(SUBSTITUTED);
    row.requested = has(REQUESTED);
    row.inclusive = has(INCLUSIVE).then(|| has(INCLUSIVE_TRUE));
    row.new_member_visible = has(NEW_MEMBER).then(|| has(NEW_MEMBER_TRUE));
    for (index, field) in [
        &mut row.team_id,
        &mut row.modify_time,
        &mut row.thread_root_create_time,
        &mut row.thread_root_message_server_id,
        &mut row.thread_reply_create_time,
        &mut row.thread_reply_message_server_id,
    ]
    .into_iter()
    .enumerate()
    {
        if has(1 << (LONG + index as u32)) {
            *field = Some(long(input)?);
        }
    }
    for (index, field) in
        [&mut row.message_type, &mut row.sub_type, &mut row.sender_client_type].into_iter().enumerate()
    {
        if has(1 << (SHORT + index as u32)) {
            *field = Some(short(input)?);
        }
    }
    let mut lengths = [0_usize; TEXT_COLUMNS];
    let mut total = 0;
    for (index, length) in lengths.iter_mut().enumerate() {
        if has(1 << index) {
            *length = u32::from_le_bytes(take(input)?) as usize;
            total += *length;
        }
    }
    let (text, rest) = input.split_at_checked(total).ok_or(Damaged)?;
    *input = rest;
    let mut text = std::str::from_utf8(text).map_err(|_| Damaged)?;
    for (index, length) in lengths.into_iter().enumerate() {
        if has(1 << index) {
            let (own, behind) = text.split_at_checked(length).ok_or(Damaged)?;
            row.text[index] = rows.intern(own);
            text = behind;
        } else {
            row.text[index] = Span::NULL;
        }
    }
    rows.push(row);
    Ok(())
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
        fn what_was_packed_is_unpacked(messages in vec(message(), 0..8)) {
            let mut rows = MessageRows::default();
            let mut packed = Vec::new();
            for (mut row, text) in messages.clone() {
                for (span, text) in row.text.iter_mut().zip(&text) {
                    *span = text.as_deref().map_or(Span::NULL, |text| rows.intern(text));
                }
                rows.push(row);
                pack(&mut packed, &rows, &row);
            }
            let mut input = packed.as_slice();
            let mut back = MessageRows::default();
            while !input.is_empty() {
                unpack(&mut input, &mut back).unwrap();
            }
            prop_assert_eq!(back.len(), rows.len());
            for ((before, after), (_, text)) in rows.rows().iter().zip(back.rows()).zip(&messages) {
                for (column, text) in TEXTS.into_iter().zip(text) {
                    prop_assert_eq!(back.get(after, column), text.as_deref());
                }
                let mut after = *after;
                after.text = before.text;
                prop_assert_eq!(format!("{before:?}"), format!("{after:?}"));
            }
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_but_never_panic(bytes in vec(any::<u8>(), 0..200)) {
            let mut input = bytes.as_slice();
            while unpack(&mut input, &mut MessageRows::default()).is_ok() {}
        }
    }
}
