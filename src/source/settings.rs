//! The settings of a source. Whoever read the configuration has checked them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use secrecy::SecretString;

pub use crate::config::{Cursor, Files, Format, Overlap, Query, TimeUnit};

/// A source, and how its rows are understood.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is read.
    pub input: Input,
    /// What a row is.
    pub format: Format,
    /// The input's names of fields, where they differ from the fields' own; see [`field_names`](super::field_names).
    pub columns: BTreeMap<String, String>,
    /// The unit of integer times.
    pub time_unit: TimeUnit,
    /// The zone of times that carry none.
    pub timezone: TimeZone,
    /// Where to begin instead of at the checkpoint.
    pub from: Option<Begin>,
}

impl Settings {
    /// References from `input`, with every other setting at its default: no renamed columns, milliseconds, UTC.
    pub fn new(input: Input) -> Self {
        Self {
            input,
            format: Format::Reference,
            columns: BTreeMap::new(),
            time_unit: TimeUnit::Milliseconds,
            timezone: TimeZone::UTC,
            from: None,
        }
    }
}

/// What is read.
#[derive(Debug, Clone)]
pub enum Input {
    /// Comma-separated values with a header line.
    Csv {
        /// Which files.
        files: Files,
        /// The byte between two fields.
        delimiter: u8,
    },
    /// JSON objects: one a line, one after the other, or in arrays.
    Jsonl {
        /// Which files.
        files: Files,
    },
    /// Parquet files, which cannot be read from the standard input.
    Parquet {
        /// Which files.
        files: Files,
    },
    /// A query on a SQLite file, which is opened to be read only and never created.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The query.
        query: Query,
    },
    /// A query on Postgres, in one read-only transaction. The session keeps the settings of server, database and role.
    Postgres {
        /// `postgres://user:password@host:port/database?sslmode=…`
        url: SecretString,
        /// The query.
        query: Query,
    },
    /// A query on MySQL or MariaDB, in one read-only transaction. The session keeps the server's settings.
    Mysql {
        /// `mysql://user:password@host:port/database?sslmode=…`
        url: SecretString,
        /// The query.
        query: Query,
    },
}

/// Where to begin instead of at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// At the very beginning. All files are read again.
    Start,
    /// After this value of the cursor's column, without an overlap.
    Value(String),
}
