//! What is said of the settings elsewhere: the JSON schema, and the tables in docs/configuration.md.

use serde_json::{Value as Json, json};

use super::app::App;
use super::document::Document;
use super::job::{Fetch, Job};
use super::query::Cursor;
use super::setting::{Key, Setting};
use super::sink::{ParquetSink, PostgresSink};
use super::source::{CsvSource, PostgresSource, Rows, SqliteSource};

/// The JSON schema of `jobs.yaml`, for editors.
pub fn json_schema() -> Json {
    let mut schema = Document::schema();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("yunxin-archiver jobs.yaml");
    schema
}

/// The tables of docs/configuration.md: the line that stands before each, and its rows.
pub fn tables() -> Vec<(&'static str, String)> {
    let mut queries = SqliteSource::keys();
    queries.splice(0..0, PostgresSource::keys().into_iter().take(1));
    let without_rows = |mut keys: Vec<Key>| {
        keys.truncate(keys.len() - Rows::keys().len());
        keys
    };
    [
        ("## Top level", Document::keys()),
        ("## Apps", App::keys()),
        ("## Jobs", Job::keys()),
        ("### File sources", without_rows(CsvSource::keys())),
        ("### Query sources", without_rows(queries)),
        ("The keys of a query's `cursor`:", Cursor::keys()),
        ("### Rows", Rows::keys()),
        ("## Fetch", Fetch::keys()),
        ("### Parquet sink", ParquetSink::keys()),
        ("### Postgres sink", PostgresSink::keys()),
    ]
    .map(|(heading, mut keys)| {
        keys.sort_by_key(|key| key.spec.default.is_some());
        (heading, keys.iter().map(row).collect())
    })
    .into()
}

fn row(key: &Key) -> String {
    let default = match key.spec.default {
        None => "required".to_owned(),
        Some("null") => "none".to_owned(),
        Some(default) => format!("`{}`", default.trim_matches('\'')),
    };
    let since = key.spec.since.map(|version| format!(" Since {version}.")).unwrap_or_default();
    let about = key.spec.about.concat().trim().replace('|', "\\|");
    format!("| `{}` | {} | {default} | {about}{since} |\n", key.spec.name, form(&key.schema).replace('|', "\\|"))
}

/// What the documentation calls the type of a schema.
fn form(schema: &Json) -> String {
    if let Some(title) = schema["title"].as_str() {
        return title.to_owned();
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().filter_map(Json::as_str).map(|word| format!("`{word}`")).collect();
        return match words.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            _ => words.concat(),
        };
    }
    match schema["type"].as_str() {
        Some("integer") => format!("{} to {}", schema["minimum"], schema["maximum"]),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("array") => format!("list of {}", form(&schema["items"])),
        Some(_) => "map".to_owned(),
        // The value itself stands before what may stand for it.
        None => form(&schema["anyOf"][0]),
    }
}
