//! The settings of a source. Whoever read the configuration has checked them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use secrecy::SecretString;

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

/// Files, read in the order of their paths.
#[derive(Debug, Clone)]
pub struct Files {
    /// A path, a glob (`*`, `?`, `[…]`, `**`; hidden files only by a literal dot), or `-` for the standard input.
    pub path: String,
    /// Whether files that the checkpoint names and that have not changed are passed over (`cursor: files`).
    pub skip_consumed: bool,
}

/// A query and its cursor.
#[derive(Debug, Clone)]
pub struct Query {
    /// The statement. With a cursor it holds `:after`, which is bound in the cursor column's own type.
    pub sql: String,
    /// How the query goes on where it ended.
    pub cursor: Option<Cursor>,
}

/// The column that shows where a query ended and has to go on.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// One of the query's output columns.
    pub column: String,
    /// Where the first run begins; by default 0 or the epoch. The overlap never reaches back beyond it.
    pub start: Option<String>,
    /// How far before the highest value the next run begins; by default 1000, or a day for times.
    pub overlap: Option<Overlap>,
}

/// How far a query reaches back, to catch rows that became visible late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// For an integer column.
    Number(u64),
    /// For a timestamp column, or a column of SQLite that holds times as text.
    Duration(Duration),
}

/// Where to begin instead of at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// At the very beginning. All files are read again.
    Start,
    /// After this value of the cursor's column, without an overlap.
    Value(String),
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A reference: a conversation, a message ID and a create time.
    Reference,
    /// A message copy event.
    CopyEvent,
}

/// The unit in which integer times count from the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}
