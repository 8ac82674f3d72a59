//! What `run --fleet`, `worker` and `check --connect` need of a fleet.

use std::sync::Arc;

use uuid::Uuid;

use super::Exit;
use super::assemble::{archive, archive_exit};
use crate::archive::{Archive, ArchiveError};
use crate::config::{self, Config, Job};
use crate::fleet::{Fleet, FleetParts, Nats, NatsError};
use crate::ledger::{Ledger, SharesNote};
use crate::run::Asker;

/// What a run with workers needs, before its ledger is known.
pub(super) struct Prepared {
    nats: Nats,
    archive: Box<dyn Archive>,
    digest: String,
    limit: u32,
    give_up_after: std::time::Duration,
}

impl Prepared {
    /// Connects. The archive must be one that a fleet can write.
    pub(super) async fn new(config: &Config, job: &Job) -> Result<Self, Exit> {
        let settings = settings(config)?;
        let archive = archive(config, job)?;
        archive.deliveries(Uuid::nil()).map_err(archive_exit)?;
        Ok(Self {
            archive,
            digest: config.worker_digest(job).map_err(Exit::usage)?,
            limit: config.app_of(job).rate_limit,
            give_up_after: job.fetch.give_up_after,
            nats: Nats::connect(settings, &job.name, false).await.map_err(exit)?,
        })
    }

    /// The workers, for a run with this ledger.
    pub(super) fn asker(self, ledger: &Arc<Ledger>, run_id: Uuid, note: SharesNote) -> Result<Asker, Exit> {
        let Self { nats, archive, digest, limit, give_up_after } = self;
        let deliveries = archive.deliveries(ledger.id()).map_err(archive_exit)?;
        let ledger = Arc::clone(ledger);
        let parts = FleetParts { nats, deliveries, ledger, run_id, digest, limit, note, give_up_after };
        Ok(Asker::Fleet(Box::new(Fleet::new(parts))))
    }
}

/// How a fleet is reached.
pub(super) fn settings(config: &Config) -> Result<&config::Fleet, Exit> {
    config.fleet.as_ref().ok_or_else(|| {
        let file = config.file.display();
        Exit::words(format!("{file} has no `fleet`, which says where NATS is: see docs/fleet.md"))
    })
}

/// Whether a fleet can write the archive of a job.
pub(super) fn is_possible(config: &Config, job: &Job) -> Result<bool, Exit> {
    match archive(config, job)?.deliveries(Uuid::nil()) {
        Ok(_) => Ok(true),
        Err(ArchiveError::Unusable(_)) => Ok(false),
        Err(error) => Err(archive_exit(error)),
    }
}

/// Connects, and makes the queue if it is missing. Returns a sentence about it.
pub(super) async fn look(config: &Config, job: &Job) -> Result<String, Exit> {
    let nats = Nats::connect(settings(config)?, &job.name, false).await.map_err(exit)?;
    nats.prepare().await.map_err(exit)
}

/// The exit that an error of NATS asks for.
pub(super) fn exit(error: NatsError) -> Exit {
    let code = match error {
        NatsError::Unusable(_) => 2,
        NatsError::Denied(_) => 4,
        NatsError::Failed { .. } => 1,
    };
    Exit { code, error: error.into() }
}
