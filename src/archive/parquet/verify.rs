//! Whether an archive is what its manifests say: every file that they name is read, and every file that they do not name
//! is found.

mod files;
mod keys;
mod strays;
mod sums;

use std::collections::BTreeMap;
use std::path::Path;

use self::files::Named;
use super::contents::Contents;
use super::places::{MANIFESTS, OWNER_RECORD, Places, is_inside};
use super::storage::{self, failure};
use crate::archive::ArchiveError;
use crate::archive::verify::chain::{self, FoundManifest};
use crate::archive::verify::{Settings, Verification, Wrong};
use crate::model::manifest::{BESIDE, Manifest};

/// Verifies the archive in a directory. Blocks, and reads every byte.
///
/// # Errors
///
/// There is no archive, or its directory cannot be read.
pub(super) fn verify(root: &Path, settings: &Settings) -> Result<Verification, ArchiveError> {
    let places = Places::new(root);
    let mut out = Verification::new(root.display().to_string(), "parquet");
    if !storage::is_directory(root)? {
        return Err(ArchiveError::Unusable(format!(
            "{} is no directory; an archive of Parquet files is one",
            root.display()
        )));
    }
    let contents = Contents::of(root, false).map_err(|error| failure("reading", root, error))?;
    let has_owner = contents.others.iter().any(|name| name == OWNER_RECORD);
    if contents.manifests.is_empty() && contents.data.is_empty() && !has_owner {
        return Err(ArchiveError::Unusable(format!(
            "{} is no archive of Parquet files: it has neither manifests (_manifests/*.json) nor data",
            root.display()
        )));
    }
    let beside = match places.existing_beside() {
        Some(beside) => Contents::of(&beside, false).map_err(|error| failure("reading", &beside, error))?,
        None => Contents::default(),
    };
    let links = chain::follow(read_manifests(root, &contents)?, settings, is_called, &mut out);
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
                    out.wrong(Wrong::Sums, places.display(&path), message);
                }
                None => drop(named.insert(path.clone(), Named { path, manifest: &link.name, file })),
            }
        }
    }
    sums::check(&places, &links, &mut out)?;
    strays::check([&contents, &beside], &places, &named, &links, &mut out);
    let named: Vec<Named<'_>> = named.into_values().collect();
    files::check(&places, &named, settings, &mut out)?;
    Ok(out.done())
}

fn read_manifests(root: &Path, contents: &Contents) -> Result<Vec<FoundManifest>, ArchiveError> {
    let read = |name: &str| {
        let path = root.join(name);
        let content = storage::read(&path).map_err(|error| failure("reading", &path, error))?;
        Ok(content.unwrap_or_default())
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
