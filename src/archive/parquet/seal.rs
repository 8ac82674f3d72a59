//! Manifests on disk: the manifest, its signature beside it, and a list of hashes of everything for `sha256sum`.
//!
//! In this order, so that whatever dies, the next seal of the same manifest completes it: the signature, the manifest by
//! a rename that never replaces, the list by one that does.

use std::io::{self, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

use super::archive::{Archive, MANIFESTS};
use super::beside;
use super::disk::{self, failure};
use super::list::{carry, last_line, line};
use crate::archive::ArchiveError;
use crate::failpoint::reach;
use crate::model::manifest::{Manifest, Sealed};

/// The list of hashes, of paths relative to the archive: `sha256sum -c _manifests/SHA256SUMS` checks it.
pub(super) const SUMS: &str = "SHA256SUMS";

impl Archive {
    /// The manifest of this number, if there is one.
    pub(super) fn manifest(&self, sequence: u64) -> Result<Option<Sealed>, ArchiveError> {
        let directory = self.root().join(MANIFESTS);
        match numbered(&directory, sequence)?.first() {
            Some(name) => read(&directory.join(name)).map(Some),
            None => Ok(None),
        }
    }

    /// Writes a manifest unless it is there already, and what lies beside it.
    pub(super) fn seal(&self, sealed: &Sealed) -> Result<(), ArchiveError> {
        let directory = self.root().join(MANIFESTS);
        let path = directory.join(sealed.manifest.file_name());
        let failed = |error| failure("writing", &path, error);
        disk::create_directories(&directory).map_err(failed)?;
        self.is_next(&sealed.manifest, &directory)?;
        if let Some(signature) = sealed.signature.as_ref().filter(|_| !path.exists()) {
            // One that is there is of a manifest that never came to be.
            let beside = signature_path(&path);
            let temporary = self.temporary().0.join("signature.inprogress");
            disk::write_temporary(&temporary, &signature.0).map_err(failed)?;
            reach("signature.rename");
            std::fs::rename(&temporary, &beside).map_err(failed)?;
            reach("signature.fsync");
            disk::sync_directory(&directory).map_err(failed)?;
        }
        let temporary = self.temporary().0.join("manifest.inprogress");
        disk::write_temporary(&temporary, sealed.text.as_bytes()).map_err(failed)?;
        reach("manifest.rename");
        match disk::rename_new(&temporary, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                std::fs::remove_file(&temporary).map_err(failed)?;
                if std::fs::read(&path).map_err(failed)? != sealed.text.as_bytes() {
                    return Err(failed(io::Error::other("a different manifest is there; manifests never change")));
                }
            }
            Err(error) => return Err(failed(error)),
        }
        reach("manifest.fsync");
        disk::sync_directory(&directory).map_err(failed)?;
        self.list(sealed, &directory)
    }

    /// Refuses a manifest whose number another run's has: the ledger is a copy from before that run.
    fn is_next(&self, manifest: &Manifest, directory: &Path) -> Result<(), ArchiveError> {
        let own = manifest.file_name();
        match numbered(directory, manifest.sequence)?.into_iter().find(|name| *name != own) {
            None => Ok(()),
            Some(name) => Err(ArchiveError::NotOurs(format!(
                "the archive at {} has a manifest {name} of a run that this ledger does not know. The ledger is an \
                 old copy: `yunxin-archiver adopt {}` takes the archive over",
                self.root().display(),
                manifest.job
            ))),
        }
    }

    /// Brings the list of hashes up to this manifest: by what the manifest adds, if it ends with the one before it.
    fn list(&self, sealed: &Sealed, directory: &Path) -> Result<(), ArchiveError> {
        let path = directory.join(SUMS);
        let failed = |error| failure("writing", &path, error);
        let own = manifest_line(&sealed.manifest, &sealed.sha256());
        let last = last_line(&path).map_err(failed)?;
        if last.as_deref() == Some(own.as_str()) {
            return Ok(());
        }
        // By its name alone: had somebody changed it since, what is listed stays the witness.
        let before = match sealed.manifest.sequence.checked_sub(1).filter(|number| *number > 0) {
            Some(number) => numbered(directory, number)?.first().map(|name| format!("  {MANIFESTS}/{name}\n")),
            None => None,
        };
        let temporary = self.temporary().0.join("sums.inprogress");
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let beside = beside::from_within(self.root());
        let beside = beside.as_deref();
        let mut out = BufWriter::new(disk::create_new(&temporary).map_err(failed)?);
        if before.zip(last).is_some_and(|(before, last)| last.ends_with(&before)) {
            carry(&path, beside, &mut out).map_err(failed)?;
            add(&mut out, &sealed.manifest, &sealed.sha256(), beside).map_err(failed)?;
        } else {
            let mut names = manifests(directory)?;
            names.sort_unstable();
            for name in names {
                let one = read(&directory.join(name))?;
                add(&mut out, &one.manifest, &one.sha256(), beside).map_err(failed)?;
            }
        }
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        reach("sums.rename");
        std::fs::rename(&temporary, &path).map_err(failed)?;
        reach("sums.fsync");
        disk::sync_directory(directory).map_err(failed)
    }
}

/// Where a manifest's signature lies.
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
    let content = std::fs::read(path).map_err(|error| failure("reading", path, error))?;
    let text = String::from_utf8(content).map_err(|_| unusable("it is not UTF-8".to_owned()))?;
    Sealed::read(text).map_err(|error| unusable(error.to_string()))
}

/// The names of manifests of this number.
fn numbered(directory: &Path, sequence: u64) -> Result<Vec<String>, ArchiveError> {
    let number = format!("{sequence:08}-");
    let mut names = manifests(directory)?;
    names.retain(|name| name.starts_with(&number));
    Ok(names)
}

fn manifests(directory: &Path) -> Result<Vec<String>, ArchiveError> {
    let failed = |error| failure("reading", directory, error);
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if is_manifest(&path) {
            names.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        }
    }
    Ok(names)
}

/// Whether the name is that of a manifest, which begins with its number.
pub(super) fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_suffix(".json")
        .and_then(|name| name.split_once('-'))
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The lines of a manifest: its files, what vanished, then itself.
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
        assert!(is_manifest(Path::new("_manifests/00000001-run.json")));
        for other in ["SHA256SUMS", "00000001-run.json.sig", "notes.json", "-run.json", "1.json"] {
            assert!(!is_manifest(Path::new(other)), "{other}");
        }
    }
}
