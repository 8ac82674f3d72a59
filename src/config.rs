//! What `jobs.yaml` says, and what it means.
//!
//! Reading has two steps. [`Config::load`] understands the whole file, gathers every mistake of meaning, and looks up
//! what is needed to understand it. Secrets (AppKey, AppSecret, URLs of databases) stay references until a command
//! asks for one: planning and status need no AppSecret.
//!
//! No error, warning or `Debug` output of this room holds a secret, also when it was written where it does not belong.

mod app;
mod database;
mod digest;
mod document;
mod field;
mod job;
mod mistake;
mod proxy;
mod query;
mod reading;
mod secret;
mod sink;
mod source;
mod template;
mod written;

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

pub use app::{ApiVersion, App};
pub use database::{DatabaseUrl, Engine};
pub use field::{Field, Format};
pub use job::{Concurrency, Fetch, Identity, Job, TeamOwner, Threads, Tolerate};
pub use mistake::{ConfigError, Mistake};
pub use proxy::{Proxies, Proxy, Via};
pub use query::{Cursor, Overlap, Query};
pub use secret::Reference;
pub use sink::{Compression, Encodings, ParquetSink, Partition, PostgresSink, Sink, SinkKind};
pub use source::{Files, Input, Origin, Source, SourceKind, TimeUnit};
pub use template::template;
pub use written::Position;

use document::Document;
use reading::Reading;
use secret::Environment;

/// What the file means.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file, as messages name it.
    pub file: PathBuf,
    /// The directory of the ledgers, absolute.
    pub state: PathBuf,
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
        let options = serde_saphyr::options! { with_snippet: false };
        let document: Document = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| fail(vec![mistake::from_yaml(&error)]))?;

        let environment = Environment::new(lookup);
        let mut reading = Reading { base, environment: &environment, mistakes: Vec::new(), notes: Vec::new() };
        let (state, apps, jobs) = read(&mut reading, &document);
        let Reading { mut mistakes, notes, .. } = reading;
        if !mistakes.is_empty() {
            mistakes.sort_by_key(|mistake| mistake.at);
            return Err(fail(mistakes));
        }
        let warnings = notes.into_iter().map(|note| fail(vec![note]).to_string()).collect();
        Ok(Self { file: file.to_owned(), state, apps, jobs, warnings, environment })
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
        let key = app.app_key.resolve(&self.environment).map_err(|mistake| self.fail(mistake))?;
        let key = key.expose_secret();
        // It goes out as a header.
        if key.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(key.to_owned())
        } else {
            Err(self.fail(app.app_key.mistake("is no AppKey: it holds white space or special characters")))
        }
    }

    /// Looks up an app's AppSecret.
    pub fn app_secret(&self, app: &App) -> Result<SecretString, ConfigError> {
        app.app_secret.resolve(&self.environment).map_err(|mistake| self.fail(mistake))
    }

    /// Looks up through which proxies an app's requests go.
    pub fn proxies(&self, app: &App) -> Result<Proxies, ConfigError> {
        let key = format!("apps.{}.proxy", app.name);
        app.proxy.resolve(&self.environment, &key, app.app_key.at).map_err(|mistake| self.fail(mistake))
    }

    /// Looks up a database's URL, and checks its form.
    pub fn url(&self, url: &DatabaseUrl) -> Result<SecretString, ConfigError> {
        url.resolve(&self.environment).map_err(|mistake| self.fail(mistake))
    }

    /// What a job's ledger is bound to. Looks up the AppKey and, for Postgres, the sink's URL.
    pub fn identity(&self, job: &Job) -> Result<Identity, ConfigError> {
        Ok(Identity {
            app_key: self.app_key(self.app_of(job))?,
            place: job.sink.place(&self.environment).map_err(|mistake| self.fail(mistake))?,
            partitioning: job.sink.partitioning(),
        })
    }

    /// SHA-256 of what a job means, without secrets. Looks up the AppKey and, without their credentials, URLs.
    pub fn digest(&self, job: &Job) -> Result<String, ConfigError> {
        let app = self.app_of(job);
        let app_key = self.app_key(app)?;
        digest::digest(app, &app_key, job, &self.environment).map_err(|mistake| self.fail(mistake))
    }

    /// Looks up the private key that a job's manifests are signed with, as text.
    pub fn signing_key(&self, job: &Job) -> Result<Option<SecretString>, ConfigError> {
        let key = job.sign.as_ref().map(|sign| sign.resolve(&self.environment));
        key.transpose().map_err(|mistake| self.fail(mistake))
    }

    /// Says what is wrong with a job's private key.
    pub fn no_signing_key(&self, job: &Job, why: &str) -> Option<ConfigError> {
        job.sign.as_ref().map(|sign| self.fail(sign.mistake(why)))
    }

    fn fail(&self, mistake: Mistake) -> ConfigError {
        ConfigError::Mistakes { file: self.file.clone(), mistakes: vec![mistake] }
    }
}

/// The JSON schema of `jobs.yaml`, for editors.
pub fn json_schema() -> serde_json::Value {
    document::schema()
}

fn read(reading: &mut Reading<'_>, document: &Document) -> (PathBuf, Vec<App>, Vec<Job>) {
    let start = Position { line: 1, column: 1 };
    match &document.version {
        None => reading.missing(start, "version", "write version: 1"),
        Some(version) if version.value != "1" => {
            reading.mistake(version.at, "version", "is a version that this program does not know: it knows 1");
        }
        Some(_) => {}
    }
    let state = reading.path(&document.state, "state", "./state");

    let mut apps = Vec::new();
    let mut app_names = Vec::new();
    match &document.apps {
        None => reading.missing(start, "apps", "at least one app"),
        Some(written) if written.value.0.is_empty() => {
            reading.mistake(written.at, "apps", "is empty: write at least one app");
        }
        Some(written) => {
            for (name, app) in &written.value.0 {
                app_names.push(name.value.as_str());
                app::check_name(reading, name, "apps", "an app");
                apps.extend(App::read(reading, name, app));
            }
        }
    }
    app::note_shared_keys(reading, &apps);

    let mut jobs: Vec<Job> = Vec::new();
    match &document.jobs {
        None => reading.missing(start, "jobs", "at least one job"),
        Some(written) if written.value.0.is_empty() => {
            reading.mistake(written.at, "jobs", "is empty: write at least one job");
        }
        Some(written) => {
            for (name, job) in &written.value.0 {
                app::check_name(reading, name, "jobs", "a job");
                let Some(read) = Job::read(reading, name, job, &app_names) else { continue };
                if let Some(first) = jobs.iter().find(|first| first.sink.same_place(&read.sink, reading.environment)) {
                    let at = job.value.sink.as_ref().map_or(name.at, |sink| sink.at);
                    let message = format!(
                        "is the place of jobs.{} as well: an archive has one job, give each a {} of its own",
                        first.name,
                        if read.sink.kind() == SinkKind::Parquet { "path" } else { "table" }
                    );
                    reading.mistake(at, &format!("jobs.{}.sink", read.name), message);
                }
                jobs.push(read);
            }
        }
    }
    (state, apps, jobs)
}
