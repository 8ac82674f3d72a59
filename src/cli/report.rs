//! `report JOB [--run ID] -o report.html` writes one run as a page, and `report [JOB] --all -o DIR` the history of a job, or
//! of every job. Takes no lock.

mod directory;
mod gather;
mod pages;

use std::path::Path;

use super::arguments::Report as Arguments;
use super::{Context, Exit, assemble, output};
use crate::config::{Config, Job};
use crate::ledger::{JobLock, Ledger};

use self::gather::Gathering;

pub(super) async fn report(context: &Context, arguments: &Arguments) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    if arguments.all {
        return pages::write(context, &config, arguments).await;
    }
    // Without --all the job is required.
    let job = assemble::one(&config, arguments.job.as_deref().unwrap_or_default())?;
    let ledger = ledger_of(&config, job).await?.ok_or_else(|| Exit::words(not_run(job)))?;
    let Some(run) = ledger.run(arguments.run).await.map_err(assemble::ledger_exit)? else {
        return Err(Exit::words(match arguments.run {
            Some(run) => {
                let list = super::ending::command(&context.config, &format!("status {}", job.name));
                format!("job {} has no run {run}: `{list}` lists its runs", job.name)
            }
            None => not_run(job),
        }));
    };
    let gathering = gathering(context, &config, job, &ledger).await.map_err(Exit::failed)?;
    let report = gathering.report(run, 0..=i64::MAX, None).await.map_err(Exit::failed)?;
    let html = report.page();
    let path = arguments.output.as_deref().unwrap_or(Path::new("report.html"));
    if path == Path::new("-") {
        output::line(html.trim_end())?;
        return Ok(0);
    }
    output::replace(path, html.as_bytes())
        .map_err(|error| Exit::failed(anyhow::anyhow!("{} cannot be written: {error}", path.display())))?;
    output::say(&format!("run {} of job {}: {}", report.run_id, job.name, path.display()));
    Ok(0)
}

/// The ledger of a job, if it has run.
async fn ledger_of(config: &Config, job: &Job) -> Result<Option<Ledger>, Exit> {
    let ledger = assemble::ledger_to_read(config, job).await?;
    if let Some(ledger) = &ledger {
        assemble::warn_of_change(config, job, ledger).await?;
    }
    Ok(ledger)
}

fn not_run(job: &Job) -> String {
    format!("job {} has not run yet: there is nothing to report", job.name)
}

async fn gathering<'a>(
    context: &Context,
    config: &Config,
    job: &'a Job,
    ledger: &'a Ledger,
) -> anyhow::Result<Gathering<'a>> {
    let is_running = JobLock::holder(&config.state, &job.name).is_some();
    Gathering::begin(&context.config, job, ledger, is_running).await
}
