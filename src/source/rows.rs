//! Collects rows into chunks, and samples of them on the side.

use std::sync::Arc;

use super::error::SourceError;
use super::mapping::names::{Columns, Fields};
use super::mapping::object::Broken;
use super::mapping::{Mapping, Outcome};
use super::settings::Rows;
use super::value::Value;
use crate::model::reference::{Invalid, ReferenceChunk};

/// The rows of a chunk.
const CHUNK: u64 = 8192;

/// A row as it is, and as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleRow {
    /// Where it stands: `refs.csv:17`, or `query: row 17`.
    pub position: String,
    /// The names and values of its columns.
    pub raw: Vec<(String, String)>,
    /// What it is taken for.
    pub understood: Understood,
}

/// What a row is taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Understood {
    /// A reference.
    Reference {
        /// `owner|type|other`
        conversation_id: String,
        /// The message's ID.
        message_server_id: i64,
        /// Milliseconds since the epoch.
        create_time: i64,
    },
    /// About something other than a conversation's message.
    Skipped,
    /// No reference; what is wrong with it.
    Invalid(String),
}

/// A chunk and the samples among its rows.
#[derive(Debug, Default)]
pub(super) struct SampledChunk {
    pub(super) chunk: ReferenceChunk,
    pub(super) samples: Vec<SampleRow>,
}

/// Takes rows in and fills chunks.
#[derive(Debug)]
pub(super) struct RowCollector {
    mapping: Arc<Mapping>,
    filling: SampledChunk,
    rows: u64,
    /// Whether a row of this input held anything in its fields.
    has_field: bool,
    /// What is wrong with the first row of this input, as long as no row held anything.
    first_error: Option<String>,
    /// How many samples are still wanted; `None` if this is not about samples.
    wanted: Option<usize>,
}

impl RowCollector {
    /// Collects all rows, or with `samples` so many of them.
    pub(super) fn new(rows: &Rows, is_csv: bool, samples: Option<usize>) -> Result<Self, SourceError> {
        Ok(Self {
            mapping: Arc::new(Mapping::new(rows, is_csv)?),
            filling: SampledChunk::default(),
            rows: 0,
            has_field: false,
            first_error: None,
            wanted: samples,
        })
    }

    pub(super) fn mapping(&self) -> Arc<Mapping> {
        Arc::clone(&self.mapping)
    }

    /// Takes a row of columns. `cell` gives the value of a column.
    pub(super) fn cells<'a>(
        &mut self,
        columns: &Columns,
        header: &[String],
        cell: impl Fn(usize) -> Value<'a>,
        position: impl Fn() -> String,
    ) {
        let raw = || header.iter().enumerate().map(|(place, name)| (name.clone(), cell(place).to_string())).collect();
        let fields = self.mapping.fields(columns, &cell);
        self.row(fields, position, raw);
    }

    /// Whether a row of these columns would be a reference. It is not taken.
    pub(super) fn is_reference<'a>(&self, columns: &Columns, cell: impl Fn(usize) -> Value<'a>) -> bool {
        let outcome = |fields| self.mapping.row(&fields, &mut ReferenceChunk::default(), String::new);
        self.mapping.fields(columns, cell).is_ok_and(|fields| outcome(fields) == Outcome::Reference)
    }

    /// Takes a row. `position` and `raw` are asked only when they are needed.
    pub(super) fn row(
        &mut self,
        fields: Result<Fields<'_>, Broken>,
        position: impl Fn() -> String,
        raw: impl FnOnce() -> Vec<(String, String)>,
    ) {
        let chunk = &mut self.filling.chunk;
        let (outcome, has_field) = match fields {
            Ok(fields) => {
                let outcome = self.mapping.row(&fields, chunk, &position);
                (outcome, outcome != Outcome::Invalid || self.mapping.has_field(&fields))
            }
            Err(Broken { message, has_field }) => {
                let (conversation_id, message_server_id, create_time) = (None, None, None);
                let position = position();
                chunk.push_invalid(Invalid { position, message, conversation_id, message_server_id, create_time });
                (Outcome::Invalid, has_field)
            }
        };
        self.rows += 1;
        self.has_field |= has_field;
        if !self.has_field && self.first_error.is_none() {
            self.first_error = chunk.invalid.last().map(|row| format!("{}: {}", row.position, row.message));
        }
        if let Some(wanted @ 1..) = self.wanted {
            self.wanted = Some(wanted - 1);
            let understood = understood(&self.filling.chunk, outcome);
            self.filling.samples.push(SampleRow { position: position(), raw: raw(), understood });
        }
    }

    /// Whether a row of this input held anything in its fields so far.
    pub(super) fn has_field(&self) -> bool {
        self.has_field
    }

    /// Ends an input. If it had rows and none held anything in its fields, it is not what it is taken for: its last rows
    /// are dropped, and what is wrong with its first is returned.
    pub(super) fn end(&mut self) -> Option<String> {
        let first_error = self.first_error.take();
        if std::mem::take(&mut self.has_field) || first_error.is_none() {
            return None;
        }
        self.take();
        first_error
    }

    /// Ends an input of columns.
    pub(super) fn end_columns(&mut self, name: &str, columns: &Columns, header: &[String]) -> Result<(), SourceError> {
        let Some(first_error) = self.end() else { return Ok(()) };
        let expected = columns.expected(header);
        Err(SourceError::Unusable(format!("{name}: none of its rows has {expected}; the first is {first_error}")))
    }

    /// Whether a chunk is complete, or all samples are there.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= CHUNK || self.wanted == Some(0)
    }

    /// What was collected since the last time, if anything.
    pub(super) fn take(&mut self) -> Option<SampledChunk> {
        (std::mem::take(&mut self.rows) > 0).then(|| std::mem::take(&mut self.filling))
    }
}

/// What the last row of a chunk was taken for.
fn understood(chunk: &ReferenceChunk, outcome: Outcome) -> Understood {
    let last = chunk.len().checked_sub(1).and_then(|last| chunk.get(last));
    match (outcome, last) {
        (Outcome::Reference, Some(reference)) => Understood::Reference {
            conversation_id: reference.conversation_id().to_string(),
            message_server_id: reference.message_server_id,
            create_time: reference.create_time,
        },
        (Outcome::Invalid, _) => {
            Understood::Invalid(chunk.invalid.last().map(|invalid| invalid.message.clone()).unwrap_or_default())
        }
        _ => Understood::Skipped,
    }
}
