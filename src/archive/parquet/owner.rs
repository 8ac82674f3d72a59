//! Who owns the archive, and what a crash left in it.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::contents::Contents;
use super::places::{OWNER_RECORD, Places, TEMPORARY};
use super::storage::{self, failure};
use crate::archive::{ArchiveError, Claim, Opened, RunStamp};
use crate::failpoint::reach;
use crate::locked::Locked;
use crate::model::manifest::StagedFile;

const OWNER_RECORD_VERSION: u32 = 1;

/// Whose the archive is, and its last commit: `_archive.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OwnerRecord {
    version: u32,
    pub(super) ledger_id: String,
    pub(super) job: String,
    pub(super) commit: u64,
    /// The run that made the commit; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run_id: Option<String>,
}

/// An archive in the hands of one ledger. Every function blocks.
#[derive(Debug)]
pub(super) struct OwnedArchive {
    places: Places,
    ledger_id: Uuid,
    job: String,
    run_id: Uuid,
    /// Keeps other processes of this host out. `None` inside if the file system has no locks.
    lock: OnceLock<Option<Locked>>,
    /// The owner record as this process last read or wrote it.
    record: Mutex<Option<OwnerRecord>>,
}

impl OwnedArchive {
    /// Touches nothing.
    pub(super) fn new(root: &Path, stamp: &RunStamp) -> Self {
        Self {
            places: Places::new(root),
            ledger_id: stamp.ledger_id,
            job: stamp.job.clone(),
            run_id: stamp.run_id,
            lock: OnceLock::new(),
            record: Mutex::new(None),
        }
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    fn root(&self) -> &Path {
        self.places.root()
    }

    /// Where this ledger's files are until they are published, relative to the archive.
    pub(super) fn staging(&self) -> String {
        format!("{TEMPORARY}/{}", self.ledger_id)
    }

    /// The same as a directory.
    pub(super) fn staging_directory(&self) -> PathBuf {
        self.root().join(self.staging())
    }

    /// The directories of staged files that exist: in the archive, and beside it.
    fn staging_directories(&self) -> Vec<PathBuf> {
        let beside = self.places.existing_beside().map(|beside| beside.join(self.staging()));
        std::iter::once(self.staging_directory()).chain(beside.filter(|staging| staging.is_dir())).collect()
    }

    /// Makes the names of staged files durable.
    pub(super) fn sync_staging(&self) -> Result<(), ArchiveError> {
        reach("names.fsync");
        for path in self.staging_directories() {
            storage::sync_directory(&path).map_err(|error| failure("writing", &path, error))?;
        }
        Ok(())
    }

    /// Takes possession, or refuses and changes nothing. Then publishes what was recorded and removes what was not.
    pub(super) fn open(&self, claim: &Claim) -> Result<Opened, ArchiveError> {
        self.admit(claim)?;
        storage::create_directories(self.root()).map_err(|error| failure("creating", self.root(), error))?;
        self.lock()?;
        // Only now can no other process change it.
        let record = self.admit(claim)?;
        let staging = self.staging_directory();
        storage::create_directories(&staging).map_err(|error| failure("creating", &staging, error))?;
        self.remember(record.clone());
        let mut opened = Opened { commit: record.as_ref().map_or(0, |record| record.commit), ..Opened::default() };
        if record.is_none() {
            self.write_owner_record(0, None)?;
        }
        for file in &claim.unpublished {
            if !self.publish_file(file, &mut opened.warnings)? {
                opened.missing.push(file.file.clone());
            }
        }
        if !opened.missing.is_empty() {
            self.take_back(&claim.unpublished)?;
        }
        self.sync_published(&claim.unpublished)?;
        for staging in self.staging_directories() {
            remove_unrecorded(&staging, &mut opened.warnings)?;
        }
        if opened.commit + 1 == claim.recorded && !claim.unpublished.is_empty() && opened.missing.is_empty() {
            self.write_owner_record(claim.recorded, claim.run_of(claim.recorded))?;
            opened.commit = claim.recorded;
        }
        if opened.commit < claim.recorded {
            opened.warnings.push(format!(
                "the archive at {} has commits up to {}, but the ledger recorded {}: the later ones are lost",
                self.root().display(),
                opened.commit,
                claim.recorded
            ));
        }
        Ok(opened)
    }

    /// Keeps other processes of this host out.
    pub(super) fn lock(&self) -> Result<(), ArchiveError> {
        if self.lock.get().is_none() {
            // Without a lock, the owner record still tells two writers apart.
            self.lock.set(storage::lock(self.root())?).ok();
        }
        Ok(())
    }

    fn remember(&self, record: Option<OwnerRecord>) {
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
    }

    /// Insists that the owner record is as this process left it: no copy of the ledger committed, and no other ledger
    /// took over.
    pub(super) fn still_owned(&self) -> Result<(), ArchiveError> {
        let found = self.read_owner_record()?;
        if found == *self.record.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(());
        }
        let now = found.map_or_else(
            || "is gone".to_owned(),
            |record| format!("names commit {} of ledger {}", record.commit, record.ledger_id),
        );
        Err(ArchiveError::NotOurs(format!(
            "the archive at {} changed hands while this process was writing it: {OWNER_RECORD} {now}. Only one ledger \
             may write an archive",
            self.root().display()
        )))
    }

    /// Publishes the files of a commit. May be repeated.
    pub(super) fn publish(&self, commit: u64, files: &[StagedFile]) -> Result<(), ArchiveError> {
        self.still_owned()?;
        for file in files {
            if !self.publish_file(file, &mut Vec::new())? {
                let path = self.root().join(&file.staged);
                return Err(failure("publishing", &path, ErrorKind::NotFound.into()));
            }
        }
        reach("renames.fsync");
        self.sync_published(files)?;
        reach("deed.before");
        self.write_owner_record(commit, Some(self.run_id))
    }

    /// Whether this ledger may have the archive. Changes nothing. Returns the owner record.
    fn admit(&self, claim: &Claim) -> Result<Option<OwnerRecord>, ArchiveError> {
        let root = self.root().display();
        let adopt = format!("`yunxin-archiver adopt {}` takes it over", claim.job);
        storage::is_directory(self.root())?;
        if let Some(record) = self.read_owner_record()? {
            if record.ledger_id != claim.ledger_id.to_string() {
                return Err(ArchiveError::NotOurs(format!(
                    "the archive at {root} belongs to ledger {} of job {}, and this is ledger {}. \
                     Choose another path; or, if that ledger is lost, {adopt}",
                    record.ledger_id, record.job, claim.ledger_id
                )));
            }
            if record.commit > claim.recorded {
                return Err(ArchiveError::NotOurs(format!(
                    "the archive at {root} is ahead of this ledger: it has commit {}, and the ledger knows only {}. \
                     The ledger is an old copy: {adopt}",
                    record.commit, claim.recorded
                )));
            }
            if let Some(what) = record.run_id.as_deref().and_then(|run| claim.contradiction(record.commit, run)) {
                return Err(ArchiveError::NotOurs(format!("the archive at {root} belongs to another copy: {what}")));
            }
            return Ok(Some(record));
        }
        if let Some(trace) = self.trace()? {
            return Err(ArchiveError::NotOurs(format!(
                "the archive at {root} has data ({trace}) and no {OWNER_RECORD} that names its owner: {adopt}",
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
    fn trace(&self) -> Result<Option<String>, ArchiveError> {
        let contents = match Contents::of(self.root(), true) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            contents => contents.map_err(|error| failure("reading", self.root(), error))?,
        };
        let trace = contents.data.first().or(contents.manifests.first());
        Ok(trace.map(|path| self.root().join(path).display().to_string()))
    }

    /// Publishes a recorded file unless it is published already. Returns `false` if it is in neither place.
    fn publish_file(
        &self,
        StagedFile { file, staged }: &StagedFile,
        warnings: &mut Vec<String>,
    ) -> Result<bool, ArchiveError> {
        let (from, to) = (self.places.file(staged)?, self.places.file(&file.path)?);
        let size = |path: &Path| storage::size(path).map_err(|error| failure("looking at", path, error));
        let (at_from, at_to) = (size(&from)?, size(&to)?);
        if at_to == Some(file.bytes) {
            // A rename by way of a link died between its two steps.
            storage::remove(&from).map_err(|error| failure("removing", &from, error))?;
            return Ok(true);
        }
        if at_to.is_none() && at_from == Some(file.bytes) {
            let directory = storage::parent(&to);
            storage::create_directories(&directory).map_err(|error| failure("creating", &directory, error))?;
            reach("rename.before");
            storage::publish(&from, &to).map_err(|error| failure("publishing", &to, error))?;
            reach("rename.after");
            return Ok(true);
        }
        if let Some((path, size)) = at_to.map(|size| (&to, size)).or(at_from.map(|size| (&from, size))) {
            warnings.push(format!("{} has {size} bytes and not {} as recorded", path.display(), file.bytes));
        }
        Ok(false)
    }

    /// Takes back a commit that lost a file. As a whole it can be fetched again, and no manifest names it yet.
    fn take_back(&self, files: &[StagedFile]) -> Result<(), ArchiveError> {
        let remove = |path: &Path| storage::remove(path).map_err(|error| failure("removing", path, error));
        for StagedFile { file, staged } in files {
            remove(&self.places.file(staged)?)?;
            let path = self.places.file(&file.path)?;
            // A file of another size is not the one that was recorded, and not ours to remove.
            if storage::size(&path).map_err(|error| failure("looking at", &path, error))? == Some(file.bytes) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Makes the names of published files durable.
    fn sync_published(&self, files: &[StagedFile]) -> Result<(), ArchiveError> {
        // Up to the root: a process may have died after it created a directory and before it made that durable.
        let mut directories = BTreeSet::new();
        for StagedFile { file, .. } in files {
            let (path, root) = (self.places.file(&file.path)?, self.places.directory_of(&file.path)?);
            let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&root));
            directories.extend(above.map(Path::to_path_buf));
        }
        for directory in directories {
            match storage::sync_directory(&directory) {
                // The directory of a file that is missing.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done.map_err(|error| failure("writing", &directory, error))?,
            }
        }
        Ok(())
    }

    pub(super) fn read_owner_record(&self) -> Result<Option<OwnerRecord>, ArchiveError> {
        let path = self.root().join(OWNER_RECORD);
        let content = storage::read(&path).map_err(|error| failure("reading", &path, error))?;
        let Some(content) = content else { return Ok(None) };
        let record: OwnerRecord = serde_json::from_slice(&content).map_err(|error| {
            ArchiveError::Unusable(format!(
                "{} cannot be read ({error}): restore it, or remove it and take the archive over with \
                 `yunxin-archiver adopt {}`",
                path.display(),
                self.job
            ))
        })?;
        if record.version != OWNER_RECORD_VERSION {
            return Err(ArchiveError::Unusable(format!(
                "{} has version {}, and this program knows version {OWNER_RECORD_VERSION}: use the program that wrote it",
                path.display(),
                record.version
            )));
        }
        Ok(Some(record))
    }

    fn write_owner_record(&self, commit: u64, run: Option<Uuid>) -> Result<(), ArchiveError> {
        let path = self.root().join(OWNER_RECORD);
        let record = OwnerRecord {
            version: OWNER_RECORD_VERSION,
            ledger_id: self.ledger_id.to_string(),
            job: self.job.clone(),
            commit,
            run_id: run.map(|run| run.to_string()),
        };
        let write = || -> io::Result<()> {
            let mut content = serde_json::to_vec_pretty(&record)?;
            content.push(b'\n');
            let staged = self.staging_directory().join("archive.inprogress");
            storage::stage(&staged, &content)?;
            reach("deed.rename");
            storage::replace(&staged, &path)?;
            reach("deed.fsync");
            storage::sync_directory(self.root())
        };
        write().map_err(|error| failure("writing", &path, error))?;
        self.remember(Some(record));
        Ok(())
    }

    /// Makes this ledger the owner, at this commit, and removes the staged files of former ledgers.
    pub(super) fn hand_over(&self, commit: u64) -> Result<(), ArchiveError> {
        let staging = self.staging_directory();
        storage::create_directories(&staging).map_err(|error| failure("creating", &staging, error))?;
        self.lock()?;
        let run = self.read_owner_record()?.filter(|record| record.commit == commit).and_then(|record| record.run_id);
        self.write_owner_record(commit, run.and_then(|run| Uuid::try_parse(&run).ok()))?;
        for directory in std::iter::once(self.root().to_path_buf()).chain(self.places.existing_beside()) {
            let all = directory.join(TEMPORARY);
            for path in storage::names(&all).map_err(|error| failure("reading", &all, error))? {
                let name = path.file_name().and_then(|name| name.to_str());
                let is_ledger = name.is_some_and(|name| Uuid::try_parse(name).is_ok());
                if is_ledger && path != staging {
                    storage::remove_directory(&path).map_err(|error| failure("removing", &path, error))?;
                }
            }
        }
        tracing::debug!(root = %self.root().display(), commit, "{OWNER_RECORD} names the new ledger");
        Ok(())
    }
}

/// Removes what this ledger staged and never recorded.
fn remove_unrecorded(staging: &Path, warnings: &mut Vec<String>) -> Result<(), ArchiveError> {
    for path in storage::names(staging).map_err(|error| failure("clearing", staging, error))? {
        tracing::debug!(path = %path.display(), "removing a temporary file that was never recorded");
        storage::remove(&path).map_err(|error| failure("clearing", &path, error))?;
    }
    let all = storage::parent(staging);
    for path in storage::names(&all).map_err(|error| failure("clearing", &all, error))? {
        if path != staging {
            warnings.push(format!("{} holds temporary files of another ledger; they are left alone", path.display()));
        }
    }
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
        let stamp = RunStamp {
            job: "nightly".to_owned(),
            app_key: "app".to_owned(),
            run_id: Uuid::nil(),
            ledger_id: Uuid::nil(),
        };
        let archive = || OwnedArchive::new(root.path(), &stamp);
        let first = archive();
        first.lock().unwrap();
        let _heir = Heir::of(first.lock.get().unwrap().as_ref().unwrap());
        assert!(matches!(archive().lock(), Err(ArchiveError::Busy(_))));
        drop(first);
        archive().lock().unwrap();
    }
}
