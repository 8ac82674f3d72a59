//! An archive gets another ledger, made from what is in it.

use std::path::PathBuf;

use jiff::Timestamp;
use uuid::Uuid;

use super::{RunError, recover, seal};
use crate::archive::{ArchiveWriter, Inventory, Takeover, UnsealedRun};
use crate::ledger::{Adoption, Archived, Carried, Former, Held, HeldManifest, HeldRun, Ledger, LedgerError};
use crate::model::manifest::Signer;

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// What the archive held: its files without a manifest get that of the adoption.
    pub holding: Inventory,
    /// The commit after which the new ledger goes on.
    pub commit: u64,
    /// What the archive's messages were counted to be.
    pub archived: Archived,
    /// Messages of other apps, which the job does not know.
    pub other_apps: u64,
    /// The ledger before.
    pub former: Former,
    /// Where the ledger before is kept.
    pub former_kept: Option<PathBuf>,
    /// What of it is still to be done.
    pub carried: Carried,
}

/// Makes the archive's ledger anew, and then the archive that ledger's. The ownership changes last: whatever dies
/// before, the next `adopt` does all of it again, and nothing else writes meanwhile.
///
/// `holding` is what [`Takeover::look`] found; the archive is locked since then.
pub async fn adopt(
    archive: &mut dyn Takeover,
    holding: Inventory,
    mut adoption: Adoption,
    run: Uuid,
    now: Timestamp,
) -> Result<Adopted, RunError> {
    let former = adoption.former().clone();
    let recorded = match &former {
        Former::Read { commit, .. } => *commit,
        Former::None | Former::Foreign(_) | Former::Unreadable(_) => 0,
    };
    if holding.is_empty && recorded == 0 {
        discard(adoption).await;
        return Err(LedgerError::Refused(
            "there is nothing to take over: the archive is empty, and no ledger recorded a commit to it. \
             `yunxin-archiver run` begins it"
                .to_owned(),
        )
        .into());
    }
    let (archived, carried, other_apps, commit) = match fill(archive, &holding, &mut adoption, recorded, run, now).await
    {
        Ok(filled) => filled,
        Err(error) => {
            discard(adoption).await;
            return Err(error);
        }
    };
    let former_kept = adoption.install(now).await?;
    archive.hand_over(commit).await?;
    Ok(Adopted { holding, commit, archived, other_apps, former, former_kept, carried })
}

/// What stays behind if this fails is removed by the next `adopt`.
async fn discard(adoption: Adoption) {
    if let Err(error) = adoption.abandon().await {
        tracing::debug!(%error, "an unfinished ledger stays behind");
    }
}

async fn fill(
    archive: &mut dyn Takeover,
    holding: &Inventory,
    adoption: &mut Adoption,
    recorded: u64,
    run: Uuid,
    now: Timestamp,
) -> Result<(Archived, Carried, u64, u64), RunError> {
    let mut other_apps = 0;
    while let Some(ids) = archive.ids().await? {
        other_apps += ids.other_apps;
        adoption.archived(ids.first, &ids.later).await?;
    }
    let held = Held {
        commit: if holding.owner.is_some() { holding.commit } else { recorded },
        manifests: holding.manifests.as_ref().map(|manifests| {
            let held = manifests.iter().map(|manifest| HeldManifest {
                sequence: manifest.sequence,
                run_id: manifest.run_id,
                sha256: manifest.sha256.clone(),
                files: manifest.files.clone(),
            });
            held.collect()
        }),
        unnamed: holding.unnamed.clone(),
        unsealed: holding.unsealed.iter().map(held_run).collect(),
    };
    let (archived, carried) = adoption.fill(&held, run, now).await?;
    Ok((archived, carried, other_apps, held.commit))
}

fn held_run(run: &UnsealedRun) -> HeldRun {
    let UnsealedRun { run_id, began, rows, bytes } = *run;
    HeldRun { run_id, began, rows, bytes }
}

/// Opens the archive as a run does, and writes the manifests that are missing; nothing is fetched.
pub async fn settle(ledger: &Ledger, sink: &mut dyn ArchiveWriter, signer: Option<&Signer>) -> Result<(), RunError> {
    recover::open(ledger, sink).await?;
    seal::seal(ledger, sink, signer, None).await
}
