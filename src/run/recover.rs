//! What a run does before anything else: the ledger and the archive are brought to agree.

use uuid::Uuid;

use super::RunError;
use crate::failpoint::reach;
use crate::ledger::{Ledger, ManifestDue};
use crate::manifest::{BESIDE, Manifest, ManifestFile, is_vanished};
use crate::sink::{Claim, Sink, SinkFile};

/// Takes possession of the archive and finishes what a dead run left.
pub(super) async fn open(ledger: &Ledger, sink: &mut dyn Sink) -> Result<(), RunError> {
    let announced = ledger.announced().await?;
    let recorded = ledger.last_commit().await?;
    let unpublished = ledger.unpublished().await?;
    let claim = Claim {
        ledger_id: ledger.id(),
        job: ledger.identity().job.clone(),
        recorded,
        announced: announced.as_ref().map(|commit| commit.seq),
        unpublished: unpublished.iter().map(sink_file).collect(),
        runs: ledger.commit_runs().await?,
    };
    let opened = sink.open(&claim).await?;
    reach("recover.opened");
    for warning in &opened.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(commit) = announced {
        if opened.commit == commit.seq {
            tracing::info!(
                commit = commit.seq,
                "the archive has a commit that the ledger had only announced: it is done"
            );
            ledger.record(&commit).await?;
            reach("recover.recorded");
        } else {
            ledger.discard_announced().await?;
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

/// Writes the manifests that are missing, of runs that died and, unless it is `running`, of this one.
pub(super) async fn seal(ledger: &Ledger, sink: &mut dyn Sink, running: Option<Uuid>) -> Result<(), RunError> {
    for due in ledger.manifest_due(running).await? {
        let (run_id, sequence) = (due.run_id, due.sequence);
        sink.seal(&manifest(ledger, due)).await?;
        reach("seal.after");
        ledger.set_manifest(run_id, sequence).await?;
        reach("manifest.noted");
    }
    Ok(())
}

fn manifest(ledger: &Ledger, due: ManifestDue) -> Manifest {
    let (vanished, files): (Vec<_>, Vec<_>) = due
        .files
        .into_iter()
        .map(|file| ManifestFile { path: file.path, rows: file.rows, bytes: file.bytes, sha256: file.sha256 })
        .partition(|file| is_vanished(&file.path));
    let path = |file: &ManifestFile| file.path.trim_start_matches(BESIDE).to_owned();
    let vanished = vanished.into_iter().map(|file| ManifestFile { path: path(&file), ..file }).collect();
    Manifest {
        version: 1,
        sequence: due.sequence,
        job: ledger.identity().job.clone(),
        run_id: due.run_id.to_string(),
        ledger_id: ledger.id().to_string(),
        app_key: ledger.identity().app_key.clone(),
        started_at: due.started_at,
        finished_at: due.finished_at,
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
        vanished,
    }
}

fn sink_file(file: &crate::ledger::FileRow) -> SinkFile {
    SinkFile {
        path: file.path.clone(),
        temporary: file.temporary.clone(),
        rows: file.rows,
        bytes: file.bytes,
        sha256: file.sha256.clone(),
    }
}
