//! What a job's source means.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::database::{DatabaseUrl, Engine};
use super::document::SourceDocument;
use super::field::{Field, Format, read_columns};
use super::query::{Query, read_query};
use super::reading::{Reading, path_text, plain};
use super::written::{Entries, Leaf, OneKind, Position, Written};
use crate::sql::Dialect;

/// Where references are read.
#[derive(Debug, Clone)]
pub struct Source {
    /// Files, or a query.
    pub origin: Origin,
    /// What a row is.
    pub format: Format,
    /// The input's names of fields, where they differ from the fields' own, each field at most once.
    pub columns: Vec<(Field, String)>,
    /// The unit of integer times.
    pub time_unit: TimeUnit,
    /// The zone of times without one.
    pub timezone: TimeZone,
}

/// Files, or a query.
#[derive(Debug, Clone)]
pub enum Origin {
    /// CSV files with a header.
    Csv {
        /// The files.
        files: Files,
        /// The ASCII character between fields.
        delimiter: u8,
    },
    /// Files of one JSON object a line.
    Jsonl {
        /// The files.
        files: Files,
    },
    /// Parquet files.
    Parquet {
        /// The files.
        files: Files,
    },
    /// A SQLite database.
    Sqlite {
        /// The database file, absolute.
        path: PathBuf,
        /// The query.
        query: Query,
    },
    /// A Postgres database.
    Postgres {
        /// The database.
        url: DatabaseUrl,
        /// The query.
        query: Query,
    },
    /// A MySQL or MariaDB database.
    Mysql {
        /// The database.
        url: DatabaseUrl,
        /// The query.
        query: Query,
    },
}

impl Origin {
    /// The kind, as it is written.
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Csv { .. } => SourceKind::Csv,
            Self::Jsonl { .. } => SourceKind::Jsonl,
            Self::Parquet { .. } => SourceKind::Parquet,
            Self::Sqlite { .. } => SourceKind::Sqlite,
            Self::Postgres { .. } => SourceKind::Postgres,
            Self::Mysql { .. } => SourceKind::Mysql,
        }
    }
}

/// The kinds of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SourceKind {
    Csv,
    Jsonl,
    Parquet,
    Sqlite,
    Postgres,
    Mysql,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Csv, Self::Jsonl, Self::Parquet, Self::Sqlite, Self::Postgres, Self::Mysql];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
        }
    }
}

/// The files of a file source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Which files.
    pub input: Input,
    /// Whether files that were already consumed are skipped.
    pub skip_consumed: bool,
}

/// Which files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// One file, absolute.
    File(PathBuf),
    /// A pattern of files for the `glob` crate, absolute; the directory it is relative to is escaped.
    Glob(String),
}

impl Input {
    /// As one pattern for the `glob` crate, or `-`; a file's own special characters are escaped.
    pub fn pattern(&self) -> String {
        match self {
            Self::Stdin => "-".to_owned(),
            Self::File(path) => glob::Pattern::escape(&path.to_string_lossy()),
            Self::Glob(pattern) => pattern.clone(),
        }
    }
}

/// The unit of integer times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// The keys that every kind of source has.
struct Rows<'a> {
    format: &'a Leaf,
    columns: &'a Option<Entries<Written<String>>>,
    time_unit: &'a Leaf,
    timezone: &'a Leaf,
}

macro_rules! rows {
    ($written:expr) => {
        Rows {
            format: &$written.format,
            columns: &$written.columns,
            time_unit: &$written.time_unit,
            timezone: &$written.timezone,
        }
    };
}

impl Source {
    pub(super) fn read(
        reading: &mut Reading<'_>,
        written: &Written<OneKind<SourceDocument>>,
        key: &str,
    ) -> Option<Self> {
        let at = written.at;
        let (origin, kind, rows) = match &written.value.0 {
            SourceDocument::Csv(csv) => {
                let key = format!("{key}.csv");
                let files = read_files(reading, &csv.path, &csv.cursor, at, &key);
                let delimiter = reading.value(&csv.delimiter, &format!("{key}.delimiter"), b',', delimiter);
                (files.map(|files| Origin::Csv { files, delimiter }), "csv", rows!(csv))
            }
            SourceDocument::Jsonl(files) => {
                let read = read_files(reading, &files.path, &files.cursor, at, &format!("{key}.jsonl"));
                (read.map(|files| Origin::Jsonl { files }), "jsonl", rows!(files))
            }
            SourceDocument::Parquet(files) => {
                let key = format!("{key}.parquet");
                let read = read_files(reading, &files.path, &files.cursor, at, &key);
                if let (Some(Files { input: Input::Stdin, .. }), Some(path)) = (&read, &files.path) {
                    let message = "cannot be stdin: Parquet is read from its end";
                    reading.mistake(path.at, &format!("{key}.path"), message);
                }
                (read.map(|files| Origin::Parquet { files }), "parquet", rows!(files))
            }
            SourceDocument::Sqlite(sqlite) => {
                let key = format!("{key}.sqlite");
                let path_key = format!("{key}.path");
                if sqlite.path.is_none() {
                    reading.missing(at, &path_key, "the database file");
                }
                if let Some(path) = sqlite.path.as_ref().filter(|path| is_url(&path.value)) {
                    let message = "is a URL: write the path of the file alone, which is always opened to be read only";
                    reading.mistake(path.at, &path_key, message);
                }
                let path = reading.path(&sqlite.path, &path_key, ".");
                let query = read_query(reading, &sqlite.query, sqlite.cursor.as_ref(), Dialect::SQLITE, at, &key);
                let origin = sqlite.path.as_ref().and(query).map(|query| Origin::Sqlite { path, query });
                (origin, "sqlite", rows!(sqlite))
            }
            SourceDocument::Postgres(database) => {
                let key = format!("{key}.postgres");
                let url = DatabaseUrl::read(reading, &database.url, Engine::Postgres, at, &format!("{key}.url"));
                let query = read_query(reading, &database.query, database.cursor.as_ref(), Dialect::POSTGRES, at, &key);
                (url.zip(query).map(|(url, query)| Origin::Postgres { url, query }), "postgres", rows!(database))
            }
            SourceDocument::Mysql(database) => {
                let key = format!("{key}.mysql");
                let url = DatabaseUrl::read(reading, &database.url, Engine::Mysql, at, &format!("{key}.url"));
                let query = read_query(reading, &database.query, database.cursor.as_ref(), Dialect::MYSQL, at, &key);
                (url.zip(query).map(|(url, query)| Origin::Mysql { url, query }), "mysql", rows!(database))
            }
        };
        let key = format!("{key}.{kind}");
        let formats = [("reference", Format::Reference), ("copy_event", Format::CopyEvent)];
        let format = reading.choice(rows.format, &format!("{key}.format"), Format::Reference, &formats);
        let columns = read_columns(reading, rows.columns.as_ref(), format, &format!("{key}.columns"));
        let units = [("ms", TimeUnit::Milliseconds), ("s", TimeUnit::Seconds)];
        let time_unit = reading.choice(rows.time_unit, &format!("{key}.time_unit"), TimeUnit::Milliseconds, &units);
        let timezone = reading.timezone(rows.timezone, &format!("{key}.timezone"));
        origin.map(|origin| Self { origin, format, columns, time_unit, timezone })
    }
}

/// Whether a path is written as SQLite's other clients take one, with parameters that would have no effect here.
fn is_url(path: &str) -> bool {
    path.starts_with("sqlite:") || path.starts_with("file:")
}

fn read_files(reading: &mut Reading<'_>, path: &Leaf, cursor: &Leaf, at: Position, key: &str) -> Option<Files> {
    let path_key = format!("{key}.path");
    if path.is_none() {
        reading.missing(at, &path_key, "a file, a glob, or - for stdin");
    }
    let base = reading.base.to_owned();
    let input = reading.optional(path, &path_key, |text| input(text, &base));
    let skip_consumed = reading.choice(cursor, &format!("{key}.cursor"), false, &[("files", true)]);
    if let (Some(Input::Stdin), true, Some(cursor)) = (&input, skip_consumed, cursor) {
        reading.mistake(cursor.at, &format!("{key}.cursor"), "needs files: stdin has no path to remember");
    }
    input.map(|input| Files { input, skip_consumed })
}

fn input(text: &str, base: &Path) -> Result<Input, String> {
    let text = path_text(text)?;
    if text == "-" {
        return Ok(Input::Stdin);
    }
    let not_utf8 = "cannot be found: the directory of this file has a name that is not UTF-8";
    if !text.contains(['*', '?', '[']) {
        let path = plain(&base.join(text));
        return if path.to_str().is_some() { Ok(Input::File(path)) } else { Err(not_utf8.to_owned()) };
    }
    glob::Pattern::new(text).map_err(|e| format!("is no pattern of files: {}", e.msg))?;
    if Path::new(text).is_absolute() {
        return Ok(Input::Glob(text.to_owned()));
    }
    let base = base.to_str().ok_or(not_utf8)?;
    let text = text.strip_prefix("./").filter(|rest| !rest.starts_with('/')).unwrap_or(text);
    Ok(Input::Glob(format!("{}/{text}", glob::Pattern::escape(base))))
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [b'"' | b'\r' | b'\n'] => Err("cannot separate fields".to_owned()),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("is no single ASCII character, such as \";\" or tab".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_escapes_the_directory_it_is_relative_to() {
        assert_eq!(input("in/*.csv", Path::new("/a[1]")), Ok(Input::Glob("/a[[]1[]]/in/*.csv".into())));
        assert_eq!(input("./refs.csv", Path::new("/a")), Ok(Input::File("/a/refs.csv".into())));
        assert_eq!(input("-", Path::new("/a")), Ok(Input::Stdin));
        assert!(input("a/***", Path::new("/a")).is_err());
    }
}
