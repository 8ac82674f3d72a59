//! Whether the owner record is there, and not older than the manifests.

use crate::archive::ArchiveError;
use crate::archive::parquet::owner::OwnerRecord;
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
