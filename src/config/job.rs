//! A job: from where references come, how messages are fetched, and where they go.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::mistake::nearest;
use super::notify::Ping;
use super::reader::Reader;
use super::scalar::{DurationOrZero, Whole};
use super::secret::{Kind, Lookup, Secret};
use super::setting::{DigestValues, Scalar, Setting, Text, defaults, text};
use super::sink::Sink;
use super::source::Source;
use super::written::Written;
use crate::model::failure::{Class, Tolerance};
use crate::plan::TeamOwner;

settings! {
    /// One job: references from a source, messages to a sink.
    pub Job {
        @name;
        /// The name of an app of `apps`.
        app: String as AppName, sample "main", undigested "the digest has its settings";
        /// Where references are read: one of [`csv`, `jsonl`, `parquet`](#file-sources),
        /// [`sqlite`, `postgres`, `mysql`](#query-sources).
        source: Source;
        /// How messages are [fetched](#fetch).
        fetch: Fetch, default "{}";
        /// Where messages go: one of [`parquet`](#parquet-sink), [`postgres`](#postgres-sink).
        sink: Sink;
        /// Failures that do not make the job exit with 3, by code or class, such as `[107404, unanswered]`. A run that
        /// [looks wrong as a whole](failures.md#what-looks-wrong-as-a-whole) exits with 3 even so. The classes are
        /// `unavailable`, `unanswered`, `refused`, `transport`, `undecodable`, `invalid`.
        tolerate: Tolerance, default "[]";
        /// How many references may wait for others of their conversation. When more wait, the fullest batches are cut.
        plan_window: usize as Whole<usize, 1, 100_000_000>, default "1000000";
        /// How long runs and closed failures stay in the ledger.
        history: Duration, default "400d";
        /// Who runs the job, for the [manifests](verification.md#the-manifest). `run --operator` says it for one run.
        operator: Option<String> as Option<Line>, default "null", undigested "it changes no message";
        /// What the job is for, for the manifests. `run --purpose` says it for one run.
        purpose: Option<String> as Option<Line>, default "null", undigested "it changes no message";
        /// The Ed25519 private key (PKCS#8 as PEM) that [signs](verification.md#signatures) the manifests.
        sign: Option<Secret> as Option<Lookup<SigningKey>>, default "null", undigested "it changes no message";
        /// A monitor of this job alone, which is [pinged](#pings) by every `run` of it.
        ping: Ping, default "{}", undigested "it changes no message";
    }
}

settings! {
    /// How messages are fetched.
    pub Fetch {
        /// References per request.
        batch_size: usize as Whole<usize, 1, 1000>, default "100";
        /// Requests in flight. `auto` adapts to what the rate limit needs.
        concurrency: Concurrency, default "auto";
        /// The time that a request may take.
        timeout: Duration, default "15s";
        /// Attempts of one batch in one run. Failures while nobody answers anything
        /// [do not count](failures.md#attempts-and-backoff). This is also how often a message is asked for that is
        /// [refused for now](failures.md#refused-for-now).
        attempts: u32 as Whole<u32, 1, 1000>, default "6";
        /// The run exits with 1 after this long without a success on any endpoint. Its batches stay pending.
        give_up_after: Duration, default "10m";
        /// The age after which a failure counts as permanent; `0s` is at once. Transport failures never count as permanent.
        retry_for: Duration as DurationOrZero, default "7d";
        /// The owner in whose name teams are asked. `merge`: whoever was answered for the team before, or else the owner
        /// that most references name; this needs the fewest requests. `own`: the owner that each reference names. Or one
        /// account that is in every team. What that owner does not get is asked under
        /// [others](failures.md#other-owners).
        team_owner: TeamOwner, default "merge";
        /// Whether the messages that archived messages link to are fetched too. `complete` fetches the roots of their
        /// threads and the messages they answer, and so on upward. See [Threads](#threads).
        threads: Threads, default "off";
        /// How many links are followed upward from a message that a reference names.
        thread_depth: u16 as Whole<u16, 1, 1000>, default "32";
    }
}

impl Fetch {
    /// How many links are followed upward; 0 is not at all.
    pub fn links(&self) -> u16 {
        match self.threads {
            Threads::Off => 0,
            Threads::Complete => self.thread_depth,
        }
    }
}

impl Default for Fetch {
    fn default() -> Self {
        defaults::<Self>()
    }
}

choice! {
    /// Whether the messages that archived messages link to are fetched too.
    Threads {
        /// They are not. YAML 1.1 programs write `off` as `false`.
        Off = "off" | "false";
        /// They are, until every thread is complete or `thread_depth` is reached.
        Complete = "complete";
    }
}

/// Requests in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Concurrency {
    /// As many as the rate limit needs, up to 1024.
    #[default]
    Auto,
    /// As many as this, once the first request has succeeded.
    Fixed(u16),
}

impl Scalar for Concurrency {
    type Value = Self;

    fn schema() -> Json {
        json!({
            "title": "1 to 1024, or `auto`",
            "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 1024 }, { "enum": ["auto"] }],
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let number = text.parse().ok().filter(|number| (1..=1024).contains(number));
        number.map(Self::Fixed).ok_or_else(|| "is neither auto nor a whole number from 1 to 1024".to_owned())
    }

    fn canonical(value: &Self) -> Json {
        match value {
            Self::Auto => json!("auto"),
            Self::Fixed(number) => json!(number),
        }
    }
}

impl Scalar for TeamOwner {
    type Value = Self;

    fn schema() -> Json {
        text("`merge`, `own` or an account")
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "merge" => Ok(Self::Merge),
            "own" => Ok(Self::Own),
            "" => Err("is no account: write merge, own or an account".to_owned()),
            // The API refuses none for its characters, but these would end the account within a conversation ID.
            account if account.contains('|') || account.chars().any(|c| c.is_whitespace() || c.is_control()) => {
                Err("is no account: an account has neither | nor white space".to_owned())
            }
            account => Ok(Self::Account(account.to_owned())),
        }
    }

    fn canonical(value: &Self) -> Json {
        match value {
            Self::Merge => json!("merge"),
            Self::Own => json!("own"),
            Self::Account(account) => json!(account),
        }
    }
}

/// The name of an app of the file.
pub(super) struct AppName;

impl Setting for AppName {
    type Written = String;
    type Value = String;

    fn schema() -> Json {
        text("name")
    }

    fn read(reader: &mut Reader<'_>, written: String, key: &str) -> Option<String> {
        let apps: Vec<String> =
            reader.places.keys().filter_map(|key| key.strip_prefix("apps.")).map(str::to_owned).collect();
        let names: Vec<&str> = apps.iter().map(String::as_str).filter(|name| !name.contains('.')).collect();
        reader.text(written, key, true, |text| match nearest(text, &names) {
            // A file without apps has that mistake already.
            _ if names.is_empty() || names.contains(&text) => Ok(text.to_owned()),
            Some(nearest) => Err(format!("is no app of this file: did you mean {nearest}?")),
            None => Err(format!("is no app of this file: write one of {}", names.join(", "))),
        })
    }

    fn canonical(value: &String) -> Json {
        json!(value)
    }
}

/// One line of words for a manifest.
pub(super) struct Line;

impl Text for Line {
    const FORM: &'static str = "text";

    fn parse(text: &str) -> Result<&str, &'static str> {
        match text.trim() {
            "" => Err("is empty: write some words, or leave it out"),
            text if text.chars().any(char::is_control) => Err("holds control characters: write one line"),
            text => Ok(text),
        }
    }
}

/// A private key.
pub(super) struct SigningKey;

impl Kind for SigningKey {
    const MAY_BE_LITERAL: bool = false;

    const FORM: &'static str = "`file:PATH` or `env:NAME`";

    fn literal(_: &str) -> Result<(), String> {
        Err("a private key never stands in this file: write file:PATH or env:NAME".to_owned())
    }
}

impl Setting for Tolerance {
    type Written = Vec<Written<String>>;
    type Value = Self;

    fn schema() -> Json {
        let classes = Class::ALL.map(Class::as_str);
        json!({
            "type": "array",
            "title": "list of codes and classes",
            "items": { "anyOf": [{ "type": "integer" }, { "enum": classes }] },
        })
    }

    fn read(reader: &mut Reader<'_>, written: Self::Written, key: &str) -> Option<Self> {
        let mut tolerance = Self::default();
        for (n, item) in written.into_iter().enumerate() {
            let key = format!("{key}[{n}]");
            reader.places.insert(key.clone(), item.at);
            reader.text(item.value, &key, true, |text| {
                if let Ok(code) = text.parse::<i64>() {
                    tolerance.codes.push(code);
                } else if let Ok(class) = text.parse::<Class>() {
                    tolerance.classes.push(class);
                } else {
                    let names = Class::ALL.map(Class::as_str);
                    let right = match nearest(text, &names) {
                        Some(nearest) => format!("did you mean {nearest}?"),
                        None => format!("the classes are {}", names.join(", ")),
                    };
                    return Err(format!("is neither a code nor a failure class: {right}"));
                }
                Ok(())
            });
        }
        Some(tolerance)
    }

    fn tell(value: &Self, key: &str, told: &mut DigestValues) {
        told.insert(format!("{key}.codes"), sorted(value.codes.clone()));
        told.insert(format!("{key}.classes"), sorted(value.classes.iter().map(|class| class.as_str()).collect()));
    }
}

/// Values whose order means nothing.
fn sorted<T: Ord + serde::Serialize>(mut values: Vec<T>) -> Json {
    values.sort_unstable();
    values.dedup();
    json!(values)
}
