//! One message of an answer, from JSON to a row.

use std::sync::LazyLock;

use super::extra::{Extra, Scope};
use super::json::{Broken, Scanner};
use super::keys::{Key, Keys, Known};
use super::response::Question;
use super::threads::ThreadReader;
use super::value::{Columns, Field, fields};
use crate::model::columns::Origin;
use crate::model::message::{MessageRows, Row, Span, TextColumn};

/// Reads items; keeps its memory, and what order fields come in, from one to the next.
pub(super) struct ItemReader<'t> {
    key: Span,
    conversation: Span,
    conversation_type: i32,
    fetched_at: i64,
    raw: bool,
    keys: Keys<ItemField>,
    threads: ThreadReader,
    /// The message at hand.
    row: Row,
    extra: Extra<'t>,
    scratch: String,
}

impl<'t> ItemReader<'t> {
    /// Puts what all rows share into the rows' buffer.
    pub(super) fn new(question: &Question<'_>, rows: &mut MessageRows) -> Self {
        Self {
            key: rows.intern(question.key),
            conversation: rows.intern(question.conversation),
            conversation_type: question.conversation_type,
            fetched_at: question.fetched_at,
            raw: question.raw,
            keys: Keys::new(&FIELDS),
            threads: ThreadReader::new(),
            row: Row::default(),
            extra: Extra::default(),
            scratch: String::new(),
        }
    }

    /// Reads the next value of `scanner` as an item; gives its ID, and when it says that it was created.
    pub(super) fn read(
        &mut self,
        scanner: &mut Scanner<'t>,
        rows: &mut MessageRows,
    ) -> Result<Result<(i64, Option<i64>), NoId>, Broken> {
        if scanner.peek() != b'{' {
            scanner.value()?;
            return Ok(Err(NoId { create_time: None, message: "the item is no object" }));
        }
        self.extra.clear();
        self.row = Row::new(0, 0, 0, self.fetched_at);
        self.read_fields(scanner, rows)?;
        let create_time = Some(self.row.create_time).filter(|time| *time != 0);
        let id = self.row.message_server_id;
        if id <= 0 {
            return Ok(Err(NoId { create_time, message: "message_server_id is no positive 64-bit integer" }));
        }
        Ok(Ok((id, create_time)))
    }

    fn read_fields(&mut self, scanner: &mut Scanner<'t>, rows: &mut MessageRows) -> Result<(), Broken> {
        let Self { keys, threads, row, extra, scratch, .. } = self;
        let mut columns = Columns { rows, row, extra, scratch };
        keys.enter(scanner)?;
        while let Some(key) = keys.next(scanner)? {
            match key {
                Key::Known(known) => match known.field {
                    ItemField::Column(field) => columns.read(scanner, Scope::Item, known.name, field)?,
                    ItemField::ThreadConfig => threads.read(scanner, &mut columns)?,
                },
                Key::Unknown(key) => {
                    let (_, json, traits) = scanner.value_text()?;
                    columns.extra.keep(Scope::Item, key, json, traits);
                }
            }
        }
        Ok(())
    }

    /// Completes the message that was read last, and appends it. `replaced` says that invalid UTF-8 was replaced in
    /// `json`, the item's text.
    pub(super) fn finish(&mut self, create_time: i64, replaced: bool, json: &str, rows: &mut MessageRows) {
        let row = &mut self.row;
        row.create_time = create_time;
        if row.conversation_type == 0 {
            row.conversation_type = self.conversation_type;
        }
        row.text[TextColumn::ConversationKey as usize] = self.key;
        row.text[TextColumn::ConversationId as usize] = self.conversation;
        row.substituted |= replaced;
        if !self.extra.is_empty() {
            row.substituted |= self.extra.is_lone();
            row.text[TextColumn::Extra as usize] = rows.intern_with(|out| self.extra.write_into(out)).0;
        }
        if self.raw {
            row.text[TextColumn::Raw as usize] = rows.intern(json);
        }
        rows.push(*row);
    }
}

/// An item without a usable ID.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoId {
    /// As answered, in milliseconds.
    pub(super) create_time: Option<i64>,
    /// What is wrong with it.
    pub(super) message: &'static str,
}

/// What a field of an item is.
#[derive(Debug, Clone, Copy)]
enum ItemField {
    Column(Field),
    ThreadConfig,
}

static FIELDS: LazyLock<Vec<Known<ItemField>>> = LazyLock::new(|| {
    let columns = fields(|origin| matches!(origin, Origin::Item(_)));
    let columns = columns.map(|(key, field)| Known::new(key, ItemField::Column(field)));
    columns.chain([Known::new("thread_config", ItemField::ThreadConfig)]).collect()
});
