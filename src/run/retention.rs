//! How a job stands against the vendor's retention.

use jiff::Timestamp;

use super::context::RunContext;
use super::error::RunError;
use super::queue::Queue;
use super::suspicion::is_absent;
use crate::ledger::{Ledger, LedgerError};
use crate::model::retention::{Retention, RetentionOutlook};
use crate::plan::{Forecast, Foreseen, Purpose, Watch};

/// Batches read from the ledger at a time.
const PAGE: u32 = 1024;

/// How what is pending in a ledger stands, if it is asked for from now on.
pub async fn outlook(ledger: &Ledger, watch: Watch, batch_size: usize) -> Result<RetentionOutlook, LedgerError> {
    Ok(foresee(ledger, watch, batch_size).await?.outlook)
}

async fn foresee(ledger: &Ledger, watch: Watch, batch_size: usize) -> Result<Foreseen, LedgerError> {
    let requests = ledger.totals().await?.pending_batches + ledger.carried_batches(batch_size).await?;
    let mut forecast = Forecast::new(watch, requests);
    tell_pending(ledger, &mut forecast).await?;
    tell_carried(ledger, &mut forecast, batch_size).await?;
    Ok(forecast.end())
}

/// Tells a forecast which batches are pending, in the order in which they were planned. What asks again for archived
/// messages comes after everything else, and is left out.
pub(super) async fn tell_pending(ledger: &Ledger, forecast: &mut Forecast) -> Result<(), LedgerError> {
    let mut after = 0;
    loop {
        let page = ledger.pending_first(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.seq;
        for pending in &page {
            let batch = &pending.batch;
            forecast.ask(batch.refs.iter().map(|r| r.create_time), batch.purpose == Purpose::Reference);
        }
    }
}

/// Tells a forecast what is carried, which is asked for when all pending batches were.
pub(super) async fn tell_carried(
    ledger: &Ledger,
    forecast: &mut Forecast,
    batch_size: usize,
) -> Result<(), LedgerError> {
    let carried = |purpose: Purpose, times: &[i64]| {
        for times in times.chunks(batch_size.max(1)).filter(|_| !purpose.is_refetch()) {
            forecast.ask(times.iter().copied(), purpose == Purpose::Reference);
        }
    };
    ledger.carried_times(carried).await
}

/// Lets what leaves the retention first be asked for first, if there is not time for all.
pub(super) async fn hurry(run: &RunContext, queue: &mut Queue) -> Result<(), RunError> {
    let settings = &run.settings;
    let (Some(watch), Some(retention)) = (settings.watch(), settings.retention) else { return Ok(()) };
    let Foreseen { outlook, late_as_planned, requests } =
        foresee(&run.ledger, watch, settings.job.fetch.batch_size).await?;
    let deadline = settings.deadline.map(Timestamp::as_millisecond);
    let is_cut_off = deadline.is_some_and(|deadline| watch.sent_at(requests) > deadline);
    if (late_as_planned > 0 || is_cut_off) && queue.order_by_expiry(retention) {
        tracing::warn!(
            job = settings.job.name,
            requests,
            gone = outlook.gone,
            expiring = outlook.expiring,
            "there is not time for all that is pending: what leaves the retention first is asked for first"
        );
    }
    Ok(())
}

/// How a run stands at its end, if the retention is known. `old_when_read` is what it counted when it read.
pub(super) async fn at_end(run: &RunContext, old_when_read: u64) -> Result<Option<Retention>, LedgerError> {
    let Some(watch) = run.settings.watch() else { return Ok(None) };
    let pending = outlook(&run.ledger, watch, run.settings.job.fetch.batch_size).await?;
    let late = run.ledger.failed_late(watch.retention).await?;
    let lost = late.iter().filter(|((class, code), _)| is_absent(*class, *code)).map(|(_, n)| n).sum();
    Ok(Some(Retention { pending, old_when_read, lost }))
}

/// What of that looks wrong, each in a sentence.
pub(super) fn suspicions(retention: &Retention) -> Vec<String> {
    let Retention { pending, lost, .. } = retention;
    let mut found = Vec::new();
    if *lost > 0 {
        found.push(format!(
            "{lost} references left the vendor's retention after the last run and before they were asked for, and no longer \
             exist: run the job more often, or give it more time"
        ));
    }
    if pending.expiring > 0 {
        found.push(format!(
            "{} pending references will leave the vendor's retention before the job gets to them at the quota: run again at \
             once, and raise `rate_limit` if your plan allows more",
            pending.expiring
        ));
    }
    found
}
