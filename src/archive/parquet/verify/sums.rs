//! Whether the list of hashes says what the manifests say.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::ArchiveError;
use crate::archive::parquet::places::{SUMS, display, last_part};
use crate::archive::parquet::sums::{listed, listed_beside};
use crate::archive::verify::chain::Link;
use crate::archive::verify::{Verification, Wrong};
use crate::model::manifest::BESIDE;
use crate::storage::Storage;

pub(super) fn check(storage: &dyn Storage, chain: &[Link], out: &mut Verification) -> Result<(), ArchiveError> {
    let Some((content, _)) = storage.read(SUMS)? else {
        if chain.iter().any(|link| link.manifest.version >= 2) {
            out.wrong(Wrong::List, SUMS, "it is missing; the next run writes it");
        }
        return Ok(());
    };
    let Ok(text) = String::from_utf8(content) else {
        out.wrong(Wrong::List, SUMS, "it is no text");
        return Ok(());
    };
    let (mut hashes, mut directories) = (BTreeMap::new(), BTreeSet::new());
    for (path, sha256) in text.lines().filter_map(listed) {
        // The archive may have had another name, or have been reached by a link, when the list was written.
        let path = match listed_beside(&path) {
            Some((directory, path)) => {
                directories.insert(directory.to_owned());
                format!("{BESIDE}{path}")
            }
            None => path,
        };
        hashes.insert(path, sha256);
    }
    let beside = storage.beside();
    for link in chain {
        let files = link.manifest.files.iter().map(|file| (file.path.clone(), file.sha256.as_str()));
        let vanished = link.manifest.vanished.iter().filter(|_| beside.is_some());
        let vanished = vanished.map(|file| (format!("{BESIDE}{}", file.path), file.sha256.as_str()));
        for (path, sha256) in files.chain(vanished).chain([(link.name.clone(), link.sha256.as_str())]) {
            let shown = display(storage, &path);
            match hashes.remove(&path) {
                Some(said) if said == sha256 => {}
                Some(said) => {
                    out.wrong(Wrong::List, SUMS, format!("it says that {shown} has {said}, and it should be {sha256}"));
                }
                None => out.wrong(Wrong::List, SUMS, format!("{shown} is not in it")),
            }
        }
    }
    for path in hashes.keys() {
        out.wrong(Wrong::List, SUMS, format!("it names {}, which no manifest names", display(storage, path)));
    }
    let name = beside.as_deref().map_or("", last_part);
    for directory in directories.iter().filter(|directory| last_part(directory) != name) {
        out.note(format!(
            "{SUMS} expects the notes of what vanished in {directory}, and they belong in {}: the next run corrects \
             the list",
            storage.at(BESIDE).trim_end_matches('/')
        ));
    }
    Ok(())
}
