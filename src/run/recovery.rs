//! What a run does before anything else: the ledger and the archive are brought to agree.

use super::error::RunError;
use super::manifest;
use crate::archive::{ArchiveWriter, Claim, Prepared};
use crate::failpoint::reach;
use crate::ledger::Ledger;
use crate::model::manifest::Signer;

/// Opens the archive as a run does, and writes the manifests that are missing. Nothing is fetched.
pub async fn recover(
    ledger: &Ledger,
    archive: &mut dyn ArchiveWriter,
    signer: Option<&Signer>,
) -> Result<(), RunError> {
    open(ledger, archive).await?;
    manifest::write_missing(ledger, archive, signer, None).await
}

/// Takes possession of the archive, and finishes what a dead run left.
pub(super) async fn open(ledger: &Ledger, archive: &mut dyn ArchiveWriter) -> Result<(), RunError> {
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
    let opened = archive.open(&claim).await?;
    reach("recover.opened");
    for warning in &opened.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(mut commit) = intent {
        if opened.commit == commit.seq {
            tracing::info!(
                commit = commit.seq,
                "the archive has a commit that the ledger had only an intent of: it is recorded now"
            );
            // The intent was recorded before anybody knew how much the commit would hold.
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
    if opened.commit >= recorded {
        ledger.published(recorded).await?;
        reach("recover.published");
        return Ok(());
    }
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
    Ok(())
}
