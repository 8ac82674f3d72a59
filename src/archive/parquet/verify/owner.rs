//! Whether the owner record is there, and not older than the manifests.

use crate::archive::ArchiveError;
use crate::archive::parquet::owner::{NamedManifest, OwnerRecord};
use crate::archive::parquet::places::OWNER_RECORD;
use crate::archive::verify::chain::Link;
use crate::archive::verify::{Verification, Wrong};
use crate::storage::Storage;

pub(super) fn check(storage: &dyn Storage, chain: &[Link], out: &mut Verification) -> Result<(), ArchiveError> {
    let Some((content, _)) = storage.read(OWNER_RECORD)? else {
        out.wrong(Wrong::Owner, OWNER_RECORD, "it is missing: no run writes this archive until `adopt` takes it over");
        return Ok(());
    };
    let record: OwnerRecord = match serde_json::from_slice(&content) {
        Ok(record) => record,
        Err(error) => {
            out.wrong(Wrong::Owner, OWNER_RECORD, format!("it cannot be read: {error}"));
            return Ok(());
        }
    };
    let last = chain.last().map_or(0, |link| link.manifest.sequence);
    if let Some(named) = &record.manifest {
        let NamedManifest { sequence, run_id } = named;
        let is_its = |link: &Link| link.manifest.sequence == *sequence && link.manifest.run_id == *run_id;
        if *sequence == last + 1 {
            out.note(format!(
                "{OWNER_RECORD} names manifest {sequence} of run {run_id}, which is not there: that run has not ended, or it \
                 died, and then the next run writes it"
            ));
        } else if last > 0 && (*sequence < last || !chain.iter().any(is_its)) {
            let message = format!(
                "it says that manifest {sequence} of run {run_id} is the last, and the last one here is {last}: manifests were \
                 removed, or it is an old copy, or it was changed"
            );
            out.wrong(Wrong::Owner, OWNER_RECORD, message);
        }
    }
    // An adoption makes no commit: its manifest names files of runs that died.
    let has_commits = |link: &&Link| {
        let manifest = &link.manifest;
        manifest.command.as_deref() != Some("adopt") && !(manifest.files.is_empty() && manifest.vanished.is_empty())
    };
    let last = chain.iter().rev().find(has_commits);
    let is_before = |last: &Link| {
        let is_its = |link: &Link| Some(&link.manifest.run_id) == record.run_id.as_ref();
        !is_its(last) && chain.iter().any(is_its)
    };
    if let Some(last) = last.filter(|last| is_before(last)) {
        let message = format!(
            "it says that run {} made the last commit, and {} is of a later run: it is an old copy, or it was changed",
            record.run_id.unwrap_or_default(),
            last.name
        );
        out.wrong(Wrong::Owner, OWNER_RECORD, message);
    }
    Ok(())
}
