//! What the ledger knows of a run, as its page shows it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::config::Job;
use crate::ledger::{FailureRow, FailureState, Ledger, RunCounts, RunRow, Totals};
use crate::model::manifest::is_vanished;
use crate::model::summary::{FileSummary, JobSummary, References};
use crate::model::timeline::Timeline;
use crate::report::{Among, Ending, FailureKind, FailureLine, LISTED, Report, Since};

/// A job's ledger, and what all pages made of it have in common.
pub(super) struct Gathering<'a> {
    pub(super) job: &'a Job,
    pub(super) ledger: &'a Ledger,
    pub(super) made_at: Timestamp,
    pub(super) totals: Totals,
    /// The command line up to the subcommand.
    pub(super) invocation: String,
    latest: Option<Uuid>,
    is_running: bool,
}

impl<'a> Gathering<'a> {
    pub(super) async fn begin(
        config: &Path,
        job: &'a Job,
        ledger: &'a Ledger,
        is_running: bool,
    ) -> anyhow::Result<Self> {
        let latest = ledger.run(None).await?.map(|run| run.run_id);
        let totals = ledger.totals().await?;
        Ok(Self { job, ledger, made_at: Timestamp::now(), totals, invocation: invocation(config), latest, is_running })
    }

    /// How a run ended.
    pub(super) fn ending(&self, run: &RunRow) -> Ending {
        match run.outcome.as_deref() {
            Some("complete") => Ending::Complete,
            Some("partial") => Ending::Partial,
            Some("stopped") => Ending::Stopped,
            Some("failed") => Ending::Failed,
            None if self.is_running && self.latest == Some(run.run_id) => Ending::Running,
            _ => Ending::Died,
        }
    }

    /// What became of a run's references, as far as that is known. What the ledger recorded takes precedence over the run's
    /// own summary: a run that failed did not know of a commit that the next start found in the archive. For a run of an
    /// earlier version there is only the summary.
    pub(super) fn references(run: &RunRow, summary: Option<&JobSummary>) -> Option<References> {
        run.counts.references.or(summary.map(|summary| summary.references))
    }

    /// Everything that the page of a run shows. The failures that it was the last to meet have IDs in `failures`.
    pub(super) async fn report(
        &self,
        run: RunRow,
        failures: RangeInclusive<i64>,
        among: Option<Among>,
    ) -> anyhow::Result<Report> {
        let Self { job, ledger, .. } = self;
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
        let failures = ledger.failures_of_run(run.run_id, LISTED, failures).await?;
        let files = ledger.files_of(run.run_id).await?;
        let noted = timeline.clone().unwrap_or_default();
        let references = Self::references(&run, summary.as_ref());
        let RunCounts { thread_extras, .. } = run.counts;
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
            made_at: self.made_at,
            timezone: job.sink.timezone(),
            job: job.name.clone(),
            run_id: run.run_id.to_string(),
            command: run.command.clone(),
            ending: self.ending(&run),
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
            is_latest: self.latest == Some(run.run_id),
            pending_now: self.totals.sums.pending(),
            open_now: self.totals.open_failures.values().sum(),
            invocation: self.invocation.clone(),
            among,
        })
    }
}

fn until(started_at: Timestamp, millis: u64) -> Timestamp {
    started_at.checked_add(SignedDuration::from_millis(millis as i64)).unwrap_or(started_at)
}

fn kind((count, rows): (u64, Vec<FailureRow>)) -> Option<FailureKind> {
    let first = rows.first()?;
    let (class, code) = (first.class, first.code);
    Some(FailureKind { class, code, count, listed: rows.into_iter().map(line).collect() })
}

pub(super) fn line(row: FailureRow) -> FailureLine {
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
