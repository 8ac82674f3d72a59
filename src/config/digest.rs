//! What a job means, as a hash: two runs with the same one had the same settings, whatever the file looked like.

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Identity;
use super::app::App;
use super::environment::Environment;
use super::job::Job;
use super::mistake::ConfigError;
use super::setting::{DigestValues, Setting};

/// The version of the form. A key that is told in another way raises it; a new key does not if it is declared with `since`.
const VERSION: u32 = 2;

/// What a job means, as canonical JSON: one object on one line without white space, its keys in the order of their bytes,
/// every default spelt out, whole numbers only, times as text in seconds.
///
/// No secret is part of it: not even as a hash, which could be guessed at.
fn canonical(app: &App, app_key: &str, job: &Job, environment: &Environment) -> Result<String, ConfigError> {
    let mut told = DigestValues::new();
    App::tell(app, "app", &mut told);
    Job::tell(job, "", &mut told);
    told.extend(job.source.place()?.map(|place| ("source.place".to_owned(), json!(place))));
    told.extend([
        ("configuration".to_owned(), json!(VERSION)),
        ("job".to_owned(), json!(job.name)),
        ("app.app_key".to_owned(), json!(app_key)),
        ("sink.place".to_owned(), json!(job.sink.place(environment)?)),
        ("sink.partitioning".to_owned(), json!(job.sink.partitioning())),
    ]);
    Ok(serde_json::to_string(&told).expect("text keys and plain values"))
}

/// SHA-256 of what a job means, lower-case hex.
pub(super) fn digest(app: &App, app_key: &str, job: &Job, environment: &Environment) -> Result<String, ConfigError> {
    Ok(hex::encode(Sha256::digest(canonical(app, app_key, job, environment)?)))
}

/// The same of what a worker of a fleet needs to know.
pub(super) fn of_worker(app: &App, identity: &Identity, job: &Job) -> String {
    let mut told = DigestValues::new();
    Job::tell(job, "", &mut told);
    told.retain(|key, _| key.starts_with("fetch.") || key.starts_with("sink."));
    App::tell(app, "app", &mut told);
    let Identity { app_key, place, partitioning } = identity;
    told.extend(
        [("app_key", app_key), ("place", place), ("partitioning", partitioning)]
            .map(|(key, text)| (key.to_owned(), json!(text))),
    );
    // What a machine is able to do is its own affair.
    for key in ["app.ca_file", "fetch.concurrency", "sink.memory"] {
        told.remove(key);
    }
    hex::encode(Sha256::digest(serde_json::to_string(&told).expect("text keys and plain values")))
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
