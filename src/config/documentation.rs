//! What is said of the settings elsewhere: the JSON schema, and the tables in docs/configuration.md.

use serde_json::{Value as Json, json};

use super::app::App;
use super::document::Document;
use super::fleet::Fleet;
use super::job::{Fetch, Job};
use super::notify::{Hooks, Metrics, Ping, PingOn};
use super::query::{Cursor, Query};
use super::setting::{Key, Setting};
use super::sink::Sink;
use super::source::{Files, Rows, Source};
use super::store::Storage;

/// The JSON schema of `jobs.yaml`, for editors.
pub fn json_schema() -> Json {
    let mut schema = Document::schema();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("yunxin-archiver jobs.yaml");
    schema
}

/// The tables of docs/configuration.md: the line that stands before each, and its rows.
pub fn tables() -> Vec<(String, String)> {
    let mut tables = vec![
        ("## Top level".to_owned(), Document::keys()),
        ("## Metrics".to_owned(), Metrics::keys()),
        ("## Pings".to_owned(), Ping::keys()),
        ("### The keys of `on`".to_owned(), PingOn::keys()),
        ("## Hooks".to_owned(), Hooks::keys()),
        ("## Fleet".to_owned(), Fleet::keys()),
        ("## Apps".to_owned(), App::keys()),
        ("## Jobs".to_owned(), Job::keys()),
        ("### File sources".to_owned(), source_keys(&Files::keys())),
        ("### Query sources".to_owned(), source_keys(&Query::keys())),
        ("The keys of a query's `cursor`:".to_owned(), Cursor::keys()),
        ("### Rows".to_owned(), Rows::keys()),
        ("## Fetch".to_owned(), Fetch::keys()),
        ("### Object stores".to_owned(), Storage::keys()),
    ];
    for sink in Sink::keys() {
        let (initial, rest) = sink.spec.name.split_at(1);
        tables.push((format!("### {}{rest} sink", initial.to_uppercase()), sink.keys));
    }
    let text = |mut keys: Vec<Key>| {
        keys.sort_by_key(|key| key.spec.default.is_some());
        keys.iter().map(row).collect()
    };
    tables.into_iter().map(|(heading, keys)| (heading, text(keys))).collect()
}

/// The keys of the sources that take those of the mapping `group`, each once, without those that say how rows are understood.
fn source_keys(group: &[Key]) -> Vec<Key> {
    let is_of = |key: &Key, group: &[Key]| group.iter().any(|other| std::ptr::eq(other.spec, key.spec));
    let kinds = Source::keys().into_iter().filter(|kind| kind.keys.iter().any(|key| is_of(key, group)));
    let mut found: Vec<Key> = Vec::new();
    for key in kinds.flat_map(|kind| kind.keys).filter(|key| !is_of(key, &Rows::keys())) {
        if found.iter().all(|other| other.spec.name != key.spec.name) {
            found.push(key);
        }
    }
    found
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
