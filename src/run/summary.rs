//! Sums a run up.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::context::RunContext;
use super::error::{RunError, describe};
use super::meter::Counts;
use super::retention;
use super::suspicion::suspicions;
use super::ticker::keep_timeline;
use crate::failpoint::reach;
use crate::ledger::{LastManifest, LedgerError, Sums, Unreported};
use crate::model::failure::Class;
use crate::model::manifest::{DataFile, is_vanished};
use crate::model::retention::Retention;
use crate::model::summary::{FileSummary, JobSummary, ManifestHead, Outcome, Rates};
use crate::panics::caught;

/// What the ledger says when a run has ended.
#[derive(Default)]
struct Left {
    sums: Sums,
    files: Vec<DataFile>,
    head: Option<LastManifest>,
    untold: Unreported,
    retention: Option<Retention>,
}

/// How a run ended.
struct Verdict {
    outcome: Outcome,
    exit_code: u8,
    error: Option<String>,
    looks_wrong: Vec<String>,
    not_tolerated: BTreeMap<String, u64>,
}

/// Sums up a run that ended like this, and closes it in the ledger.
pub(super) async fn sum_up(run: &RunContext, mut result: Result<(), RunError>) -> JobSummary {
    let elapsed = run.timeline.elapsed();
    let mut counts = run.meter.counts().clone();
    let left = match left(run, counts.old_when_read).await {
        Ok(left) => Some(left),
        Err(error) => {
            result = result.and(Err(error.into()));
            None
        }
    };
    let is_known = left.is_some();
    let Left { sums, files, head, untold, retention } = left.unwrap_or_default();
    counts.references.pending = sums.pending();
    counts.thread_extras.pending = sums.pending_extras;
    counts.refetched.pending = sums.pending_refetch;
    if is_known && result.is_ok() {
        let checked = counts.references.check();
        let checked = checked.and_then(|()| counts.thread_extras.check()).and_then(|()| counts.refetched.check());
        result = checked.map_err(RunError::from);
    }
    let late = retention.as_ref().map(retention::suspicions).unwrap_or_default();
    let Verdict { outcome, exit_code, error, looks_wrong, not_tolerated } =
        verdict(run, &result, &counts, sums.waiting_links, &untold, late);
    let stats = run.requests.stats();
    let requests = counts.requests(&stats);
    let seconds = elapsed.as_secs_f64().max(0.001);
    let per_second = requests.sent as f64 / seconds;
    let (mut failures, mut codes) = (BTreeMap::new(), BTreeMap::new());
    for ((class, code), count) in &counts.new_failures {
        *failures.entry(class.as_str().to_owned()).or_default() += count;
        if let Some(code) = code {
            *codes.entry(code.to_string()).or_default() += count;
        }
    }
    let archived = counts.references.archived + counts.thread_extras.archived;
    let mut summary = JobSummary {
        job: run.settings.job.name.clone(),
        run_id: Some(run.run_id.to_string()),
        outcome,
        exit_code,
        error,
        looks_wrong,
        started_at: run.began,
        finished_at: Timestamp::now(),
        references: counts.references,
        thread_extras: counts.thread_extras,
        refetched: counts.refetched,
        retention,
        failures,
        codes,
        not_tolerated,
        requests,
        bytes: counts.bytes(&stats),
        files: files
            .into_iter()
            .filter(|file| !is_vanished(&file.path))
            .map(|file| FileSummary { path: file.path, rows: file.rows, bytes: file.bytes, sha256: file.sha256 })
            .collect(),
        manifest: head.and_then(|head| {
            Some(ManifestHead { sequence: head.sequence, run_id: head.run_id.to_string(), sha256: head.sha256? })
        }),
        rates: Rates {
            requests_per_second: per_second,
            messages_per_second: archived as f64 / seconds,
            quota_used: per_second / f64::from(run.settings.quota.max(1)),
        },
        fleet: run.requests.fleet(),
    };
    if let Err(error) = close(run, &summary).await {
        tracing::error!(error = %error, "the run could not be closed in the ledger");
        if summary.error.is_none() {
            summary.error = Some(error.to_string());
            summary.outcome = Outcome::Failed;
            summary.exit_code = 1;
        }
    }
    summary
}

async fn left(run: &RunContext, old_when_read: u64) -> Result<Left, LedgerError> {
    let ledger = &run.ledger;
    Ok(Left {
        sums: ledger.sums().await?,
        files: ledger.files_of(run.run_id).await?,
        head: ledger.last_manifest().await?,
        untold: ledger.unreported(run.run_id).await?,
        retention: retention::at_end(run, old_when_read).await?,
    })
}

fn verdict(
    run: &RunContext,
    result: &Result<(), RunError>,
    counts: &Counts,
    waiting_links: u64,
    untold: &Unreported,
    late: Vec<String>,
) -> Verdict {
    let mut looks_wrong = run.settings.looks_wrong.clone();
    looks_wrong.extend(suspicions(&counts.references, &counts.new_failures, untold).into_iter().chain(late));
    let is_alarm = |(class, code): &(Class, Option<i64>)| !run.settings.job.tolerate.covers(*class, *code);
    let mut not_tolerated = BTreeMap::new();
    for ((class, code), n) in counts.new_failures.iter().chain(&untold.failures).filter(|(kind, _)| is_alarm(kind)) {
        let kind = code.map_or_else(|| class.to_string(), |code| format!("{class} {code}"));
        *not_tolerated.entry(kind).or_default() += n;
    }
    let left_untold: u64 = untold.failures.iter().filter(|(kind, _)| is_alarm(kind)).map(|(_, n)| n).sum();
    let pending = counts.references.pending + counts.thread_extras.pending + counts.refetched.pending + waiting_links;
    let was_cut_short = run.stop.is_told() && (pending > 0 || counts.is_cut_short);
    let (outcome, exit_code, error) = if let Err(error) = result {
        (Outcome::Failed, error.exit_code(), Some(describe(error)))
    } else if was_cut_short {
        (Outcome::Stopped, 5, Some(run.stop.reason().unwrap_or("told to stop").to_owned()))
    } else if !looks_wrong.is_empty() {
        (Outcome::Partial, 3, Some(looks_wrong.join("; ")))
    } else if left_untold > 0 {
        let said = format!("open failures from earlier runs that were stopped, failed or died: {left_untold}");
        (Outcome::Partial, 3, Some(said))
    } else if counts.new_failures.keys().any(is_alarm) {
        (Outcome::Partial, 3, None)
    } else {
        (Outcome::Complete, 0, None)
    };
    Verdict { outcome, exit_code, error, looks_wrong, not_tolerated }
}

/// Closes the run in the ledger.
async fn close(run: &RunContext, summary: &JobSummary) -> Result<(), RunError> {
    let text = serde_json::to_string(summary).unwrap_or_default();
    let closed = caught(async {
        keep_timeline(run).await;
        reach("finish.before");
        let (at, outcome) = (summary.finished_at, summary.outcome.as_str());
        run.ledger.finish_run(run.run_id, at, outcome, summary.exit_code, summary.error.as_deref(), &text).await
    });
    Ok(closed.await.map_err(|panicked| RunError::died("its end", &panicked))??)
}
