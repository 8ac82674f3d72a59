//! Messages in the binary form of `COPY`. Pure.
//!
//! Rows are appended to one buffer, which the caller sends and clears between rows.

use std::borrow::Cow;
use std::fmt::Write;

use super::{json, schema};
use crate::archive::RunStamp;
use crate::model::columns::{Access, Definition, Storage};
use crate::model::message::{MessageRows, Row};
use crate::model::{Column, ColumnType};

/// Milliseconds from the Unix epoch to that of Postgres, 2000-01-01.
const EPOCH: i64 = 946_684_800_000;
/// The first millisecond of the range of `timestamptz`, in 4714 BC.
const EARLIEST: i64 = -211_813_488_000_000 + EPOCH;
/// The last one, in AD 294276.
const LATEST: i64 = 9_223_371_331_200_000 + EPOCH - 1;
/// The type of the elements of `text[]`.
const TEXT_OID: i32 = 25;

const NULL: i32 = -1;
const REPLACEMENT: &str = "\u{fffd}";

/// Whether the database can hold this time, in milliseconds since the epoch.
pub(super) fn is_time(time: i64) -> bool {
    (EARLIEST..=LATEST).contains(&time)
}

/// Messages, and whether U+0000 is anywhere in their text. Where it is not, no column has to be searched for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Messages<'r> {
    rows: &'r MessageRows,
    nul: bool,
}

impl<'r> Messages<'r> {
    pub(super) fn new(rows: &'r MessageRows) -> Self {
        Self { rows, nul: memchr::memchr(0, rows.text().as_bytes()).is_some() }
    }
}

/// Encodes messages in the order of [`schema::columns`].
#[derive(Debug)]
pub(super) struct Encoder {
    columns: Vec<&'static Definition>,
    buffer: Vec<u8>,
    app_key: Vec<u8>,
    run_id: Vec<u8>,
    /// Whether texts of this row may have U+0000.
    nul: bool,
    /// Whether this row differs from the message.
    substituted: bool,
    /// Values of this row that their own columns cannot hold: name and JSON.
    displaced: Vec<(&'static str, String)>,
}

impl Encoder {
    /// An encoder of rows with this stamp, with the column `raw` or without.
    pub(super) fn new(stamp: &RunStamp, raw: bool) -> Self {
        let mut start = Self {
            columns: schema::columns(raw),
            buffer: Vec::new(),
            app_key: Vec::new(),
            run_id: Vec::new(),
            nul: true,
            substituted: false,
            displaced: Vec::new(),
        };
        start.text(Some(&stamp.app_key));
        start.app_key = std::mem::take(&mut start.buffer);
        start.text(Some(&stamp.run_id.to_string()));
        start.run_id = std::mem::take(&mut start.buffer);
        start
    }

    /// What was encoded since [`Self::begin`] or [`Self::clear`].
    pub(super) fn encoded(&self) -> &[u8] {
        &self.buffer
    }

    /// Drops what was encoded and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
    }

    /// Begins anew, with what comes before the first row: signature, flags, no extension.
    pub(super) fn begin(&mut self) {
        self.clear();
        self.buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    }

    /// Appends what comes after the last row.
    pub(super) fn end(&mut self) {
        self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
    }

    /// Appends a message, in a form that Postgres accepts whatever the message is:
    ///
    /// - U+0000 becomes U+FFFD, in text and in JSON. JSON that `jsonb` refuses is stored as [`json::fitted`] says.
    /// - A time outside the range of `timestamptz` becomes null, or the end of the range where null is not allowed. A list
    ///   of receivers that is no list of texts becomes null. `extra` then has the answered value, under the column's name.
    ///
    /// Either sets `substituted`.
    pub(super) fn row(&mut self, messages: &Messages<'_>, row: &Row) {
        let Messages { rows, nul } = *messages;
        self.nul = nul;
        self.substituted = row.substituted;
        self.buffer.extend_from_slice(&(self.columns.len() as i16).to_be_bytes());
        for at in 0..self.columns.len() {
            self.value(self.columns[at], rows, row);
        }
    }

    fn value(&mut self, column: &'static Definition, rows: &MessageRows, row: &Row) {
        match column.storage {
            Storage::Run if column.column == Column::AppKey => self.buffer.extend_from_slice(&self.app_key),
            Storage::Run => self.buffer.extend_from_slice(&self.run_id),
            Storage::Text(text) => {
                let value = rows.get(row, text);
                match column.kind {
                    ColumnType::TextList => self.text_array(column.name, value),
                    ColumnType::Json if column.column == Column::Extra => self.extra(value),
                    ColumnType::Json => self.jsonb(value),
                    _ if column.nullable => self.text(value),
                    _ => self.text(Some(value.unwrap_or_default())),
                }
            }
            Storage::Int64(Access { get, .. }) if column.kind == ColumnType::Time => self.time(column, get(row)),
            Storage::Int64(Access { get, .. }) => self.bigint(get(row)),
            Storage::Int32(Access { get, .. }) => self.integer(get(row)),
            Storage::Boolean(_) if column.column == Column::Substituted => self.boolean(Some(self.substituted)),
            Storage::Boolean(Access { get, .. }) => self.boolean(get(row)),
        }
    }

    fn length(&mut self, length: i32) {
        self.buffer.extend_from_slice(&length.to_be_bytes());
    }

    fn bigint(&mut self, value: Option<i64>) {
        let Some(value) = value else { return self.length(NULL) };
        self.length(8);
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    fn integer(&mut self, value: Option<i32>) {
        let Some(value) = value else { return self.length(NULL) };
        self.length(4);
        self.length(value);
    }

    fn boolean(&mut self, value: Option<bool>) {
        let Some(value) = value else { return self.length(NULL) };
        self.length(1);
        self.buffer.push(u8::from(value));
    }

    fn text(&mut self, value: Option<&str>) {
        let Some(value) = value else { return self.length(NULL) };
        if !self.nul || memchr::memchr(0, value.as_bytes()).is_none() {
            self.length(value.len() as i32);
            self.buffer.extend_from_slice(value.as_bytes());
        } else {
            self.substituted = true;
            let value = value.replace('\0', REPLACEMENT);
            self.length(value.len() as i32);
            self.buffer.extend_from_slice(value.as_bytes());
        }
    }

    fn time(&mut self, column: &Definition, value: Option<i64>) {
        let Some(value) = value else { return self.length(NULL) };
        let held = value.clamp(EARLIEST, LATEST);
        if held != value {
            self.displaced.push((column.name, value.to_string()));
            if column.nullable {
                return self.length(NULL);
            }
        }
        self.bigint(Some(microseconds(held)));
    }

    fn jsonb(&mut self, value: Option<&str>) {
        let Some(value) = value else { return self.length(NULL) };
        let fitted = json::fitted(value);
        self.substituted |= matches!(fitted, Cow::Owned(_));
        self.length(fitted.len() as i32 + 1);
        self.buffer.push(1);
        self.buffer.extend_from_slice(fitted.as_bytes());
    }

    fn extra(&mut self, value: Option<&str>) {
        if self.displaced.is_empty() {
            return self.jsonb(value);
        }
        self.substituted = true;
        let mut object = String::from("{");
        for (name, value) in self.displaced.drain(..) {
            let _ = write!(object, "\"{name}\":{value},");
        }
        match value.map(|value| value.trim().strip_prefix('{').map(str::trim_start).ok_or(value)) {
            None | Some(Ok("}")) => {
                object.pop();
                object.push('}');
            }
            Some(Ok(members)) => object.push_str(members),
            Some(Err(other)) => {
                let _ = write!(object, "\"extra\":{other}}}");
            }
        }
        self.jsonb(Some(&object));
    }

    fn text_array(&mut self, name: &'static str, value: Option<&str>) {
        let Some(value) = value else { return self.length(NULL) };
        // U+0000 may be spelt as an escape.
        self.nul = true;
        let Ok(elements) = serde_json::from_str::<Vec<String>>(value) else {
            self.displaced.push((name, json::fitted(value).into_owned()));
            return self.length(NULL);
        };
        let start = self.buffer.len();
        self.length(0);
        self.length(i32::from(!elements.is_empty()));
        self.length(0);
        self.length(TEXT_OID);
        if !elements.is_empty() {
            self.length(elements.len() as i32);
            self.length(1);
        }
        for element in &elements {
            self.text(Some(element));
        }
        let length = (self.buffer.len() - start - 4) as i32;
        self.buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn microseconds(milliseconds: i64) -> i64 {
    (milliseconds - EPOCH) * 1000
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::archive::postgres::schema::{columns, type_name};
    use crate::model::message::{TEXT_COLUMNS, TextColumn};

    fn encoder(raw: bool) -> Encoder {
        let stamp = RunStamp {
            job: "nightly".to_owned(),
            app_key: "key".to_owned(),
            run_id: Uuid::from_u128(7),
            ledger_id: Uuid::from_u128(8),
        };
        Encoder::new(&stamp, raw)
    }

    /// The fields of one encoded row.
    fn fields(mut bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
        let take = |bytes: &mut &[u8], length: usize| {
            let (taken, rest) = bytes.split_at(length);
            *bytes = rest;
            taken.to_vec()
        };
        let count = i16::from_be_bytes(take(&mut bytes, 2).try_into().unwrap());
        let fields = (0..count)
            .map(|_| {
                let length = i32::from_be_bytes(take(&mut bytes, 4).try_into().unwrap());
                usize::try_from(length).ok().map(|length| take(&mut bytes, length))
            })
            .collect();
        assert!(bytes.is_empty());
        fields
    }

    fn field(name: &str, rows: &MessageRows, row: &Row) -> Option<Vec<u8>> {
        let mut encoder = encoder(true);
        encoder.row(&Messages::new(rows), row);
        let at = columns(true).iter().position(|column| column.name == name).unwrap();
        fields(encoder.encoded())[at].clone()
    }

    fn with(column: TextColumn, text: &str) -> (MessageRows, Row) {
        let mut rows = MessageRows::default();
        let mut row = Row::new(1, 2, 1, 3);
        row.text[column as usize] = rows.intern(text);
        (rows, row)
    }

    #[test]
    fn a_row_has_a_field_for_every_column() {
        let (rows, row) = (MessageRows::default(), Row::new(1, EPOCH, 1, EPOCH));
        for raw in [false, true] {
            let mut encoder = encoder(raw);
            encoder.row(&Messages::new(&rows), &row);
            let found = fields(encoder.encoded());
            assert_eq!(found.len(), columns(raw).len());
            for (column, field) in columns(raw).iter().zip(&found) {
                assert!(column.nullable || field.is_some(), "{}", column.name);
            }
        }
        assert_eq!(field("app_key", &rows, &row).unwrap(), b"key");
        assert_eq!(field("create_time", &rows, &row).unwrap(), 0_i64.to_be_bytes());
        assert_eq!(field("run_id", &rows, &row).unwrap(), b"00000000-0000-0000-0000-000000000007");
    }

    #[test]
    fn a_nul_anywhere_marks_the_row() {
        for column in [TextColumn::Text, TextColumn::ConversationKey, TextColumn::Raw] {
            let (rows, row) = with(column, "a\0b");
            assert_eq!(field("substituted", &rows, &row).unwrap(), [1], "{column:?}");
        }
        let (rows, row) = with(TextColumn::Text, "a\0b");
        assert_eq!(field("text", &rows, &row).unwrap(), "a\u{fffd}b".as_bytes());
        let (rows, row) = with(TextColumn::Attachment, r#"{"a":"\u0000"}"#);
        assert_eq!(field("attachment", &rows, &row).unwrap(), b"\x01{\"a\":\"\\ufffd\"}");
        assert_eq!(field("substituted", &rows, &row).unwrap(), [1]);
        let (rows, row) = with(TextColumn::Text, "plain");
        assert_eq!(field("substituted", &rows, &row).unwrap(), [0]);
    }

    #[test]
    fn a_time_out_of_range_goes_to_extra() {
        let (rows, mut row) = with(TextColumn::Extra, r#"{"new":1}"#);
        row.create_time = i64::MAX;
        row.modify_time = Some(EARLIEST - 1);
        row.thread_root_create_time = Some(LATEST);
        assert_eq!(field("create_time", &rows, &row).unwrap(), microseconds(LATEST).to_be_bytes());
        assert_eq!(field("modify_time", &rows, &row), None);
        assert_eq!(field("thread_root_create_time", &rows, &row).unwrap(), microseconds(LATEST).to_be_bytes());
        let extra = String::from_utf8(field("extra", &rows, &row).unwrap()).unwrap();
        let expected = format!("\u{1}{{\"create_time\":{},\"modify_time\":{},\"new\":1}}", i64::MAX, EARLIEST - 1);
        assert_eq!(extra, expected);
        for (text, ending) in [("{ }", ""), ("{}", ""), ("[]", r#","extra":[]"#)] {
            let (rows, mut row) = with(TextColumn::Extra, text);
            row.thread_reply_create_time = Some(i64::MIN);
            let extra = String::from_utf8(field("extra", &rows, &row).unwrap()).unwrap();
            assert_eq!(extra, format!("\u{1}{{\"thread_reply_create_time\":{}{ending}}}", i64::MIN));
        }
    }

    #[test]
    fn receivers_that_are_no_list_of_strings_go_to_extra() {
        let (rows, row) = with(TextColumn::ReceiverAccountIds, "[1]");
        assert_eq!(field("receiver_account_ids", &rows, &row), None);
        assert_eq!(field("extra", &rows, &row).unwrap(), b"\x01{\"receiver_account_ids\":[1]}");
        let (rows, row) = with(TextColumn::ReceiverAccountIds, "[]");
        assert_eq!(field("receiver_account_ids", &rows, &row).unwrap().len(), 12);
    }

    #[test]
    fn what_one_row_displaced_does_not_reach_the_next() {
        let mut encoder = encoder(false);
        encoder.row(&Messages::new(&MessageRows::default()), &Row::new(1, i64::MAX, 1, 0));
        encoder.clear();
        encoder.row(&Messages::new(&MessageRows::default()), &Row::new(2, 0, 1, 0));
        let found = fields(encoder.encoded());
        let of = |name| found[columns(false).iter().position(|column| column.name == name).unwrap()].clone();
        assert_eq!(of("extra"), None);
        assert_eq!(of("substituted").unwrap(), [0]);
    }

    proptest! {
        #[test]
        fn any_row_is_well_formed(texts in prop::collection::vec(any::<Option<String>>(), TEXT_COLUMNS), times in any::<[i64; 3]>()) {
            let mut rows = MessageRows::default();
            let mut row = Row::new(times[0], times[1], 1, times[2]);
            row.modify_time = Some(times[0]);
            for (span, text) in row.text.iter_mut().zip(&texts) {
                if let Some(text) = text {
                    *span = rows.intern(text);
                }
            }
            let mut encoder = encoder(true);
            encoder.row(&Messages::new(&rows), &row);
            for (column, field) in columns(true).iter().zip(fields(encoder.encoded())) {
                if let (true, Some(field)) = (column.kind == ColumnType::Json, &field) {
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(&field[1..]).is_ok());
                }
                prop_assert!(column.nullable || field.is_some());
                prop_assert!(type_name(column.kind) != "text" || field.is_none_or(|field| !field.contains(&0)));
            }
        }
    }
}
