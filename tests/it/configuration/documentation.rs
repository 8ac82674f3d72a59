//! Templates, the example, the schema and the documentation agree with what a file may hold.

use std::collections::BTreeSet;
use std::path::PathBuf;

use yunxin_archiver::config::{Config, SinkKind, SourceKind, json_schema, template};

use super::parse;

#[test]
fn the_template_of_every_source_and_sink_is_right_as_it_is() {
    for source in SourceKind::ALL {
        for sink in SinkKind::ALL {
            let text = template(source, sink);
            let config = parse(&text).unwrap_or_else(|error| panic!("{error}\nof\n{text}"));
            assert_eq!((config.jobs[0].source.origin.kind(), config.jobs[0].sink.kind()), (source, sink));
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
    let sources: Vec<SourceKind> = config.jobs.iter().map(|job| job.source.origin.kind()).collect();
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

#[test]
fn the_documentation_tells_every_key_of_the_schema_with_its_default() {
    let docs = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let schema = json_schema();
    for key in schema_keys(&schema) {
        assert!(docs.lines().any(|line| line.starts_with(&format!("| `{key}` |"))), "{key} has no row");
    }
    let definitions = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for properties in definitions.filter_map(|definition| definition["properties"].as_object()) {
        for (key, property) in properties {
            let default = match property.get("default") {
                None => continue,
                Some(serde_json::Value::String(text)) => text.clone(),
                Some(serde_json::Value::Null) => String::new(),
                Some(other) => other.to_string().replace('"', ""),
            };
            let row = format!("| `{key}` |");
            let told = docs.lines().any(|line| line.starts_with(&row) && line.contains(&format!("`{default}`")));
            assert!(default.is_empty() || told, "the row of {key} does not tell its default {default}");
        }
    }
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
    for (name, definition) in schema["$defs"].as_object().unwrap().iter().chain([(&"root".to_owned(), &schema)]) {
        let Some(properties) = definition["properties"].as_object() else { continue };
        assert_eq!(definition["additionalProperties"], false, "{name}");
        for (key, property) in properties {
            assert!(property.get("description").is_some(), "{name}.{key} has no description");
        }
    }
}
