//! What `jobs.yaml` says, and what it means.
//!
//! Reading has two steps. [`Config::load`] understands the whole file, gathers every mistake of meaning, and looks up
//! what is needed to understand it. Secrets (AppKey, AppSecret, URLs of databases) stay references until a command
//! asks for one: planning and status need no AppSecret.
//!
//! No error, warning or `Debug` output of this room holds a secret, also when it was written where it does not belong.

#[macro_use]
mod declare;

mod app;
mod columns;
mod database;
mod digest;
mod document;
mod documentation;
mod environment;
mod fleet;
mod job;
mod mistake;
mod notify;
mod proxy;
mod query;
mod reader;
mod scalar;
mod secret;
mod setting;
mod sink;
mod source;
mod store;
mod template;
mod written;

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

pub use app::{ApiVersion, App, Region};
pub use columns::Format;
pub use documentation::{json_schema, tables};
pub use fleet::Fleet;
pub use job::{Concurrency, Fetch, Job, Threads};
pub use mistake::{ConfigError, Mistake};
pub use notify::{Hooks, Metrics, Otlp, Ping, PingAs, PingOn};
pub use proxy::{Proxies, Proxy, Via};
pub use query::{Cursor, Overlap, Query};
pub use secret::Secret;
pub use sink::*;
pub use source::*;
pub use store::{Bucket, ConditionalWrites, ENDPOINT_VARIABLES, Encryption, Location, Storage, StoreAccess};
pub use template::{example, template};
pub use written::Position;

use document::Document;
use environment::Environment;
use reader::Reader;
use setting::Setting as _;

/// What a ledger is bound to. Changing any of it makes another job of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The AppKey.
    pub app_key: String,
    /// Where the sink is, without credentials: an absolute path without links, the URL of a prefix with the host of its
    /// store, or `host:port/database/schema.table`.
    pub place: String,
    /// How rows are divided, such as `date@UTC`; empty when they are not.
    pub partitioning: String,
}

/// What the file means.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file, as messages name it.
    pub file: PathBuf,
    /// The directory of the ledgers, absolute.
    pub state: PathBuf,
    /// Where the metrics of runs go.
    pub metrics: Metrics,
    /// The monitor of every `run`.
    pub ping: Ping,
    /// What is run after every `run` and `retry`.
    pub hooks: Hooks,
    /// How the coordinator and the workers of a fleet meet, if the file says so.
    pub fleet: Option<Fleet>,
    /// The apps, in the order of the file.
    pub apps: Vec<App>,
    /// The jobs, in the order of the file; at least one.
    pub jobs: Vec<Job>,
    /// Things that are no mistake and yet worth a word, each with its place in the file.
    pub warnings: Vec<String>,
    environment: Environment,
}

impl Config {
    /// Reads a file. Relative paths in it are from its directory; variables are those of the process.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => ConfigError::Missing(path.to_owned()),
            _ => ConfigError::Unreadable { file: path.to_owned(), source },
        };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let base = absolute.parent().unwrap_or(Path::new("/"));
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            let line = 1 + valid.matches('\n').count() as u64;
            let mistake = Mistake {
                at: Position { line, column: 1 },
                key: String::new(),
                message: "this line is not UTF-8".to_owned(),
            };
            ConfigError::Mistakes { file: path.to_owned(), mistakes: vec![mistake] }
        })?;
        Self::parse(&text, path, base, |name| std::env::var(name).ok())
    }

    /// Reads a text. `file` is how messages name it, `base` is the directory of relative paths, and `lookup` knows the
    /// environment variables.
    pub fn parse(
        text: &str,
        file: &Path,
        base: &Path,
        lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let fail = |mistakes| ConfigError::Mistakes { file: file.to_owned(), mistakes };
        let written = written::read(text).map_err(|error| fail(vec![mistake::from_yaml(&error.0, &error.1)]))?;
        let environment = Environment::new(file, lookup);
        let mut reader = Reader::new(base, &environment);
        let document = Document::read(&mut reader, written, "");
        let Reader { mut mistakes, notes, .. } = reader;
        let Some(Document { version: _, state, metrics, ping, hooks, fleet, apps, jobs }) =
            document.filter(|_| mistakes.is_empty())
        else {
            mistakes.sort_by_key(|mistake| mistake.at);
            return Err(fail(mistakes));
        };
        let warnings = notes.into_iter().map(|note| fail(vec![note]).to_string()).collect();
        Ok(Self { file: file.to_owned(), state, metrics, ping, hooks, fleet, apps, jobs, warnings, environment })
    }

    /// The job of this name.
    pub fn job(&self, name: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.name == name)
    }

    /// The app of a job of this file.
    pub fn app_of(&self, job: &Job) -> &App {
        self.apps.iter().find(|app| app.name == job.app).expect("a job was accepted only with an app of its file")
    }

    /// Looks up an app's AppKey: an identifier and no secret.
    pub fn app_key(&self, app: &App) -> Result<String, ConfigError> {
        Ok(app.app_key.look_up()?.expose_secret().to_owned())
    }

    /// Looks up through which proxies an app's requests go.
    pub fn proxies(&self, app: &App) -> Result<Proxies, ConfigError> {
        let key = format!("apps.{}.proxy", app.name);
        app.proxy.resolve(&self.environment, &key, app.app_key.at)
    }

    /// The endpoints that are told how runs went, except a collector that the environment names.
    pub fn endpoints(&self) -> Vec<&Secret> {
        let collector = match &self.metrics.otlp {
            Otlp::At(url) => Some(url),
            Otlp::Off | Otlp::Environment => None,
        };
        let pings = self.jobs.iter().map(|job| &job.ping).chain([&self.ping]).filter_map(|ping| ping.url.as_ref());
        pings.chain(collector).chain(&self.metrics.pushgateway).collect()
    }

    /// Looks up through which proxies requests go that are no app's and no store's: those of the environment.
    pub fn environment_proxies(&self) -> Result<Proxies, ConfigError> {
        Proxy::Environment.resolve(&self.environment, "metrics", Position::default())
    }

    /// Looks up what reaches the bucket of a job's sink.
    pub fn store(&self, job: &Job, bucket: &Bucket, storage: &Storage) -> Result<StoreAccess, ConfigError> {
        let key = format!("jobs.{}.sink.parquet.storage", job.name);
        StoreAccess::look_up(bucket, storage, &self.environment, (&key, self.app_of(job).app_key.at))
    }

    /// What a job's ledger is bound to. Looks up the AppKey and, for Postgres, the sink's URL.
    pub fn identity(&self, job: &Job) -> Result<Identity, ConfigError> {
        Ok(Identity {
            app_key: self.app_key(self.app_of(job))?,
            place: job.sink.place(&self.environment)?,
            partitioning: job.sink.partitioning(),
        })
    }

    /// SHA-256 of what a job means to a worker: how it fetches and what it writes, but not where its references come from.
    pub fn worker_digest(&self, job: &Job) -> Result<String, ConfigError> {
        let app = self.app_of(job);
        Ok(digest::of_worker(app, &self.identity(job)?, job))
    }

    /// SHA-256 of what a job means, without secrets. Looks up the AppKey and, without their credentials, URLs.
    pub fn digest(&self, job: &Job) -> Result<String, ConfigError> {
        let app = self.app_of(job);
        let app_key = self.app_key(app)?;
        digest::digest(app, &app_key, job, &self.environment)
    }
}
