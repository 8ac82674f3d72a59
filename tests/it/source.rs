//! References from every kind of source.

mod compressed;
mod files;
mod forms;
mod listing;
mod mysql;
mod mysql_session;
mod no_record;
mod parquet;
mod pooler;
mod postgres;
mod postgres_session;
mod sqlite;
mod sqlite_state;
mod text;
mod times;

use secrecy::SecretString;
use yunxin_archiver::config::{
    CsvSource, JsonlSource, MysqlSource, ParquetSource, PostgresSource, Rows, Source, SqliteSource,
};
use yunxin_archiver::source::{Cursor, Files, Overlap, Query, Settings};

/// A moment, and its spellings in databases.
const TIME: i64 = 1_753_951_805_248;

fn files(path: impl AsRef<std::path::Path>) -> Files {
    Files { path: path.as_ref().to_str().unwrap().to_owned(), skip_consumed: false }
}

fn csv(path: impl AsRef<std::path::Path>) -> Settings {
    of_csv(files(path))
}

fn jsonl(path: impl AsRef<std::path::Path>) -> Settings {
    of_jsonl(files(path))
}

fn of_csv(files: Files) -> Settings {
    Settings::new(Source::Csv(CsvSource { delimiter: b',', files, rows: Rows::default() }))
}

fn of_jsonl(files: Files) -> Settings {
    Settings::new(Source::Jsonl(JsonlSource { files, rows: Rows::default() }))
}

fn of_parquet(files: Files) -> Settings {
    Settings::new(Source::Parquet(ParquetSource { files, rows: Rows::default() }))
}

fn of_sqlite(path: &std::path::Path, query: Query) -> Settings {
    Settings::new(Source::Sqlite(SqliteSource { path: path.to_owned(), query, rows: Rows::default() }))
}

fn of_postgres(url: String, query: Query) -> Settings {
    let url = SecretString::from(url).into();
    Settings::new(Source::Postgres(PostgresSource { url, query, rows: Rows::default() }))
}

fn of_mysql(url: String, query: Query) -> Settings {
    let url = SecretString::from(url).into();
    Settings::new(Source::Mysql(MysqlSource { url, query, rows: Rows::default() }))
}

/// How rows are understood.
fn rows_of(settings: &mut Settings) -> &mut Rows {
    match &mut settings.source {
        Source::Csv(CsvSource { rows, .. })
        | Source::Jsonl(JsonlSource { rows, .. })
        | Source::Parquet(ParquetSource { rows, .. })
        | Source::Sqlite(SqliteSource { rows, .. })
        | Source::Postgres(PostgresSource { rows, .. })
        | Source::Mysql(MysqlSource { rows, .. }) => rows,
    }
}

fn query(sql: &str) -> Query {
    Query { sql: sql.to_owned(), cursor: None }
}

fn with_cursor(sql: &str, column: &str, overlap: Option<Overlap>) -> Query {
    Query { sql: sql.to_owned(), cursor: Some(Cursor { column: column.to_owned(), start: None, overlap }) }
}

/// The same settings with columns of other names.
fn renamed(mut settings: Settings, columns: &[(&str, &str)]) -> Settings {
    rows_of(&mut settings).columns =
        columns.iter().map(|&(field, input)| (field.to_owned(), input.to_owned())).collect();
    settings
}
