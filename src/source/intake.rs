//! Rows on their way into chunks, and samples of them on the side.

use std::sync::Arc;

use super::SourceError;
use super::jsonl;
use super::mapping::{Columns, Fields, Interpreter, Names, Outcome};
use super::settings::Settings;
use super::time::Times;
use super::value::Value;
use crate::model::reference::{Invalid, ReferenceChunk};

/// The rows of a chunk.
const CHUNK: u64 = 8192;

/// A row as it is, and as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleRow {
    /// Where it stands: `refs.csv:17`, or `query: row 17`.
    pub position: String,
    /// Column names and values, those that matter.
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
    /// Something other than a conversation's message.
    Skipped,
    /// No reference; what is wrong with it.
    Invalid(String),
}

/// A row that cannot be told apart into fields.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) message: String,
    /// Whether there is anything of its fields in it all the same.
    pub(super) has_field: bool,
}

/// A chunk and the samples among its rows.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) chunk: ReferenceChunk,
    pub(super) samples: Vec<SampleRow>,
}

/// Takes rows in and fills chunks.
#[derive(Debug)]
pub(super) struct Intake {
    interpreter: Interpreter,
    names: Arc<Names>,
    run: Run,
    rows: u64,
    /// Whether a row of the input had anything in its fields.
    has_field: bool,
    /// What is wrong with the first row, of an input of which none had anything so far.
    first: Option<String>,
    /// How many more rows are to be shown.
    to_sample: usize,
    /// Whether there is nothing to do but to show rows.
    sampling: bool,
}

impl Intake {
    pub(super) fn new(settings: &Settings, samples: usize) -> Result<Self, SourceError> {
        let names = Names::new(settings.format, &settings.columns)?;
        let times = Times::new(settings.time_unit, settings.timezone.clone());
        let interpreter = Interpreter { format: settings.format, times };
        let names = Arc::new(names);
        Ok(Self {
            interpreter,
            names,
            run: Run::default(),
            rows: 0,
            has_field: false,
            first: None,
            to_sample: samples,
            sampling: samples > 0,
        })
    }

    pub(super) fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names)
    }

    pub(super) fn times(&self) -> &Times {
        &self.interpreter.times
    }

    /// Takes a row that [`Columns::texts`] are enough for, if it is a reference beyond doubt and nobody wants to see it.
    /// False leaves it to [`Self::cells`], which says what is wrong with it.
    pub(super) fn texts(&mut self, texts: [&[u8]; 3]) -> bool {
        let taken = self.to_sample == 0 && self.interpreter.texts(texts, &mut self.run.chunk);
        self.rows += u64::from(taken);
        self.has_field |= taken;
        taken
    }

    /// Takes a row of columns. `cell` gives the value of a column, `header` the names of all.
    pub(super) fn cells<'a>(
        &mut self,
        columns: &Columns,
        header: &[String],
        cell: impl Fn(usize) -> Value<'a>,
        position: impl Fn() -> String,
    ) {
        let raw = || header.iter().enumerate().map(|(place, name)| (name.clone(), cell(place).to_string())).collect();
        let Some(event) = columns.event else {
            let mut fields = Fields::default();
            for (field, place) in fields.iter_mut().zip(columns.places) {
                if let Some(place) = place {
                    *field = cell(place);
                }
            }
            return self.row(&fields, position, raw);
        };
        let names = Arc::clone(&self.names);
        match jsonl::event(&names, &cell(event)) {
            Ok(fields) => self.row(&fields, position, raw),
            Err(broken) => self.broken(position(), broken, raw),
        }
    }

    /// Whether a row of these columns would be a reference. It is not taken.
    pub(super) fn is_reference<'a>(&self, columns: &Columns, cell: impl Fn(usize) -> Option<&'a [u8]>) -> bool {
        let value = |place: usize| cell(place).map_or(Value::Null, Value::bytes);
        let mut chunk = ReferenceChunk::default();
        let Some(event) = columns.event else {
            let fields = columns.places.map(|place| place.map_or(Value::Null, value));
            return self.interpreter.row(&fields, &mut chunk, String::new) == Outcome::Reference;
        };
        jsonl::event(&self.names, &value(event))
            .is_ok_and(|fields| self.interpreter.row(&fields, &mut chunk, String::new) == Outcome::Reference)
    }

    /// Takes a row of fields. `position` and `raw` are asked only when they are needed.
    pub(super) fn row(
        &mut self,
        fields: &Fields<'_>,
        position: impl Fn() -> String,
        raw: impl FnOnce() -> Vec<(String, String)>,
    ) {
        let outcome = self.interpreter.row(fields, &mut self.run.chunk, &position);
        self.count(outcome != Outcome::Invalid || self.interpreter.has_field(fields));
        if self.to_sample > 0 {
            self.show(outcome, position(), raw());
        }
    }

    /// Takes a row that cannot even be told apart into fields.
    pub(super) fn broken(&mut self, position: String, broken: Broken, raw: impl FnOnce() -> Vec<(String, String)>) {
        let Broken { message, has_field } = broken;
        let shown = (self.to_sample > 0).then(|| position.clone());
        let invalid = Invalid { position, message, conversation_id: None, message_server_id: None, create_time: None };
        self.run.chunk.invalid.push(invalid);
        self.count(has_field);
        if let Some(position) = shown {
            self.show(Outcome::Invalid, position, raw());
        }
    }

    fn count(&mut self, has_field: bool) {
        self.rows += 1;
        self.has_field |= has_field;
        if !self.has_field && self.first.is_none() {
            let first = self.run.chunk.invalid.last();
            self.first = first.map(|invalid| format!("{}: {}", invalid.position, invalid.message));
        }
    }

    /// Whether a row of the input had anything in its fields so far.
    pub(super) fn has_field(&self) -> bool {
        self.has_field
    }

    /// Ends an input. If it had rows and none had anything in its fields, it is not what it is taken for: its last rows
    /// are not handed on, and what is wrong with its first is returned.
    pub(super) fn end(&mut self) -> Option<String> {
        let first = self.first.take();
        if std::mem::take(&mut self.has_field) || first.is_none() {
            return None;
        }
        self.take();
        first
    }

    /// Ends an input of columns.
    pub(super) fn end_columns(&mut self, name: &str, columns: &Columns, header: &[String]) -> Result<(), SourceError> {
        let Some(first) = self.end() else { return Ok(()) };
        let shown = columns.shown(header);
        Err(SourceError::Unusable(format!("{name}: none of its rows has {shown}; the first is {first}")))
    }

    #[cold]
    fn show(&mut self, outcome: Outcome, position: String, raw: Vec<(String, String)>) {
        self.to_sample -= 1;
        let chunk = &self.run.chunk;
        let understood = match outcome {
            Outcome::Skipped => Understood::Skipped,
            Outcome::Invalid => {
                Understood::Invalid(chunk.invalid.last().map(|invalid| invalid.message.clone()).unwrap_or_default())
            }
            Outcome::Reference => match chunk.len().checked_sub(1).and_then(|last| chunk.get(last)) {
                Some(reference) => Understood::Reference {
                    conversation_id: reference.conversation_id().to_string(),
                    message_server_id: reference.message_server_id,
                    create_time: reference.create_time,
                },
                None => Understood::Skipped,
            },
        };
        self.run.samples.push(SampleRow { position, raw, understood });
    }

    /// Whether a chunk is complete, or all that was to be shown is there.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= CHUNK || (self.sampling && self.to_sample == 0)
    }

    /// What was taken in since the last time, if anything.
    pub(super) fn take(&mut self) -> Option<Run> {
        if self.rows == 0 {
            return None;
        }
        self.rows = 0;
        Some(std::mem::take(&mut self.run))
    }
}
