//! What a source is told: plain values, checked by whoever read the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use secrecy::SecretString;

/// A source and how its rows are to be understood.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is read.
    pub input: Input,
    /// What a row is.
    pub format: Format,
    /// Field to input name, for names other than the fields' own; see [`field_names`](super::field_names).
    pub columns: BTreeMap<String, String>,
    /// What integer times count.
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
        /// What stands between two fields.
        delimiter: u8,
    },
    /// JSON objects: one a line, one after the other, or in arrays.
    Jsonl {
        /// Which files.
        files: Files,
    },
    /// Parquet, never from the standard input.
    Parquet {
        /// Which files.
        files: Files,
    },
    /// A query on a SQLite file, which is opened read-only and never created.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What is asked.
        query: Query,
    },
    /// A query on Postgres, in one read-only transaction. The session is as server, database and role set it.
    Postgres {
        /// `postgres://user:password@host:port/database?sslmode=…`
        url: SecretString,
        /// What is asked.
        query: Query,
    },
    /// A query on MySQL or MariaDB, in a read-only transaction. The session is as the server sets it.
    Mysql {
        /// `mysql://user:password@host:port/database?sslmode=…`
        url: SecretString,
        /// What is asked.
        query: Query,
    },
}

/// Files, read in the order of their paths.
#[derive(Debug, Clone)]
pub struct Files {
    /// A path, a glob (`*`, `?`, `[…]`, `**`; hidden files only by a literal dot), or `-` for the standard input.
    pub path: String,
    /// Whether files that the checkpoint names, and that did not change since, are passed over (`cursor: files`).
    pub skip_consumed: bool,
}

/// A query and its cursor.
#[derive(Debug, Clone)]
pub struct Query {
    /// The statement. With a cursor it holds `:after`, which is bound in the cursor column's own type.
    pub sql: String,
    /// Where the query goes on.
    pub cursor: Option<Cursor>,
}

/// The column by which a query goes on where it ended.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// One of the query's output columns.
    pub column: String,
    /// Where the first run begins; by default 0 or the epoch. Never undercut by the overlap.
    pub start: Option<String>,
    /// How far before its highest value the next run begins again; by default 1000, or a day for times.
    pub overlap: Option<Overlap>,
}

/// How far a query reaches back, for rows that became visible late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Of an integer column.
    Number(u64),
    /// Of a timestamp column, or of a column of SQLite that holds times as text.
    Duration(Duration),
}

/// Where to begin instead of at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// At the very beginning; for files, all of them.
    Start,
    /// After this value of the cursor column, without overlap.
    Value(String),
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A reference: conversation, message ID, create time.
    Reference,
    /// A message copy event.
    CopyEvent,
}

/// What integer times count since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}
