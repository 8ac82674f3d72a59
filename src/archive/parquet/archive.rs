//! The archive as a whole: whose it is, what a crash left, what was committed.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::disk::{self, failure};
use crate::archive::{ArchiveError, ArchiveFile, Claim, Opened};
use crate::failpoint::reach;
use crate::locked::Locked;
use crate::model::manifest::is_vanished;

pub(super) const DEED: &str = "_archive.json";
pub(super) const TEMPORARY: &str = "_tmp";
pub(super) const MANIFESTS: &str = "_manifests";
const DEED_VERSION: u32 = 1;

/// Whose the archive is, and how far it came: `_archive.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deed {
    version: u32,
    pub(super) ledger_id: String,
    pub(super) job: String,
    pub(super) commit: u64,
    /// The run that made the commit; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run_id: Option<String>,
}

/// An archive of one ledger. Everything here blocks.
#[derive(Debug)]
pub(super) struct Archive {
    root: PathBuf,
    ledger_id: Uuid,
    job: String,
    run_id: Uuid,
    /// Keeps other processes of this host out, for as long as it is open.
    lock: OnceLock<Locked>,
    /// What this process last read or wrote as the deed.
    deed: Mutex<Option<Deed>>,
}

impl Archive {
    pub(super) fn new(root: PathBuf, ledger_id: Uuid, job: String, run_id: Uuid) -> Self {
        Self { root, ledger_id, job, run_id, lock: OnceLock::new(), deed: Mutex::new(None) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where files are written until they are published: the path, and relative to the archive.
    pub(super) fn temporary(&self) -> (PathBuf, String) {
        let relative = format!("{TEMPORARY}/{}", self.ledger_id);
        (self.root.join(&relative), relative)
    }

    /// Makes the names of temporary files durable.
    pub(super) fn sync_temporary(&self) -> Result<(), ArchiveError> {
        reach("names.fsync");
        let mut paths = vec![self.temporary().0];
        paths.extend(self.temporary_beside().ok().map(|(path, _)| path).filter(|path| path.is_dir()));
        for path in paths {
            disk::sync_directory(&path).map_err(|error| failure("writing", &path, error))?;
        }
        Ok(())
    }

    /// Takes possession, or refuses without a trace; then finishes what was recorded and removes what was not.
    pub(super) fn open(&self, claim: &Claim) -> Result<Opened, ArchiveError> {
        self.admit(claim)?;
        let (temporary, _) = self.temporary();
        disk::create_directories(&self.root).map_err(|error| failure("creating", &self.root, error))?;
        self.lock()?;
        // Only now nobody else changes it.
        let deed = self.admit(claim)?;
        disk::create_directories(&temporary).map_err(|error| failure("creating", &temporary, error))?;
        self.remember(deed.clone());
        let mut opened = Opened { commit: deed.as_ref().map_or(0, |deed| deed.commit), ..Opened::default() };
        if deed.is_none() {
            self.write_deed(0, None)?;
        }
        for file in &claim.unpublished {
            if !self.settle(file, &mut opened.warnings)? {
                opened.missing.push(file.clone());
            }
        }
        if !opened.missing.is_empty() {
            self.withdraw(&claim.unpublished)?;
        }
        self.sync_targets(&claim.unpublished)?;
        sweep(&temporary, &mut opened.warnings)?;
        if let Ok((beside, _)) = self.temporary_beside()
            && beside.is_dir()
        {
            sweep(&beside, &mut opened.warnings)?;
        }
        if opened.commit + 1 == claim.recorded && !claim.unpublished.is_empty() && opened.missing.is_empty() {
            self.write_deed(claim.recorded, claim.run_of(claim.recorded))?;
            opened.commit = claim.recorded;
        }
        if opened.commit < claim.recorded {
            opened.warnings.push(format!(
                "the archive at {} holds commits up to {}, the ledger recorded {}: what came after is lost",
                self.root.display(),
                opened.commit,
                claim.recorded
            ));
        }
        Ok(opened)
    }

    /// Keeps other processes of this host out.
    pub(super) fn lock(&self) -> Result<(), ArchiveError> {
        if self.lock.get().is_some() {
            return Ok(());
        }
        let directory = File::open(&self.root).map_err(|error| failure("opening", &self.root, error))?;
        match directory.try_lock() {
            Ok(()) => {
                self.lock.set(Locked::of(directory)).ok();
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(ArchiveError::Busy(format!(
                "the archive at {} is being written by another process",
                self.root.display()
            ))),
            // File systems of other hosts may have no such locks; the deed is compared all the same.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(root = %self.root.display(), %error, "the archive cannot be locked");
                Ok(())
            }
        }
    }

    fn remember(&self, deed: Option<Deed>) {
        *self.deed.lock().unwrap_or_else(PoisonError::into_inner) = deed;
    }

    /// Insists that the deed is as this process left it: no copy of the ledger committed, and nobody took over.
    pub(super) fn still_ours(&self) -> Result<(), ArchiveError> {
        let found = self.read_deed()?;
        if found == *self.deed.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(());
        }
        let now = found.map_or_else(
            || "is gone".to_owned(),
            |deed| format!("names commit {} of ledger {}", deed.commit, deed.ledger_id),
        );
        Err(ArchiveError::NotOurs(format!(
            "the archive at {} changed hands while this process had it: {DEED} {now}. Let one ledger alone write it",
            self.root.display()
        )))
    }

    /// Renames the files of a commit into place. May be repeated.
    pub(super) fn publish(&self, commit: u64, files: &[ArchiveFile]) -> Result<(), ArchiveError> {
        self.still_ours()?;
        for file in files {
            if !self.settle(file, &mut Vec::new())? {
                let path = self.root.join(&file.temporary);
                return Err(failure("publishing", &path, ErrorKind::NotFound.into()));
            }
        }
        reach("renames.fsync");
        self.sync_targets(files)?;
        reach("deed.before");
        self.write_deed(commit, Some(self.run_id))
    }

    /// Whether this ledger may have the archive; writes nothing.
    fn admit(&self, claim: &Claim) -> Result<Option<Deed>, ArchiveError> {
        let root = self.root.display();
        let adopt = format!("`yunxin-archiver adopt {}` takes it over", claim.job);
        match std::fs::metadata(&self.root) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(ArchiveError::Unusable(format!("{root} is no directory; an archive is one")));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failure("opening", &self.root, error)),
            _ => {}
        }
        if let Some(deed) = self.read_deed()? {
            if deed.ledger_id != claim.ledger_id.to_string() {
                return Err(ArchiveError::NotOurs(format!(
                    "the archive at {root} belongs to ledger {} of job {}, and this is ledger {}. \
                     Choose another path; or, if that ledger is lost, {adopt}",
                    deed.ledger_id, deed.job, claim.ledger_id
                )));
            }
            if deed.commit > claim.recorded {
                return Err(ArchiveError::NotOurs(format!(
                    "the archive at {root} is ahead of this ledger: it holds commit {}, the ledger knows only {}. \
                     The ledger is an old copy: {adopt}",
                    deed.commit, claim.recorded
                )));
            }
            if let Some(what) = deed.run_id.as_deref().and_then(|run| claim.contradiction(deed.commit, run)) {
                return Err(ArchiveError::NotOurs(format!("the archive at {root} is another copy's: {what}")));
            }
            return Ok(Some(deed));
        }
        let trace = self.trace().map_err(|error| failure("reading", &self.root, error))?;
        if let Some(trace) = trace {
            return Err(ArchiveError::NotOurs(format!(
                "the archive at {root} holds data ({}) and no {DEED} that says whose: {adopt}",
                trace.display()
            )));
        }
        if claim.recorded > 0 {
            return Err(ArchiveError::NotOurs(format!(
                "the archive at {root} is gone or empty, though the ledger recorded {} commits to it. \
                 Is it mounted? Bring it back; or, if it is lost, {adopt} as it is and forgets what was in it",
                claim.recorded
            )));
        }
        Ok(None)
    }

    /// A file that only an archive has, if there is one.
    fn trace(&self) -> io::Result<Option<PathBuf>> {
        let mut directories = vec![self.root.clone()];
        while let Some(directory) = directories.pop() {
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                // Such as a file system's lost+found.
                Err(error) if error.kind() == ErrorKind::PermissionDenied && directory != self.root => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let path = entry.path();
                let in_manifests = directory == self.root.join(MANIFESTS);
                if entry.file_type()?.is_dir() {
                    if path != self.root.join(TEMPORARY) {
                        directories.push(path);
                    }
                } else if path
                    .extension()
                    .is_some_and(|extension| extension == "parquet" || (in_manifests && extension == "json"))
                {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    /// Puts a recorded file in its place; `false` when it is nowhere.
    fn settle(&self, file: &ArchiveFile, warnings: &mut Vec<String>) -> Result<bool, ArchiveError> {
        let (from, to) = (self.inside(&file.temporary)?, self.inside(&file.path)?);
        let looked = |path: &Path| disk::size(path).map_err(|error| failure("looking at", path, error));
        let mut odd = |path: &Path, size: u64| {
            warnings.push(format!("{} has {size} bytes and not {} as recorded", path.display(), file.bytes));
        };
        let (temporary, target) = (looked(&from)?, looked(&to)?);
        match (temporary, target) {
            (_, Some(size)) if size == file.bytes => {
                // A rename by way of a link died between its two steps.
                if temporary.is_some() {
                    std::fs::remove_file(&from).map_err(|error| failure("removing", &from, error))?;
                }
                Ok(true)
            }
            (Some(size), None) if size == file.bytes => {
                let directory = disk::parent(&to);
                disk::create_directories(&directory).map_err(|error| failure("creating", &directory, error))?;
                reach("rename.before");
                disk::rename_new(&from, &to).map_err(|error| failure("publishing", &to, error))?;
                reach("rename.after");
                Ok(true)
            }
            (_, Some(size)) => {
                odd(&to, size);
                Ok(false)
            }
            (Some(size), None) => {
                odd(&from, size);
                Ok(false)
            }
            (None, None) => Ok(false),
        }
    }

    /// Takes back a commit of which a file is lost: as a whole it can be fetched again, and no manifest names it yet.
    fn withdraw(&self, files: &[ArchiveFile]) -> Result<(), ArchiveError> {
        for file in files {
            for (path, is_temporary) in [(self.inside(&file.temporary)?, true), (self.inside(&file.path)?, false)] {
                let looked = disk::size(&path).map_err(|error| failure("looking at", &path, error))?;
                // What stands under the name and is not the file that was recorded is not ours to remove.
                if looked == Some(file.bytes) || (looked.is_some() && is_temporary) {
                    std::fs::remove_file(&path).map_err(|error| failure("withdrawing", &path, error))?;
                }
            }
        }
        Ok(())
    }

    /// Makes the new names of these files durable.
    fn sync_targets(&self, files: &[ArchiveFile]) -> Result<(), ArchiveError> {
        // Up to the root: a directory may have been made by a process that died before it could make that durable.
        let mut directories = BTreeSet::new();
        for file in files {
            let path = self.inside(&file.path)?;
            let root = if is_vanished(&file.path) { self.beside()? } else { self.root.clone() };
            let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&root));
            directories.extend(above.map(Path::to_path_buf));
        }
        for directory in directories {
            match disk::sync_directory(&directory) {
                // Of a file that is nowhere.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done.map_err(|error| failure("writing", &directory, error))?,
            }
        }
        Ok(())
    }

    pub(super) fn read_deed(&self) -> Result<Option<Deed>, ArchiveError> {
        let path = self.root.join(DEED);
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failure("reading", &path, error)),
        };
        let deed: Deed = serde_json::from_slice(&content).map_err(|error| {
            ArchiveError::Unusable(format!(
                "{} cannot be read ({error}): restore it, or remove it and take the archive over with \
                 `yunxin-archiver adopt {}`",
                path.display(),
                self.job
            ))
        })?;
        if deed.version != DEED_VERSION {
            return Err(ArchiveError::Unusable(format!(
                "{} is of version {}, and this program knows version {DEED_VERSION}: use the one that wrote it",
                path.display(),
                deed.version
            )));
        }
        Ok(Some(deed))
    }

    pub(super) fn write_deed(&self, commit: u64, run: Option<Uuid>) -> Result<(), ArchiveError> {
        let path = self.root.join(DEED);
        let failed = |error| failure("writing", &path, error);
        let deed = Deed {
            version: DEED_VERSION,
            ledger_id: self.ledger_id.to_string(),
            job: self.job.clone(),
            commit,
            run_id: run.map(|run| run.to_string()),
        };
        let mut content = serde_json::to_vec_pretty(&deed).map_err(|error| failed(error.into()))?;
        content.push(b'\n');
        let temporary = self.temporary().0.join("archive.inprogress");
        disk::write_temporary(&temporary, &content).map_err(failed)?;
        reach("deed.rename");
        std::fs::rename(&temporary, &path).map_err(failed)?;
        reach("deed.fsync");
        disk::sync_directory(&self.root).map_err(failed)?;
        self.remember(Some(deed));
        Ok(())
    }
}

/// Removes what this ledger began and never recorded.
fn sweep(temporary: &Path, warnings: &mut Vec<String>) -> Result<(), ArchiveError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error| failure("clearing", &path, error)
    };
    for entry in std::fs::read_dir(temporary).map_err(failed(temporary))? {
        let path = entry.map_err(failed(temporary))?.path();
        tracing::debug!(path = %path.display(), "removing a temporary file that was never recorded");
        std::fs::remove_file(&path).map_err(failed(&path))?;
    }
    let all = disk::parent(temporary);
    for entry in std::fs::read_dir(&all).map_err(failed(&all))? {
        let path = entry.map_err(failed(&all))?.path();
        if path != temporary {
            warnings.push(format!("{} holds temporary files of another ledger; they are left alone", path.display()));
        }
    }
    warnings.sort_unstable();
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::locked::tests::Heir;

    #[test]
    fn an_archive_is_free_once_its_writer_is_dropped_whatever_child_has_its_descriptor() {
        let root = tempfile::tempdir().unwrap();
        let archive = || Archive::new(root.path().to_owned(), Uuid::nil(), "nightly".to_owned(), Uuid::nil());
        let first = archive();
        first.lock().unwrap();
        let _heir = Heir::of(first.lock.get().unwrap());
        assert!(matches!(archive().lock(), Err(ArchiveError::Busy(_))));
        drop(first);
        archive().lock().unwrap();
    }
}
