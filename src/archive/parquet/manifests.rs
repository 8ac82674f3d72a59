//! The manifests of an archive: each with its signature beside it, and the list of hashes of everything for `sha256sum`.
//!
//! They are written in this order, so that writing the same manifest again completes what a crash interrupted: the owner
//! record, which names the manifest; the signature; the manifest, which never replaces another; the list, which replaces the
//! one before.

use super::owner::{NamedManifest, OwnedArchive};
use super::places::{MANIFESTS, SUMS, last_part};
use super::sums::{carry, last_line, line};
use crate::archive::ArchiveError;
use crate::model::manifest::{Manifest, Sealed};
use crate::storage::{Created, Replaced, Storage, Version};

/// The manifest of this number, if there is one.
pub(super) fn find(archive: &OwnedArchive, sequence: u64) -> Result<Option<Sealed>, ArchiveError> {
    let storage = &**archive.storage();
    let found = names(storage)?.into_iter().find(|path| is_manifest(path) && is_numbered(path, sequence));
    found.map(|path| read(storage, &path)).transpose()
}

/// Writes a manifest unless it is there already, and what belongs beside it.
pub(super) fn write(archive: &OwnedArchive, sealed: &Sealed) -> Result<(), ArchiveError> {
    let storage = &**archive.storage();
    let path = path_of(&sealed.manifest);
    let (manifests, others): (Vec<_>, Vec<_>) = names(storage)?.into_iter().partition(|path| is_manifest(path));
    refuse_another(archive, &sealed.manifest, &manifests)?;
    let Manifest { sequence, run_id, .. } = sealed.manifest.clone();
    archive.name_manifest(NamedManifest { sequence, run_id })?;
    if let Some(signature) = sealed.signature.as_ref().filter(|_| !manifests.contains(&path)) {
        let path = format!("{path}.sig");
        if others.contains(&path) {
            // It belongs to a manifest that was never written.
            let version = storage.read(&path)?.map(|(_, version)| version);
            replace(storage, &path, &signature.0, version.as_ref())?;
        } else {
            create(archive, &path, &signature.0, "a different signature is there")?;
        }
    }
    create(archive, &path, sealed.text.as_bytes(), "a different manifest is there; manifests never change")?;
    // Whoever lost the archive may write the list once more, and no oftener.
    for _ in 0..3 {
        if write_sums(archive, sealed, manifests.clone())? {
            return Ok(());
        }
    }
    Err(written_by_another(storage, SUMS))
}

/// Creates a small file. If its name is taken, the archive may have changed hands.
fn create(archive: &OwnedArchive, path: &str, content: &[u8], taken: &str) -> Result<(), ArchiveError> {
    let storage = archive.storage();
    match storage.create(path, content)? {
        Created::Yes => Ok(()),
        Created::Taken => {
            archive.still_owned()?;
            Err(ArchiveError::failed(format!("writing {}", storage.at(path)), taken.to_owned()))
        }
    }
}

/// Replaces a small file as it was read.
fn replace(storage: &dyn Storage, path: &str, content: &[u8], read: Option<&Version>) -> Result<(), ArchiveError> {
    match storage.replace(path, content, read)? {
        Replaced::Yes(_) => Ok(()),
        Replaced::Changed => Err(written_by_another(storage, path)),
    }
}

fn written_by_another(storage: &dyn Storage, path: &str) -> ArchiveError {
    ArchiveError::failed(
        format!("writing {}", storage.at(path)),
        "somebody else wrote it at the same moment; only one ledger may write an archive",
    )
}

/// Refuses a manifest if another run has its number: the ledger is a copy from before that run.
fn refuse_another(archive: &OwnedArchive, manifest: &Manifest, paths: &[String]) -> Result<(), ArchiveError> {
    let own = path_of(manifest);
    let other = paths.iter().find(|path| is_numbered(path, manifest.sequence) && **path != own);
    let Some(other) = other else { return Ok(()) };
    archive.still_owned()?;
    Err(ArchiveError::NotOurs(format!(
        "the archive at {} has a manifest {} of a run that this ledger does not know. The ledger is an \
         old copy: `yunxin-archiver adopt {}` takes the archive over",
        archive.storage().place(),
        last_part(other),
        manifest.job
    )))
}

/// Brings the list of hashes up to this manifest: appends to it if it ends with the manifest before, else writes it anew.
/// `paths` are those of the manifests that were there before. Returns whether nobody else wrote it at the same moment.
fn write_sums(archive: &OwnedArchive, sealed: &Sealed, paths: Vec<String>) -> Result<bool, ArchiveError> {
    let storage = &**archive.storage();
    let (manifest, sha256) = (&sealed.manifest, sealed.sha256());
    let (sums, version) = storage.read(SUMS)?.unzip();
    // Whoever took the archive over since wrote manifests that `paths` lacks. If it does so only now, it writes the list
    // after this.
    archive.still_owned()?;
    let sums = sums.unwrap_or_default();
    let last = last_line(&sums);
    if last == Some(manifest_line(manifest, &sha256).as_bytes()) {
        return Ok(true);
    }
    // By its name alone: if somebody changed that manifest since, the hash in the list remains the evidence.
    let before =
        manifest.sequence.checked_sub(1).and_then(|number| paths.iter().find(|path| is_numbered(path, number)));
    let continues = before.zip(last).is_some_and(|(before, last)| last.ends_with(format!("  {before}\n").as_bytes()));
    let beside = storage.beside();
    let beside = beside.as_deref();
    let mut out = Vec::with_capacity(sums.len());
    if continues {
        carry(&sums, beside, &mut out);
        add(&mut out, manifest, &sha256, beside);
    } else {
        let mut all: Vec<String> = paths;
        all.push(path_of(manifest));
        all.sort_unstable();
        all.dedup();
        for path in all {
            let one = read(storage, &path)?;
            add(&mut out, &one.manifest, &one.sha256(), beside);
        }
    }
    Ok(matches!(storage.replace(SUMS, &out, version.as_ref())?, Replaced::Yes(_)))
}

/// Reads a manifest from its file.
pub(super) fn read(storage: &dyn Storage, path: &str) -> Result<Sealed, ArchiveError> {
    let unusable = |why: String| {
        ArchiveError::Unusable(format!("{} cannot be read ({why}): restore it from a backup first", storage.at(path)))
    };
    let Some((content, _)) = storage.read(path)? else { return Err(unusable("it is gone".to_owned())) };
    let text = String::from_utf8(content).map_err(|_| unusable("it is not UTF-8".to_owned()))?;
    Sealed::read(text).map_err(|error| unusable(error.to_string()))
}

fn path_of(manifest: &Manifest) -> String {
    format!("{MANIFESTS}/{}", manifest.file_name())
}

/// The files in the directory of manifests, in order.
fn names(storage: &dyn Storage) -> Result<Vec<String>, ArchiveError> {
    let listed = storage.list(&format!("{MANIFESTS}/"), false)?;
    Ok(listed.into_iter().map(|found| found.name).collect())
}

fn is_numbered(path: &str, sequence: u64) -> bool {
    last_part(path).starts_with(&format!("{sequence:08}-"))
}

/// Whether this is the path of a manifest: the name of its file begins with its number.
pub(super) fn is_manifest(path: &str) -> bool {
    path.strip_prefix(MANIFESTS)
        .and_then(|name| name.strip_prefix('/')?.strip_suffix(".json")?.split_once('-'))
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Adds the lines of a manifest: its files, its notes of what vanished, then itself.
fn add(out: &mut Vec<u8>, manifest: &Manifest, sha256: &str, beside: Option<&str>) {
    for file in &manifest.files {
        out.extend(line(&file.path, &file.sha256).bytes());
    }
    for (beside, file) in beside.iter().flat_map(|beside| manifest.vanished.iter().map(move |file| (beside, file))) {
        out.extend(line(&format!("{beside}/{}", file.path), &file.sha256).bytes());
    }
    out.extend(manifest_line(manifest, sha256).bytes());
}

fn manifest_line(manifest: &Manifest, sha256: &str) -> String {
    line(&path_of(manifest), sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_told_by_its_name() {
        assert!(is_manifest("_manifests/00000001-run.json"));
        for other in ["SHA256SUMS", "00000001-run.json.sig", "notes.json", "-run.json", "1.json"] {
            assert!(!is_manifest(&format!("_manifests/{other}")), "{other}");
        }
        assert!(!is_manifest("00000001-run.json"));
    }
}
