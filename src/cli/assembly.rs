//! The parts that a run of a job is made of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::assemble::{
    app_settings, archive, archive_exit, checkpoint, identity, ledger_exit, ledger_path, open_source, run_exit,
    source_exit,
};
use super::provenance::{Provenance, note, signer};
use super::{Exit, adopt, fleet};
use crate::archive::{ArchiveWriter, Opened, RunStamp};
use crate::config::{Config, Job};
use crate::ledger::{AppLock, Beginning, Identity, JobLock, Ledger, RetryFilter};
use crate::run::{Asker, Settings};
use crate::source::{self, Source};
use crate::yunxin::Client;

/// The apps that this process has taken, each with its lock and its client.
#[derive(Default)]
pub(super) struct Apps(HashMap<String, (AppLock, Arc<crate::yunxin::App>)>);

impl Apps {
    async fn client(&mut self, config: &Config, job: &Job, wait: Duration) -> Result<Client, Exit> {
        if !self.0.contains_key(&job.app) {
            let settings = app_settings(config, job)?;
            let lock = AppLock::acquire(&config.state, &job.app, wait).await.map_err(ledger_exit)?;
            let app = crate::yunxin::App::new(settings).map_err(Exit::usage)?;
            self.0.insert(job.app.clone(), (lock, app));
        }
        let (_, app) = &self.0[&job.app];
        Ok(Client::new(Arc::clone(app), job.fetch.clone()).with_raw(job.sink.raw()))
    }
}

/// The parts of a run, and the lock that holds the job.
pub(super) struct Assembly {
    pub(super) lock: JobLock,
    pub(super) ledger: Arc<Ledger>,
    pub(super) asker: Asker,
    pub(super) source: Option<Box<dyn Source>>,
    pub(super) archive: Box<dyn ArchiveWriter>,
    /// What opening the archive found, if that was necessary.
    pub(super) opened: Option<Opened>,
    pub(super) settings: Settings,
}

/// What a run is for.
pub(super) struct Order<'a> {
    pub(super) run_id: Uuid,
    pub(super) command: &'a str,
    pub(super) provenance: &'a Provenance,
    /// How long locks are waited for.
    pub(super) wait: Duration,
    /// Whether the source is read.
    pub(super) read: bool,
    /// From where it is read, if not from the cursor.
    pub(super) from: Option<&'a str>,
    /// The run that takes over the job's archive if the job has no ledger. Without it, no archive is taken over.
    pub(super) adoption: Option<Uuid>,
    /// Whether workers ask for the messages.
    pub(super) fleet: bool,
}

impl Assembly {
    /// Takes the job's and the app's lock, and opens what the job needs. Nothing is sent. A ledger that begins takes its
    /// place last, when nothing else can refuse the run.
    pub(super) async fn new(config: &Config, job: &Job, order: &Order<'_>, apps: &mut Apps) -> Result<Self, Exit> {
        let identity = identity(config, job)?;
        let lock = JobLock::acquire(&config.state, &job.name, order.wait).await.map_err(ledger_exit)?;
        // Its lock keeps others from the app's quota, whoever asks.
        let client = apps.client(config, job, order.wait).await?;
        let fleet = if order.fleet { Some(fleet::Prepared::new(config, job).await?) } else { None };
        let settings = run_settings(config, job, order.command, order.provenance)?;
        let path = ledger_path(config, job);
        let stamp = |ledger_id| RunStamp {
            job: job.name.clone(),
            app_key: identity.app_key.clone(),
            run_id: order.run_id,
            ledger_id,
        };
        let writer = |ledger_id| archive(config, job)?.writer(stamp(ledger_id)).map_err(archive_exit);
        let mut ledger = Ledger::open(&path, &identity).await.map_err(ledger_exit)?;
        if ledger.is_none()
            && let Some(adoption) = order.adoption
        {
            ledger = adopt::if_missing(config, job, &identity, &settings.note, adoption).await?;
        }
        if let Some(ledger) = ledger {
            let archive = writer(ledger.id())?;
            let source = if order.read {
                Some(open_source(job, checkpoint(Some(&ledger), job).await?, order.from).await?)
            } else {
                None
            };
            let (ledger, asker) = asker(ledger, client, fleet, order.run_id)?;
            return Ok(Self { lock, ledger, asker, source, archive, opened: None, settings });
        }
        if !order.read {
            return Err(nothing_to_retry(&path, &identity).await);
        }
        let beginning = Beginning::prepare(&path, &identity).await.map_err(ledger_exit)?;
        let mut archive = writer(beginning.id())?;
        let mut source = open_source(job, None, order.from).await?;
        if beginning.former().is_some() {
            source = source::probed(source).await.map_err(source_exit)?;
        }
        let source = Some(source);
        let changes = beginning.former().map(|former| former.changes.clone());
        let begun = crate::run::begin(beginning, archive.as_mut()).await;
        let (ledger, opened) = begun.map_err(|error| {
            let Exit { code, error } = run_exit(&error);
            let text = format!("{error:#}");
            let text = match (kept_ledger(&path, &text), changes) {
                (Some(kept), _) => format!(
                    "{text}. That ledger is kept in {}: to continue with it, rename {} to {}, and then the kept file to \
                     {}",
                    kept.display(),
                    path.display(),
                    path.with_extension("<its ledger ID>.sqlite").display(),
                    path.display()
                ),
                (None, Some(changes)) => format!(
                    "{text}. The job changed its {changes}: its former ledger stays as it is, and is used again with the \
                     former settings"
                ),
                (None, None) => text,
            };
            Exit { code, error: anyhow::anyhow!("{text}") }
        })?;
        let (ledger, asker) = asker(ledger, client, fleet, order.run_id)?;
        Ok(Self { lock, ledger, asker, source, archive, opened: Some(opened), settings })
    }
}

/// Who asks for the messages of a run.
fn asker(
    ledger: Ledger,
    client: Client,
    fleet: Option<fleet::Prepared>,
    run_id: Uuid,
) -> Result<(Arc<Ledger>, Asker), Exit> {
    let ledger = Arc::new(ledger);
    let asker = match fleet {
        Some(fleet) => fleet.asker(&ledger, run_id)?,
        None => Asker::Client(Arc::new(client)),
    };
    Ok((ledger, asker))
}

/// The ledger that an error names by its ID, if it was set aside when the job changed.
fn kept_ledger(path: &Path, error: &str) -> Option<PathBuf> {
    let ids =
        error.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| Uuid::try_parse(word).is_ok());
    ids.map(|id| path.with_extension(format!("{id}.sqlite"))).find(|kept| kept.exists())
}

/// Why a retry cannot begin a ledger.
async fn nothing_to_retry(path: &Path, identity: &Identity) -> Exit {
    let job = &identity.job;
    match Ledger::read(path).await {
        Ok(Some(former)) => Exit::words(format!(
            "job {job} changed its {}: its failures are those of the former settings. Restore them to retry; or \
             `run {job}` begins anew with these settings",
            former.identity().changes(identity)
        )),
        Ok(None) => Exit::words(format!("job {job} has not run yet: there is nothing to retry")),
        Err(error) => ledger_exit(error),
    }
}

fn run_settings(config: &Config, job: &Job, command: &str, provenance: &Provenance) -> Result<Settings, Exit> {
    Ok(Settings {
        job: job.clone(),
        command: command.to_owned(),
        in_flight: 1024,
        limit: None,
        refetch: None,
        retry: RetryFilter::Due { retry_for: job.fetch.retry_for },
        quota: config.app_of(job).rate_limit,
        note: note(config, job, provenance)?,
        signer: signer(job)?.map(Arc::new),
    })
}
