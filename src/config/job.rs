//! What a job means.

use std::time::Duration;

use super::document::{FetchDocument, JobDocument};
use super::mistake::nearest;
use super::reading::Reading;
use super::secret::Reference;
use super::sink::Sink;
use super::source::Source;
use super::written::{Position, Written};
use crate::model::failure::Class;

/// One job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// The name of its app; see [`Config::app_of`](super::Config::app_of).
    pub app: String,
    /// Where references are read.
    pub source: Source,
    /// How messages are fetched.
    pub fetch: Fetch,
    /// Where messages go.
    pub sink: Sink,
    /// The failures that do not make exit 3.
    pub tolerate: Tolerate,
    /// References that may be carried before the fullest batches are cut.
    pub plan_window: usize,
    /// How long runs and closed failures stay in the ledger.
    pub history: Duration,
    /// Who runs it, for manifests.
    pub operator: Option<String>,
    /// What for, for manifests.
    pub purpose: Option<String>,
    /// The private key that manifests are signed with; see [`Config::signing_key`](super::Config::signing_key).
    pub sign: Option<Reference>,
}

/// How messages are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// References per request, 1 to 1000.
    pub batch_size: usize,
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// The time a request may take.
    pub timeout: Duration,
    /// Attempts of one batch in one run, at least 1.
    pub attempts: u32,
    /// After so long without a success on any endpoint the run fails.
    pub give_up_after: Duration,
    /// The age after which a failure counts as permanent; transport never does. Zero: at once.
    pub retry_for: Duration,
    /// In whose name teams are asked.
    pub team_owner: TeamOwner,
    /// Whether the messages that threads refer to are fetched too.
    pub threads: Threads,
    /// How many steps a thread is followed, at least 1.
    pub thread_depth: u32,
}

/// Requests in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// Adapts, up to 1024.
    Auto,
    /// As many as this, 1 to 1024.
    Fixed(u32),
}

/// In whose name teams are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TeamOwner {
    /// The owner that most references name.
    Merge,
    /// Each reference's own owner.
    Own,
    /// This account.
    Account(String),
}

/// Whether the messages that threads refer to are fetched too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// They are not.
    Off,
    /// They are, until every thread is complete or `thread_depth` is reached.
    Complete,
}

/// The failures that do not make exit 3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tolerate {
    /// By the API's code.
    pub codes: Vec<i64>,
    /// By class.
    pub classes: Vec<Class>,
}

impl Tolerate {
    /// Whether a failure is tolerated, by its class or its code.
    pub fn covers(&self, class: Class, code: Option<i64>) -> bool {
        self.classes.contains(&class) || code.is_some_and(|code| self.codes.contains(&code))
    }
}

/// What a ledger is bound to. Changing any of it makes another job of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The AppKey.
    pub app_key: String,
    /// Where the sink is, without credentials: an absolute path without links, or `host:port/database/schema.table`.
    pub place: String,
    /// How rows are divided, such as `date@UTC`; empty when they are not.
    pub partitioning: String,
}

impl Job {
    pub(super) fn read(
        reading: &mut Reading<'_>,
        name: &Written<String>,
        written: &Written<JobDocument>,
        app_names: &[&str],
    ) -> Option<Self> {
        let key = format!("jobs.{}", name.value);
        let job = &written.value;
        let app = read_app(reading, name, job, app_names, &format!("{key}.app"));
        let source_key = format!("{key}.source");
        if job.source.is_none() {
            reading.missing(name.at, &source_key, "one of csv, jsonl, parquet, sqlite, postgres, mysql");
        }
        let source = job.source.as_ref().and_then(|source| Source::read(reading, source, &source_key));
        let default = FetchDocument::default();
        let fetch = Fetch::read(reading, job.fetch.as_ref().unwrap_or(&default), &format!("{key}.fetch"));
        let sink_key = format!("{key}.sink");
        if job.sink.is_none() {
            reading.missing(name.at, &sink_key, "one of parquet, postgres");
        }
        let sink = job.sink.as_ref().and_then(|sink| Sink::read(reading, sink, &sink_key));
        let tolerate = read_tolerate(reading, job.tolerate.as_deref(), &format!("{key}.tolerate"));
        let plan_window =
            reading.number(&job.plan_window, &format!("{key}.plan_window"), 1_000_000, 1..=100_000_000) as usize;
        let history = reading.duration(&job.history, &format!("{key}.history"), days(400));
        let operator = reading.optional(&job.operator, &format!("{key}.operator"), said);
        let purpose = reading.optional(&job.purpose, &format!("{key}.purpose"), said);
        let sign = job.sign.as_ref().and_then(|_| read_sign(reading, job, name.at, &format!("{key}.sign")));
        Some(Self {
            name: name.value.clone(),
            app: app?,
            source: source?,
            fetch,
            sink: sink?,
            tolerate,
            plan_window,
            history,
            operator,
            purpose,
            sign,
        })
    }
}

fn read_sign(reading: &mut Reading<'_>, job: &JobDocument, at: Position, key: &str) -> Option<Reference> {
    reading.reference(&job.sign, at, key, "env:NAME or file:PATH of a private key", |_| {
        Err("a private key never stands in this file: write file:PATH or env:NAME".to_owned())
    })
}

/// Words for a manifest.
fn said(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty: write some words, or leave it out".to_owned()),
        text if text.chars().any(char::is_control) => Err("holds control characters: write one line".to_owned()),
        text => Ok(text.to_owned()),
    }
}

impl Fetch {
    fn read(reading: &mut Reading<'_>, written: &FetchDocument, key: &str) -> Self {
        let threads = [("off", Threads::Off), ("false", Threads::Off), ("complete", Threads::Complete)];
        Self {
            batch_size: reading.number(&written.batch_size, &format!("{key}.batch_size"), 100, 1..=1000) as usize,
            concurrency: reading.value(
                &written.concurrency,
                &format!("{key}.concurrency"),
                Concurrency::Auto,
                concurrency,
            ),
            timeout: reading.duration(&written.timeout, &format!("{key}.timeout"), Duration::from_secs(15)),
            attempts: reading.number(&written.attempts, &format!("{key}.attempts"), 6, 1..=1000) as u32,
            give_up_after: reading.duration(
                &written.give_up_after,
                &format!("{key}.give_up_after"),
                Duration::from_mins(10),
            ),
            retry_for: reading.value(
                &written.retry_for,
                &format!("{key}.retry_for"),
                days(7),
                super::reading::duration,
            ),
            team_owner: reading.value(&written.team_owner, &format!("{key}.team_owner"), TeamOwner::Merge, team_owner),
            threads: reading.choice(&written.threads, &format!("{key}.threads"), Threads::Off, &threads),
            thread_depth: reading.number(&written.thread_depth, &format!("{key}.thread_depth"), 32, 1..=1000) as u32,
        }
    }
}

fn days(n: u64) -> Duration {
    Duration::from_hours(24 * n)
}

fn read_app(
    reading: &mut Reading<'_>,
    name: &Written<String>,
    job: &JobDocument,
    app_names: &[&str],
    key: &str,
) -> Option<String> {
    if app_names.is_empty() {
        // That there is no app was already said.
        return None;
    }
    let known = app_names.join(", ");
    if job.app.is_none() {
        reading.missing(name.at, key, &format!("the name of an app, one of {known}"));
    }
    reading.optional(&job.app, key, |text| {
        if app_names.contains(&text) {
            Ok(text.to_owned())
        } else if let Some(nearest) = nearest(text, app_names) {
            Err(format!("is no app of this file: did you mean {nearest}?"))
        } else {
            Err(format!("is no app of this file: expected is one of {known}"))
        }
    })
}

fn concurrency(text: &str) -> Result<Concurrency, String> {
    if text == "auto" {
        return Ok(Concurrency::Auto);
    }
    let number = text.parse().ok().filter(|number| (1..=1024).contains(number));
    number.map(Concurrency::Fixed).ok_or_else(|| "is neither auto nor a whole number from 1 to 1024".to_owned())
}

fn team_owner(text: &str) -> Result<TeamOwner, String> {
    match text {
        "merge" => Ok(TeamOwner::Merge),
        "own" => Ok(TeamOwner::Own),
        "" => Err("is no account: write merge, own or an account".to_owned()),
        // The API refuses none for its characters, but these would end the account within a conversation ID.
        account if account.contains('|') || account.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            Err("is no account: one has neither | nor white space".to_owned())
        }
        account => Ok(TeamOwner::Account(account.to_owned())),
    }
}

fn read_tolerate(reading: &mut Reading<'_>, written: Option<&[Written<String>]>, key: &str) -> Tolerate {
    let mut tolerate = Tolerate::default();
    for (n, leaf) in written.unwrap_or_default().iter().enumerate() {
        let text = leaf.value.as_str();
        if let Ok(code) = text.parse::<i64>() {
            tolerate.codes.push(code);
        } else if let Ok(class) = text.parse::<Class>() {
            tolerate.classes.push(class);
        } else {
            let names = Class::ALL.map(Class::as_str);
            let right = match nearest(text, &names) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => format!("one of {}", names.join(", ")),
            };
            let message = format!("{text:?} is neither a code nor a failure class: {right}");
            reading.mistake(leaf.at, &format!("{key}[{n}]"), message);
        }
    }
    tolerate
}
