//! The whole flow of a job.
//!
//! The intake drains the source into the ledger at full speed. The coordinator owns everything else: it asks for what is
//! pending in the ledger, gives the answers to the archive, and records what was committed. A batch is sent only once
//! it is durable in the ledger, and called done only once the archive has it durably.

mod adopt;
mod asking;
mod commit;
mod context;
mod coordinator;
mod error;
mod estimate;
mod expiry;
mod finished;
mod intake;
mod lookup;
mod manifest;
mod meter;
mod outcome;
mod owners;
mod phases;
mod queue;
mod recovery;
mod refetch;
mod requests;
mod retention;
mod review;
mod settings;
mod stop;
mod summary;
mod suspicion;
mod ticker;
mod timeline;
mod trace;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;
use uuid::Uuid;

pub use adopt::{Adopted, adopt};
pub(crate) use asking::{Asker, Asking, Delivery, Happened, Statistics};
pub(crate) use error::joined;
pub use error::{RunError, describe};
pub use estimate::{Estimate, estimate};
pub(crate) use finished::Finished;
pub(crate) use outcome::{Asked, AskedBatch, Doubtful, Meaning, Split};
pub(crate) use owners::RefusedOwner;
pub(crate) use queue::Assignment;
pub use recovery::{begin, recover};
pub(crate) use requests::ask_for;
pub use retention::outlook;
pub(crate) use review::Existing;
pub use settings::{Settings, watch};
pub use stop::Stop;
pub(crate) use suspicion::WHY_ABSENT;
pub(crate) use timeline::Tally;

use context::RunContext;
use coordinator::{Coordinator, Ended};
use intake::intake;
use meter::{Counts, Meter};
use owners::NamedOwners;
use requests::Requests;
use timeline::TimelineRecorder;
use trace::TraceRecorder;

use crate::archive::{ArchiveWriter, Opened};
use crate::ledger::Ledger;
use crate::model::summary::{JobSummary, References, ThreadExtras};
use crate::model::trace::{StageKind, Trace};
use crate::panics::caught;
use crate::progress::Progress;
use crate::source::Source;

/// What a job runs with.
pub(crate) struct Parts {
    /// Where references are read. Without it only what is pending, and the failures chosen, are asked for.
    pub(crate) source: Option<Box<dyn Source>>,
    /// Where messages go.
    pub(crate) archive: Box<dyn ArchiveWriter>,
    /// What [`begin`] found, if it opened the archive.
    pub(crate) opened: Option<Opened>,
    /// The job's memory.
    pub(crate) ledger: Arc<Ledger>,
    /// Who asks the API.
    pub(crate) asker: Asker,
    /// The run's ID.
    pub(crate) run_id: Uuid,
    /// Shows how it goes.
    pub(crate) progress: Box<dyn Progress>,
    /// Told to stop by a deadline or a signal.
    pub(crate) stop: Stop,
}

/// Runs a job to its end and sums it up. A failure of source, archive, ledger or API, or a panic, is in the summary.
/// Also returns where the time went.
pub(crate) async fn execute(settings: Settings, parts: Parts) -> (JobSummary, Trace) {
    let Parts { source, archive, opened, ledger, asker, run_id, progress, stop } = parts;
    let timeline = TimelineRecorder::new(settings.quota, settings.job.sink.timezone());
    let stop = stop.child();
    let asking: Box<dyn Asking> = match asker {
        Asker::Fleet(fleet) => fleet,
        Asker::Client(client) => {
            let fetch = settings.job.fetch.clone();
            Box::new(Requests::new(client, Arc::clone(&ledger), fetch, stop.clone(), settings.in_flight))
        }
    };
    let run = Arc::new(RunContext {
        settings,
        run_id,
        began: Timestamp::now(),
        ledger,
        requests: asking.statistics(),
        meter: Meter::default(),
        timeline,
        trace: TraceRecorder::default(),
        named: NamedOwners::default(),
        planned: Notify::new(),
        stop,
    });
    let result = caught(flow(&run, source, (archive, opened), asking, progress))
        .await
        .unwrap_or_else(|panicked| Err(RunError::died("its beginning or end", &panicked)));
    let summary = summary::sum_up(&run, result).await;
    let trace = run.trace.trace(summary.requests.sent);
    (summary, trace)
}

/// The whole flow: source → ledger → API → archive → ledger.
async fn flow(
    run: &Arc<RunContext>,
    source: Option<Box<dyn Source>>,
    (mut archive, opened): (Box<dyn ArchiveWriter>, Option<Opened>),
    mut asking: Box<dyn Asking>,
    progress: Box<dyn Progress>,
) -> Result<(), RunError> {
    let RunContext { settings, run_id, began, ledger, meter, .. } = &**run;
    let signer = settings.signer.as_deref();
    ledger.begin_run(*run_id, &settings.command, *began).await?;
    recovery::open(ledger, archive.as_mut(), opened).await?;
    manifest::write_missing(ledger, archive.as_mut(), signer, Some(*run_id)).await?;
    asking.begin().await?;
    let totals = ledger.totals().await?;
    let resumed = totals.sums.pending_refs + totals.sums.carried_refs;
    ledger.note_run(*run_id, &settings.note, resumed, totals.sums.pending_extras).await?;
    {
        let mut counts = meter.counts();
        counts.plan(totals.pending_batches as usize);
        counts.references.resumed = resumed;
        counts.thread_extras.planned = totals.sums.pending_extras;
        counts.refetched.planned = totals.sums.pending_refetch;
    }

    let coordinator = Coordinator::new(Arc::clone(run), asking, archive, ledger.last_commit().await?);
    let (reading, showing) = (read(Arc::clone(run), source), ticker::tick(Arc::clone(run), progress));
    let (mut archive, Ended { read, asked }) = coordinator.run(reading, showing).await?;

    // What was committed gets its manifest, whatever else went wrong.
    let left = ledger.sums().await?;
    let Counts { references, thread_extras, .. } = meter.counts().clone();
    let references = References { pending: left.pending(), ..references };
    let extras = ThreadExtras { pending: left.pending_extras, ..thread_extras };
    // If reading broke off, it has counted rows that the ledger does not have. Then only what the ledger has is told.
    if matches!(read, Ok(()) | Err(RunError::Source(_))) {
        ledger.end_run(*run_id, Timestamp::now(), &references, &extras).await?;
    }
    let sealing = Timestamp::now();
    manifest::write_missing(ledger, archive.as_mut(), signer, None).await?;
    run.trace.ended(StageKind::Manifest, sealing, Vec::new());
    asked.and(read)?;
    ledger.end_refetch().await?;
    ledger.expire(settings.job.history, Timestamp::now()).await?;
    ledger.compact().await?;
    Ok(())
}

/// Reads the source into the ledger.
async fn read(run: Arc<RunContext>, source: Option<Box<dyn Source>>) -> Result<(), RunError> {
    let began = Timestamp::now();
    let read = intake(Arc::clone(&run), source).await;
    let References { read: rows, accepted, .. } = run.meter.counts().references;
    run.trace.ended(StageKind::Intake, began, vec![("read", rows), ("accepted", accepted)]);
    read
}
