//! `worker [JOB]...`

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::arguments::Worker;
use super::assemble::{self, app_settings, run_exit};
use super::threads::on_suiting;
use super::{Context, Exit, contained, fleet, signals};
use crate::config::{Config, Job};
use crate::fleet::{Nats, WorkerParts, serve_health, work};
use crate::model::summary::gravest;
use crate::run::Stop;

pub(super) fn start(context: &Context, arguments: &Worker) -> Result<u8, Exit> {
    let stop = Stop::default();
    signals::watch(&stop)?;
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let mut jobs = assemble::selected(&config, &arguments.jobs)?;
    if arguments.jobs.is_empty() {
        let mut possible = Vec::new();
        for job in jobs {
            if fleet::is_possible(&config, job)? {
                possible.push(job);
            }
        }
        jobs = possible;
        if jobs.is_empty() {
            let file = config.file.display();
            return Err(Exit::words(format!("no job of {file} archives in a bucket, as a fleet must")));
        }
    }
    on_suiting(&jobs, all(&config, &jobs, arguments.health, &stop))
}

/// Works for jobs, each on its own, until told to stop or until one of them cannot go on.
async fn all(config: &Config, jobs: &[&Job], health: Option<SocketAddr>, stop: &Stop) -> Result<u8, Exit> {
    let (mut working, mut connections) = (JoinSet::new(), Vec::new());
    for job in jobs {
        let parts = parts(config, job, stop).await?;
        connections.push((job.name.clone(), Arc::clone(&parts.nats)));
        working.spawn(contained(async { work(parts).await.map_err(|error| run_exit(&error)) }));
    }
    // Dropping it ends the answers.
    let mut answering = JoinSet::new();
    if let Some(address) = health {
        let listener = TcpListener::bind(address).await;
        let listener =
            listener.map_err(|error| Exit::words(format!("--health {address} cannot be served: {error}")))?;
        answering.spawn(serve_health(listener, connections));
    }
    let mut codes = vec![0];
    while let Some(ended) = working.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(Exit::failed(error)));
        if let Err(Exit { code, error }) = ended {
            tracing::error!(exit_code = code, "{error:#}");
            stop.tell("a job cannot go on");
            codes.push(code);
        }
    }
    Ok(gravest(codes))
}

async fn parts(config: &Config, job: &Job, stop: &Stop) -> Result<WorkerParts, Exit> {
    let settings = fleet::settings(config)?;
    // A worker has no state, so what does not fit in memory goes where temporary files go.
    let archive = assemble::archive_with(config, job, std::env::temp_dir(), assemble::STORE_PATIENCE)?;
    archive.deliveries(uuid::Uuid::nil()).map_err(assemble::archive_exit)?;
    Ok(WorkerParts {
        job: (*job).clone(),
        digest: config.worker_digest(job).map_err(Exit::usage)?,
        api: app_settings(config, job)?,
        archive,
        nats: Arc::new(Nats::connect(settings, &job.name, true).await.map_err(fleet::exit)?),
        stop: stop.clone(),
    })
}
