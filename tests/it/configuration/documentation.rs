//! Templates, the example, the schema and the documentation agree with what a file may hold.

use std::collections::BTreeSet;
use std::path::PathBuf;

use yunxin_archiver::config::{Config, SinkKind, SourceKind, example, json_schema, tables, template};

use super::parse;

#[test]
fn the_template_of_every_source_and_sink_is_right_as_it_is() {
    for source in SourceKind::ALL {
        for sink in SinkKind::ALL {
            let text = template(source, sink);
            let config = parse(&text).unwrap_or_else(|error| panic!("{error}\nof\n{text}"));
            assert_eq!((config.jobs[0].source.kind(), config.jobs[0].sink.kind()), (source, sink));
            // What is commented out is right as well, and says the default.
            let full = uncommented(&text);
            let full = parse(&full).unwrap_or_else(|error| panic!("{error}\nof\n{full}"));
            assert_eq!(format!("{:?}", full.jobs), format!("{:?}", config.jobs));
        }
    }
}

/// The template with its commented keys in force; prose in comments has no colon after its first word.
fn uncommented(text: &str) -> String {
    let is_key = |rest: &str| {
        let name = rest.trim_start().split(':').next().unwrap_or_default();
        rest.contains(':') && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !name.is_empty()
    };
    let line = |line: &str| match line.split_once("# ") {
        Some((indent, rest)) if indent.trim().is_empty() && is_key(rest) => format!("{indent}{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_example_is_right_and_shows_every_key_source_and_sink() {
    let path = root().join("jobs.example.yaml");
    let config = Config::load(&path).unwrap();
    let sources: Vec<SourceKind> = config.jobs.iter().map(|job| job.source.kind()).collect();
    assert!(SourceKind::ALL.iter().all(|kind| sources.contains(kind)), "{sources:?}");
    let sinks: Vec<SinkKind> = config.jobs.iter().map(|job| job.sink.kind()).collect();
    assert!(SinkKind::ALL.iter().all(|kind| sinks.contains(kind)), "{sinks:?}");
    let text = std::fs::read_to_string(path).unwrap();
    for key in schema_keys(&json_schema()) {
        assert!(text.contains(&format!("{key}:")), "{key} is not in the example");
    }
}

/// Every key of every object of a schema.
fn schema_keys(schema: &serde_json::Value) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut rest = vec![schema];
    while let Some(value) = rest.pop() {
        if let Some(properties) = value.get("properties").and_then(serde_json::Value::as_object) {
            keys.extend(properties.keys().cloned());
        }
        match value {
            serde_json::Value::Object(map) => rest.extend(map.values()),
            serde_json::Value::Array(items) => rest.extend(items),
            _ => {}
        }
    }
    keys
}

/// `text` is what stands in a file of the repository, or with `UPDATE_DOCS=1` becomes it.
fn documents(file: &str, text: &str) {
    let path = root().join(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, text).unwrap();
    } else {
        let found = std::fs::read_to_string(path).unwrap();
        assert!(found == text, "{file} is not what UPDATE_DOCS=1 makes of it");
    }
}

#[test]
fn the_example_follows_the_settings() {
    documents("jobs.example.yaml", &example());
}

#[test]
fn the_tables_of_the_documentation_follow_the_settings() {
    let mut docs = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut rows = String::new();
    for (before, table) in tables() {
        let head = "| key | type | default | meaning |\n|---|---|---|---|\n";
        let section = docs.find(&format!("\n{before}\n")).unwrap_or_else(|| panic!("{before} is not there"));
        let start = section + docs[section..].find(head).unwrap() + head.len();
        let end = start + docs[start..].find("\n\n").unwrap() + 1;
        docs.replace_range(start..end, &table);
        rows += &table;
    }
    documents("docs/configuration.md", &docs);
    for key in schema_keys(&json_schema()).difference(&kinds()) {
        assert!(rows.contains(&format!("| `{key}` |")), "{key} has no row");
    }
}

/// The kinds of sources and sinks have tables of their own.
fn kinds() -> BTreeSet<String> {
    SourceKind::ALL
        .map(SourceKind::as_str)
        .iter()
        .chain(&SinkKind::ALL.map(SinkKind::as_str))
        .map(|k| (*k).to_owned())
        .collect()
}

#[test]
fn the_smallest_file_of_the_documentation_works() {
    let docs = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let yaml = docs.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(parse(yaml).unwrap().jobs[0].name, "nightly");
}

#[test]
fn the_schema_closes_every_object_and_describes_every_key() {
    let schema = json_schema();
    let mut rest = vec![&schema];
    let mut objects = 0;
    while let Some(value) = rest.pop() {
        if let Some(properties) = value["properties"].as_object() {
            objects += 1;
            assert_eq!(value["additionalProperties"], false, "{value}");
            for (key, property) in properties {
                assert!(
                    property["description"].as_str().is_some_and(|about| about.len() > 5),
                    "{key} is not described"
                );
            }
        }
        rest.extend(value.as_object().into_iter().flat_map(|map| map.values()));
        rest.extend(value.as_array().into_iter().flatten());
    }
    assert!(objects > 10, "{schema}");
}
