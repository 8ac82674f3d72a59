//! Writes manifests: of this run when it ends, and of runs that died when the next one begins.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::error::RunError;
use crate::archive::{ArchiveError, ArchiveWriter};
use crate::failpoint::reach;
use crate::ledger::{Ledger, ManifestDue};
use crate::model::manifest::{self, BESIDE, DataFile, Manifest, Sealed, Signer, is_vanished};

/// Writes the manifests that are missing, except that of the run that is `running`.
pub(super) async fn write_missing(
    ledger: &Ledger,
    archive: &mut dyn ArchiveWriter,
    signer: Option<&Signer>,
    running: Option<Uuid>,
) -> Result<(), RunError> {
    let mut previous = previous(ledger, archive).await?;
    for due in ledger.manifest_due(running).await? {
        let (run_id, sequence) = (due.run_id, due.sequence);
        // A manifest that is there was written by a process that died before the ledger knew. The archive itself refuses to
        // replace the manifest of another run.
        let found = archive.manifest(sequence).await?.filter(|found| found.manifest.run_id == run_id.to_string());
        let sealed = match found {
            // Whoever takes an archive over may guess otherwise than a run that was slow, and wrote it after all.
            Some(found) if !names(&found.manifest, &due.files) => {
                return Err(RunError::Archive(ArchiveError::NotOurs(format!(
                    "manifest {sequence} of run {run_id} names other files than this ledger has of that run, so somebody else \
                     wrote or changed it: `yunxin-archiver adopt {}` makes a ledger of the archive as it is",
                    ledger.identity().job
                ))));
            }
            Some(found) => found,
            None => Sealed::new(manifest(ledger, due, previous.take()), signer),
        };
        archive.write_manifest(&sealed).await?;
        reach("seal.after");
        let sha256 = sealed.sha256();
        // A database may lose the manifest in a failover: the ledger keeps a copy.
        ledger.set_manifest(run_id, sequence, &sha256, archive.needs_intent().then_some(&sealed)).await?;
        reach("manifest.noted");
        previous = Some(sha256);
    }
    Ok(())
}

/// Whether a manifest names these files.
fn names(manifest: &Manifest, files: &[DataFile]) -> bool {
    let vanished = manifest.vanished.iter().map(|file| format!("{BESIDE}{}", file.path));
    let named: BTreeSet<String> = manifest.files.iter().map(|file| file.path.clone()).chain(vanished).collect();
    named.iter().eq(files.iter().map(|file| &file.path).collect::<BTreeSet<_>>())
}

/// The hash of the last manifest as it was written, not as it is now: a change must not enter the chain.
async fn previous(ledger: &Ledger, archive: &mut dyn ArchiveWriter) -> Result<Option<String>, RunError> {
    let Some(head) = ledger.last_manifest().await? else { return Ok(None) };
    let mut found = match archive.manifest(head.sequence).await {
        // A manifest that cannot be read was changed. The hash is known, so the run goes on.
        Err(ArchiveError::Unusable(what)) if head.sha256.is_some() => {
            tracing::warn!("{what}");
            return Ok(head.sha256);
        }
        found => found?,
    };
    if found.is_none() && bring_back(ledger, archive, head.sequence).await? {
        found = archive.manifest(head.sequence).await?;
    }
    let found = found.map(|found| found.sha256());
    if head.sha256.is_some() && found != head.sha256 {
        tracing::warn!(
            manifest = head.sequence,
            run = %head.run_id,
            "the archive's last manifest was {} since it was written: `yunxin-archiver verify` looks at all of them",
            if found.is_some() { "changed" } else { "removed" }
        );
    }
    Ok(head.sha256.or(found))
}

/// Writes the manifests again that a failover lost. Returns whether there were any.
async fn bring_back(ledger: &Ledger, archive: &mut dyn ArchiveWriter, last: u64) -> Result<bool, RunError> {
    let mut missing = Vec::new();
    let mut sequence = last;
    while let Some(kept) = ledger.kept_manifest(sequence).await? {
        if archive.manifest(sequence).await?.is_some() {
            break;
        }
        missing.push(kept);
        sequence -= 1;
    }
    for kept in missing.iter().rev() {
        tracing::warn!(manifest = kept.manifest.sequence, "the archive has lost a manifest: it is written again");
        archive.write_manifest(kept).await?;
    }
    Ok(!missing.is_empty())
}

fn manifest(ledger: &Ledger, due: ManifestDue, previous: Option<String>) -> Manifest {
    let (vanished, files): (Vec<_>, Vec<_>) = due.files.into_iter().partition(|file| is_vanished(&file.path));
    let path = |file: &DataFile| file.path.trim_start_matches(BESIDE).to_owned();
    let vanished: Vec<_> = vanished.into_iter().map(|file| DataFile { path: path(&file), ..file }).collect();
    // Without files it is a database: only its commits say how much it was sent.
    let is_database = files.is_empty() && vanished.is_empty();
    let total = |sum: u64, of: fn(&DataFile) -> u64| if is_database { sum } else { files.iter().map(of).sum() };
    Manifest {
        version: manifest::VERSION,
        sequence: due.sequence,
        previous,
        job: ledger.identity().job.clone(),
        run_id: due.run_id.to_string(),
        ledger_id: ledger.id().to_string(),
        app_key: ledger.identity().app_key.clone(),
        command: Some(due.command),
        tool: due.note.tool,
        host: due.note.host,
        operator: due.note.operator,
        purpose: due.note.purpose,
        configuration_sha256: due.note.configuration_sha256,
        started_at: due.started_at,
        finished_at: due.finished_at,
        died: due.died,
        references_sha256: due.references_sha256,
        references: due.counts.references,
        thread_extras: due.counts.thread_extras,
        failures: due.failures,
        rows: total(due.counts.rows, |file| file.rows),
        bytes: total(due.counts.bytes, |file| file.bytes),
        signature: None,
        files,
        vanished,
    }
}
