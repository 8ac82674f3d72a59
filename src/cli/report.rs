//! `report JOB [--run ID] -o report.html`: writes one run as a page. Takes no lock.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::arguments::Report as Arguments;
use super::{Context, Exit, assemble, output};
use crate::config::{Config, Job};
use crate::ledger::{FailureRow, FailureState, JobLock, Ledger, RunCounts, RunRow};
use crate::model::manifest::is_vanished;
use crate::model::summary::{FileSummary, JobSummary, Outcome};
use crate::model::timeline::Timeline;
use crate::report::{Ending, FailureKind, FailureLine, LISTED, Report, Since};

pub(super) async fn report(context: &Context, arguments: &Arguments) -> Result<u8, Exit> {
    let config = Config::load(&context.config).map_err(Exit::usage)?;
    let job = assemble::one(&config, &arguments.job)?;
    let ledger = assemble::ledger_to_read(&config, job).await?;
    let ledger =
        ledger.ok_or_else(|| Exit::words(format!("job {} has not run yet: there is nothing to report", job.name)))?;
    assemble::warn_of_change(&config, job, &ledger).await?;
    let Some(run) = ledger.run(arguments.run).await.map_err(assemble::ledger_exit)? else {
        return Err(Exit::words(match arguments.run {
            Some(run) => {
                let list = super::ending::command(&context.config, &format!("status {}", job.name));
                format!("job {} has no run {run}: `{list}` lists its runs", job.name)
            }
            None => format!("job {} has not run yet: there is nothing to report", job.name),
        }));
    };
    let is_running = JobLock::holder(&config.state, &job.name).is_some();
    let report = gather(&context.config, job, &ledger, run, is_running).await.map_err(Exit::failed)?;
    let html = report.page();
    if arguments.output == Path::new("-") {
        output::line(html.trim_end())?;
        return Ok(0);
    }
    output::replace(&arguments.output, html.as_bytes())
        .map_err(|error| Exit::failed(anyhow::anyhow!("{} cannot be written: {error}", arguments.output.display())))?;
    output::say(&format!("run {} of job {}: {}", report.run_id, job.name, arguments.output.display()));
    Ok(0)
}

/// Everything that a page shows.
async fn gather(config: &Path, job: &Job, ledger: &Ledger, run: RunRow, is_running: bool) -> anyhow::Result<Report> {
    let timeline: Option<Timeline> = match ledger.timeline(run.run_id).await? {
        Some(text) => match serde_json::from_str(&text) {
            Ok(timeline) => Some(timeline),
            Err(error) => {
                tracing::warn!("the run's timeline cannot be read: {error}");
                None
            }
        },
        None => None,
    };
    let summary: Option<JobSummary> = run.summary_json.as_deref().map(serde_json::from_str).transpose()?;
    let is_latest = ledger.is_latest(run.run_id).await?;
    let ending = match &summary {
        Some(summary) => match summary.outcome {
            Outcome::Complete => Ending::Complete,
            Outcome::Partial => Ending::Partial,
            Outcome::Stopped => Ending::Stopped,
            Outcome::Failed => Ending::Failed,
        },
        None if is_running && is_latest => Ending::Running,
        None => Ending::Died,
    };
    let totals = ledger.totals().await?;
    let timezone = job.sink.timezone();
    let failures = ledger.failures_of_run(run.run_id, LISTED).await?;
    let files = ledger.files_of(run.run_id).await?;
    let noted = timeline.clone().unwrap_or_default();
    // What the ledger recorded takes precedence over the run's own summary: a run that failed did not know of a commit that the
    // next start found in the archive. For a run of an earlier version there is only the summary.
    let RunCounts { references, thread_extras, .. } = run.counts;
    let references = references.or(summary.as_ref().map(|summary| summary.references));
    let thread_extras = thread_extras.or(summary.as_ref().map(|summary| summary.thread_extras));
    let mut new_failures: BTreeMap<String, u64> = BTreeMap::new();
    match &summary {
        Some(summary) if run.counts.references.is_none() => new_failures.clone_from(&summary.failures),
        _ => {
            for kind in ledger.new_failures(run.run_id).await? {
                *new_failures.entry(kind.class).or_default() += kind.count;
            }
        }
    }
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: Timestamp::now(),
        timezone,
        job: job.name.clone(),
        run_id: run.run_id.to_string(),
        command: run.command.clone(),
        ending,
        exit_code: run.exit_code,
        error: run.error.clone(),
        started_at: run.started_at,
        known_until: run.finished_at.unwrap_or_else(|| until(run.started_at, noted.noted_at)),
        archive: ledger.identity().sink.clone(),
        app_key: ledger.identity().app_key.clone(),
        references: references.unwrap_or(noted.references),
        thread_extras: thread_extras.unwrap_or_default(),
        refetched: summary.as_ref().map(|summary| summary.refetched).unwrap_or_default(),
        requests: summary.as_ref().map_or(noted.requests, |summary| summary.requests),
        bytes: summary.as_ref().map_or(noted.bytes, |summary| summary.bytes),
        new_failures: new_failures.into_iter().collect(),
        failures: failures.into_iter().filter_map(kind).collect(),
        files: files
            .into_iter()
            .filter(|file| !is_vanished(&file.path))
            .map(|file| FileSummary { path: file.path, rows: file.rows, bytes: file.bytes, sha256: file.sha256 })
            .collect(),
        timeline,
        is_latest,
        pending_now: totals.sums.pending_refs + totals.sums.carried_refs,
        open_now: totals.open_failures.values().sum(),
        invocation: invocation(config),
    })
}

fn until(started_at: Timestamp, millis: u64) -> Timestamp {
    started_at.checked_add(SignedDuration::from_millis(millis as i64)).unwrap_or(started_at)
}

fn kind((count, rows): (u64, Vec<FailureRow>)) -> Option<FailureKind> {
    let first = rows.first()?;
    let (class, code) = (first.class, first.code);
    Some(FailureKind { class, code, count, listed: rows.into_iter().map(line).collect() })
}

fn line(row: FailureRow) -> FailureLine {
    FailureLine {
        message_server_id: row.message_server_id,
        conversation_id: row.conversation_id,
        create_time: row.create_time,
        source: row.source,
        message: row.message,
        attempts: row.attempts,
        retryable: row.retryable,
        since: match row.state {
            FailureState::Open => Since::Open,
            FailureState::Retrying => Since::Pending,
            FailureState::Closed => Since::Closed,
            FailureState::Dismissed => Since::Dismissed,
        },
    }
}

/// The command line that names this configuration from any directory, quoted for a shell.
fn invocation(config: &Path) -> String {
    let path = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    format!("yunxin-archiver -c {}", quoted(&path.to_string_lossy()))
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '@' | ':' | ',');
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        assert_eq!(quoted("/etc/jobs.yaml"), "/etc/jobs.yaml");
        assert_eq!(quoted("/my jobs/it's.yaml"), "'/my jobs/it'\\''s.yaml'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }
}
