//! `run [JOB]...` and `retry JOB`

use std::path::Path;
use std::sync::Arc;

use jiff::{Timestamp, Zoned};
use uuid::Uuid;

use super::arguments::{Retry, Run, RunOptions};
use super::assemble;
use super::assembly::{self, Apps, Assembly};
use super::notices::{Notices, check_writable};
use super::threads::on_suiting;
use super::{Context, Exit, contained, ending, failures, output, provenance, signals};
use crate::config::{Config, Job};
use crate::ledger::{Ledger, LedgerError, RetryFilter};
use crate::model::summary::{
    Bytes, JobSummary, Outcome, Rates, References, Refetched, Requests, Summary, ThreadExtras, gravest,
};
use crate::model::trace::Trace;
use crate::progress;
use crate::run::{Parts, Settings, Stop, execute};

/// What is run, by which command.
struct Order {
    command: &'static str,
    arguments: Run,
    deadline: Option<Timestamp>,
    /// The failures that are asked again, where no source is read.
    retry: Option<RetryFilter>,
}

pub(super) fn start(context: &Context, arguments: Run) -> Result<u8, Exit> {
    let stop = Stop::default();
    signals::watch(&stop)?;
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let jobs = assemble::selected(&config, &arguments.jobs)?;
    on_suiting(&jobs, run(context, &config, &jobs, arguments, stop))
}

/// Runs jobs as `run` does, until they have ended or are told to stop.
pub(super) async fn run(
    context: &Context,
    config: &Config,
    jobs: &[&Job],
    arguments: Run,
    stop: Stop,
) -> Result<u8, Exit> {
    let mut deadline = None;
    if let Some(text) = &arguments.deadline {
        let wait = signals::until(text, &Zoned::now())?;
        signals::stop_after(&stop, wait);
        deadline = Timestamp::now().checked_add(wait).ok();
    }
    let order = Order { command: "run", arguments, deadline, retry: None };
    run_all(context, config, jobs, &order, &stop).await
}

pub(super) fn retry(context: &Context, arguments: Retry) -> Result<u8, Exit> {
    if arguments.class.is_empty() && arguments.code.is_empty() && !arguments.all {
        return Err(Exit::words("retry what? --class CLASS, --code CODE, or --all"));
    }
    let stop = Stop::default();
    signals::watch(&stop)?;
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let jobs = assemble::selected(&config, std::slice::from_ref(&arguments.job))?;
    let retry = RetryFilter::Chosen { classes: arguments.class, codes: arguments.code, all: arguments.all };
    let arguments = Run { options: arguments.options, ..Run::default() };
    let order = Order { command: "retry", arguments, deadline: None, retry: Some(retry) };
    on_suiting(&jobs, run_all(context, &config, &jobs, &order, &stop))
}

/// Runs jobs one after the other. One that fails does not stop the rest.
async fn run_all(context: &Context, config: &Config, jobs: &[&Job], order: &Order, stop: &Stop) -> Result<u8, Exit> {
    let options = &order.arguments.options;
    for (option, path) in [("--summary", &options.summary), ("--metrics", &options.metrics)] {
        path.as_deref().map_or(Ok(()), |path| check_writable(option, path))?;
    }
    let notices = Notices::new(config, options, order.retry.is_none());
    let whole = notices.begins(None);
    let mut apps = Apps::default();
    let mut summaries = Vec::new();
    let mut unwritten = None;
    for job in jobs {
        let monitored = notices.begins(Some(job));
        let (summary, trace) = if stop.is_told() {
            stopped(job, stop)
        } else {
            Box::pin(one(context, config, job, order, stop, &mut apps)).await
        };
        if !context.progress.is_watched() {
            report(&summary, &context.config);
        } else if context.sums_up {
            output::say(&ending::block(&summary, &context.config, output::colours()));
        }
        notices.ended(monitored, job, &summary, &trace).await;
        summaries.push(summary);
        if let Some(path) = &options.summary {
            unwritten = contained(async { write_summary(path, &summaries) }).await.err();
        }
    }
    let summary = Summary { version: 1, jobs: summaries };
    let codes = summary.jobs.iter().map(|job| job.exit_code);
    let mut code = gravest(codes.chain(unwritten.iter().map(|exit| exit.code)));
    if let Some(exit) = unwritten {
        tracing::error!("{:#}", exit.error);
    }
    let mut unprinted = None;
    if options.json
        && let Err(error) = output::json(&summary)
        // A reader that went away does not change how the jobs ended.
        && !output::is_broken_pipe(&error)
    {
        code = gravest([code, 1]);
        unprinted = Some(Exit { code, error });
    }
    notices.all_ended(whole, &summary, code).await;
    unprinted.map_or(Ok(code), Err)
}

async fn one(
    context: &Context,
    config: &Config,
    job: &Job,
    order: &Order,
    stop: &Stop,
    apps: &mut Apps,
) -> (JobSummary, Trace) {
    // Of two runs the one that begins first has the lower ID.
    let adoption = order.arguments.adopt_if_missing.then(Uuid::now_v7);
    let run_id = Uuid::now_v7();
    let RunOptions { provenance, wait, fleet, .. } = &order.arguments.options;
    let wait = wait.unwrap_or_default();
    let (read, from) = (order.retry.is_none(), order.arguments.from.as_deref());
    let wanted =
        assembly::Order { run_id, command: order.command, provenance, wait, read, from, adoption, fleet: *fleet };
    let assembled = tokio::select! {
        biased;
        assembled = contained(Assembly::new(config, job, &wanted, apps)) => assembled,
        // A lock may be busy, and a database may not answer.
        () = stop.told() => {
            return stopped(job, stop);
        }
    };
    let assembly = match assembled {
        Ok(assembly) => assembly,
        Err(Exit { code, error }) => {
            let advice = if code == 75 && wait.is_zero() { "; wait, or `--wait 30m`" } else { "" };
            let summary = not_begun(&job.name, Outcome::Failed, code, &format!("{error:#}{advice}"));
            return (summary, Trace::default());
        }
    };
    let refetch = order.arguments.refetch.map(|refetch| refetch.since(Timestamp::now()));
    let (limit, deadline) = (order.arguments.limit, order.deadline);
    let mut settings = Settings { limit, refetch, deadline, ..assembly.settings };
    if let Some(retry) = &order.retry {
        settings.retry = retry.clone();
    }
    let ledger = assembly.ledger;
    let parts = Parts {
        source: assembly.source,
        archive: assembly.archive,
        opened: assembly.opened,
        ledger: Arc::clone(&ledger),
        asker: assembly.asker,
        run_id,
        progress: progress::new(context.progress, &job.name, &context.screen),
        stop: stop.clone(),
    };
    let (mut summary, trace) = execute(settings, parts).await;
    let path = config.state.join(format!("failures-{}.jsonl", &job.name));
    let written = contained(async { Ok(failures::write_file(&ledger, job, &path).await?) });
    if let Err(Exit { error, .. }) = written.await {
        tracing::error!(file = %path.display(), "the open failures could not be written: {error:#}");
        if summary.exit_code == 0 {
            summary.exit_code = 1;
            summary.outcome = Outcome::Failed;
            summary.error = Some(format!("{} could not be written: {error:#}", path.display()));
            let closed = contained(async { Ok(close_again(&ledger, run_id, &summary).await?) });
            if let Err(Exit { error, .. }) = closed.await {
                tracing::error!("the run could not be closed in the ledger: {error:#}");
            }
        }
    }
    // Closing removes the log beside the ledger's file, so that a copy of that one file is a backup.
    if let Some(ledger) = Arc::into_inner(ledger)
        && let Err(error) = ledger.close().await
    {
        tracing::warn!("{}", crate::run::describe(&error));
    }
    drop(assembly.lock);
    (summary, trace)
}

/// Records how a run ended that failed after all.
async fn close_again(ledger: &Ledger, run_id: Uuid, summary: &JobSummary) -> Result<(), LedgerError> {
    let (outcome, text) = (summary.outcome.as_str(), serde_json::to_string(summary).unwrap_or_default());
    let error = summary.error.as_deref();
    ledger.finish_run(run_id, summary.finished_at, outcome, summary.exit_code, error, &text).await
}

fn stopped(job: &Job, stop: &Stop) -> (JobSummary, Trace) {
    let why = stop.reason().unwrap_or("told to stop");
    (not_begun(&job.name, Outcome::Stopped, 5, why), Trace::default())
}

/// The summary of a job that did not start.
pub(super) fn not_begun(job: &str, outcome: Outcome, exit_code: u8, error: &str) -> JobSummary {
    let now = Timestamp::now();
    JobSummary {
        job: job.to_owned(),
        run_id: None,
        outcome,
        exit_code,
        error: Some(error.to_owned()),
        looks_wrong: Vec::new(),
        started_at: now,
        finished_at: now,
        references: References::default(),
        thread_extras: ThreadExtras::default(),
        refetched: Refetched::default(),
        retention: None,
        failures: std::collections::BTreeMap::new(),
        codes: std::collections::BTreeMap::new(),
        not_tolerated: std::collections::BTreeMap::new(),
        requests: Requests::default(),
        bytes: Bytes::default(),
        files: Vec::new(),
        manifest: None,
        rates: Rates::default(),
        fleet: None,
    }
}

/// Logs how a job ended.
fn report(summary: &JobSummary, config: &Path) {
    let references = &summary.references;
    let seconds = summary.finished_at.duration_since(summary.started_at).as_secs_f64();
    if let Some(head) = summary.manifest.as_ref().filter(|_| provenance::is_worth_keeping(summary)) {
        tracing::info!(job = summary.job, manifest = head.sequence, sha256 = head.sha256, "{}", provenance::ADVICE);
    }
    if let Some(retention) = &summary.retention {
        if retention.old_when_read > 0 {
            tracing::warn!(
                job = summary.job,
                references = retention.old_when_read,
                "references had left the vendor's retention when they were read; they are asked for all the same"
            );
        }
        if retention.pending.oldest_pending_seconds.is_some() {
            tracing::warn!(job = summary.job, "{}", output::retention(&retention.pending));
        }
    }
    for found in &summary.looks_wrong {
        tracing::warn!(job = summary.job, "this looks wrong: {found}");
    }
    match summary.outcome {
        Outcome::Failed => tracing::error!(
            job = summary.job,
            exit_code = summary.exit_code,
            archived = references.archived,
            failed = references.failed,
            pending = references.pending,
            "{}",
            summary.error.as_deref().unwrap_or("failed")
        ),
        Outcome::Stopped => tracing::warn!(
            job = summary.job,
            archived = references.archived,
            failed = references.failed,
            pending = references.pending,
            "{}: run again to continue",
            summary.error.as_deref().unwrap_or("stopped")
        ),
        Outcome::Complete | Outcome::Partial => tracing::info!(
            job = summary.job,
            read = references.read,
            archived = references.archived,
            failed = references.failed,
            invalid = references.invalid,
            duplicate = references.duplicate,
            thread_extras = summary.thread_extras.archived,
            refetched = summary.refetched.planned,
            refetch_failed = summary.refetched.failed,
            edited = summary.refetched.edited,
            vanished = summary.refetched.vanished,
            requests = summary.requests.sent,
            files = summary.files.len(),
            seconds = format!("{seconds:.1}"),
            "{}",
            if summary.outcome == Outcome::Partial { "complete, with new failures" } else { "complete" }
        ),
    }
    if summary.outcome == Outcome::Partial {
        let list = ending::command(config, &format!("failures {}", summary.job));
        let kinds = ending::not_tolerated(summary);
        tracing::warn!(job = summary.job, "complete, with new failures{kinds}: `{list}` lists them");
    }
}

fn write_summary(path: &Path, jobs: &[JobSummary]) -> Result<(), Exit> {
    let text = serde_json::to_string_pretty(&Summary { version: 1, jobs: jobs.to_vec() })?;
    output::replace(path, format!("{text}\n").as_bytes())
        .map_err(|error| Exit::failed(anyhow::anyhow!("{} cannot be written: {error}", path.display())))
}
