//! What a job means, as a hash: two runs with the same one had the same settings, whatever the file looked like.

use std::fmt::{Debug, Write as _};

use sha2::{Digest as _, Sha256};

use super::mistake::Mistake;
use super::query::Query;
use super::secret::Environment;
use super::sink::Sink;
use super::source::{Files, Origin};
use super::{App, Job};

/// What a job means, one `key = value` a line, defaults spelt out. No secret is part of it: not even as a hash, which
/// could be guessed at. Where it is signed, who runs it and what for are no part of it either.
fn meaning(app: &App, app_key: &str, job: &Job, environment: &Environment) -> Result<String, Mistake> {
    let mut text = String::from("meaning 1\n");
    let mut say = |key: &str, value: &dyn Debug| writeln!(text, "{key} = {value:?}").expect("a string takes all");
    say("job", &job.name);
    say("app.app_key", &app_key);
    for endpoint in &app.endpoints {
        say("app.endpoint", &endpoint.as_str());
    }
    say("app.api_version", &app.api_version.as_str());
    say("app.rate_limit", &app.rate_limit);
    say("app.ca_file", &app.ca_file);
    let mut files = |kind: &str, files: &Files| {
        say("source", &kind);
        say("source.path", &files.input.pattern());
        say("source.skip_consumed", &files.skip_consumed);
    };
    let mut query: Option<(&str, String, &Query)> = None;
    match &job.source.origin {
        Origin::Csv { files: of, delimiter } => {
            files("csv", of);
            say("source.delimiter", &char::from(*delimiter));
        }
        Origin::Jsonl { files: of } => files("jsonl", of),
        Origin::Parquet { files: of } => files("parquet", of),
        Origin::Sqlite { path, query: of } => query = Some(("sqlite", path.display().to_string(), of)),
        Origin::Postgres { url, query: of } => query = Some(("postgres", url.place(environment)?, of)),
        Origin::Mysql { url, query: of } => query = Some(("mysql", url.place(environment)?, of)),
    }
    if let Some((kind, place, query)) = query {
        say("source", &kind);
        say("source.place", &place);
        say("source.query", &query.sql);
        if let Some(cursor) = &query.cursor {
            say("source.cursor.column", &cursor.column);
            say("source.cursor.start", &cursor.start);
            say("source.cursor.overlap", &cursor.overlap);
        }
    }
    let source = &job.source;
    say("source.format", &source.format);
    for (field, name) in &source.columns {
        say(&format!("source.columns.{}", field.as_str()), name);
    }
    say("source.time_unit", &source.time_unit);
    say("source.timezone", &source.timezone.iana_name());
    let fetch = &job.fetch;
    say("fetch.batch_size", &fetch.batch_size);
    say("fetch.concurrency", &fetch.concurrency);
    say("fetch.timeout", &fetch.timeout);
    say("fetch.attempts", &fetch.attempts);
    say("fetch.give_up_after", &fetch.give_up_after);
    say("fetch.retry_for", &fetch.retry_for);
    say("fetch.team_owner", &fetch.team_owner);
    say("fetch.threads", &fetch.threads);
    say("fetch.thread_depth", &fetch.thread_depth);
    say("sink", &job.sink.kind().as_str());
    say("sink.place", &job.sink.place(environment)?);
    say("sink.partitioning", &job.sink.partitioning());
    say("sink.raw", &job.sink.raw());
    if let Sink::Parquet(parquet) = &job.sink {
        say("sink.timezone", &parquet.timezone.iana_name());
        say("sink.compression", &parquet.compression);
        say("sink.max_file_size", &parquet.max_file_size);
        say("sink.commit_interval", &parquet.commit_interval);
        say("sink.memory", &parquet.memory);
        say("sink.encodings", &parquet.encodings);
    }
    if let Sink::Postgres(postgres) = &job.sink {
        say("sink.commit_interval", &postgres.commit_interval);
    }
    say("tolerate.codes", &job.tolerate.codes);
    say("tolerate.classes", &job.tolerate.classes);
    say("plan_window", &job.plan_window);
    say("history", &job.history);
    Ok(text)
}

/// SHA-256 of what a job means, lower-case hex.
pub(super) fn digest(app: &App, app_key: &str, job: &Job, environment: &Environment) -> Result<String, Mistake> {
    Ok(hex::encode(Sha256::digest(meaning(app, app_key, job, environment)?)))
}
