//! The whole flow of a job.
//!
//! Three tasks, one way: the [intake] drains the source into the ledger at full speed, the
//! [dispatcher](fetch) turns pending batches into requests, and one [writer](write) owns the sink and the ledger's
//! progress. The ledger is what lies between them: a batch is sent only once it is durable there, and called done
//! only once the sink has it durably.

mod adopt;
mod backlog;
mod commit;
mod estimate;
mod fetch;
mod follow_up;
mod intake;
mod meter;
mod named;
mod part;
mod record;
mod recover;
mod refetch;
mod refusals;
mod rehearsal;
mod seal;
mod stop;
mod suspicion;
mod threads;
mod ticker;
mod verdict;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

pub use adopt::{Adopted, adopt, settle};
pub use estimate::{Estimate, estimate};
pub use meter::Meter;
pub use stop::Stop;
pub(crate) use suspicion::WHY_ABSENT;

use part::{dead, died, ended, part};
use record::Recorder;
use ticker::{Shown, Ticker, keep_timeline};

use crate::archive::{ArchiveError, ArchiveWriter};
use crate::ledger::{Ledger, LedgerError, RetryFilter, RunNote, Untold};
use crate::model::failure::{Class, Tolerance};
use crate::model::manifest::{Signer, is_vanished};
use crate::model::summary::{FileSummary, JobSummary, ManifestHead, Outcome, Rates, SumsDisagree};
use crate::panics::caught;
use crate::plan::TeamOwner;
use crate::progress::Progress;
use crate::source::{Source, SourceError};
use crate::yunxin::Client;

/// How a job is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The job's name.
    pub job: String,
    /// The command that runs it, for the record.
    pub command: String,
    /// References of one request, at most.
    pub batch_size: usize,
    /// References carried, at most, while their dialogues fill batches.
    pub plan_window: usize,
    /// In whose name teams are asked.
    pub team_owner: TeamOwner,
    /// How often a reference may be refused for now before that is a failure.
    pub attempts: u32,
    /// How many links upward threads are followed; 0 is not at all.
    pub thread_depth: u16,
    /// Time between two commits, at most.
    pub commit_interval: Duration,
    /// Batches at once that are asked, wait to be asked again, or wait for the writer, at most. More than the requests at
    /// a time: a batch that nobody answers must not keep others from being asked.
    pub in_flight: usize,
    /// New references to be planned, at most.
    pub limit: Option<u64>,
    /// Archived messages are asked for again of which a version was archived since then.
    pub refetch: Option<Timestamp>,
    /// Which failures are asked again.
    pub retry: RetryFilter,
    /// Codes and classes that do not make exit 3.
    pub tolerate: Tolerance,
    /// How long runs and closed failures stay in the ledger.
    pub history: Duration,
    /// The quota, requests a second.
    pub quota: u32,
    /// What a stored cursor belongs to.
    pub source: String,
    /// Whose days messages are counted by, for the report.
    pub timezone: jiff::tz::TimeZone,
    /// Who runs what, for the manifest.
    pub note: RunNote,
    /// What manifests are signed with.
    pub signer: Option<Arc<Signer>>,
}

/// What a job runs with. Without a source only what is pending, and the failures chosen, are asked.
pub struct Parts {
    /// Where references are read.
    pub source: Option<Box<dyn Source>>,
    /// Where messages go.
    pub sink: Box<dyn ArchiveWriter>,
    /// The job's memory.
    pub ledger: Arc<Ledger>,
    /// The API.
    pub client: Arc<Client>,
    /// The run's ID.
    pub run_id: Uuid,
    /// Shows how it goes.
    pub progress: Box<dyn Progress>,
    /// Told to stop by a deadline or a signal.
    pub stop: Stop,
}

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source.
    #[error("the source cannot be read")]
    Source(#[from] SourceError),
    /// The sink.
    #[error("{}", match .0 { ArchiveError::Busy(who) => who, _ => "the archive cannot be written" })]
    Archive(#[from] ArchiveError),
    /// The ledger.
    #[error("{}", match .0 { LedgerError::Busy(why) | LedgerError::Refused(why) => why, _ => "the ledger cannot be used" })]
    Ledger(#[from] LedgerError),
    /// The API.
    #[error("the API stopped the run")]
    Api(#[from] crate::yunxin::Stop),
    /// A defect.
    #[error(transparent)]
    Sums(#[from] SumsDisagree),
    /// A part of the run died.
    #[error("a part of the run died: {0}; this is a defect, please report it")]
    Died(String),
}

impl RunError {
    /// The exit code that the contract gives this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Source(SourceError::Unusable(_))
            | Self::Archive(ArchiveError::NotOurs(_) | ArchiveError::Unusable(_))
            | Self::Ledger(
                LedgerError::Refused(_)
                | LedgerError::Foreign { .. }
                | LedgerError::Version { .. }
                | LedgerError::UnknownRun { .. },
            ) => 2,
            Self::Source(SourceError::Denied(_))
            | Self::Archive(ArchiveError::Denied(_))
            | Self::Api(crate::yunxin::Stop::Credentials { .. }) => 4,
            Self::Api(crate::yunxin::Stop::Cancelled) => 5,
            Self::Archive(ArchiveError::Busy(_)) | Self::Ledger(LedgerError::Busy(_)) => 75,
            Self::Source(SourceError::Failed { .. })
            | Self::Archive(ArchiveError::Failed { .. })
            | Self::Ledger(_)
            | Self::Api(crate::yunxin::Stop::Unreachable { .. })
            | Self::Sums(_)
            | Self::Died(_) => 1,
        }
    }
}

/// Runs a job to its end and sums it up. A failure of source, sink, ledger or API, or a panic, is in the summary.
pub async fn execute(settings: Settings, parts: Parts) -> JobSummary {
    let started_at = Timestamp::now();
    let (ledger, client, stop) = (Arc::clone(&parts.ledger), Arc::clone(&parts.client), parts.stop.clone());
    let run_id = parts.run_id;
    let settings = Arc::new(settings);
    let meter = Arc::new(Meter::default());
    let recorder = Recorder::new(settings.quota, settings.timezone.clone(), Arc::clone(&meter));
    let recorder = Arc::new(recorder);
    let mut result = caught(flow(&settings, &meter, &recorder, parts))
        .await
        .unwrap_or_else(|panicked| Err(dead("its beginning or end", &panicked)));
    let elapsed = recorder.elapsed();
    let mut references = meter.references(0);
    let mut thread_extras = meter.thread_extras(0);
    let mut refetched = meter.refetched(0);
    let (mut files, mut waiting_links, mut head, mut untold) = (Vec::new(), 0, None, Untold::default());
    let left = async {
        let sums = ledger.sums().await?;
        let files = ledger.files_of(run_id).await?;
        Ok::<_, LedgerError>((sums, files, ledger.head().await?, ledger.untold(run_id).await?))
    };
    match left.await {
        Ok((sums, committed, last, earlier)) => {
            (head, untold) = (last, earlier);
            references.pending = sums.pending();
            files = committed;
            thread_extras.pending = sums.pending_extras;
            waiting_links = sums.waiting_links;
            refetched.pending = sums.pending_refetch;
            let checked = references.check().and_then(|()| thread_extras.check()).and_then(|()| refetched.check());
            if let (Ok(()), Err(error)) = (&result, checked) {
                result = Err(error.into());
            }
        }
        Err(error) => result = result.and(Err(error.into())),
    }
    let stats = client.stats();
    let new_failures = meter.new_failures();
    let looks_wrong = suspicion::suspicions(&references, &new_failures, &untold);
    let is_alarm = |(class, code): &(Class, Option<i64>)| !settings.tolerate.covers(*class, *code);
    let left_untold: u64 = untold.failures.iter().filter(|(kind, _)| is_alarm(kind)).map(|(_, n)| n).sum();
    let (outcome, exit_code, error) = match &result {
        Err(error) => (Outcome::Failed, error.exit_code(), Some(describe(error))),
        Ok(())
            if stop.is_told()
                && (references.pending + thread_extras.pending + refetched.pending + waiting_links > 0
                    || meter.was_cut_short()) =>
        {
            (Outcome::Stopped, 5, Some(stop.reason().unwrap_or("told to stop").to_owned()))
        }
        Ok(()) if !looks_wrong.is_empty() => (Outcome::Partial, 3, Some(looks_wrong.join("; "))),
        Ok(()) if left_untold > 0 => {
            let said = format!("open failures from earlier runs that were stopped, failed or died: {left_untold}");
            (Outcome::Partial, 3, Some(said))
        }
        Ok(()) if new_failures.keys().any(is_alarm) => (Outcome::Partial, 3, None),
        Ok(()) => (Outcome::Complete, 0, None),
    };
    let requests = recorder.requests(&stats);
    let sent = requests.sent;
    let seconds = elapsed.as_secs_f64().max(0.001);
    let per_second = sent as f64 / seconds;
    let mut summary = JobSummary {
        job: settings.job.clone(),
        run_id: Some(run_id.to_string()),
        outcome,
        exit_code,
        error,
        looks_wrong,
        started_at,
        finished_at: Timestamp::now(),
        references,
        thread_extras,
        refetched,
        failures: BTreeMap::new(),
        codes: BTreeMap::new(),
        requests,
        bytes: recorder.bytes(&stats),
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
            messages_per_second: (references.archived + thread_extras.archived) as f64 / seconds,
            quota_used: per_second / f64::from(settings.quota.max(1)),
        },
    };
    for ((class, code), count) in new_failures {
        *summary.failures.entry(class.as_str().to_owned()).or_default() += count;
        if let Some(code) = code {
            *summary.codes.entry(code.to_string()).or_default() += count;
        }
    }
    let text = serde_json::to_string(&summary).unwrap_or_default();
    let error = summary.error.clone();
    let stored = caught(async {
        keep_timeline(&ledger, run_id, &recorder, &client).await;
        crate::failpoint::reach("finish.before");
        ledger.finish_run(run_id, summary.finished_at, outcome.as_str(), exit_code, error.as_deref(), &text).await
    });
    let stored = stored.await.map_err(|panicked| dead("its end", &panicked)).and_then(|stored| Ok(stored?));
    if let Err(error) = stored {
        tracing::error!(error = %error, "the run could not be closed in the ledger");
        if summary.error.is_none() {
            summary.error = Some(error.to_string());
            summary.outcome = Outcome::Failed;
            summary.exit_code = 1;
        }
    }
    summary
}

/// An error with its causes, in one line.
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = source.source();
    }
    text
}

/// The whole flow, one way: source → ledger → API → sink → ledger.
async fn flow(
    settings: &Arc<Settings>,
    meter: &Arc<Meter>,
    recorder: &Arc<Recorder>,
    parts: Parts,
) -> Result<(), RunError> {
    let Parts { source, mut sink, ledger, client, run_id, progress, stop } = parts;
    let began = Timestamp::now();
    ledger.begin_run(run_id, &settings.command, began).await?;
    recover::open(&ledger, sink.as_mut()).await?;
    let signer = settings.signer.as_deref();
    seal::seal(&ledger, sink.as_mut(), signer, Some(run_id)).await?;
    let totals = ledger.totals().await?;
    let resumed = totals.pending_refs + totals.carried_refs;
    ledger.note_run(run_id, &settings.note, resumed, totals.pending_extras).await?;
    meter.add_resumed(resumed, totals.pending_batches);
    meter.add_extras_resumed(totals.pending_extras);
    meter.add_refetch_resumed(totals.pending_refetch);

    let stop = stop.child();
    let (planning, planned) = watch::channel(intake::Planning::default());
    let (parts, split) = mpsc::unbounded_channel();
    let (events, outcomes) = mpsc::channel(32);
    let refusals = Arc::default();
    let named = Arc::<named::NamedOwners>::default();
    let intake = intake::Intake {
        settings: Arc::clone(settings),
        ledger: Arc::clone(&ledger),
        meter: Arc::clone(meter),
        run_id,
        stop: stop.clone(),
        planning,
        named: Arc::clone(&named),
    };
    let dispatcher = fetch::Dispatcher {
        ledger: Arc::clone(&ledger),
        client: Arc::clone(&client),
        refusals: Arc::clone(&refusals),
        stop: stop.clone(),
        planning: planned,
        parts: split,
        events,
        in_flight: settings.in_flight,
        again: false,
    };
    let refetch = settings.refetch.map(|since| refetch::Refetch {
        since: since.as_millisecond(),
        before: began.as_millisecond(),
        plan_window: settings.plan_window,
        stop: stop.clone(),
    });
    let writer = write::Writer {
        sink,
        ledger: Arc::clone(&ledger),
        client: Arc::clone(&client),
        meter: Arc::clone(meter),
        run_id,
        batch_size: settings.batch_size,
        deferrals: settings.attempts,
        refusals,
        named,
        stop: stop.clone(),
        thread_depth: settings.thread_depth,
        team_owner: settings.team_owner.clone(),
        refetch,
        commit_interval: settings.commit_interval,
        recorder: Arc::clone(recorder),
        parts,
        work: write::Work::after(ledger.last_commit().await?),
    };

    let ticker = Ticker {
        progress: Shown(progress),
        meter: Arc::clone(meter),
        recorder: Arc::clone(recorder),
        client,
        ledger: Arc::clone(&ledger),
        run_id,
        quota: settings.quota,
    };
    let ticker = part("the progress", &stop, async {
        ticker.run().await;
        Ok(())
    });
    let intake = part("reading", &stop, intake.run(source));
    let dispatcher = part("sending", &stop, dispatcher.run());
    let writer = part("writing", &stop, async {
        let (sink, result) = writer.run(outcomes).await;
        result.map(|()| sink)
    });
    let (wrote, fetched, read) = (ended(writer).await, ended(dispatcher).await, ended(intake).await);
    let shown = if ticker.is_finished() {
        ended(ticker).await
    } else {
        drop(ticker);
        Ok(())
    };
    // What was committed is sealed whatever else went wrong; a sink that failed is left for the next start.
    let mut sink = wrote?;
    let left = ledger.sums().await?;
    let (references, extras) = (meter.references(left.pending()), meter.thread_extras(left.pending_extras));
    // Reading that broke off has counted rows that the ledger does not have: then only what the ledger has is told.
    if matches!(read, Ok(()) | Err(RunError::Source(_))) {
        ledger.end_run(run_id, Timestamp::now(), &references, &extras).await?;
    }
    seal::seal(&ledger, sink.as_mut(), signer, None).await?;
    fetched.and(read).and(shown)?;
    ledger.end_refetch().await?;
    ledger.expire(settings.history, Timestamp::now()).await?;
    ledger.compact().await?;
    Ok(())
}
