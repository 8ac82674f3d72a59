//! `status [JOB]...`: shows runs, cursor, what is pending and what failed. Takes no lock and creates nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::arguments::Jobs;
use super::{Context, Exit, assemble, ending, output, provenance};
use crate::config::{Config, Job};
use crate::ledger::{JobLock, Ledger};
use crate::model::fleet::FleetState;
use crate::model::retention::RetentionOutlook;
use crate::model::summary::{JobSummary, ManifestHead};
use crate::model::timeline::Timeline;
use crate::run::{outlook, watch};
use crate::source::Checkpoint;

const RUNS: u32 = 10;

#[derive(Serialize)]
struct Status {
    job: String,
    /// Where the archive is; null until the job has run.
    archive: Option<String>,
    /// Null until the job has run.
    ledger_id: Option<String>,
    cursor: Option<serde_json::Value>,
    /// The cursor for people.
    #[serde(skip)]
    shown_cursor: String,
    pending: u64,
    /// Further messages that only threads need.
    pending_extras: u64,
    /// Archived messages that will be asked for again.
    pending_refetch: u64,
    /// Null if the app has no `retention`.
    retention: Option<RetentionOutlook>,
    open_failures: BTreeMap<String, u64>,
    /// Failures that an operator dismissed.
    dismissed_failures: u64,
    last_commit: u64,
    /// The archive's last manifest.
    manifest: Option<ManifestHead>,
    /// The workers of the last run, if it had some, as its coordinator last knew them.
    fleet: Option<FleetState>,
    runs: Vec<RunLine>,
}

#[derive(Serialize)]
struct RunLine {
    run_id: String,
    started_at: String,
    finished_at: Option<String>,
    /// `died` when the process ended without saying how, `running` while it runs.
    outcome: String,
    /// The outcome for people.
    #[serde(skip)]
    shown_outcome: String,
    exit_code: Option<u8>,
    error: Option<String>,
    archived: Option<u64>,
    failed: Option<u64>,
    requests: Option<u64>,
}

pub(super) async fn status(context: &Context, arguments: &Jobs) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let mut all = Vec::new();
    for job in assemble::selected(&config, &arguments.jobs)? {
        all.push(of(&config, job).await?);
    }
    if arguments.json {
        output::json(&serde_json::json!({ "version": 1, "jobs": all }))?;
        return Ok(0);
    }
    for (index, status) in all.iter().enumerate() {
        if index > 0 {
            output::line("")?;
        }
        print(status)?;
    }
    Ok(0)
}

async fn of(config: &Config, job: &Job) -> Result<Status, Exit> {
    let mut status = Status {
        job: job.name.clone(),
        archive: None,
        ledger_id: None,
        cursor: None,
        shown_cursor: String::new(),
        pending: 0,
        pending_extras: 0,
        pending_refetch: 0,
        retention: None,
        open_failures: BTreeMap::new(),
        dismissed_failures: 0,
        last_commit: 0,
        manifest: None,
        fleet: None,
        runs: Vec::new(),
    };
    let Some(ledger) = assemble::ledger_to_read(config, job).await? else { return Ok(status) };
    assemble::warn_of_change(config, job, &ledger).await?;
    let running = JobLock::holder(&config.state, &job.name).is_some();
    let totals = ledger.totals().await?;
    status.archive = Some(ledger.identity().sink.clone());
    status.ledger_id = Some(ledger.id().to_string());
    let stored = ledger.checkpoint().await?.map(|stored| stored.text);
    status.cursor = stored.as_deref().and_then(|text| serde_json::from_str(text).ok()).map(exact);
    status.shown_cursor = match stored.as_deref().map(serde_json::from_str) {
        None => "none".to_owned(),
        Some(Ok(Checkpoint::Value(value))) => value.to_string(),
        Some(Ok(Checkpoint::Files(files))) => {
            format!("{} consumed", output::counted(files.len() as u64, "file", "files"))
        }
        Some(Err(_)) => "damaged".to_owned(),
    };
    status.pending = totals.sums.pending_refs + totals.sums.carried_refs;
    status.pending_extras = totals.sums.pending_extras;
    status.pending_refetch = totals.sums.pending_refetch;
    status.retention = retention(config, job, &ledger).await?;
    status.open_failures =
        totals.open_failures.iter().map(|(class, count)| (class.as_str().to_owned(), *count)).collect();
    status.dismissed_failures = totals.dismissed;
    status.last_commit = ledger.last_commit().await?;
    status.manifest = ledger.last_manifest().await?.and_then(|head| {
        Some(ManifestHead { sequence: head.sequence, run_id: head.run_id.to_string(), sha256: head.sha256? })
    });
    for (index, run) in ledger.runs(RUNS).await?.into_iter().enumerate() {
        let summary: Option<JobSummary> = run.summary_json.as_deref().and_then(|text| serde_json::from_str(text).ok());
        // An earlier version recorded less than its summary says.
        let references = run.counts.references.or(summary.as_ref().map(|summary| summary.references));
        let references = references.filter(|_| run.command != "adopt");
        let outcome = run.outcome.unwrap_or_else(|| if running && index == 0 { "running" } else { "died" }.to_owned());
        if index == 0
            && let Some(text) = ledger.timeline(run.run_id).await?
        {
            status.fleet = serde_json::from_str::<Timeline>(&text).ok().and_then(|timeline| timeline.fleet);
        }
        let said = match run.command.as_str() {
            "adopt" if outcome == "complete" => Some("adopted".to_owned()),
            _ => summary.as_ref().map(|summary| ending::outcome(summary).to_owned()),
        };
        status.runs.push(RunLine {
            run_id: run.run_id.to_string(),
            started_at: run.started_at.to_string(),
            finished_at: run.finished_at.map(|at| at.to_string()),
            shown_outcome: said.unwrap_or_else(|| outcome.clone()),
            outcome,
            exit_code: run.exit_code,
            error: run.error,
            archived: references.map(|references| references.archived),
            failed: references.map(|references| references.failed),
            requests: summary.as_ref().map(|summary| summary.requests.sent),
        });
    }
    Ok(status)
}

/// How what is pending stands against the vendor's retention, if the app says how long that is.
pub(super) async fn retention(config: &Config, job: &Job, ledger: &Ledger) -> Result<Option<RetentionOutlook>, Exit> {
    let app = config.app_of(job);
    let Some(retention) = app.retention else { return Ok(None) };
    let watch = watch(retention, app.rate_limit);
    Ok(Some(outlook(ledger, watch, job.fetch.batch_size).await.map_err(assemble::ledger_exit)?))
}

/// The cursor, with numbers beyond 2^53 as text, because many JSON readers round them.
fn exact(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number.unsigned_abs() > 1 << 53) => {
            Value::String(number.to_string())
        }
        Value::Object(object) => object.into_iter().map(|(name, value)| (name, exact(value))).collect(),
        value => value,
    }
}

fn print(status: &Status) -> Result<(), Exit> {
    output::line(&format!("job       {}", status.job))?;
    if status.ledger_id.is_none() {
        output::line("          has not run yet")?;
        return Ok(());
    }
    if let Some(archive) = &status.archive {
        output::line(&format!("archive   {archive}"))?;
    }
    output::line(&format!("cursor    {}", status.shown_cursor))?;
    output::line(&format!("pending   {}", output::counted(status.pending, "reference", "references")))?;
    if status.pending_extras > 0 {
        let extras = output::counted(status.pending_extras, "more message", "more messages");
        output::line(&format!("          {extras}, for threads"))?;
    }
    if status.pending_refetch > 0 {
        let again = output::counted(status.pending_refetch, "message", "messages");
        output::line(&format!("          {again} to ask for again"))?;
    }
    if let Some(outlook) = &status.retention {
        output::line(&format!("          {}", output::retention(outlook)))?;
    }
    output::line(&format!("failures  {}", output::failures(&status.open_failures)))?;
    if status.dismissed_failures > 0 {
        output::line(&format!("          {} dismissed", output::count(status.dismissed_failures)))?;
    }
    if let Some(head) = &status.manifest {
        output::line(&format!("manifest  {}, SHA-256 {}", head.sequence, head.sha256))?;
        output::line(&format!("          {}", provenance::ADVICE))?;
    }
    if let Some(fleet) = &status.fleet {
        print_fleet(fleet)?;
    }
    let rows: Vec<Vec<String>> = status
        .runs
        .iter()
        .map(|run| {
            let number = |value: Option<u64>| value.map(output::count).unwrap_or_default();
            vec![
                run.started_at.chars().take(19).collect(),
                run.shown_outcome.clone(),
                run.exit_code.map(|code| code.to_string()).unwrap_or_default(),
                number(run.archived),
                number(run.failed),
                number(run.requests),
                run.run_id.clone(),
            ]
        })
        .collect();
    output::line("")?;
    output::line(&output::table(&["run (UTC)", "outcome", "exit", "archived", "failed", "requests", "id"], &rows))?;
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    // What came before a run without fault has been dealt with.
    let is_clean = |run: &&RunLine| run.exit_code == Some(0) && run.shown_outcome != "adopted";
    for run in status.runs.iter().take_while(|run| !is_clean(run)) {
        let died = (run.outcome == "died").then_some("killed, or the machine failed: run again");
        let Some(why) = run.error.as_deref().or(died) else { continue };
        let at = run.started_at.get(..19).unwrap_or(&run.started_at);
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, times)) => times.push(at),
            None => reasons.push((why, vec![at])),
        }
    }
    for (why, times) in reasons {
        output::line(&format!("\n{}\n  {why}", times.join(", ")))?;
    }
    Ok(())
}

/// The workers of the last run.
fn print_fleet(fleet: &FleetState) -> Result<(), Exit> {
    let in_flight = output::counted(fleet.in_flight, "batch", "batches");
    let twice = ending::redelivered(fleet);
    let twice = if twice.is_empty() { String::new() } else { format!(", {twice}") };
    output::line(&format!("fleet     {in_flight} in flight{twice}"))?;
    let rows: Vec<Vec<String>> = fleet
        .workers
        .iter()
        .map(|worker| {
            vec![
                worker.worker.clone(),
                if worker.is_live { "live" } else { "silent" }.to_owned(),
                output::count(u64::from(worker.share)),
                output::count(worker.batches),
                output::count(worker.sent),
                output::count(worker.throttled),
            ]
        })
        .collect();
    output::line("")?;
    output::line(&output::table(&["worker", "", "requests/s granted", "batches", "requests", "416"], &rows))?;
    Ok(())
}
