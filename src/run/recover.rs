//! What a run does before anything else: the ledger and the archive are brought to agree.

use super::RunError;
use crate::archive::{ArchiveWriter, Claim, Prepared};
use crate::failpoint::reach;
use crate::ledger::Ledger;

/// Takes possession of the archive and finishes what a dead run left.
pub(super) async fn open(ledger: &Ledger, sink: &mut dyn ArchiveWriter) -> Result<(), RunError> {
    let intent = ledger.intent().await?;
    let recorded = ledger.last_commit().await?;
    let claim = Claim {
        ledger_id: ledger.id(),
        job: ledger.identity().job.clone(),
        recorded,
        intent: intent.as_ref().map(|commit| commit.seq),
        unpublished: ledger.unpublished().await?,
        runs: ledger.commit_runs().await?,
    };
    let opened = sink.open(&claim).await?;
    reach("recover.opened");
    for warning in &opened.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(mut commit) = intent {
        if opened.commit == commit.seq {
            tracing::info!(
                commit = commit.seq,
                "the archive has a commit that the ledger had only an intent of: it is done"
            );
            // The intent was recorded before anybody knew how much it would hold.
            if let Some(Prepared { rows, bytes, .. }) = opened.holds {
                (commit.rows, commit.bytes) = (rows, bytes);
            }
            ledger.record(&commit).await?;
            reach("recover.recorded");
        } else {
            ledger.discard_intent().await?;
            reach("recover.discarded");
        }
    }
    let recorded = ledger.last_commit().await?;
    if opened.commit < recorded {
        for file in &opened.missing {
            tracing::warn!(file = file.path, "a committed file was lost before it was published");
        }
        let references = ledger.reopen_after(opened.commit).await?;
        reach("recover.reopened");
        tracing::warn!(
            commits = recorded - opened.commit,
            references,
            "the archive has lost commits that the ledger had recorded: their references are fetched again"
        );
    } else {
        ledger.published(recorded).await?;
        reach("recover.published");
    }
    Ok(())
}
