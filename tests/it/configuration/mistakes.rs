//! What is said of every mistake, and that no secret is said with it.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use yunxin_archiver::config::{Config, Sink};

use super::{APP, MINIMAL, SINK, SOURCE, app, fetch, job, mistakes, parse, query, sink, source, with};

/// Every mistake that a file can hold, each in a file that is right otherwise.
fn wrong_files() -> Vec<(&'static str, String)> {
    vec![
        ("an empty file", String::new()),
        ("no mapping", "just a text".into()),
        ("a bracket is not closed", with("{ csv: { path: refs.csv } }", "{ csv: { path: refs.csv }")),
        ("a tab for indentation", with("    app: main", "\tapp: main")),
        ("a key without a space", with("app: main", "app:main")),
        ("two documents", format!("{MINIMAL}---\nversion: 1\n")),
        ("an alias of nothing", with("app: main", "app: *main")),
        ("a key twice", job("app: main")),
        ("a job twice", format!("{MINIMAL}  nightly: {{}}\n")),
        ("an unknown key at the root", format!("{MINIMAL}stat: ./state\n")),
        ("an unknown key far from all others", format!("{MINIMAL}verbosity: 3\n")),
        ("a password of NATS", format!("{MINIMAL}fleet: {{ nats: 'nats://it:hunter2@nats' }}\n")),
        ("no URL of NATS", format!("{MINIMAL}fleet: {{ nats: 'https://nats' }}\n")),
        ("a fleet without NATS", format!("{MINIMAL}fleet: {{ prefix: a.b, credentials: hunter2 }}\n")),
        ("an unknown key of an app", app("rate-limit: 3")),
        ("an unknown key of a job", job("tolerated: []")),
        ("an unknown key of fetch", fetch("batchsize: 3")),
        ("an unknown key of a source", source("{ csv: { paths: refs.csv } }")),
        ("an unknown key of a sink", sink("{ parquet: { directory: x } }")),
        ("an unknown key of a cursor", query("{ field: id }")),
        ("a whole bucket", sink("{ parquet: { path: 's3://im-archive' } }")),
        ("a URL that is no place of an archive", sink("{ parquet: { path: 'https://bucket/archive' } }")),
        ("a bucket's URL with a secret", sink("{ parquet: { path: 's3://key:hunter2@im/archive' } }")),
        (
            "a bucket's name before an IP address",
            sink(
                "{ parquet: { path: 's3://im/a', storage: { endpoint: 'http://10.0.0.5:9000', virtual_hosted: true } } }",
            ),
        ),
        (
            "the bucket's name twice",
            sink("{ parquet: { path: 's3://im/a', storage: { endpoint: 'https://store.example/im/' } } }"),
        ),
        ("an object store for a directory", sink("{ parquet: { path: a, storage: { region: eu-central-1 } } }")),
        (
            "a key without its secret",
            sink("{ parquet: { path: 's3://im/a', storage: { access_key_id: AKIA, encryption: kms } } }"),
        ),
        (
            "keys of S3 for Google",
            sink(
                "{ parquet: { path: 'gs://im/a', storage: { region: x, virtual_hosted: true, encryption: managed, \
                 checksums: true, access_key_id: id, secret_access_key: env:KEY } } }",
            ),
        ),
        (
            "keys of S3 for Azure, and none of its own",
            sink(
                "{ parquet: { path: 'az://im/a', storage: { encryption: kms:key, secret_access_key: env:KEY, \
                 session_token: env:TOKEN } } }",
            ),
        ),
        (
            "a secret without its key",
            sink("{ parquet: { path: 's3://im/a', storage: { secret_access_key: env:KEY } } }"),
        ),
        ("a token without its key", sink("{ parquet: { path: 's3://im/a', storage: { session_token: env:TOKEN } } }")),
        (
            "a secret of a store in the file",
            sink("{ parquet: { path: 's3://im/a', storage: { secret_access_key: hunter2 } } }"),
        ),
        ("an unknown kind of source", source("{ postgresql: { url: env:DB } }")),
        ("an unknown kind of sink", sink("{ s3: {} }")),
        ("two kinds of source", source("{ csv: { path: a }, jsonl: { path: b } }")),
        ("no kind of source", source("{}")),
        ("a source that is a word", source("csv")),
        ("a source without settings", source("{ csv: }")),
        ("an app that is a word", with(APP, "prod")),
        ("an app without keys", with(APP, "")),
        ("a list for a value", fetch("timeout: [15s]")),
        ("a value for a list", sink("{ parquet: { partition_by: date } }")),
        ("a mapping for a value", fetch("timeout: { seconds: 15 }")),
        ("a list item that is missing", job("tolerate: [107404, ~]")),
        ("no version", with("version: 1\n", "")),
        ("another version", with("version: 1", "version: 2")),
        ("no apps", with("apps:\n  main: { app_key: env:KEY, app_secret: env:SECRET }\n", "")),
        ("empty apps", with("apps:\n  main: { app_key: env:KEY, app_secret: env:SECRET }\n", "apps: {}\n")),
        ("no jobs", MINIMAL.split("jobs:").next().unwrap().into()),
        ("empty jobs", format!("{}jobs: {{}}\n", MINIMAL.split("jobs:").next().unwrap())),
        ("a job name", with("nightly:", "Nightly Job:")),
        ("an app name", with("main: {", "Main: {").replace("app: main", "app: Main")),
        ("no app_key and no app_secret", with(APP, "{}")),
        ("a literal app_secret", with("env:SECRET", "hunter2")),
        ("an empty app_key", with("env:KEY", "''")),
        ("env: without a name", with("env:SECRET", "'env:'")),
        ("env: with a space", with("env:SECRET", "'env: hunter2'")),
        ("file: without a path", with("env:SECRET", "'file:'")),
        ("a region", app("region: eu")),
        ("region and endpoints", app("region: cn, endpoints: ['https://a.example']")),
        ("no endpoint", app("endpoints: []")),
        ("http to another machine", app("endpoints: ['http://a.example']")),
        ("an endpoint that is no URL", app("endpoints: [a.example]")),
        ("an endpoint with another scheme", app("endpoints: ['ftp://a.example']")),
        ("an endpoint with a password", app("endpoints: ['https://me:hunter2@a.example']")),
        ("an endpoint with a query", app("endpoints: ['https://a.example?token=hunter2']")),
        ("an endpoint twice", app("endpoints: ['https://a.example', 'https://a.example/']")),
        ("an API version", app("api_version: v3")),
        ("a rate limit of 0", app("rate_limit: 0")),
        ("a rate limit that is fractional", app("rate_limit: 0.5")),
        ("no app of the job", with("    app: main\n", "")),
        ("an app that is not there", with("app: main", "app: production")),
        ("an app that is nearly there", with("app: main", "app: mian")),
        ("no source", with("    source: { csv: { path: refs.csv } }\n", "")),
        ("no sink", with("    sink: { parquet: {} }\n", "")),
        ("no path", source("{ csv: {} }")),
        ("an empty path", source("{ csv: { path: '' } }")),
        ("a pattern of files", source("{ csv: { path: 'refs/***.csv' } }")),
        ("a variable that is not set", source("{ csv: { path: env:NOT_SET } }")),
        ("a cursor of files", source("{ csv: { path: refs.csv, cursor: id } }")),
        ("a cursor of stdin", source("{ csv: { path: '-', cursor: files } }")),
        ("Parquet from stdin", source("{ parquet: { path: '-' } }")),
        ("a delimiter", source("{ csv: { path: refs.csv, delimiter: '||' } }")),
        ("a delimiter that quotes", source("{ csv: { path: refs.csv, delimiter: '\"' } }")),
        ("a format", source("{ csv: { path: refs.csv, format: copy_events } }")),
        ("a time unit", source("{ csv: { path: refs.csv, time_unit: us } }")),
        ("a time zone", source("{ csv: { path: refs.csv, timezone: Asia/Peking } }")),
        ("a field", source("{ csv: { path: refs.csv, columns: { message_id: id } } }")),
        ("a field far from all others", source("{ csv: { path: refs.csv, columns: { body: text } } }")),
        ("a field of the other format", source("{ csv: { path: refs.csv, columns: { conv_type: t } } }")),
        (
            "a field in two spellings",
            source("{ csv: { path: refs.csv, format: copy_event, columns: { convType: a, conv_type: b } } }"),
        ),
        ("a field without a name", source("{ csv: { path: refs.csv, columns: { create_time: '' } } }")),
        ("an ID beside its parts", source("{ csv: { path: refs.csv, columns: { conversation_id: a, owner_id: b } } }")),
        (
            "an event beside its parts",
            source("{ csv: { path: refs.csv, format: copy_event, columns: { event: a, to: b } } }"),
        ),
        ("a database without url and query", source("{ postgres: {} }")),
        ("a SQLite database without path and query", source("{ sqlite: {} }")),
        ("an empty query", source("{ sqlite: { path: refs.db, query: ' ' } }")),
        (
            "a cursor that the query does not use",
            source("{ sqlite: { path: refs.db, query: \"select ':after'\", cursor: { column: id } } }"),
        ),
        (":after without a cursor", source("{ sqlite: { path: refs.db, query: 'select 1 where id > :after' } }")),
        ("a cursor without a column", query("{ start: 1 }")),
        ("a start", query("{ column: id, start: yesterday }")),
        ("an overlap", query("{ column: id, overlap: some }")),
        ("a duration for an integer column", query("{ column: id, start: 0, overlap: 1d }")),
        ("a number for a timestamp column", query("{ column: at, start: 2026-01-01, overlap: 1000 }")),
        ("a URL with a password", source("{ postgres: { url: 'postgres://me:hunter2@db/refs', query: select 1 } }")),
        (
            "a URL with a password parameter",
            source("{ mysql: { url: 'mysql://me@db/refs?password=hunter2', query: select 1 } }"),
        ),
        (
            "a URL whose password holds a slash",
            source("{ postgres: { url: 'postgres://me:1/hunter2@db/refs', query: select 1 } }"),
        ),
        ("a URL of another database", source("{ mysql: { url: 'postgres://db/hunter2', query: select 1 } }")),
        (
            "a URL with an unknown parameter",
            source("{ postgres: { url: 'postgres://db/refs?pasword=hunter2', query: select 1 } }"),
        ),
        (
            "an unknown parameter of MySQL",
            source("{ mysql: { url: 'mysql://db/refs?ssl_mode=required', query: select 1 } }"),
        ),
        ("a URL of SQLite", source("{ sqlite: { path: 'sqlite:refs.db?mode=ro', query: select 1 } }")),
        ("two statements", source("{ sqlite: { path: refs.db, query: 'select 1; select 2' } }")),
        ("a URL that is none", sink("{ postgres: { url: hunter2 } }")),
        ("a sink without a URL", sink("{ postgres: {} }")),
        ("a schema without a name", sink("{ postgres: { url: env:DB, schema: '' } }")),
        (
            "a table name that is too long",
            sink(&format!("{{ postgres: {{ url: env:DB, table: {} }} }}", "t".repeat(64))),
        ),
        ("a partition", sink("{ parquet: { partition_by: [day] } }")),
        ("a partition twice", sink("{ parquet: { partition_by: [date, month, date] } }")),
        ("a compression", sink("{ parquet: { compression: zstd(23) } }")),
        ("a size", sink("{ parquet: { max_file_size: 1.5GB } }")),
        ("a size of nothing", sink("{ parquet: { memory: 0MB } }")),
        ("a size beyond all", sink("{ parquet: { memory: 9999999999TB } }")),
        ("encodings", sink("{ parquet: { encodings: small } }")),
        ("raw", sink("{ parquet: { raw: yes } }")),
        ("a batch size", fetch("batch_size: 1001")),
        ("a concurrency", fetch("concurrency: 2000")),
        ("a duration without a unit", fetch("timeout: 15")),
        ("a duration of nothing", fetch("timeout: 0s")),
        ("a number of attempts", fetch("attempts: many")),
        ("a team owner", fetch("team_owner: 'a|2'")),
        ("threads", fetch("threads: completed")),
        ("a thread depth", fetch("thread_depth: -1")),
        ("a tolerated class", job("tolerate: [107404, unanswerd]")),
        ("a tolerated something", job("tolerate: [everything]")),
        ("a plan window", job("plan_window: 0")),
        ("a history", job("history: forever")),
        ("a wrong value from elsewhere", source("{ csv: { path: refs.csv, timezone: env:SECRET } }")),
        (
            "a Parquet path of two jobs",
            format!(
                "{MINIMAL}  again: {{ app: main, source: {SOURCE}, sink: {{ parquet: {{ path: x/../archive }} }} }}\n"
            ),
        ),
        ("a Parquet path within that of another job", two_places("two", "two/sub")),
        ("a Parquet path above that of another job", two_places("two/../one/sub", "one")),
        ("a Parquet path at what vanished of another job", two_places("x", "x-vanished")),
        ("a prefix within that of another job", two_places("s3://im/two", "s3://im/two/sub")),
        ("a prefix within what vanished of another job", two_places("s3://im/x-vanished/sub", "s3://im/x/")),
        (
            "a table of two jobs",
            format!(
                "{}  again: {{ app: main, source: {SOURCE}, sink: {{ postgres: {{ url: env:SAME_DB }} }} }}\n",
                sink("{ postgres: { url: env:DB } }")
            ),
        ),
        (
            "a table of two jobs, its variable not set",
            format!(
                "{}  again: {{ app: main, source: {SOURCE}, sink: {{ postgres: {{ url: env:LATER }} }} }}\n",
                sink("{ postgres: { url: env:LATER } }")
            ),
        ),
    ]
}

/// A file of two jobs with these places.
fn two_places(one: &str, other: &str) -> String {
    let first = sink(&format!("{{ parquet: {{ path: '{one}' }} }}"));
    format!("{first}  again: {{ app: main, source: {SOURCE}, sink: {{ parquet: {{ path: '{other}' }} }} }}\n")
}

#[test]
fn places_that_lie_side_by_side_are_no_mistake() {
    for (one, other) in [
        ("x", "x-y"),
        ("x", "y/x-vanished"),
        ("x-vanished", "x-vanished-old"),
        ("s3://im/x", "s3://in/x/sub"),
        ("s3://im/x", "gs://im/x/sub"),
        ("x", "s3://im/x/sub"),
    ] {
        parse(&two_places(one, other)).unwrap();
    }
}

#[test]
fn every_mistake_says_where_it_is_and_what_would_be_right() {
    let mut snapshot = String::new();
    for (what, text) in wrong_files() {
        writeln!(snapshot, "# {what}\n{}\n", mistakes(&text)).unwrap();
    }
    insta::assert_snapshot!("mistakes", snapshot.trim_end());
}

#[test]
fn all_mistakes_of_meaning_are_said_at_once_in_the_order_of_the_file() {
    let text = "\
version: 3
apps:
  main: { app_key: env:KEY, app_secret: env:SECRET, rate_limit: none }
jobs:
  nightly:
    app: prod
    source:
      postgres:
        url: env:REFS
        query: select * from refs where id > :after
    fetch:
      batch_size: 0
      timeout: 15
    sink:
      parquet: { compression: brotli }
    history: 1y2
";
    insta::assert_snapshot!(mistakes(text), @r#"
    jobs.yaml:1:10: version: "3" is a version that this program does not know: it knows 1
    jobs.yaml:3:65: apps.main.rate_limit: "none" is no whole number from 1 to 100000
    jobs.yaml:6:10: jobs.nightly.app: "prod" is no app of this file: write one of main
    jobs.yaml:10:16: jobs.nightly.source.postgres.query: uses :after, and there is no cursor to bind it from
    jobs.yaml:12:19: jobs.nightly.fetch.batch_size: "0" is no whole number from 1 to 1000
    jobs.yaml:13:16: jobs.nightly.fetch.timeout: "15" is no duration: write numbers with units, such as 15s, 10m, 2h 30m, 7d
    jobs.yaml:15:31: jobs.nightly.sink.parquet.compression: "brotli" is unknown here: write one of zstd(1) to zstd(22), snappy, gzip, lz4, none
    jobs.yaml:16:14: jobs.nightly.history: "1y2" is no duration: write numbers with units, such as 15s, 10m, 2h 30m, 7d
    "#);
}

#[test]
fn no_message_quotes_a_secret_that_was_written_in_the_wrong_place_or_form() {
    let wrong = [
        with("env:SECRET", "[hunter2]"),
        with("env:SECRET", "{ x: hunter2 }"),
        with("env:SECRET", "{ hunter2: x }"),
        with("env:SECRET", "!secret hunter2"),
        with("env:SECRET", "hunter2: x"),
        with("env:SECRET", "\"hunter2"),
        with("env:SECRET", "|\n hunter2"),
        with("env:SECRET", "*hunter2"),
        with("env:SECRET", "'hunter2' hunter2"),
        with("env:KEY", "[hunter2]"),
        with("env:KEY", "{ x: hunter2 }"),
        with("app_secret: env", "app_secrett: hunter2 #"),
        with("app_secret: env:SECRET", "app_secret:hunter2"),
        with("app_secret: env:SECRET", "hunter2: env:SECRET"),
        with("app_secret: env:SECRET", "hunter2"),
        with("app_secret: env:SECRET", "app_secret: env:SECRET, app_secret: hunter2"),
        with(APP, "hunter2"),
        with(APP, "[hunter2]"),
        with(APP, "\n    app_key: env:KEY\n    app_secret:hunter2"),
        with(APP, "\n    app_key: env:KEY\n    app_secret: hunter2\n   hunter2"),
        with(APP, "\n    app_key: env:KEY\n  app_secret: hunter2"),
        with(APP, "\n    app_key: env:KEY\n    app_secret: hunter2\n\tregion: cn"),
        source("{ postgres: { url: { x: hunter2 }, query: select 1 } }"),
        source("{ postgres: { url: [hunter2], query: select 1 } }"),
        source("{ postgres: { url: 'postgres://hunter2:hunter2@h/d', query: select 1 } }"),
        source("{ postgres: { url: 'postgres://u:hunter#2hunter2@h/d', query: select 1 } }"),
        source("{ postgres: { urll: 'postgres://u:hunter2@h/d', query: select 1 } }"),
        source("{ postgres: { url: postgres://u:hunter2@h/d, query: select 1 }"),
        sink("{ postgres: { url: 'mysql://u:hunter2@h/d' } }"),
        sink("{ postgres: { password: hunter2 } }"),
        sink("{ postgres: { hunter2: env:DB } }"),
        sink("{ postgres: hunter2 }"),
        sink("{ postgres: [hunter2] }"),
        app("endpoints: hunter2"),
        app("endpoints: ['https://hunter2@a.example', 'hunter2', 'http://hunter2']"),
        app("region: { x: hunter2 }"),
        app("rate_limit: [hunter2]"),
    ];
    for text in wrong {
        let message = mistakes(&text);
        assert!(!message.contains("hunter2"), "{message}\nof\n{text}");
        assert!(message.starts_with("jobs.yaml:"), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_that_is_shown_holds_a_secret(secret in "[A-Za-z0-9]{12,24}", spoiled in "[ -~]{0,6}") {
        let url = format!("postgres://me:{secret}@db.example/refs?application_name={secret}");
        let lookup = { let (secret, url) = (secret.clone(), url.clone()); move |name: &str| match name {
            "KEY" => Some("key".to_owned()),
            "SECRET" => Some(secret.clone()),
            "DB" => Some(url.clone()),
            _ => None,
        }};
        let right = source("{ postgres: { url: env:DB, query: select 1 } }")
            .replace(SINK, "{ postgres: { url: env:DB } }");
        let config = Config::parse(&right, Path::new("jobs.yaml"), Path::new("/etc"), lookup.clone()).unwrap();
        let Sink::Postgres(postgres) = &config.jobs[0].sink else { panic!() };
        let shown = format!(
            "{config:?} {config:#?} {:?} {:?} {:?} {:?}",
            config.apps[0].app_secret.look_up(), postgres.url.look_up(), config.identity(&config.jobs[0]), config.warnings,
        );
        prop_assert!(!shown.contains(&secret), "{}", shown);

        for place in ["env:SECRET", "env:DB"] {
            let text = right.replacen(place, &format!("{spoiled}{secret}"), 1);
            if let Err(error) = Config::parse(&text, Path::new("jobs.yaml"), Path::new("/etc"), lookup.clone()) {
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains(&secret), "{}\nof\n{}", shown, text);
            }
        }
    }
}
