//! Where a job's references are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::columns::{self, Format};
use super::database::{self, DatabaseUrl, Mysql, Postgres};
use super::mistake::ConfigError;
use super::query::Query;
use super::reader::{Reader, path_text};
use super::secret::{Lookup, Secret};
use super::setting::{DigestValues, Scalar, Setting, defaults, text};
use crate::sql::Dialect;

one_of! {
    /// Where references are read.
    Source, SourceKind {
        /// CSV files with a header.
        Csv(CsvSource) = "csv";
        /// Files of JSON objects.
        Jsonl(JsonlSource) = "jsonl";
        /// Parquet files.
        Parquet(ParquetSource) = "parquet";
        /// A query of a SQLite file.
        Sqlite(SqliteSource) = "sqlite";
        /// A query of a Postgres database.
        Postgres(PostgresSource) = "postgres";
        /// A query of a MySQL or MariaDB database.
        Mysql(MysqlSource) = "mysql";
    }
}

settings! {
    /// CSV files with a header.
    pub CsvSource {
        /// The ASCII character between the fields of CSV, or `tab`.
        delimiter: u8 as Delimiter, default "','";
        ..files: Files;
        ..rows: Rows;
    }
}

settings! {
    /// Files of JSON objects.
    pub JsonlSource {
        ..files: Files;
        ..rows: Rows;
    }
}

settings! {
    /// Parquet files.
    pub ParquetSource {
        ..files: Files;
        ..rows: Rows;
    }
    check |source, reader, key| {
        if source.files.is_stdin() {
            reader.mistake(&format!("{key}.path"), "cannot be stdin: Parquet is read from its end");
        }
    }
}

settings! {
    /// A query of a SQLite file.
    pub SqliteSource {
        /// The SQLite file.
        path: PathBuf as SqliteFile, sample "refs.db", undigested "the digest has it as the place of the source";
        ..query: Query;
        ..rows: Rows;
    }
    check |source, reader, key| source.query.check(reader, key, Dialect::SQLITE)
}

settings! {
    /// A query of a Postgres database.
    pub PostgresSource {
        /// The URL of the database, `postgres://user@host:5432/database`. For MySQL: `mysql://user@host:3306/database`. With
        /// a password: `env:` or `file:`. In a user or password write `@` as `%40`, `/` as `%2F`, `:` as `%3A`, `#` as
        /// `%23`, `?` as `%3F`, `%` as `%25`. [Parameters](#parameters-of-a-url) follow a `?`.
        url: Secret as Lookup<DatabaseUrl<Postgres>>, sample "env:REFS_DATABASE_URL";
        ..query: Query;
        ..rows: Rows;
    }
    check |source, reader, key| source.query.check(reader, key, Dialect::POSTGRES)
}

settings! {
    /// A query of a MySQL or MariaDB database.
    pub MysqlSource {
        /// The URL of the database, `mysql://user@host:3306/database`. With a password: `env:` or `file:`.
        url: Secret as Lookup<DatabaseUrl<Mysql>>, sample "env:REFS_DATABASE_URL";
        ..query: Query;
        ..rows: Rows;
    }
    check |source, reader, key| source.query.check(reader, key, Dialect::MYSQL)
}

settings! {
    /// Files, read in the order of their paths.
    pub Files {
        /// A file, a [glob](#which-files-a-glob-names), or `-` for stdin. The wildcards are `*`, `?`, `[…]` and `**`.
        /// Parquet is not read from stdin. Files that end in `.gz` or `.zst` are decompressed.
        path: String as Pattern, sample "refs.csv";
        /// `files` skips files that an earlier run consumed. Not for stdin.
        skip_consumed ("cursor"): bool as SkipConsumed, default "null", sample "files";
    }
    check |files, reader, key| {
        if files.is_stdin() && files.skip_consumed {
            reader.mistake(&format!("{key}.cursor"), "needs files: stdin has no path to remember");
        }
    }
}

settings! {
    /// How rows are understood.
    pub Rows {
        /// What a row is: a reference, or an event of the message copy callback.
        format: Format, default "reference";
        /// The input's names of the fields, where they differ: `field: input name`.
        columns: BTreeMap<String, String>, default "{}";
        /// The unit of integer times.
        time_unit: TimeUnit, default "ms";
        /// The zone of times without one.
        timezone: TimeZone, default "UTC";
    }
    check |rows, reader, key| columns::check(&mut rows.columns, reader, &format!("{key}.columns"), rows.format)
}

impl Default for Rows {
    fn default() -> Self {
        defaults::<Self>()
    }
}

choice! {
    /// The unit of integer times.
    TimeUnit {
        /// Milliseconds.
        Milliseconds = "ms";
        /// Seconds.
        Seconds = "s";
    }
}

impl Source {
    /// How rows are understood.
    pub fn rows(&self) -> &Rows {
        match self {
            Self::Csv(CsvSource { rows, .. })
            | Self::Jsonl(JsonlSource { rows, .. })
            | Self::Parquet(ParquetSource { rows, .. })
            | Self::Sqlite(SqliteSource { rows, .. })
            | Self::Postgres(PostgresSource { rows, .. })
            | Self::Mysql(MysqlSource { rows, .. }) => rows,
        }
    }

    /// The files of a file source.
    pub fn files(&self) -> Option<&Files> {
        match self {
            Self::Csv(CsvSource { files, .. })
            | Self::Jsonl(JsonlSource { files, .. })
            | Self::Parquet(ParquetSource { files, .. }) => Some(files),
            Self::Sqlite(_) | Self::Postgres(_) | Self::Mysql(_) => None,
        }
    }

    /// The query of a query source.
    pub fn query(&self) -> Option<&Query> {
        match self {
            Self::Sqlite(SqliteSource { query, .. })
            | Self::Postgres(PostgresSource { query, .. })
            | Self::Mysql(MysqlSource { query, .. }) => Some(query),
            Self::Csv(_) | Self::Jsonl(_) | Self::Parquet(_) => None,
        }
    }

    /// What a stored cursor belongs to, `kind:column` or `kind:files`. A changed query goes on where the last one ended, and
    /// a changed cursor column starts anew.
    pub fn identity(&self) -> String {
        let column = match self.query() {
            None => "files",
            Some(query) => query.cursor.as_ref().map_or("", |cursor| cursor.column.as_str()),
        };
        format!("{}:{column}", self.kind().as_str())
    }

    /// Where a database is, without credentials: a path or `host:port/database`. `None` for files, whose place is a setting.
    pub(super) fn place(&self) -> Result<Option<String>, ConfigError> {
        Ok(match self {
            Self::Csv(_) | Self::Jsonl(_) | Self::Parquet(_) => None,
            Self::Sqlite(sqlite) => Some(sqlite.path.to_string_lossy().into_owned()),
            Self::Postgres(postgres) => Some(database::place::<Postgres>(&postgres.url)?),
            Self::Mysql(mysql) => Some(database::place::<Mysql>(&mysql.url)?),
        })
    }
}

impl Files {
    /// Whether they are the standard input.
    pub fn is_stdin(&self) -> bool {
        self.path == "-"
    }
}

/// A SQLite file, which is always opened to be read only.
pub(super) struct SqliteFile;

impl Setting for SqliteFile {
    type Written = String;
    type Value = PathBuf;

    fn schema() -> Json {
        text("path")
    }

    fn read(reader: &mut Reader<'_>, written: String, key: &str) -> Option<PathBuf> {
        // Other clients of SQLite take URLs, whose parameters would have no effect here.
        if written.starts_with("sqlite:") || written.starts_with("file:") {
            let message = "is a URL: write the path of the file alone, which is always opened to be read only";
            reader.mistake(key, message);
            return None;
        }
        reader.path(written, key)
    }

    fn canonical(value: &PathBuf) -> Json {
        PathBuf::canonical(value)
    }
}

/// Which files: a pattern for the `glob` crate, absolute, in which only the wildcards of the setting count; or `-`.
pub(super) struct Pattern;

impl Setting for Pattern {
    type Written = String;
    type Value = String;

    fn schema() -> Json {
        text("path, glob or `-`")
    }

    fn read(reader: &mut Reader<'_>, written: String, key: &str) -> Option<String> {
        let base = reader.base.to_owned();
        reader.text(written, key, true, |text| pattern(text, &base))
    }

    fn canonical(value: &String) -> Json {
        json!(value)
    }
}

fn pattern(text: &str, base: &Path) -> Result<String, String> {
    let text = path_text(text)?;
    if text == "-" {
        return Ok(text.to_owned());
    }
    let not_utf8 = "cannot be found: the directory of this file has a name that is not UTF-8";
    if !text.contains(['*', '?', '[']) {
        let path: PathBuf = base.join(text).components().collect();
        return path.to_str().map(glob::Pattern::escape).ok_or_else(|| not_utf8.to_owned());
    }
    glob::Pattern::new(text).map_err(|e| format!("is no pattern of files: {}", e.msg))?;
    if Path::new(text).is_absolute() {
        return Ok(text.to_owned());
    }
    let base = base.to_str().ok_or(not_utf8)?;
    let text = text.strip_prefix("./").filter(|rest| !rest.starts_with('/')).unwrap_or(text);
    Ok(format!("{}/{text}", glob::Pattern::escape(base)))
}

/// Whether files that an earlier run consumed are skipped.
pub(super) struct SkipConsumed;

impl Setting for SkipConsumed {
    type Written = Option<String>;
    type Value = bool;

    fn schema() -> Json {
        json!({ "enum": ["files"] })
    }

    fn read(reader: &mut Reader<'_>, written: Option<String>, key: &str) -> Option<bool> {
        let Some(written) = written else { return Some(false) };
        reader.text(written, key, true, |text| {
            if text == "files" { Ok(true) } else { Err("is unknown here: write files".to_owned()) }
        })
    }

    fn canonical(value: &bool) -> Json {
        json!(value)
    }

    fn tell(value: &bool, _: &str, told: &mut DigestValues) {
        told.insert("source.skip_consumed".to_owned(), json!(value));
    }
}

/// The ASCII character between fields.
pub(super) struct Delimiter;

impl Scalar for Delimiter {
    type Value = u8;

    fn schema() -> Json {
        text("a character or `tab`")
    }

    fn parse(text: &str) -> Result<u8, String> {
        match text.as_bytes() {
            b"tab" | b"\\t" => Ok(b'\t'),
            [b'"' | b'\r' | b'\n'] => Err("cannot separate fields".to_owned()),
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err("is no single ASCII character, such as \";\" or tab".to_owned()),
        }
    }

    fn canonical(value: &u8) -> Json {
        json!(char::from(*value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_escapes_the_directory_it_is_relative_to() {
        assert_eq!(pattern("in/*.csv", Path::new("/a[1]")), Ok("/a[[]1[]]/in/*.csv".into()));
        assert_eq!(pattern("./refs.csv", Path::new("/a")), Ok("/a/refs.csv".into()));
        assert_eq!(pattern("-", Path::new("/a")), Ok("-".into()));
        assert!(pattern("a/***", Path::new("/a")).is_err());
    }
}
