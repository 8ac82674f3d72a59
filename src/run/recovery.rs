//! What a run does before anything else: the ledger and the archive are brought to agree.

use super::error::RunError;
use super::manifest;
use crate::archive::{ArchiveWriter, Claim, Opened, Prepared};
use crate::failpoint::reach;
use crate::ledger::{Beginning, Ledger};
use crate::model::manifest::Signer;

/// Opens the archive as a run does, and writes the manifests that are missing. Nothing is fetched.
pub async fn recover(
    ledger: &Ledger,
    archive: &mut dyn ArchiveWriter,
    signer: Option<&Signer>,
) -> Result<(), RunError> {
    open(ledger, archive, None).await?;
    manifest::write_missing(ledger, archive, signer, None).await
}

/// Takes possession of the archive for a ledger that begins, and puts the ledger into its place. If the archive refuses,
/// the job's former ledger stays in its place.
pub async fn begin(beginning: Beginning, archive: &mut dyn ArchiveWriter) -> Result<(Ledger, Opened), RunError> {
    let claim = claim(beginning.ledger()).await?;
    let opened = match archive.open(&claim).await {
        Ok(opened) => opened,
        Err(error) => {
            beginning.close().await?;
            return Err(error.into());
        }
    };
    reach("beginning.accepted");
    let (former, returns) = (beginning.former().cloned(), beginning.returns());
    let (ledger, kept) = beginning.take_place().await?;
    let job = claim.job;
    if let (Some(former), Some(kept)) = (former, kept) {
        let then = if returns {
            "the ledger that it had with these settings takes its place again, with its failures and its cursor"
        } else {
            "a new ledger begins, and the source is read from its start"
        };
        tracing::warn!(
            job,
            open_failures = former.open_failures,
            dismissed_failures = former.dismissed_failures,
            kept = %kept.display(),
            "the job changed its {}: {then}. The former ledger is kept with its failures, and takes its place again when \
             the former settings are restored",
            former.changes
        );
    } else if returns {
        tracing::warn!(job, "the job's ledger was gone, and the one that was kept with these settings takes its place");
    }
    Ok((ledger, opened))
}

/// What a ledger knows of its archive.
async fn claim(ledger: &Ledger) -> Result<Claim, RunError> {
    let written = ledger.last_manifest().await?.map(|last| (last.sequence, last.run_id));
    let due = ledger.manifest_due(None).await?.into_iter().map(|due| (due.sequence, due.run_id));
    Ok(Claim {
        ledger_id: ledger.id(),
        job: ledger.identity().job.clone(),
        recorded: ledger.last_commit().await?,
        intent: ledger.intent().await?.map(|commit| commit.seq),
        unpublished: ledger.unpublished().await?,
        runs: ledger.commit_runs().await?,
        manifests: written.into_iter().chain(due).collect(),
    })
}

/// Takes possession of the archive, unless [`begin`] did that already, and finishes what a dead run left.
pub(super) async fn open(
    ledger: &Ledger,
    archive: &mut dyn ArchiveWriter,
    opened: Option<Opened>,
) -> Result<(), RunError> {
    let intent = ledger.intent().await?;
    let opened = match opened {
        Some(opened) => opened,
        None => archive.open(&claim(ledger).await?).await?,
    };
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
