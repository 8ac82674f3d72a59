//! The history of a job, or of every job, as pages.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::directory::Directory;
use super::gather::{Gathering, line};
use super::{gathering, ledger_of, not_run};
use crate::cli::arguments::Report as Arguments;
use crate::cli::{Context, Exit, assemble, output};
use crate::config::{Config, Job};
use crate::ledger::{FailureKind, FailureRow, FailureState, Ledger, RunFailures, RunRow};
use crate::model::manifest::sha256;
use crate::model::summary::{JobSummary, gravest};
use crate::page::blocks::STYLE;
use crate::report::Among;
use crate::report::history::{Counts, FAILURES, Failure, History, JobLine, Jobs, Kind, Mark, RUNS, Run};

/// The directory of the runs' pages.
const RUN_PAGES: &str = "runs";

pub(super) async fn write(context: &Context, config: &Config, arguments: &Arguments) -> Result<u8, Exit> {
    let path = arguments.output.as_deref().unwrap_or(Path::new("report"));
    if path == Path::new("-") {
        return Err(Exit::words("--all writes a directory of pages: -o must name it"));
    }
    if let Some(name) = &arguments.job {
        let job = assemble::one(config, name)?;
        let ledger = ledger_of(config, job).await?.ok_or_else(|| Exit::words(not_run(job)))?;
        let mut directory = Directory::open(path, Some(name))?;
        Writing::begin(context, config, job, &ledger).await?.write(&mut directory, false).await?;
        return Ok(0);
    }
    let mut root = Directory::open(path, None)?;
    let mut code = 0;
    let mut lines = Vec::new();
    for job in assemble::selected(config, &[])? {
        let latest = match one_of_all(context, config, job, &root).await {
            Ok(Some(history)) => history.latest().ok_or_else(|| "has not run yet".to_owned()),
            Ok(None) => Err("has not run yet".to_owned()),
            Err(exit) => {
                context.complain(&exit, &format!("job {}: ", job.name));
                code = gravest([code, exit.code]);
                Err("its pages cannot be written, or its ledger cannot be read: the log of `report` says why"
                    .to_owned())
            }
        };
        lines.push(JobLine { job: job.name.clone(), timezone: job.sink.timezone(), latest });
    }
    let timezone = config.jobs.first().map_or(jiff::tz::TimeZone::UTC, |job| job.sink.timezone());
    let jobs = Jobs { version: env!("CARGO_PKG_VERSION").to_owned(), made_at: Timestamp::now(), timezone, jobs: lines };
    root.write("index.html", &jobs.page())?;
    output::say(&format!("all jobs: {}", root.place("index.html").display()));
    Ok(code)
}

/// Writes the pages of one of all jobs, if it has run.
async fn one_of_all(context: &Context, config: &Config, job: &Job, root: &Directory) -> Result<Option<History>, Exit> {
    let Some(ledger) = ledger_of(config, job).await? else { return Ok(None) };
    root.make(&job.name)?;
    let mut directory = Directory::open(&root.place(&job.name), Some(&job.name))?;
    Writing::begin(context, config, job, &ledger).await?.write(&mut directory, true).await.map(Some)
}

/// The pages of one job.
struct Writing<'a> {
    gathering: Gathering<'a>,
    failures: HashMap<Uuid, RunFailures>,
}

impl<'a> Writing<'a> {
    async fn begin(context: &Context, config: &Config, job: &'a Job, ledger: &'a Ledger) -> Result<Self, Exit> {
        let gathering = gathering(context, config, job, ledger).await?;
        let failures = ledger.failures_by_run().await?;
        Ok(Self { gathering, failures })
    }

    /// Writes every page that changed; the first page last, so that its links lead somewhere.
    async fn write(&self, directory: &mut Directory, is_among_jobs: bool) -> Result<History, Exit> {
        let Gathering { job, ledger, made_at, totals, invocation, .. } = &self.gathering;
        directory.make(RUN_PAGES)?;
        let mut ids = ledger.run_ids(RUNS as u32 + 1).await?;
        let has_more_runs = ids.len() > RUNS;
        ids.truncate(RUNS);
        let runs = self.runs(directory, &ids).await?;
        let known: HashSet<Uuid> = ids.into_iter().collect();
        let history = History {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: *made_at,
            timezone: job.sink.timezone(),
            job: job.name.clone(),
            archive: ledger.identity().sink.clone(),
            app_key: ledger.identity().app_key.clone(),
            has_more_runs,
            former: former(directory, &known),
            pending: totals.sums.pending(),
            kinds: kinds(ledger.failure_kinds().await?),
            failures: self.latest_failures(directory).await?,
            is_among_jobs,
            invocation: invocation.clone(),
            runs,
        };
        directory.write("failures.html", &history.failures())?;
        directory.write("index.html", &history.index())?;
        output::say(&format!(
            "job {}: {}, {} written: {}",
            job.name,
            output::counted(history.runs.len() as u64, "run", "runs"),
            output::counted(directory.written(), "page", "pages"),
            directory.place("index.html").display()
        ));
        Ok(history)
    }

    /// Writes the pages of these runs that changed.
    async fn runs(&self, directory: &mut Directory, ids: &[Uuid]) -> Result<Vec<Run>, Exit> {
        let mut runs = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            // A run that is gone since was old enough to be forgotten.
            let Some(row) = self.gathering.ledger.run(Some(*id)).await? else { continue };
            let among = Among {
                made_from: None,
                earlier: ids.get(index + 1).map(|id| format!("{id}.html")),
                later: index.checked_sub(1).map(|index| format!("{}.html", ids[index])),
            };
            runs.push(self.run(directory, row, among).await?);
        }
        Ok(runs)
    }

    async fn run(&self, directory: &mut Directory, row: RunRow, among: Among) -> Result<Run, Exit> {
        let summary: Option<JobSummary> = row.summary_json.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let references = Gathering::references(&row, summary.as_ref()).filter(|_| row.command != "adopt");
        let page = format!("{RUN_PAGES}/{}.html", row.run_id);
        let run = Run {
            page,
            command: row.command.clone(),
            mark: Mark::of(self.gathering.ending(&row), row.error.is_some()),
            exit_code: row.exit_code,
            error: row.error.clone(),
            started_at: row.started_at,
            seconds: row.finished_at.map(|at| at.duration_since(row.started_at).as_secs_f64().max(0.0)),
            references: references.map(|references| Counts {
                archived: references.archived,
                failed: references.failed,
                pending: references.pending,
            }),
            requests: summary.as_ref().map(|summary| summary.requests.sent),
            quota_used: summary.as_ref().map(|summary| summary.rates.quota_used),
        };
        let failures = self.failures.get(&row.run_id);
        // What a run under way is made from changes with every sample.
        let made_from = (run.mark != Mark::Running).then(|| self.made_from(&row, failures, &among));
        if made_from.as_deref().is_some_and(|hash| directory.holds(&run.page, hash)) {
            return Ok(run);
        }
        // No failure has the ID 0.
        let ids = failures.map_or(0..=0, |failures| failures.ids.clone());
        let report = self.gathering.report(row, ids, Some(Among { made_from, ..among })).await?;
        directory.write(&run.page, &report.page())?;
        Ok(run)
    }

    /// The hash of everything that the page of a run that has ended depends on.
    fn made_from(&self, row: &RunRow, failures: Option<&RunFailures>, among: &Among) -> String {
        let Gathering { job, ledger, invocation, .. } = &self.gathering;
        let (version, zone) = (env!("CARGO_PKG_VERSION"), job.sink.timezone());
        let (zone, identity) = (zone.iana_name(), ledger.identity());
        let of = format!("{STYLE} {version} {zone:?} {invocation} {identity:?} {row:?} {failures:?} {among:?}");
        sha256(of.as_bytes())
    }

    /// The failures that can be searched.
    async fn latest_failures(&self, directory: &Directory) -> Result<Vec<Failure>, Exit> {
        let Gathering { job, ledger, made_at, .. } = &self.gathering;
        let age = SignedDuration::try_from(job.fetch.retry_for).ok();
        let permanent_before = age.and_then(|age| made_at.checked_sub(age).ok());
        let rows = ledger.latest_failures(FAILURES, permanent_before).await?;
        Ok(rows.into_iter().map(|row| failure(row, directory)).collect())
    }
}

fn failure(row: FailureRow, directory: &Directory) -> Failure {
    let page = format!("{RUN_PAGES}/{}.html", row.run_id);
    let note = row.closed.as_ref().map(|(at, reason)| {
        let mut note = at.strftime("%F").to_string();
        if let Some(by) = &row.closed_by {
            note.push_str(&format!(" by {by}"));
        }
        if !reason.is_empty() {
            note.push_str(&format!(": {reason}"));
        }
        note
    });
    Failure {
        class: row.class,
        code: row.code,
        first_seen: row.first_seen,
        last_seen: row.last_seen,
        note,
        page: directory.place(&page).exists().then_some(page),
        line: line(row),
    }
}

/// Failures by class and code, those first of which most are open.
fn kinds(counted: Vec<FailureKind>) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for FailureKind { class, code, state, count } in counted {
        let open = if state == FailureState::Open { count } else { 0 };
        match kinds.iter_mut().find(|kind| (kind.class, kind.code) == (class, code)) {
            Some(kind) => {
                kind.open += open;
                kind.all += count;
            }
            None => kinds.push(Kind { class, code, open, all: count }),
        }
    }
    kinds.sort_by_key(|kind| (std::cmp::Reverse(kind.open), std::cmp::Reverse(kind.all)));
    kinds
}

/// Pages of runs that are not among `known`, the latest first: at most as many as runs are shown.
fn former(directory: &Directory, known: &HashSet<Uuid>) -> Vec<(Timestamp, String)> {
    let mut former = Vec::new();
    for entry in std::fs::read_dir(directory.place(RUN_PAGES)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_suffix(".html")?.parse::<Uuid>().ok());
        let Some(run) = run.filter(|run| !known.contains(run)) else { continue };
        // A UUIDv7 begins with the time at which it was made.
        let millis = (run.as_u128() >> 80) as i64;
        let Ok(began) = Timestamp::from_millisecond(millis) else { continue };
        former.push((began, format!("{RUN_PAGES}/{run}.html")));
    }
    former.sort_unstable_by(|one, other| other.cmp(one));
    former.truncate(RUNS);
    former
}
