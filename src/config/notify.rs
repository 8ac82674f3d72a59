//! Who is told how runs went.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use url::Url;

use super::reader::Reader;
use super::secret::{Kind, Lookup, Secret};
use super::setting::{DigestValues, Setting};
use super::written::Written;

settings! {
    /// Where the metrics of runs go.
    pub Metrics {
        /// A file for the textfile collector of Prometheus' node_exporter, whose name must end in `.prom`. It is replaced as
        /// a whole after each job; jobs that did not run keep their lines. `run --metrics` names another for one run.
        file: Option<PathBuf>, default "null";
        /// The URL of a Pushgateway, such as `http://pushgateway:9091`. Each job has a group of its own, by the key `job`.
        /// With a user or password: `env:` or `file:`.
        pushgateway: Option<Secret> as Option<Lookup<BaseUrl>>, default "null";
        /// Where metrics and a trace of each run go over [OTLP](metrics.md#opentelemetry): `off`, `env`, which is what the
        /// variables `OTEL_EXPORTER_OTLP_…` say, or the URL of a collector, such as `http://collector:4318`. With a user
        /// or password: `env:` or `file:`.
        otlp: Otlp, default "off";
    }
}

settings! {
    /// A monitor that notices when runs fail, or when none comes.
    pub Ping {
        /// The URL that is asked, which is a secret: `env:` or `file:`. `/start` is added to its path before a run, nothing
        /// after success, `/fail` after a failure.
        url: Option<Secret> as Option<Lookup<PingUrl>>, default "null";
        /// What other ends than success and failure [count as](#the-keys-of-on).
        on: PingOn, default "{}";
    }
}

settings! {
    /// What other ends than success and failure count as.
    pub PingOn {
        /// Exit 3: complete, with new failures, or it looks wrong.
        partial: PingAs, default "fail";
        /// Exit 5: stopped by a deadline or signal. `success` if your nights end by their deadline.
        stopped: PingAs, default "fail";
        /// Exit 75: another process is running the job, or another job of its app.
        busy: PingAs, default "log";
    }
}

choice! {
    /// What a ping says.
    PingAs {
        /// The run went well.
        Success = "success";
        /// It did not: `/fail`.
        Fail = "fail";
        /// Neither: `/log`, which the monitor only records.
        Log = "log";
    }
}

settings! {
    /// Commands that are run when a command has ended.
    pub Hooks {
        /// The command after exit 0, as a list of words.
        success: Vec<String> as Argv, default "[]";
        /// The command after every other exit.
        failure: Vec<String> as Argv, default "[]";
        /// The command after every exit, last.
        always: Vec<String> as Argv, default "[]";
        /// The time that each of them may take.
        timeout: Duration, default "1m";
    }
}

/// Where metrics and traces go over OTLP.
#[derive(Debug, Clone)]
pub enum Otlp {
    /// Nowhere.
    Off,
    /// Where the environment says.
    Environment,
    /// To this collector.
    At(Secret),
}

impl Setting for Otlp {
    type Written = String;
    type Value = Self;

    fn schema() -> Json {
        let mut schema = Lookup::<BaseUrl>::schema();
        schema["title"] = json!("`off`, `env` or a URL");
        json!({ "title": schema["title"], "anyOf": [schema, { "enum": [false] }] })
    }

    fn read(reader: &mut Reader<'_>, written: String, key: &str) -> Option<Self> {
        match written.as_str() {
            // YAML 1.1 programs write `off` as `false`.
            "off" | "false" => Some(Self::Off),
            "env" => Some(Self::Environment),
            _ => Lookup::<BaseUrl>::read(reader, written, key).map(Self::At),
        }
    }

    fn tell(_: &Self, _: &str, _: &mut DigestValues) {}
}

/// The URL that the paths of a service begin with.
pub(super) struct BaseUrl;

impl Kind for BaseUrl {
    const FORM: &'static str = "URL";

    fn literal(text: &str) -> Result<(), String> {
        let url = web(text)?;
        if url.username().is_empty() && url.password().is_none() && !text.contains('@') {
            return Self::check(text);
        }
        Err("a URL with a user or password never stands in this file: write env:NAME or file:PATH, \
             and if the password was the real one, change it"
            .to_owned())
    }

    fn check(text: &str) -> Result<(), String> {
        let url = web(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or fragment, and its path is to be continued".to_owned());
        }
        Ok(())
    }
}

/// The URL of a monitor: whoever knows it can say that all is well.
pub(super) struct PingUrl;

impl Kind for PingUrl {
    const MAY_BE_LITERAL: bool = false;

    const FORM: &'static str = "`env:NAME` or `file:PATH`";

    fn literal(_: &str) -> Result<(), String> {
        Err("a ping's URL is a secret and never stands in this file: write env:NAME or file:PATH".to_owned())
    }

    fn check(text: &str) -> Result<(), String> {
        web(text).map(|_| ())
    }
}

/// A URL of the web; the error never quotes it.
fn web(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "is no http:// or https:// URL".to_owned())
}

/// A program and its arguments, without a shell; empty is none.
pub(super) struct Argv;

impl Setting for Argv {
    type Written = Option<Vec<Written<String>>>;
    type Value = Vec<String>;

    fn schema() -> Json {
        json!({ "type": "array", "title": "list of words", "items": { "type": "string" } })
    }

    fn read(reader: &mut Reader<'_>, written: Self::Written, key: &str) -> Option<Vec<String>> {
        let mut words = Some(Vec::new());
        for (n, word) in written.into_iter().flatten().enumerate() {
            let key = format!("{key}[{n}]");
            reader.places.insert(key.clone(), word.at);
            let word = reader.text(word.value, &key, false, |word| match word {
                "" if n == 0 => Err("names no program".to_owned()),
                word if word.contains('\0') => Err("holds a null byte".to_owned()),
                word => Ok(word.to_owned()),
            });
            words = words.zip(word).map(|(mut words, word)| {
                words.push(word);
                words
            });
        }
        words
    }

    fn canonical(value: &Vec<String>) -> Json {
        json!(value)
    }
}
