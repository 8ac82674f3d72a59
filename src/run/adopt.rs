//! Makes a new ledger for an archive, from what the archive holds.

use std::path::PathBuf;

use jiff::Timestamp;
use uuid::Uuid;

use super::error::RunError;
use crate::archive::{Inventory, Takeover, UnsealedRun};
use crate::failpoint::reach;
use crate::ledger::{
    AdoptedManifest, AdoptedRun, Adoption, ArchiveContents, ArchivedCounts, CarriedOver, LedgerError, ReplacedLedger,
};

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// What the archive held. Files without a manifest are named by the manifest of the adoption, or by that of their run if
    /// the archive named it as its next.
    pub holding: Inventory,
    /// The commit that the new ledger goes on from.
    pub commit: u64,
    /// Counts of the archive's messages.
    pub archived: ArchivedCounts,
    /// Messages of other apps, which the job ignores.
    pub other_apps: u64,
    /// The former ledger.
    pub former: ReplacedLedger,
    /// Where the former ledger is kept.
    pub former_kept: Option<PathBuf>,
    /// What the former ledger had still to do.
    pub carried: CarriedOver,
}

/// Makes a new ledger for the archive, makes it the archive's owner, and then puts it into its place. If the process dies in
/// between, the next `adopt` does all of it again, and nothing else can write meanwhile. If the archive refuses, the job has
/// the ledger that it had before, or none.
///
/// `holding` is what [`Takeover::look`] found. The archive has been locked since then.
pub async fn adopt(
    archive: &mut dyn Takeover,
    holding: Inventory,
    mut adoption: Adoption,
    run: Uuid,
    now: Timestamp,
) -> Result<Adopted, RunError> {
    let former = adoption.former().clone();
    let recorded = match &former {
        ReplacedLedger::Read { commit, .. } => *commit,
        ReplacedLedger::None | ReplacedLedger::Foreign(_) | ReplacedLedger::Unreadable(_) => 0,
    };
    if let ReplacedLedger::Read { elsewhere: Some(place), .. } = &former
        && holding.is_empty
    {
        let words = format!(
            "there is nothing to take over: this place is empty, and the job's ledger belongs to the archive at {place}. \
             Correct the path; or move that archive here first; or begin a new one here with `yunxin-archiver run`"
        );
        discard(adoption).await;
        return Err(LedgerError::Refused(words).into());
    }
    if let ReplacedLedger::Read { id, partitioned: Some(partitioning), .. } = &former
        && holding.owner.as_ref().is_some_and(|(owner, _)| *owner == id.to_string())
    {
        let words = format!(
            "the archive is partitioned otherwise ({partitioning}) than the job now says, and its directories would mean \
             two things: restore `partition_by` and `timezone`; or choose another path, and begin a new archive there"
        );
        discard(adoption).await;
        return Err(LedgerError::Refused(words).into());
    }
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
    if let Err(error) = archive.hand_over(commit).await {
        discard(adoption).await;
        return Err(error.into());
    }
    reach("adopt.handed_over");
    let former_kept = adoption.install(now).await?;
    Ok(Adopted { holding, commit, archived, other_apps, former, former_kept, carried })
}

/// Removes the new ledger. If this fails, the next `adopt` removes it.
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
) -> Result<(ArchivedCounts, CarriedOver, u64, u64), RunError> {
    let mut other_apps = 0;
    while let Some(ids) = archive.ids().await? {
        other_apps += ids.other_apps;
        adoption.archived(ids.first, &ids.later).await?;
    }
    let held = ArchiveContents {
        commit: if holding.owner.is_some() { holding.commit } else { recorded },
        manifests: holding.manifests.as_ref().map(|manifests| {
            let held = manifests.iter().map(|manifest| AdoptedManifest {
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

fn held_run(run: &UnsealedRun) -> AdoptedRun {
    let UnsealedRun { run_id, began, rows, bytes, files } = run.clone();
    AdoptedRun { run_id, began, rows, bytes, files }
}
