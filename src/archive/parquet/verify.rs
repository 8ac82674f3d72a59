//! Whether an archive is what its manifests say: every file that they name is read (or only its size is compared), and
//! every file that they do not name is found.

mod files;
mod keys;
mod owner;
mod presence;
mod strays;
mod sums;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::files::Named;
use super::contents::Contents;
use super::places::{MANIFESTS, OWNER_RECORD, display, is_inside};
use crate::archive::ArchiveError;
use crate::archive::verify::chain::{self, FoundManifest};
use crate::archive::verify::{Settings, Verification, Wrong};
use crate::model::manifest::{BESIDE, Manifest, is_vanished};
use crate::storage::Storage;

/// Verifies an archive. Blocks, and reads every byte unless it is to be quick.
///
/// # Errors
///
/// There is no archive, or it cannot be read.
pub(super) fn verify(storage: &Arc<dyn Storage>, settings: &Settings) -> Result<Verification, ArchiveError> {
    let place = storage.place();
    let mut out = Verification::new(place.to_owned(), "parquet", settings);
    let contents = Contents::of(&**storage, false)?;
    let has_owner = contents.others.iter().any(|name| name == OWNER_RECORD);
    if contents.manifests.is_empty() && contents.data.is_empty() && !has_owner {
        return Err(ArchiveError::Unusable(format!(
            "{place} is no archive of Parquet files: it has neither manifests (_manifests/*.json) nor data"
        )));
    }
    let beside = Contents::beside(&**storage)?;
    let links = chain::follow(read_manifests(&**storage, &contents)?, settings, is_called, &mut out);
    if links.is_empty() {
        out.wrong(Wrong::Sequence, MANIFESTS, "there is no manifest, and a file that no manifest names is no data");
    }
    let mut named: BTreeMap<String, Named<'_>> = BTreeMap::new();
    for link in &links {
        let vanished = link.manifest.vanished.iter().map(|file| (format!("{BESIDE}{}", file.path), file));
        let files = link.manifest.files.iter().map(|file| (file.path.clone(), file)).chain(vanished);
        // The manifest's own check reports a path that leads out of the archive.
        for (path, file) in files.filter(|(_, file)| is_inside(&file.path)) {
            match named.get(&path) {
                Some(first) => {
                    let message = format!("{} names it, and {} as well", first.manifest, link.name);
                    out.wrong(Wrong::Sums, display(&**storage, &path), message);
                }
                None => drop(named.insert(path.clone(), Named { path, manifest: &link.name, file })),
            }
        }
    }
    sums::check(&**storage, &links, &mut out)?;
    strays::check([&contents, &beside], &**storage, &named, &links, &mut out);
    owner::check(&**storage, &links, &mut out)?;
    let named = presence::check([&contents, &beside], &**storage, named.into_values(), &mut out);
    if settings.quick {
        for Named { path, file, .. } in &named {
            out.files += 1;
            out.bytes += file.bytes;
            *(if is_vanished(path) { &mut out.vanished } else { &mut out.rows }) += file.rows;
        }
    } else {
        files::check(storage, &named, settings, &mut out)?;
    }
    Ok(out.done())
}

fn read_manifests(storage: &dyn Storage, contents: &Contents) -> Result<Vec<FoundManifest>, ArchiveError> {
    let read = |name: &str| -> Result<Vec<u8>, ArchiveError> {
        Ok(storage.read(name)?.map(|(content, _)| content).unwrap_or_default())
    };
    let manifests = contents.manifests.iter().map(|name| {
        let signature = format!("{name}.sig");
        let signature = contents.signatures.contains(&signature).then(|| read(&signature)).transpose()?;
        Ok(FoundManifest { name: name.clone(), bytes: read(name)?, signature })
    });
    manifests.collect()
}

/// Whether a manifest's file has the name that the manifest should have.
fn is_called(name: &str, manifest: &Manifest) -> bool {
    name.strip_prefix(MANIFESTS).and_then(|name| name.strip_prefix('/')) == Some(manifest.file_name().as_str())
}
