//! From the configuration to its parts: the one place that knows every kind of source and archive.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::Exit;
use crate::archive::parquet::{self, ParquetArchive};
use crate::archive::postgres::{self, PostgresArchive};
use crate::archive::{Archive, ArchiveError};
use crate::config::{self, Config, Job};
use crate::ledger::{self, Identity, Ledger, LedgerError};
use crate::run::RunError;
use crate::source::{self, Checkpoint, Source};
use crate::storage::{self, Conditions, Credentials, Encryption, ObjectSettings, Place, Provider};
use crate::yunxin::AppSettings;

/// How long a request to an object store is tried before the run gives up.
pub(super) const STORE_PATIENCE: Duration = Duration::from_mins(3);

/// The jobs of these names, or all in the order of the file.
pub(super) fn selected<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Job>, Exit> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if names.is_empty() {
        return Ok(config.jobs.iter().collect());
    }
    let mut jobs: Vec<&Job> = Vec::new();
    for name in names {
        let job = one(config, name)?;
        if jobs.iter().any(|known| known.name == job.name) {
            return Err(Exit::words(format!("job {name} is named twice")));
        }
        jobs.push(job);
    }
    Ok(jobs)
}

/// The job of this name.
pub(super) fn one<'a>(config: &'a Config, name: &str) -> Result<&'a Job, Exit> {
    config.job(name).ok_or_else(|| {
        let known: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
        Exit::words(format!("{} has no job {name:?}: it has {}", config.file.display(), known.join(", ")))
    })
}

/// What the ledger of a job is bound to.
pub(super) fn identity(config: &Config, job: &Job) -> Result<Identity, Exit> {
    let config::Identity { app_key, place, partitioning } = config.identity(job).map_err(Exit::usage)?;
    Ok(Identity { job: job.name.clone(), app_key, sink: place, partitioning })
}

/// Where the ledger of a job lies.
pub(super) fn ledger_path(config: &Config, job: &Job) -> PathBuf {
    config.state.join(format!("{}.sqlite", job.name))
}

/// The ledger of a job without a lock and without creating anything; `None` when the job has not run.
pub(super) async fn ledger_to_read(config: &Config, job: &Job) -> Result<Option<Ledger>, Exit> {
    Ledger::read(&ledger_path(config, job)).await.map_err(ledger_exit)
}

/// What a job changed since its ledger began, so that its next run begins another; `None` also if its settings cannot be
/// looked up.
pub(super) fn changes(config: &Config, job: &Job, ledger: &Ledger) -> Option<String> {
    let identity = identity(config, job).ok().filter(|identity| identity != ledger.identity())?;
    Some(ledger.identity().changes(&identity))
}

/// What a job changed since its ledger began, and what its next run does about it.
pub(super) async fn change(config: &Config, job: &Job, ledger: &Ledger) -> Result<Option<String>, Exit> {
    let Some(changes) = changes(config, job, ledger) else { return Ok(None) };
    let next = match kept(config, job).await? {
        Some(kept) => format!("goes on with the ledger kept in {}", kept.display()),
        None => "begins a new ledger".to_owned(),
    };
    Ok(Some(format!("the job changed its {changes}: its next run {next}")))
}

/// Warns if a job changed since its ledger began. What is shown of the ledger is then of the former settings.
pub(super) async fn warn_of_change(config: &Config, job: &Job, ledger: &Ledger) -> Result<(), Exit> {
    if let Some(change) = change(config, job, ledger).await? {
        tracing::warn!(job = job.name, "{change}");
    }
    Ok(())
}

/// The ledger that a job's next run goes on with, to read. `None` if it begins a new one.
pub(super) async fn next_ledger(config: &Config, job: &Job) -> Result<Option<Ledger>, Exit> {
    let own = ledger_to_read(config, job).await?;
    if let Some(ledger) = own {
        if changes(config, job, &ledger).is_none() {
            return Ok(Some(ledger));
        }
        warn_of_change(config, job, &ledger).await?;
    }
    match kept(config, job).await? {
        Some(kept) => Ledger::read(&kept).await.map_err(ledger_exit),
        None => Ok(None),
    }
}

/// The ledger that was kept from when a job had the settings before that it has now.
async fn kept(config: &Config, job: &Job) -> Result<Option<PathBuf>, Exit> {
    let Ok(identity) = identity(config, job) else { return Ok(None) };
    let kept = ledger::kept(&ledger_path(config, job), &identity).await.map_err(ledger_exit)?;
    Ok(kept.into_iter().next())
}

/// The ledger with this identity to write, which is there.
pub(super) async fn own_ledger(path: &Path, identity: &Identity) -> Result<Ledger, Exit> {
    let ledger = Ledger::open(path, identity).await.map_err(ledger_exit)?;
    ledger.ok_or_else(|| Exit::failed(anyhow::anyhow!("another process replaced {}: try again", path.display())))
}

/// The last cursor of a job.
pub(super) async fn checkpoint(ledger: Option<&Ledger>, job: &Job) -> Result<Option<Checkpoint>, Exit> {
    let Some(ledger) = ledger else { return Ok(None) };
    let Some(stored) = ledger.checkpoint().await.map_err(ledger_exit)? else { return Ok(None) };
    if stored.source != job.source.identity() {
        tracing::warn!(
            job = job.name,
            "the cursor was made by another kind of source or cursor column and is not used: reading from the start"
        );
        return Ok(None);
    }
    match serde_json::from_str(&stored.text) {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(error) => Err(Exit::failed(anyhow::anyhow!("the stored cursor of job {} is damaged: {error}", job.name))),
    }
}

/// The settings of a job's source. `from` is where to begin instead of at the checkpoint: `start`, or a value of the cursor.
pub(super) fn source_settings(job: &Job, from: Option<&str>) -> source::Settings {
    let from = from.map(|value| match value {
        "start" => source::Begin::Start,
        value => source::Begin::Value(value.to_owned()),
    });
    source::Settings { from, ..source::Settings::new(job.source.clone()) }
}

/// Opens a job's source where it is to go on.
pub(super) async fn open_source(
    job: &Job,
    checkpoint: Option<Checkpoint>,
    from: Option<&str>,
) -> Result<Box<dyn Source>, Exit> {
    source::open(source_settings(job, from), checkpoint).await.map_err(source_exit)
}

/// The exit that an error of a source asks for.
pub(super) fn source_exit(error: source::SourceError) -> Exit {
    run_exit(&RunError::Source(error))
}

/// The exit that an error of a run asks for.
pub(super) fn run_exit(error: &RunError) -> Exit {
    Exit { code: error.exit_code(), error: anyhow::anyhow!("{}", crate::run::describe(error)) }
}

/// The API's client for a job alone.
pub(super) fn app_settings(config: &Config, job: &Job) -> Result<AppSettings, Exit> {
    let app = config.app_of(job);
    let key = config.app_key(app).map_err(Exit::usage)?;
    let secret = app.app_secret.look_up().map_err(Exit::usage)?;
    let mut settings = AppSettings::new(key, secret, app.endpoints.clone());
    settings.api_version = app.api_version;
    settings.rate_limit = app.rate_limit;
    settings.connections = super::descriptors::for_requests();
    if let Some(path) = &app.ca_file {
        let bundle = std::fs::read(path)
            .map_err(|error| Exit::words(format!("apps.{}.ca_file: {}: {error}", app.name, path.display())))?;
        settings.ca_bundle = Some(bundle);
    }
    let proxies = config.proxies(app).map_err(Exit::usage)?;
    let on_the_way: Vec<Option<&config::Via>> = app.endpoints.iter().map(|url| proxies.of(url)).collect();
    if let Some(via) = on_the_way.iter().flatten().next() {
        tracing::info!(app = app.name, proxy = via.name, from = via.from, "requests go through a proxy");
    }
    let proxy = |via: &config::Via| crate::yunxin::Proxy { url: via.url.clone(), name: via.name.clone() };
    settings.proxies = on_the_way.into_iter().map(|via| via.map(proxy)).collect();
    Ok(settings)
}

/// The archive of a job.
pub(super) fn archive(config: &Config, job: &Job) -> Result<Box<dyn Archive>, Exit> {
    archive_with(config, job, config.state.clone(), STORE_PATIENCE)
}

/// The same, with a directory for what does not fit in memory, and an object store that is tried for this long. A further
/// kind of store is one more arm here.
pub(super) fn archive_with(
    config: &Config,
    job: &Job,
    scratch: PathBuf,
    patience: Duration,
) -> Result<Box<dyn Archive>, Exit> {
    Ok(match &job.sink {
        config::Sink::Parquet(parquet) => {
            let place = match &parquet.path {
                config::Location::Directory(directory) => Place::Directory(directory.clone()),
                config::Location::Bucket(bucket) => {
                    let access = config.store(job, bucket, &parquet.storage).map_err(Exit::usage)?;
                    Place::Bucket(ObjectSettings { patience, ..store(bucket, &parquet.storage, access, scratch)? })
                }
            };
            Box::new(ParquetArchive::new(parquet_settings(parquet, place)))
        }
        config::Sink::Postgres(postgres) => Box::new(PostgresArchive::new(postgres::Settings::new(postgres.clone()))),
    })
}

/// The directory of a job's archive, if it is on a disk of this machine.
pub(super) fn directory(job: &Job) -> Option<&Path> {
    match &job.sink {
        config::Sink::Parquet(config::ParquetSink { path: config::Location::Directory(directory), .. }) => {
            Some(directory)
        }
        _ => None,
    }
}

/// Whether a text names an archive's place itself: a directory that exists, or a URL.
pub(super) fn is_place(text: &str) -> bool {
    config::Bucket::parse(text).is_some() || Path::new(text).is_dir()
}

/// The archive in a directory, or under the URL of a prefix.
pub(super) fn archive_at(path: &Path) -> Result<Box<dyn Archive>, Exit> {
    let place = match path.to_str().and_then(config::Bucket::parse) {
        None => Place::Directory(path.to_owned()),
        Some(bucket) => {
            let bucket = bucket.map_err(|why| Exit::words(format!("this URL {why}")))?;
            let (storage, access) = config::StoreAccess::of_environment(&bucket).map_err(Exit::usage)?;
            Place::Bucket(store(&bucket, &storage, access, std::env::temp_dir())?)
        }
    };
    Ok(Box::new(ParquetArchive::new(parquet::Settings::at(place))))
}

/// The exit that an error of an archive asks for, which a job's name or the archive's place names.
pub(super) fn place_exit(named: &str, error: ArchiveError) -> Exit {
    let Exit { code, error } = archive_exit(error);
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|url| !url.is_empty());
    if !named.starts_with("s3://") || config::ENDPOINT_VARIABLES.iter().any(is_set) {
        return Exit { code, error };
    }
    let [first, second] = config::ENDPOINT_VARIABLES;
    Exit {
        code,
        error: anyhow::anyhow!(
            "{error:#}. The URL means Amazon S3 unless {first} or {second} is set: if the bucket is at another service, set \
             one of them to its address"
        ),
    }
}

/// A prefix of a bucket. `scratch` is a directory for what does not fit in memory.
fn store(
    bucket: &config::Bucket,
    storage: &config::Storage,
    access: config::StoreAccess,
    scratch: PathBuf,
) -> Result<ObjectSettings, Exit> {
    let config::StoreAccess { endpoint, id, secret, token, via } = access;
    let ca = storage.ca_file.as_ref().map(|path| {
        std::fs::read(path).map_err(|error| Exit::words(format!("storage.ca_file: {}: {error}", path.display())))
    });
    if let Some(via) = &via {
        tracing::info!(store = bucket.url(), proxy = via.name, from = via.from, "requests go through a proxy");
    }
    Ok(ObjectSettings {
        provider: match bucket.scheme.as_str() {
            "gs" => Provider::Google,
            "az" => Provider::Azure,
            _ => Provider::S3,
        },
        bucket: bucket.name.clone(),
        prefix: bucket.prefix.clone(),
        endpoint,
        region: storage.region.clone(),
        virtual_hosted: storage.virtual_hosted,
        conditions: match storage.conditional_writes {
            config::ConditionalWrites::Auto => Conditions::Auto,
            config::ConditionalWrites::Off => Conditions::Off,
        },
        encryption: match &storage.encryption {
            config::Encryption::Bucket => Encryption::Bucket,
            config::Encryption::Managed => Encryption::Managed,
            config::Encryption::Kms(key) => Encryption::Kms(key.clone()),
        },
        checksums: storage.checksums,
        credentials: secret.map(|secret| Credentials {
            id: id.map(|id| id.expose_secret().to_owned()).unwrap_or_default(),
            secret,
            token,
        }),
        ca: ca.transpose()?,
        proxy: via.map(|via| storage::Proxy(via.url)),
        scratch,
        patience: STORE_PATIENCE,
    })
}

fn parquet_settings(sink: &config::ParquetSink, place: Place) -> parquet::Settings {
    parquet::Settings {
        place,
        partition_by: sink.partition_by.clone(),
        timezone: sink.timezone.clone(),
        compression: sink.compression,
        max_file_size: sink.max_file_size,
        memory: usize::try_from(sink.memory).unwrap_or(usize::MAX),
        encodings: sink.encodings,
        raw: sink.raw,
    }
}

/// The exit that an error of an archive asks for.
pub(super) fn archive_exit(error: ArchiveError) -> Exit {
    run_exit(&RunError::Archive(error))
}

/// The exit that an error of the ledger asks for.
pub(super) fn ledger_exit(error: LedgerError) -> Exit {
    run_exit(&RunError::Ledger(error))
}
