//! `jobs.yaml`: what it means, and what it says of mistakes.

mod documentation;
mod lookup;
mod mistakes;
mod settings;

use std::path::Path;

use yunxin_archiver::config::{Config, ConfigError};

const MINIMAL: &str = "\
version: 1
apps:
  main: { app_key: env:KEY, app_secret: env:SECRET }
jobs:
  nightly:
    app: main
    source: { csv: { path: refs.csv } }
    sink: { parquet: {} }
";

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "KEY" => "0123456789abcdef",
        "SECRET" => "s3cr3t",
        "CODE" => "414",
        "CLASS" => "unanswered",
        "DB" => "postgres://user:s3cr3t@Db.Example/refs",
        "SAME_DB" => "postgresql://other:s3cr3t@db.example:5432/refs",
        "ZONE" => "Asia/Shanghai",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("jobs.yaml"), Path::new("/etc/yunxin"), environment)
}

fn mistakes(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("no mistake was found in\n{text}"),
        Err(error) => {
            let debug = format!("{error:?}");
            assert!(!debug.contains("hunter2") && !debug.contains("s3cr3t"), "{debug}");
            error.to_string()
        }
    }
}

/// The minimal file with one of its lines, or a part of one, replaced.
fn with(old: &str, new: &str) -> String {
    assert!(MINIMAL.contains(old), "{old}");
    MINIMAL.replacen(old, new, 1)
}

const APP: &str = "{ app_key: env:KEY, app_secret: env:SECRET }";
const SOURCE: &str = "{ csv: { path: refs.csv } }";
const SINK: &str = "{ parquet: {} }";

fn app(keys: &str) -> String {
    with(APP, &format!("{{ app_key: env:KEY, app_secret: env:SECRET, {keys} }}"))
}

fn source(written: &str) -> String {
    with(SOURCE, written)
}

fn sink(written: &str) -> String {
    with(SINK, written)
}

fn job(line: &str) -> String {
    format!("{MINIMAL}    {line}\n")
}

fn fetch(keys: &str) -> String {
    job(&format!("fetch: {{ {keys} }}"))
}

fn query(cursor: &str) -> String {
    source(&format!("{{ sqlite: {{ path: refs.db, query: 'select * from r where id > :after', cursor: {cursor} }} }}"))
}
