//! Manifests on disk: the manifest, its signature beside it, and the list of hashes of everything for `sha256sum`.
//!
//! They are written in this order, so that writing the same manifest again completes what a crash interrupted: the
//! signature; the manifest, which never replaces another; the list, which replaces the one before.

use std::io::{self, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

use super::owner::OwnedArchive;
use super::places::{MANIFESTS, SUMS};
use super::storage::{self, failure};
use super::sums::{carry, last_line, line};
use crate::archive::ArchiveError;
use crate::failpoint::reach;
use crate::model::manifest::{Manifest, Sealed};

/// The manifest of this number, if there is one.
pub(super) fn find(archive: &OwnedArchive, sequence: u64) -> Result<Option<Sealed>, ArchiveError> {
    let directory = archive.places().root().join(MANIFESTS);
    match numbered(&directory, sequence)?.first() {
        Some(name) => read(&directory.join(name)).map(Some),
        None => Ok(None),
    }
}

/// Writes a manifest unless it is there already, and what belongs beside it.
pub(super) fn write(archive: &OwnedArchive, sealed: &Sealed) -> Result<(), ArchiveError> {
    let directory = archive.places().root().join(MANIFESTS);
    let staging = archive.staging_directory();
    let path = directory.join(sealed.manifest.file_name());
    let failed = |error| failure("writing", &path, error);
    storage::create_directories(&directory).map_err(failed)?;
    refuse_another(archive, &sealed.manifest, &directory)?;
    if let Some(signature) = sealed.signature.as_ref().filter(|_| !path.exists()) {
        // A signature that is there belongs to a manifest that was never written.
        let staged = staging.join("signature.inprogress");
        storage::stage(&staged, &signature.0).map_err(failed)?;
        reach("signature.rename");
        storage::replace(&staged, &signature_path(&path)).map_err(failed)?;
        reach("signature.fsync");
        storage::sync_directory(&directory).map_err(failed)?;
    }
    let staged = staging.join("manifest.inprogress");
    storage::stage(&staged, sealed.text.as_bytes()).map_err(failed)?;
    reach("manifest.rename");
    match storage::publish(&staged, &path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            storage::remove(&staged).map_err(failed)?;
            if storage::read(&path).map_err(failed)?.as_deref() != Some(sealed.text.as_bytes()) {
                return Err(failed(io::Error::other("a different manifest is there; manifests never change")));
            }
        }
        done => done.map_err(failed)?,
    }
    reach("manifest.fsync");
    storage::sync_directory(&directory).map_err(failed)?;
    write_sums(archive, sealed, &directory)
}

/// Refuses a manifest if another run has its number: the ledger is a copy from before that run.
fn refuse_another(archive: &OwnedArchive, manifest: &Manifest, directory: &Path) -> Result<(), ArchiveError> {
    let own = manifest.file_name();
    match numbered(directory, manifest.sequence)?.into_iter().find(|name| *name != own) {
        None => Ok(()),
        Some(name) => Err(ArchiveError::NotOurs(format!(
            "the archive at {} has a manifest {name} of a run that this ledger does not know. The ledger is an \
             old copy: `yunxin-archiver adopt {}` takes the archive over",
            archive.places().root().display(),
            manifest.job
        ))),
    }
}

/// Brings the list of hashes up to this manifest: appends to it if it ends with the manifest before, else writes it anew.
fn write_sums(archive: &OwnedArchive, sealed: &Sealed, directory: &Path) -> Result<(), ArchiveError> {
    let path = archive.places().root().join(SUMS);
    let failed = |error| failure("writing", &path, error);
    let (manifest, sha256) = (&sealed.manifest, sealed.sha256());
    let last = last_line(&path).map_err(failed)?;
    if last.as_deref() == Some(manifest_line(manifest, &sha256).as_str()) {
        return Ok(());
    }
    // By its name alone: if somebody changed that manifest since, the hash in the list remains the evidence.
    let before = match manifest.sequence.checked_sub(1).filter(|number| *number > 0) {
        Some(number) => numbered(directory, number)?.first().map(|name| format!("  {MANIFESTS}/{name}\n")),
        None => None,
    };
    let continues = before.zip(last).is_some_and(|(before, last)| last.ends_with(&before));
    let beside = archive.places().beside_from_within();
    let beside = beside.as_deref();
    let staged = archive.staging_directory().join("sums.inprogress");
    let mut out = BufWriter::new(storage::stage_new(&staged).map_err(failed)?);
    if continues {
        carry(&path, beside, &mut out).map_err(failed)?;
        add(&mut out, manifest, &sha256, beside).map_err(failed)?;
    } else {
        let mut names = names(directory)?;
        names.sort_unstable();
        for name in names {
            let one = read(&directory.join(name))?;
            add(&mut out, &one.manifest, &one.sha256(), beside).map_err(failed)?;
        }
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    reach("sums.rename");
    storage::replace(&staged, &path).map_err(failed)?;
    reach("sums.fsync");
    storage::sync_directory(directory).map_err(failed)
}

fn signature_path(manifest: &Path) -> PathBuf {
    let mut name = manifest.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

/// Reads a manifest from its file.
pub(super) fn read(path: &Path) -> Result<Sealed, ArchiveError> {
    let unusable = |why: String| {
        ArchiveError::Unusable(format!("{} cannot be read ({why}): restore it from a backup first", path.display()))
    };
    let content = storage::read(path).and_then(|content| content.ok_or_else(|| ErrorKind::NotFound.into()));
    let content = content.map_err(|error| failure("reading", path, error))?;
    let text = String::from_utf8(content).map_err(|_| unusable("it is not UTF-8".to_owned()))?;
    Sealed::read(text).map_err(|error| unusable(error.to_string()))
}

/// The names of manifests of this number.
fn numbered(directory: &Path, sequence: u64) -> Result<Vec<String>, ArchiveError> {
    let number = format!("{sequence:08}-");
    let mut names = names(directory)?;
    names.retain(|name| name.starts_with(&number));
    Ok(names)
}

fn names(directory: &Path) -> Result<Vec<String>, ArchiveError> {
    let paths = storage::names(directory).map_err(|error| failure("reading", directory, error))?;
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    Ok(names.filter(|name| is_manifest(name)).map(str::to_owned).collect())
}

/// Whether a file's name is that of a manifest: it begins with its number.
pub(super) fn is_manifest(name: &str) -> bool {
    name.strip_suffix(".json")
        .and_then(|name| name.split_once('-'))
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Adds the lines of a manifest: its files, its notes of what vanished, then itself.
fn add(out: &mut impl io::Write, manifest: &Manifest, sha256: &str, beside: Option<&str>) -> io::Result<()> {
    for file in &manifest.files {
        out.write_all(line(&file.path, &file.sha256).as_bytes())?;
    }
    if let Some(beside) = beside {
        for file in &manifest.vanished {
            out.write_all(line(&format!("{beside}/{}", file.path), &file.sha256).as_bytes())?;
        }
    }
    out.write_all(manifest_line(manifest, sha256).as_bytes())
}

fn manifest_line(manifest: &Manifest, sha256: &str) -> String {
    line(&format!("{MANIFESTS}/{}", manifest.file_name()), sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_told_by_its_name() {
        assert!(is_manifest("00000001-run.json"));
        for other in ["SHA256SUMS", "00000001-run.json.sig", "notes.json", "-run.json", "1.json"] {
            assert!(!is_manifest(other), "{other}");
        }
    }
}
