//! What is in the directories of an archive and is named by nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::files::Named;
use crate::archive::parquet::contents::Contents;
use crate::archive::parquet::places::{OWNER_RECORD, SUMS, display};
use crate::archive::verify::chain::Link;
use crate::archive::verify::{Verification, Wrong};
use crate::storage::Storage;

/// Reports what nothing names, in the archive and in the directory beside it.
pub(super) fn check(
    [within, beside]: [&Contents; 2],
    storage: &dyn Storage,
    named: &BTreeMap<String, Named<'_>>,
    chain: &[Link],
    out: &mut Verification,
) {
    let last_run = chain.last().map(|link| link.manifest.run_id.as_str()).unwrap_or_default();
    for path in within.data.keys().chain(beside.data.keys()).filter(|path| !named.contains_key(*path)) {
        // A file's name contains its run, whose ID contains its time.
        let name = path.rsplit('/').next().and_then(|name| name.strip_prefix("part-"));
        let why = match name.and_then(|name| name.get(..36)) {
            Some(run) if run > last_run => ": its run has not ended, or died, and then the next run names it",
            _ => "",
        };
        out.wrong(Wrong::Unnamed, display(storage, path), format!("no manifest names it{why}"));
    }
    let manifests: BTreeSet<&str> = within.manifests.iter().map(String::as_str).collect();
    for name in &within.signatures {
        if name.strip_suffix(".sig").is_none_or(|manifest| !manifests.contains(manifest)) {
            out.note(format!(
                "{name} is a signature without a manifest: its run died, and the next run writes it again"
            ));
        }
    }
    let others = within.others.iter().filter(|name| !matches!(name.as_str(), OWNER_RECORD | SUMS)).cloned();
    let others_beside = beside.manifests.iter().chain(&beside.signatures).chain(&beside.others);
    let others_beside = others_beside.map(|name| display(storage, name));
    for name in others.chain(others_beside) {
        out.note(format!("{name} is no data and no part of the archive"));
    }
}
