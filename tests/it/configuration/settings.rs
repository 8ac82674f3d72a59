//! What a file means: its defaults, its settings, and which job it describes.

use std::path::Path;
use std::time::Duration;

use yunxin_archiver::config::{
    ApiVersion, Compression, Concurrency, Config, Encodings, Format, Location, Overlap, PartitionColumn, Sink, Source,
    Threads, TimeUnit,
};
use yunxin_archiver::model::failure::Class;
use yunxin_archiver::plan::TeamOwner;

use super::{MINIMAL, SINK, app, environment, fetch, job, parse, query, sink, source, with};

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
    proxy: env
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
    let Source::Csv(csv) = &job.source else { panic!("{:?}", job.source) };
    assert_eq!(csv.files.path, "/etc/yunxin/refs.csv");
    assert_eq!((csv.files.skip_consumed, csv.delimiter), (false, b','));
    assert_eq!((csv.rows.format, csv.rows.time_unit), (Format::Reference, TimeUnit::Milliseconds));
    assert!(csv.rows.columns.is_empty());
    assert_eq!(csv.rows.timezone.iana_name(), Some("UTC"));

    let fetch = &job.fetch;
    assert_eq!((fetch.batch_size, fetch.concurrency, fetch.attempts), (100, Concurrency::Auto, 6));
    assert_eq!((fetch.timeout, fetch.give_up_after), (Duration::from_secs(15), Duration::from_mins(10)));
    assert_eq!(fetch.retry_for, Duration::from_hours(7 * 24));
    assert_eq!((&fetch.team_owner, fetch.threads, fetch.thread_depth), (&TeamOwner::Merge, Threads::Off, 32));

    let Sink::Parquet(parquet) = &job.sink else { panic!("{:?}", job.sink) };
    assert_eq!(parquet.path, Location::Directory("/etc/yunxin/archive".into()));
    assert_eq!(parquet.partition_by, [PartitionColumn::Date]);
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
    let cursor = config.jobs[0].source.query().unwrap().cursor.as_ref().unwrap();
    assert_eq!((cursor.column.as_str(), &cursor.start, cursor.overlap), ("id", &None, None));
    let Sink::Postgres(postgres) = &config.jobs[0].sink else { panic!() };
    assert_eq!((postgres.schema.as_str(), postgres.table.as_str(), postgres.raw), ("public", "messages", false));
    assert_eq!(postgres.commit_interval, Duration::from_secs(10));
}

#[test]
fn a_cursor_is_an_integer_or_a_time() {
    let cursor = |cursor: &str| {
        let config = parse(&query(cursor)).unwrap();
        let cursor = config.jobs[0].source.query().unwrap().cursor.clone().unwrap();
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
        config.jobs[0].source.files().unwrap().path.clone()
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
    assert_eq!(parquet.partition_by, [PartitionColumn::AppKey, PartitionColumn::Month, PartitionColumn::Date]);
    assert_eq!((parquet.max_file_size, parquet.memory, parquet.raw), (64 << 20, 1_000_000_000, true));
    assert_eq!((parquet.compression, parquet.encodings), (Compression::Lz4, Encodings::Compact));
    assert_eq!(parquet.timezone.iana_name(), Some("Asia/Shanghai"));

    let config = parse(&source("{ csv: { path: '-', delimiter: \"\\t\", format: copy_event, time_unit: s, columns: { conv_type: Conv, msgidServer: id } } }")).unwrap();
    let Source::Csv(csv) = &config.jobs[0].source else { panic!() };
    assert!(csv.files.is_stdin() && csv.delimiter == b'\t');
    assert_eq!((csv.rows.format, csv.rows.time_unit), (Format::CopyEvent, TimeUnit::Seconds));
    let columns: Vec<_> = csv.rows.columns.iter().map(|(field, name)| (field.as_str(), name.as_str())).collect();
    assert_eq!(columns, [("convType", "Conv"), ("msgidServer", "id")]);

    let config = parse(&job("tolerate: [107404, unanswered, 404]")).unwrap();
    let tolerate = &config.jobs[0].tolerate;
    assert!(tolerate.covers(Class::Unanswered, None) && tolerate.covers(Class::Unavailable, Some(404)));
    assert!(!tolerate.covers(Class::Refused, Some(414)));
    let config = parse(&job("tolerate: [env:CODE, env:CLASS]")).unwrap();
    let tolerate = &config.jobs[0].tolerate;
    assert!(tolerate.covers(Class::Refused, Some(414)) && tolerate.covers(Class::Unanswered, None));
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
fn two_apps_of_one_app_key_are_worth_a_warning() {
    let text = with("jobs:\n", "  other: { app_key: env:KEY, app_secret: env:SECRET, region: sg }\njobs:\n");
    insta::assert_snapshot!(parse(&text).unwrap().warnings.join("\n"), @"jobs.yaml:4:21: apps.other.app_key: is also the AppKey of apps.main: each of them paces on its own, and together they exceed the quota");
}
