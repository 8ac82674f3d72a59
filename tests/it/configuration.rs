//! `jobs.yaml`: what it means, and what it says of mistakes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use yunxin_archiver::config::{
    ApiVersion, Compression, Concurrency, Config, ConfigError, Encodings, Field, Format, Input, Origin, Overlap,
    Partition, Sink, SinkKind, SourceKind, TeamOwner, Threads, TimeUnit, json_schema, template,
};
use yunxin_archiver::failure::Class;

mod mistakes;

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

const EVERY_DEFAULT: &str = "\
version: 1
state: ./state
apps:
  main:
    app_key: env:KEY
    app_secret: env:SECRET
    region: cn
    api_version: v2.1
    rate_limit: 100
    ca_file: null
jobs:
  nightly:
    app: main
    source:
      csv:
        path: refs.csv
        cursor: null
        delimiter: ','
        format: reference
        columns: {}
        time_unit: ms
        timezone: UTC
    fetch:
      batch_size: 100
      concurrency: auto
      timeout: 15s
      attempts: 6
      give_up_after: 10m
      retry_for: 7d
      team_owner: merge
      threads: off
      thread_depth: 32
    sink:
      parquet:
        path: ./archive
        partition_by: [date]
        timezone: UTC
        compression: zstd(3)
        max_file_size: 256MB
        commit_interval: 5m
        memory: 256MB
        encodings: compatible
        raw: false
    tolerate: []
    plan_window: 1000000
    history: 400d
";

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "KEY" => "0123456789abcdef",
        "SECRET" => "s3cr3t",
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

#[test]
fn a_minimal_file_has_every_default() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.state, Path::new("/etc/yunxin/state"));
    assert!(config.warnings.is_empty());
    let app = &config.apps[0];
    let endpoints: Vec<&str> = app.endpoints.iter().map(url::Url::as_str).collect();
    assert_eq!(endpoints, ["https://open.yunxinapi.com/", "https://open-bak.yunxinapi.com/"]);
    assert_eq!((app.api_version, app.rate_limit, app.ca_file.as_deref()), (ApiVersion::V2_1, 100, None));

    let job = config.job("nightly").unwrap();
    let Origin::Csv { files, delimiter } = &job.source.origin else { panic!("{:?}", job.source) };
    assert_eq!(files.input, Input::File("/etc/yunxin/refs.csv".into()));
    assert_eq!((files.skip_consumed, *delimiter), (false, b','));
    assert_eq!((job.source.format, job.source.time_unit), (Format::Reference, TimeUnit::Milliseconds));
    assert!(job.source.columns.is_empty());
    assert_eq!(job.source.timezone.iana_name(), Some("UTC"));

    let fetch = &job.fetch;
    assert_eq!((fetch.batch_size, fetch.concurrency, fetch.attempts), (100, Concurrency::Auto, 6));
    assert_eq!((fetch.timeout, fetch.give_up_after), (Duration::from_secs(15), Duration::from_mins(10)));
    assert_eq!(fetch.retry_for, Duration::from_hours(7 * 24));
    assert_eq!((&fetch.team_owner, fetch.threads, fetch.thread_depth), (&TeamOwner::Merge, Threads::Off, 32));

    let Sink::Parquet(parquet) = &job.sink else { panic!("{:?}", job.sink) };
    assert_eq!(parquet.path, Path::new("/etc/yunxin/archive"));
    assert_eq!(parquet.partition_by, [Partition::Date]);
    assert_eq!(parquet.timezone.iana_name(), Some("UTC"));
    assert_eq!((parquet.compression, parquet.encodings), (Compression::Zstd(3), Encodings::Compatible));
    assert_eq!((parquet.max_file_size, parquet.memory, parquet.raw), (256_000_000, 256_000_000, false));
    assert_eq!(parquet.commit_interval, Duration::from_mins(5));

    assert_eq!((job.tolerate.codes.len(), job.tolerate.classes.len()), (0, 0));
    assert_eq!((job.plan_window, job.history), (1_000_000, Duration::from_hours(400 * 24)));
}

#[test]
fn a_file_with_every_default_written_out_means_the_same() {
    let meaning = |text| {
        let config = parse(text).unwrap();
        format!("{:?} {:?} {:?}", config.state, config.apps, config.jobs)
    };
    assert_eq!(meaning(MINIMAL), meaning(EVERY_DEFAULT));
}

#[test]
fn postgres_sources_and_sinks_have_their_defaults() {
    let text =
        source("{ postgres: { url: env:DB, query: 'select 1 from r where id > :after', cursor: { column: id } } }")
            .replace(SINK, "{ postgres: { url: env:ARCHIVE } }");
    let config = parse(&text).unwrap();
    let Origin::Postgres { query, .. } = &config.jobs[0].source.origin else { panic!() };
    let cursor = query.cursor.as_ref().unwrap();
    assert_eq!((cursor.column.as_str(), &cursor.start, cursor.overlap), ("id", &None, None));
    let Sink::Postgres(postgres) = &config.jobs[0].sink else { panic!() };
    assert_eq!((postgres.schema.as_str(), postgres.table.as_str(), postgres.raw), ("public", "messages", false));
}

#[test]
fn a_cursor_is_an_integer_or_a_time() {
    let cursor = |cursor: &str| {
        let config = parse(&query(cursor)).unwrap();
        let Origin::Sqlite { query, .. } = &config.jobs[0].source.origin else { panic!() };
        let cursor = query.cursor.clone().unwrap();
        (cursor.start.unwrap_or_default(), cursor.overlap)
    };
    assert_eq!(cursor("{ column: id }"), (String::new(), None));
    assert_eq!(cursor("{ column: id, start: -5, overlap: 0 }"), ("-5".into(), Some(Overlap::Number(0))));
    for time in ["1970-01-02T08:00:00.000001+08:00", "1970-01-02", "1970-01-02 00:00:01"] {
        let written = format!("{{ column: at, start: {time}, overlap: 2h }}");
        assert_eq!(cursor(&written), (time.into(), Some(Overlap::Duration(Duration::from_hours(2)))));
    }
    assert_eq!(cursor("{ column: at, overlap: 1d }").1, Some(Overlap::Duration(Duration::from_hours(24))));
}

#[test]
fn an_input_is_a_pattern_in_which_only_its_own_wildcards_count() {
    let pattern = |path: &str| {
        let text = source(&format!("{{ jsonl: {{ path: '{path}' }} }}"));
        let config = Config::parse(&text, Path::new("jobs.yaml"), Path::new("/srv/[a]"), environment).unwrap();
        let Origin::Jsonl { files } = &config.jobs[0].source.origin else { panic!() };
        files.input.pattern()
    };
    assert_eq!(pattern("-"), "-");
    assert_eq!(pattern("./refs.jsonl"), "/srv/[[]a[]]/refs.jsonl");
    assert_eq!(pattern("in/**/*.jsonl"), "/srv/[[]a[]]/in/**/*.jsonl");
    assert_eq!(pattern("/data/refs-?.jsonl.gz"), "/data/refs-?.jsonl.gz");
}

#[test]
fn every_setting_is_understood() {
    let config = parse(&app("endpoints: ['http://127.0.0.1:8080/nimserver/', 'https://b.example'], api_version: v2, rate_limit: 500, ca_file: ca.pem")).unwrap();
    let app = &config.apps[0];
    assert_eq!(app.endpoints[0].as_str(), "http://127.0.0.1:8080/nimserver");
    assert_eq!((app.api_version, app.rate_limit), (ApiVersion::V2, 500));
    assert_eq!(app.ca_file.as_deref(), Some(Path::new("/etc/yunxin/ca.pem")));

    let config = parse(&fetch("batch_size: 1, concurrency: 1024, timeout: 1s 500ms, attempts: 1, retry_for: 0s, team_owner: 10001, threads: complete, thread_depth: 1")).unwrap();
    let fetch = &config.jobs[0].fetch;
    assert_eq!((fetch.batch_size, fetch.concurrency), (1, Concurrency::Fixed(1024)));
    assert_eq!((fetch.timeout, fetch.retry_for), (Duration::from_millis(1500), Duration::ZERO));
    assert_eq!((&fetch.team_owner, fetch.threads), (&TeamOwner::Account("10001".into()), Threads::Complete));

    let config = parse(&sink("{ parquet: { partition_by: [app_key, month, date], compression: lz4, max_file_size: 64MiB, memory: 1GB, encodings: compact, raw: true, timezone: env:ZONE } }")).unwrap();
    let Sink::Parquet(parquet) = &config.jobs[0].sink else { panic!() };
    assert_eq!(parquet.partition_by, [Partition::AppKey, Partition::Month, Partition::Date]);
    assert_eq!((parquet.max_file_size, parquet.memory, parquet.raw), (64 << 20, 1_000_000_000, true));
    assert_eq!((parquet.compression, parquet.encodings), (Compression::Lz4, Encodings::Compact));
    assert_eq!(parquet.timezone.iana_name(), Some("Asia/Shanghai"));

    let config = parse(&source("{ csv: { path: '-', delimiter: \"\\t\", format: copy_event, time_unit: s, columns: { conv_type: Conv, msgidServer: id } } }")).unwrap();
    let source = &config.jobs[0].source;
    assert!(matches!(&source.origin, Origin::Csv { files, delimiter: b'\t' } if files.input == Input::Stdin));
    assert_eq!((source.format, source.time_unit), (Format::CopyEvent, TimeUnit::Seconds));
    assert_eq!(source.columns, [(Field::ConvType, "Conv".to_owned()), (Field::MsgidServer, "id".to_owned())]);

    let config = parse(&job("tolerate: [107404, unanswered, 404]")).unwrap();
    let tolerate = &config.jobs[0].tolerate;
    assert!(tolerate.covers(Class::Unanswered, None) && tolerate.covers(Class::Unavailable, Some(404)));
    assert!(!tolerate.covers(Class::Refused, Some(414)));
}

#[test]
fn a_job_is_identified_by_app_key_place_and_partitioning() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::parse(MINIMAL, Path::new("jobs.yaml"), dir.path(), environment).unwrap();
    let identity = config.identity(&config.jobs[0]).unwrap();
    assert_eq!(identity.app_key, "0123456789abcdef");
    assert_eq!(Path::new(&identity.place), dir.path().canonicalize().unwrap().join("archive"));
    assert_eq!(identity.partitioning, "date@UTC");

    let config = parse(&sink("{ postgres: { url: env:DB, schema: im, table: Messages } }")).unwrap();
    let identity = config.identity(&config.jobs[0]).unwrap();
    assert_eq!((identity.place.as_str(), identity.partitioning.as_str()), ("db.example:5432/refs/im.Messages", ""));
}

#[test]
fn a_secret_is_looked_up_only_when_asked_for() {
    let config = parse(&with("env:SECRET", "env:NOT_SET")).unwrap();
    assert_eq!(config.app_key(&config.apps[0]).unwrap(), "0123456789abcdef");
    let error = config.app_secret(&config.apps[0]).unwrap_err();
    assert_eq!(error.to_string(), "jobs.yaml:3:41: apps.main.app_secret: the environment variable NOT_SET is not set");

    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.app_secret(&config.apps[0]).unwrap().expose_secret(), "s3cr3t");
}

#[test]
fn what_a_reference_names_must_be_there_and_fit() {
    let resolve = |value: &str| {
        let config = parse(&sink(&format!("{{ postgres: {{ url: '{value}' }} }}"))).unwrap();
        let Sink::Postgres(postgres) = &config.jobs[0].sink else { panic!() };
        config.url(&postgres.url).map(|url| url.expose_secret().to_owned()).map_err(|error| error.to_string())
    };
    assert_eq!(resolve("env:DB").unwrap(), "postgres://user:s3cr3t@Db.Example/refs");
    assert_eq!(resolve("postgres://user@host/db").unwrap(), "postgres://user@host/db");
    let errors: Vec<String> =
        ["env:NONE", "env:EMPTY", "env:SECRET", "file:none"].map(|value| resolve(value).unwrap_err()).into();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    jobs.yaml:8:30: jobs.nightly.sink.postgres.url: the environment variable NONE is not set
    jobs.yaml:8:30: jobs.nightly.sink.postgres.url: the environment variable EMPTY is empty
    jobs.yaml:8:30: jobs.nightly.sink.postgres.url: is no URL of the form postgres://user@host:5432/database
    jobs.yaml:8:30: jobs.nightly.sink.postgres.url: the file /etc/yunxin/none cannot be read: No such file or directory (os error 2)
    "#);
}

#[test]
fn a_file_reference_is_from_the_directory_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("app.secret");
    std::fs::write(&secret, "s3cr3t\n").unwrap();
    std::fs::write(dir.path().join("refs.sql"), "select * from refs\n").unwrap();
    let text =
        with("env:SECRET", "file:app.secret").replace(SOURCE, "{ sqlite: { path: refs.db, query: file:refs.sql } }");
    let path = dir.path().join("jobs.yaml");
    std::fs::write(&path, text).unwrap();

    set_mode(&secret, 0o644);
    let config = Config::load(&path).unwrap();
    assert_eq!(config.app_secret(&config.apps[0]).unwrap().expose_secret(), "s3cr3t");
    let Origin::Sqlite { query, path: database } = &config.jobs[0].source.origin else { panic!() };
    assert_eq!(query.sql, "select * from refs");
    assert_eq!(database, &dir.path().join("refs.db"));
    let warnings = config.warnings.join("\n").replace(dir.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(warnings, @"DIR/jobs.yaml:3:41: apps.main.app_secret: the file DIR/app.secret holds a secret and is open to others (mode 0644): chmod 600 it");

    set_mode(&secret, 0o600);
    assert!(Config::load(&path).unwrap().warnings.is_empty());
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let error = Config::load(Path::new("no/such/jobs.yaml")).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"no/such/jobs.yaml: cannot be read: No such file or directory (os error 2)");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.yaml");
    std::fs::write(&path, b"version: 1\nstate: \xff\n").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.ends_with("jobs.yaml:2:1: this line is not UTF-8"), "{error}");
}

#[test]
fn two_apps_of_one_app_key_are_worth_a_warning() {
    let text = with("jobs:\n", "  other: { app_key: env:KEY, app_secret: env:SECRET, region: sg }\njobs:\n");
    insta::assert_snapshot!(parse(&text).unwrap().warnings.join("\n"), @"jobs.yaml:4:21: apps.other.app_key: is the AppKey of apps.main as well: each of them paces on its own, and together they exceed the quota");
}

#[test]
fn anchors_and_aliases_are_understood() {
    let text = "\
version: 1
apps: { main: { app_key: env:KEY, app_secret: env:SECRET } }
jobs:
  one:
    app: main
    source: &source { csv: { path: refs.csv } }
    fetch: &fetch { batch_size: 50 }
    sink: { parquet: { path: one } }
  two:
    app: main
    source: *source
    fetch: { <<: *fetch, attempts: 2 }
    sink: { parquet: { path: two } }
";
    let config = parse(text).unwrap();
    assert_eq!((config.jobs[1].fetch.batch_size, config.jobs[1].fetch.attempts), (50, 2));
}

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
