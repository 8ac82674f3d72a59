//! Who is told how the runs of a command went, and what.

use std::path::Path;

use jiff::Timestamp;

use super::arguments::RunOptions;
use super::{Exit, assemble, contained, status};
use crate::config::{Config, Job, Metrics, Proxies};
use crate::metrics::{JobMetrics, Standing};
use crate::model::summary::{JobSummary, Summary};
use crate::model::trace::Trace;
use crate::notify::{Ended, Monitored, Notifier};
use crate::source::{Checkpoint, reached};

/// Everybody whom a command tells.
pub(super) struct Notices<'a> {
    config: &'a Config,
    notifier: Notifier,
    /// Whether monitors are told: of `run` alone. A `retry` reads no source, so it says nothing about the night.
    pings: bool,
}

impl<'a> Notices<'a> {
    /// Those that the configuration and the command line name.
    pub(super) fn new(config: &'a Config, options: &RunOptions, pings: bool) -> Self {
        let mut metrics: Metrics = config.metrics.clone();
        metrics.file = options.metrics.clone().or(metrics.file);
        let proxies = config.environment_proxies().unwrap_or_else(|error| {
            if !config.endpoints().is_empty() {
                tracing::warn!("{error}");
            }
            Proxies::default()
        });
        let jobs = config.jobs.iter().map(|job| job.name.clone()).collect();
        Self { config, notifier: Notifier::new(&metrics, &proxies, jobs), pings }
    }

    /// Tells a monitor that a run begins: of the whole command, or of one job.
    pub(super) fn begins(&self, job: Option<&Job>) -> Monitored {
        let ping = job.map_or(&self.config.ping, |job| &job.ping);
        if self.pings { self.notifier.begins(ping) } else { Monitored::default() }
    }

    /// Tells how the command ended, and runs its hooks.
    pub(super) async fn all_ended(&self, monitored: Monitored, summary: &Summary, exit_code: u8) {
        self.notifier.ends(monitored, &summary.jobs, exit_code).await;
        self.notifier.hooks(&self.config.hooks, summary, exit_code).await;
    }

    /// Tells how the run of a job ended.
    pub(super) async fn ended(&self, monitored: Monitored, job: &Job, summary: &JobSummary, trace: &Trace) {
        self.notifier.ends(monitored, std::slice::from_ref(summary), summary.exit_code).await;
        // Another process is at work on the job or its app, and what its run comes to must not be overwritten.
        let is_busy = summary.run_id.is_none() && summary.exit_code == 75;
        if is_busy || self.notifier.is_idle() {
            return;
        }
        let mut metrics = JobMetrics::of_run(summary, trace, self.config.app_of(job).rate_limit);
        match contained(standing(self.config, job, summary.finished_at)).await {
            Ok(Some((standing, last_success))) => {
                (metrics.standing, metrics.last_success) = (Some(standing), last_success);
            }
            Ok(None) => {}
            Err(Exit { error, .. }) => {
                tracing::warn!(
                    job = job.name,
                    "the metrics lack what the ledger holds, which cannot be read: {error:#}"
                );
            }
        }
        self.notifier.ended(&Ended { summary, metrics: &metrics, trace }).await;
    }
}

/// Looks up what the configuration names of those who are told.
pub(super) fn check_settings(config: &Config) -> Result<(), Exit> {
    for url in config.endpoints() {
        url.look_up().map_err(Exit::usage)?;
    }
    Ok(())
}

/// What the ledger of a job holds, and when the job last succeeded. None without a ledger.
async fn standing(config: &Config, job: &Job, now: Timestamp) -> Result<Option<(Standing, Option<Timestamp>)>, Exit> {
    let Some(ledger) = assemble::ledger_to_read(config, job).await? else { return Ok(None) };
    let totals = ledger.totals().await?;
    let cursor = ledger.checkpoint().await?.filter(|stored| stored.source == job.source.identity());
    let cursor: Option<Checkpoint> = cursor.and_then(|stored| serde_json::from_str(&stored.text).ok());
    let reached = cursor.and_then(|cursor| reached(&job.source, &cursor));
    let retention = status::retention(config, job, &ledger).await?;
    let standing = Standing {
        pending: totals.sums.pending(),
        open_failures: totals.open_failures,
        cursor_lag_seconds: reached.map(|reached| now.duration_since(reached).as_secs_f64().max(0.0)),
        oldest_pending_retention_seconds: retention
            .and_then(|outlook| outlook.oldest_pending_seconds)
            .map(|s| s as f64),
        expiring: retention.map(|outlook| outlook.expiring),
    };
    Ok(Some((standing, ledger.last_success().await?)))
}

/// Finds out before the run, not after it, whether a file of the command line can be written.
pub(super) fn check_writable(option: &str, path: &Path) -> Result<(), Exit> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let there = path.metadata();
    if directory.is_dir() && there.as_ref().map_or(true, std::fs::Metadata::is_file) {
        return Ok(());
    }
    let why = match there {
        Ok(there) if there.is_dir() => "is a directory",
        Ok(_) => "is no regular file, and only such a file is replaced",
        Err(_) => "cannot be written: its directory does not exist",
    };
    Err(Exit::words(format!("{option} {} {why}", path.display())))
}
