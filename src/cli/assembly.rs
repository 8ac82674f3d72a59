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
use crate::archive::{ArchiveError, ArchiveWriter, Opened, RunStamp};
use crate::config::{Config, Job};
use crate::ledger::{self, AppLock, Beginning, Identity, JobLock, Ledger, RetryFilter, SharesNote};
use crate::run::{Asker, RunError, Settings};
use crate::source::{self, Source};
use crate::yunxin::Client;

/// The apps that this process has taken, each with its lock and its client.
#[derive(Default)]
pub(super) struct Apps(HashMap<String, (AppLock, Arc<crate::yunxin::App>)>);

impl Apps {
    /// The app's client. A run without workers also waits until those of an earlier run have ended their shares of the quota.
    async fn client(&mut self, config: &Config, job: &Job, order: &Order<'_>) -> Result<Client, Exit> {
        if !self.0.contains_key(&job.app) {
            let settings = app_settings(config, job)?;
            let lock = AppLock::acquire(&config.state, &job.app, order.wait).await.map_err(ledger_exit)?;
            let app = crate::yunxin::App::new(settings).map_err(Exit::usage)?;
            self.0.insert(job.app.clone(), (lock, app));
        }
        let (lock, app) = &self.0[&job.app];
        let left = lock.shares().left().unwrap_or_default();
        if !order.fleet && !left.is_zero() {
            let seconds = left.as_secs_f64().ceil();
            tracing::info!(app = job.app, "workers of an earlier run may use the app's quota for {seconds} s: waiting");
            tokio::time::sleep(left).await;
        }
        Ok(Client::new(Arc::clone(app), job.fetch.clone()).with_raw(job.sink.raw()))
    }

    /// Where it is noted until when shares of the app's quota may be in use. The app must have been taken.
    fn shares(&self, job: &Job) -> SharesNote {
        self.0[&job.app].0.shares()
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
        let client = apps.client(config, job, order).await?;
        let fleet = if order.fleet { Some(fleet::Prepared::new(config, job).await?) } else { None };
        let mut settings = run_settings(config, job, order.command, order.provenance)?;
        let path = ledger_path(config, job);
        let opening = Opening { config, job, order, identity: &identity, path: &path };
        let (parts, refusal) = match Ledger::open(&path, &identity).await.map_err(ledger_exit)? {
            Some(ledger) => (Some(opening.own(ledger).await?), None),
            None => opening.kept().await?,
        };
        let parts = match (parts, order.adoption) {
            (Some(parts), _) => parts,
            (None, Some(adoption)) => {
                match adopt::if_missing(config, job, &identity, &settings.note, adoption).await? {
                    Some((ledger, looks_wrong)) => {
                        settings.looks_wrong.extend(looks_wrong);
                        opening.own(ledger).await?
                    }
                    None => opening.new_ledger(refusal).await?,
                }
            }
            (None, None) => opening.new_ledger(refusal).await?,
        };
        let LedgerParts { ledger, source, archive, opened } = parts;
        let ledger = Arc::new(ledger);
        let asker = match fleet {
            Some(fleet) => fleet.asker(&ledger, order.run_id, apps.shares(job))?,
            None => Asker::Client(Arc::new(client)),
        };
        Ok(Self { lock, ledger, asker, source, archive, opened, settings })
    }
}

/// A run that has its locks and no ledger yet.
struct Opening<'a> {
    config: &'a Config,
    job: &'a Job,
    order: &'a Order<'a>,
    identity: &'a Identity,
    path: &'a Path,
}

/// A ledger, and what depends on it.
struct LedgerParts {
    ledger: Ledger,
    source: Option<Box<dyn Source>>,
    archive: Box<dyn ArchiveWriter>,
    opened: Option<Opened>,
}

impl Opening<'_> {
    fn writer(&self, ledger_id: Uuid) -> Result<Box<dyn ArchiveWriter>, Exit> {
        let Identity { job, app_key, .. } = self.identity.clone();
        let stamp = RunStamp { job, app_key, run_id: self.order.run_id, ledger_id };
        archive(self.config, self.job)?.writer(stamp).map_err(archive_exit)
    }

    /// The source, where this ledger goes on. None if the run reads none.
    async fn source(&self, ledger: Option<&Ledger>) -> Result<Option<Box<dyn Source>>, Exit> {
        if !self.order.read {
            return Ok(None);
        }
        Ok(Some(open_source(self.job, checkpoint(ledger, self.job).await?, self.order.from).await?))
    }

    /// The parts for the ledger that the job has.
    async fn own(&self, ledger: Ledger) -> Result<LedgerParts, Exit> {
        let archive = self.writer(ledger.id())?;
        let source = self.source(Some(&ledger)).await?;
        Beginning::set_aside(self.path).await.map_err(ledger_exit)?;
        Ok(LedgerParts { ledger, source, archive, opened: None })
    }

    /// The parts for a ledger that was kept when the job changed, if one has the identity that the job has now and its
    /// archive accepts it. It is in its place then. Otherwise also returns why the archive refused the last one.
    async fn kept(&self) -> Result<(Option<LedgerParts>, Option<String>), Exit> {
        let mut refusal = None;
        for kept in ledger::kept(self.path, self.identity).await.map_err(ledger_exit)? {
            let beginning = Beginning::again(self.path, &kept, self.identity).await.map_err(ledger_exit)?;
            let mut archive = self.writer(beginning.id())?;
            let source = probed(self.source(Some(beginning.ledger())).await?).await?;
            match crate::run::begin(beginning, archive.as_mut()).await {
                Ok((ledger, opened)) => {
                    return Ok((Some(LedgerParts { ledger, source, archive, opened: Some(opened) }), None));
                }
                Err(RunError::Archive(ArchiveError::NotOurs(why))) => {
                    refusal = Some(format!("{why}. That ledger is kept in {}", kept.display()));
                }
                Err(error) => return Err(run_exit(&error)),
            }
        }
        Ok((None, refusal))
    }

    /// The parts for a new ledger. `refusal` says why the archive refused one that the job had before.
    async fn new_ledger(&self, refusal: Option<String>) -> Result<LedgerParts, Exit> {
        if !self.order.read {
            return Err(match refusal {
                Some(refusal) => Exit::words(refusal),
                None => nothing_to_retry(self.path, self.identity).await,
            });
        }
        let beginning = Beginning::prepare(self.path, self.identity).await.map_err(ledger_exit)?;
        let mut archive = self.writer(beginning.id())?;
        let mut source = self.source(None).await?;
        if beginning.former().is_some() {
            source = probed(source).await?;
        }
        let changes = beginning.former().map(|former| former.changes.clone());
        match crate::run::begin(beginning, archive.as_mut()).await {
            Ok((ledger, opened)) => Ok(LedgerParts { ledger, source, archive, opened: Some(opened) }),
            Err(error) => Err(self.refused(&error, refusal, changes).await),
        }
    }

    /// Why a new ledger was refused, with what the user can do about it.
    async fn refused(&self, error: &RunError, refusal: Option<String>, changes: Option<String>) -> Exit {
        let Exit { code, error } = run_exit(error);
        let text = format!("{error:#}");
        let text = match (refusal, self.kept_owner(&text).await, changes) {
            (Some(refusal), ..) => refusal,
            (None, Some((kept, changes)), _) => format!(
                "{text}. That ledger is kept in {}. The job changed its {changes}: with the former settings, that ledger \
                 takes its place again",
                kept.display()
            ),
            (None, None, Some(changes)) => format!(
                "{text}. The job changed its {changes}: its former ledger stays as it is, and is used again with the \
                 former settings"
            ),
            (None, None, None) if self.order.adoption.is_none() && text.contains("adopt") => format!(
                "{text}. Where `state` does not last, `run {} --adopt-if-missing` takes it over by itself",
                self.job.name
            ),
            (None, None, None) => text,
        };
        Exit { code, error: anyhow::anyhow!("{text}") }
    }

    /// The kept ledger that an error names by its ID, and what the job changed since it had that.
    async fn kept_owner(&self, error: &str) -> Option<(PathBuf, String)> {
        let words = error.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let mut kept = words.filter_map(|word| Some(ledger::kept_path(self.path, Uuid::try_parse(word).ok()?)));
        let kept = kept.find(|kept| kept.exists())?;
        let owner = Ledger::read(&kept).await.ok()??;
        Some((kept, owner.identity().changes(self.identity)))
    }
}

/// The source, of which the first rows were read, so that one that cannot be read is refused now.
async fn probed(source: Option<Box<dyn Source>>) -> Result<Option<Box<dyn Source>>, Exit> {
    match source {
        Some(source) => Ok(Some(source::probed(source).await.map_err(source_exit)?)),
        None => Ok(None),
    }
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
        retention: config.app_of(job).retention,
        deadline: None,
        note: note(config, job, provenance)?,
        signer: signer(job)?.map(Arc::new),
        looks_wrong: Vec::new(),
    })
}
