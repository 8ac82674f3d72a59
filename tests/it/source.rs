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
use yunxin_archiver::source::{Cursor, Files, Input, Overlap, Query, Settings};

/// A moment, and its spellings in databases.
const TIME: i64 = 1_753_951_805_248;

fn files(path: impl AsRef<std::path::Path>) -> Files {
    Files { path: path.as_ref().to_str().unwrap().to_owned(), skip_consumed: false }
}

fn csv(path: impl AsRef<std::path::Path>) -> Settings {
    Settings::new(Input::Csv { files: files(path), delimiter: b',' })
}

fn jsonl(path: impl AsRef<std::path::Path>) -> Settings {
    Settings::new(Input::Jsonl { files: files(path) })
}

fn query(sql: &str) -> Query {
    Query { sql: sql.to_owned(), cursor: None }
}

fn with_cursor(sql: &str, column: &str, overlap: Option<Overlap>) -> Query {
    Query { sql: sql.to_owned(), cursor: Some(Cursor { column: column.to_owned(), start: None, overlap }) }
}

fn secret(text: String) -> SecretString {
    SecretString::from(text)
}

/// The same settings with columns of other names.
fn renamed(mut settings: Settings, columns: &[(&str, &str)]) -> Settings {
    settings.columns = columns.iter().map(|&(field, input)| (field.to_owned(), input.to_owned())).collect();
    settings
}
