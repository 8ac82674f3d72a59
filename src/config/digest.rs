//! What a job means, as a hash: two runs with the same one had the same settings, whatever the file looked like.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::mistake::Mistake;
use super::query::{Cursor, Overlap, Query};
use super::secret::Environment;
use super::sink::{Compression, Encodings, ParquetSink, PostgresSink, Sink};
use super::source::{Files, Origin, Source, TimeUnit};
use super::{App, Concurrency, Fetch, Format, Job, TeamOwner, Threads, Tolerate};

/// The version of the form. A setting that is new raises it, as does one that is told in another way.
const VERSION: u32 = 2;

/// The settings by name. A map that is sorted by itself, whatever the JSON library is built with.
type Settings = BTreeMap<String, Value>;

/// What a job means, as canonical JSON: one object on one line without white space, its keys in the order of their bytes,
/// every default spelt out, whole numbers only, times as text in seconds.
///
/// No secret is part of it: not even as a hash, which could be guessed at. Where it is signed, who runs it and what for,
/// and through which proxy its requests go are no part of it either.
///
/// Every struct is taken apart by all its fields, so that a new setting does not compile before it is decided on here.
pub(super) fn canonical(app: &App, app_key: &str, job: &Job, environment: &Environment) -> Result<String, Mistake> {
    let App { name: _, app_key: _, app_secret: _, endpoints, api_version, rate_limit, ca_file, proxy: _ } = app;
    let Job { name, app: _, source, fetch, sink, tolerate, plan_window, history, operator: _, purpose: _, sign: _ } =
        job;
    let Tolerate { codes, classes } = tolerate;
    let mut settings = Settings::new();
    let mut say = |key: &str, value: Value| settings.insert(key.to_owned(), value);
    say("configuration", json!(VERSION));
    say("job", json!(name));
    say("app.app_key", json!(app_key));
    say("app.endpoints", json!(endpoints.iter().map(url::Url::as_str).collect::<Vec<_>>()));
    say("app.api_version", json!(api_version.as_str()));
    say("app.rate_limit", json!(rate_limit));
    say("app.ca_file", json!(ca_file.as_ref().map(|path| path.to_string_lossy())));
    say("tolerate.codes", sorted(codes.clone()));
    say("tolerate.classes", sorted(classes.iter().map(|class| class.as_str()).collect()));
    say("plan_window", json!(plan_window));
    say("history", seconds(*history));
    say("sink.place", json!(sink.place(environment)?));
    say("sink.partitioning", json!(sink.partitioning()));
    say_source(&mut settings, source, environment)?;
    say_fetch(&mut settings, fetch);
    say_sink(&mut settings, sink);
    Ok(serde_json::to_string(&settings).expect("text keys and plain values"))
}

/// SHA-256 of what a job means, lower-case hex.
pub(super) fn digest(app: &App, app_key: &str, job: &Job, environment: &Environment) -> Result<String, Mistake> {
    Ok(hex::encode(Sha256::digest(canonical(app, app_key, job, environment)?)))
}

fn say_source(settings: &mut Settings, source: &Source, environment: &Environment) -> Result<(), Mistake> {
    let Source { origin, format, columns, time_unit, timezone } = source;
    let mut say = |key: &str, value: Value| settings.insert(format!("source.{key}"), value);
    say("kind", json!(origin.kind().as_str()));
    say(
        "format",
        json!(match format {
            Format::Reference => "reference",
            Format::CopyEvent => "copy_event",
        }),
    );
    say("columns", json!(columns.iter().map(|(field, name)| (field.as_str(), name)).collect::<BTreeMap<_, _>>()));
    say(
        "time_unit",
        json!(match time_unit {
            TimeUnit::Milliseconds => "ms",
            TimeUnit::Seconds => "s",
        }),
    );
    say("timezone", json!(timezone.iana_name()));
    let mut say_files = |Files { input, skip_consumed }: &Files| {
        say("path", json!(input.pattern()));
        say("skip_consumed", json!(skip_consumed));
    };
    let (place, Query { sql, cursor }) = match origin {
        Origin::Csv { files, delimiter } => {
            say_files(files);
            say("delimiter", json!(char::from(*delimiter)));
            return Ok(());
        }
        Origin::Jsonl { files } | Origin::Parquet { files } => {
            say_files(files);
            return Ok(());
        }
        Origin::Sqlite { path, query } => (path.to_string_lossy().into_owned(), query),
        Origin::Postgres { url, query } | Origin::Mysql { url, query } => (url.place(environment)?, query),
    };
    say("place", json!(place));
    say("query", json!(sql));
    say(
        "cursor",
        match cursor {
            None => Value::Null,
            Some(Cursor { column, start, overlap }) => {
                let overlap = overlap.map(|overlap| match overlap {
                    Overlap::Number(number) => json!(number),
                    Overlap::Duration(span) => seconds(span),
                });
                let start = start.as_ref().map(|start| json!(start));
                let parts = [("column", Some(json!(column))), ("overlap", overlap), ("start", start)];
                json!(BTreeMap::from(parts))
            }
        },
    );
    Ok(())
}

fn say_fetch(settings: &mut Settings, fetch: &Fetch) {
    let Fetch {
        batch_size,
        concurrency,
        timeout,
        attempts,
        give_up_after,
        retry_for,
        team_owner,
        threads,
        thread_depth,
    } = fetch;
    let mut say = |key: &str, value: Value| settings.insert(format!("fetch.{key}"), value);
    say("batch_size", json!(batch_size));
    say(
        "concurrency",
        match concurrency {
            Concurrency::Auto => json!("auto"),
            Concurrency::Fixed(bound) => json!(bound),
        },
    );
    say("timeout", seconds(*timeout));
    say("attempts", json!(attempts));
    say("give_up_after", seconds(*give_up_after));
    say("retry_for", seconds(*retry_for));
    say(
        "team_owner",
        json!(match team_owner {
            TeamOwner::Merge => "merge",
            TeamOwner::Own => "own",
            TeamOwner::Account(account) => account,
        }),
    );
    say(
        "threads",
        json!(match threads {
            Threads::Off => "off",
            Threads::Complete => "complete",
        }),
    );
    say("thread_depth", json!(thread_depth));
}

fn say_sink(settings: &mut Settings, sink: &Sink) {
    let mut say = |key: &str, value: Value| settings.insert(format!("sink.{key}"), value);
    say("kind", json!(sink.kind().as_str()));
    say("raw", json!(sink.raw()));
    match sink {
        Sink::Parquet(ParquetSink {
            path: _,
            partition_by: _,
            timezone,
            compression,
            max_file_size,
            commit_interval,
            memory,
            encodings,
            raw: _,
        }) => {
            say("timezone", json!(timezone.iana_name()));
            say(
                "compression",
                match compression {
                    Compression::Zstd(level) => json!(format!("zstd({level})")),
                    Compression::Snappy => json!("snappy"),
                    Compression::Gzip => json!("gzip"),
                    Compression::Lz4 => json!("lz4"),
                    Compression::None => json!("none"),
                },
            );
            say("max_file_size", json!(max_file_size));
            say("commit_interval", seconds(*commit_interval));
            say("memory", json!(memory));
            say(
                "encodings",
                json!(match encodings {
                    Encodings::Compatible => "compatible",
                    Encodings::Compact => "compact",
                }),
            );
        }
        // The place names the table.
        Sink::Postgres(PostgresSink { url: _, schema: _, table: _, commit_interval, raw: _ }) => {
            say("commit_interval", seconds(*commit_interval));
        }
    }
}

/// Values whose order means nothing.
fn sorted<T: Ord + serde::Serialize>(mut values: Vec<T>) -> Value {
    values.sort_unstable();
    values.dedup();
    json!(values)
}

/// A time span as text, in seconds: `300`, or `0.250000000` where it is not whole.
fn seconds(span: Duration) -> Value {
    json!(match span.subsec_nanos() {
        0 => span.as_secs().to_string(),
        nanos => format!("{}.{nanos:09}", span.as_secs()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::super::Config;

    /// The canonical text and the digest of the only job of a file.
    fn of(text: &str) -> (String, String) {
        let variable = |name: &str| match name {
            "KEY" => Some("the-key".to_owned()),
            "REFS" => Some("postgres://reader:hunter2@Db.Example/refs".to_owned()),
            _ => None,
        };
        let config = Config::parse(text, Path::new("jobs.yaml"), Path::new("/nowhere"), variable).unwrap();
        let job = &config.jobs[0];
        let canonical = super::canonical(config.app_of(job), "the-key", job, &config.environment).unwrap();
        (canonical, config.digest(job).unwrap())
    }

    const FILES: &str = "version: 1\napps: { main: { app_key: env:KEY, app_secret: env:SECRET } }\n\
        jobs: { night: { app: main, source: { csv: { path: refs.csv } }, sink: { parquet: {} } } }";

    /// What stands in signed manifests: a change of either text or hash is a new version of the form.
    #[test]
    fn the_canonical_form_and_its_hash_stay_as_they_are() {
        let (canonical, digest) = of(FILES);
        assert_eq!(
            canonical,
            r#"{"app.api_version":"v2.1","app.app_key":"the-key","app.ca_file":null,"app.endpoints":["https://open.yunxinapi.com/","https://open-bak.yunxinapi.com/"],"app.rate_limit":100,"configuration":2,"fetch.attempts":6,"fetch.batch_size":100,"fetch.concurrency":"auto","fetch.give_up_after":"600","fetch.retry_for":"604800","fetch.team_owner":"merge","fetch.thread_depth":32,"fetch.threads":"off","fetch.timeout":"15","history":"34560000","job":"night","plan_window":1000000,"sink.commit_interval":"300","sink.compression":"zstd(3)","sink.encodings":"compatible","sink.kind":"parquet","sink.max_file_size":256000000,"sink.memory":256000000,"sink.partitioning":"date@UTC","sink.place":"/nowhere/archive","sink.raw":false,"sink.timezone":"UTC","source.columns":{},"source.delimiter":",","source.format":"reference","source.kind":"csv","source.path":"/nowhere/refs.csv","source.skip_consumed":false,"source.time_unit":"ms","source.timezone":"UTC","tolerate.classes":[],"tolerate.codes":[]}"#
        );
        assert_eq!(digest, "fc05a41f91c4d93e0fd92e65dcf886a46e0842ef1ff72a31e2261648ace05be8");
        let (canonical, digest) = of("version: 1\n\
            apps: { main: { app_key: env:KEY, app_secret: env:SECRET, endpoints: ['https://b.example/x/', 'https://a.example'], ca_file: ca.pem } }\n\
            jobs: { night: { app: main, tolerate: [unanswered, 404, 107404], history: 90m, operator: me, purpose: it,\n\
              source: { postgres: { url: env:REFS, query: 'select * from refs where n > :after', columns: { message_server_id: n, create_time: at },\n\
                cursor: { column: n, start: 2026-01-01, overlap: 2h }, time_unit: s, timezone: Asia/Shanghai } },\n\
              fetch: { timeout: 1500ms, concurrency: 8, team_owner: archive.bot, threads: complete },\n\
              sink: { postgres: { url: 'postgres://writer@db:6543/archive', table: Messages } } } }");
        assert_eq!(
            canonical,
            r#"{"app.api_version":"v2.1","app.app_key":"the-key","app.ca_file":"/nowhere/ca.pem","app.endpoints":["https://b.example/x","https://a.example/"],"app.rate_limit":100,"configuration":2,"fetch.attempts":6,"fetch.batch_size":100,"fetch.concurrency":8,"fetch.give_up_after":"600","fetch.retry_for":"604800","fetch.team_owner":"archive.bot","fetch.thread_depth":32,"fetch.threads":"complete","fetch.timeout":"1.500000000","history":"5400","job":"night","plan_window":1000000,"sink.commit_interval":"10","sink.kind":"postgres","sink.partitioning":"","sink.place":"db:6543/archive/public.Messages","sink.raw":false,"source.columns":{"create_time":"at","message_server_id":"n"},"source.cursor":{"column":"n","overlap":"7200","start":"2026-01-01"},"source.format":"reference","source.kind":"postgres","source.place":"db.example:5432/refs","source.query":"select * from refs where n > :after","source.time_unit":"s","source.timezone":"Asia/Shanghai","tolerate.classes":["unanswered"],"tolerate.codes":[404,107404]}"#
        );
        assert_eq!(digest, "35785321afa26d5d57f5babc3e22b3bbdde1f734b2845088646ae09caa91c2de");
        assert!(!canonical.contains("hunter2"));
    }

    #[test]
    fn the_way_the_file_is_written_changes_nothing_and_a_setting_does() {
        let written_out = FILES.replace(
            "{ parquet: {} }",
            "{ parquet: { compression: zstd(3), max_file_size: 256000kB, partition_by: [date] } }, tolerate: []",
        );
        assert_eq!(of(FILES), of(&written_out));
        for (setting, job) in
            [("tolerate", "tolerate: [404]"), ("fetch", "fetch: { attempts: 7 }"), ("history", "history: 1d")]
        {
            assert_ne!(
                of(FILES).1,
                of(&FILES.replace("{ app: main,", &format!("{{ app: main, {job},"))).1,
                "{setting}"
            );
        }
        let in_order =
            |codes: &str| of(&FILES.replace("{ app: main,", &format!("{{ app: main, tolerate: [{codes}],"))).1;
        assert_eq!(in_order("404, refused, 1"), in_order("1, 404, refused, 404"));
    }
}
