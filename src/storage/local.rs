//! A directory of a local file system. What is said to be done survives a power cut.

mod disk;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};
use uuid::Uuid;
use walkdir::WalkDir;

use self::disk::failure;
use super::{
    Created, Listed, PlaceLock, Published, Replaced, StagedOutput, Storage, StorageError, TEMPORARY, Version, above,
    reach_fsync, reach_rename, scratch, waiting,
};
use crate::failpoint::reach;
use crate::locked::Locked;
use crate::model::manifest::{BESIDE, StagedFile, sha256, vanished_directory};

/// A directory, and the one beside it.
#[derive(Debug)]
pub(super) struct LocalStorage {
    root: PathBuf,
    place: String,
    ledger: Uuid,
}

impl LocalStorage {
    pub(super) fn new(root: PathBuf, ledger: Uuid) -> Self {
        Self { place: root.display().to_string(), root, ledger }
    }

    /// The directory beside the archive. A path without a name, such as `.`, is looked up.
    fn directory_beside(&self) -> Option<PathBuf> {
        vanished_directory(&self.root).or_else(|| vanished_directory(&self.root.canonicalize().ok()?))
    }

    /// The directory of a name, and the name in it.
    fn split<'a>(&self, name: &'a str) -> Result<(PathBuf, &'a str), StorageError> {
        let Some(within) = name.strip_prefix(BESIDE) else { return Ok((self.root.clone(), name)) };
        let beside = self.directory_beside().ok_or_else(|| {
            StorageError::Unusable(format!(
                "there can be no directory beside {}, which is where vanished messages are noted: choose another path",
                self.place
            ))
        })?;
        Ok((beside, within))
    }

    fn path(&self, name: &str) -> Result<PathBuf, StorageError> {
        let (directory, within) = self.split(name)?;
        if Path::new(within).components().all(|component| matches!(component, Component::Normal(_))) {
            return Ok(directory.join(within));
        }
        Err(StorageError::Unusable(format!("the recorded path {name:?} leads out of the archive")))
    }

    /// Both directories of a name, of which the second may not exist.
    fn directories(&self) -> Vec<(&'static str, PathBuf)> {
        let beside = self.directory_beside().filter(|beside| beside.is_dir());
        std::iter::once(("", self.root.clone())).chain(beside.map(|beside| (BESIDE, beside))).collect()
    }

    fn staging(&self) -> PathBuf {
        self.root.join(TEMPORARY).join(self.ledger.to_string())
    }

    /// Writes a small file where it waits for its name, and creates the directory of its name.
    fn stage_small(&self, name: &str, content: &[u8]) -> Result<(PathBuf, PathBuf), StorageError> {
        let (path, staging) = (self.path(name)?, self.staging());
        let waiting = staging.join(format!("{}.inprogress", name.rsplit('/').next().unwrap_or(name)));
        let failed = |error| failure("writing", &path, error);
        disk::create_directories(&staging).map_err(failed)?;
        disk::create_directories(&disk::parent(&path)).map_err(failed)?;
        disk::write_new(&waiting, content).map_err(failed)?;
        Ok((waiting, path))
    }

    fn publish_one(&self, file: &StagedFile) -> Result<Published, StorageError> {
        let (from, to) = (self.path(&file.staged)?, self.path(&file.file.path)?);
        let bytes = file.file.bytes;
        let size = |path: &Path| disk::size(path).map_err(|error| failure("looking at", path, error));
        let (at_from, at_to) = (size(&from)?, size(&to)?);
        if at_to == Some(bytes) {
            // A rename by way of a link died between its two steps.
            disk::remove(&from).map_err(|error| failure("removing", &from, error))?;
            return Ok(Published::Yes);
        }
        if at_to.is_none() && at_from == Some(bytes) {
            let directory = disk::parent(&to);
            disk::create_directories(&directory).map_err(|error| failure("creating", &directory, error))?;
            reach("rename.before");
            disk::rename_new(&from, &to).map_err(|error| failure("publishing", &to, error))?;
            reach("rename.after");
            return Ok(Published::Yes);
        }
        let found = at_to.map(|size| (&to, size)).or(at_from.map(|size| (&from, size)));
        let what =
            |(path, size): (&PathBuf, u64)| format!("{} has {size} bytes and not {bytes} as recorded", path.display());
        Ok(Published::Lost(found.map(what)))
    }

    /// Makes the names of published files durable.
    fn sync_published(&self, files: &[StagedFile]) -> Result<(), StorageError> {
        // Up to the root: a process may have died after it created a directory and before it made that durable.
        let mut directories = BTreeSet::new();
        for StagedFile { file, .. } in files {
            let (path, (root, _)) = (self.path(&file.path)?, self.split(&file.path)?);
            let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&root));
            directories.extend(above.map(Path::to_path_buf));
        }
        for directory in directories {
            match disk::sync_directory(&directory) {
                // The directory of a file that is missing.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done.map_err(|error| failure("writing", &directory, error))?,
            }
        }
        Ok(())
    }
}

impl Storage for LocalStorage {
    fn place(&self) -> &str {
        &self.place
    }

    fn at(&self, name: &str) -> String {
        self.path(name).map_or_else(|_| name.to_owned(), |path| path.display().to_string())
    }

    /// Relative, or absolute if the archive's own path is a link to somewhere else.
    fn beside(&self) -> Option<String> {
        let beside = self.directory_beside()?;
        let name = beside.file_name()?.to_string_lossy();
        let above = disk::parent(&beside).canonicalize().ok();
        match (above, self.root.canonicalize().ok()) {
            (Some(above), Some(root)) if root.parent() != Some(above.as_path()) => {
                Some(above.join(&*name).to_string_lossy().into_owned())
            }
            _ => Some(format!("../{name}")),
        }
    }

    fn probe(&self) -> Result<String, StorageError> {
        let mut nearest = self.root.as_path();
        while !is_directory(nearest)? {
            match nearest.parent() {
                Some(parent) => nearest = parent,
                None => return Err(failure("opening", &self.root, ErrorKind::NotFound.into())),
            }
        }
        access(nearest, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| failure("writing to", nearest, error.into()))?;
        Ok(if nearest == self.root {
            format!("{} can be written", self.place)
        } else {
            format!("{} will be made in {}", self.place, nearest.display())
        })
    }

    fn has_conditions(&self) -> bool {
        true
    }

    fn lock(&self) -> Result<PlaceLock, StorageError> {
        disk::create_directories(&self.root).map_err(|error| failure("creating", &self.root, error))?;
        let file = File::open(&self.root).map_err(|error| failure("opening", &self.root, error))?;
        match file.try_lock() {
            Ok(()) => Ok(PlaceLock { locked: Some(Locked::of(file)) }),
            Err(TryLockError::WouldBlock) => {
                Err(StorageError::Busy(format!("the archive at {} is being written by another process", self.place)))
            }
            // File systems of other hosts may have no such locks.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(root = self.place, %error, "the archive cannot be locked");
                Ok(PlaceLock::default())
            }
        }
    }

    fn scratch(&self) -> Result<File, StorageError> {
        let staging = self.staging();
        let created = disk::create_directories(&staging).and_then(|()| scratch::create(&staging));
        created.map_err(|error| failure("writing a scratch file in", &staging, error))
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StorageError> {
        let path = self.path(name)?;
        disk::size(&path).map_err(|error| failure("looking at", &path, error))
    }

    fn read(&self, name: &str) -> Result<Option<(Vec<u8>, Version)>, StorageError> {
        let path = self.path(name)?;
        let content = disk::if_found(std::fs::read(&path)).map_err(|error| failure("reading", &path, error))?;
        let version = content.as_deref().map(version);
        Ok(content.zip(version))
    }

    fn read_range(&self, name: &str, start: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        let path = self.path(name)?;
        disk::read_range(&path, start, length).map_err(|error| failure("reading", &path, error))
    }

    fn read_end(&self, name: &str, length: usize) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
        let path = self.path(name)?;
        disk::read_end(&path, length).map_err(|error| failure("reading", &path, error))
    }

    /// Skips what disappears meanwhile, and a file system's own `lost+found`.
    fn list(&self, below: &str, lenient: bool) -> Result<Vec<Listed>, StorageError> {
        // Nothing can be beside this archive.
        let Ok((root, within)) = self.split(below) else { return Ok(Vec::new()) };
        let beside = &below[..below.len() - within.len()];
        let start = if within.is_empty() { root.clone() } else { self.path(below.trim_end_matches('/'))? };
        let mut found = Vec::new();
        if !is_directory(&start)? {
            return Ok(found);
        }
        for entry in WalkDir::new(&start).sort_by_file_name() {
            let entry = entry.and_then(|entry| {
                let bytes = if entry.file_type().is_dir() { None } else { Some(entry.metadata()?.len()) };
                Ok((entry, bytes))
            });
            match entry {
                Ok((_, None)) => {}
                Ok((entry, Some(bytes))) => {
                    let relative = entry.path().strip_prefix(&root).unwrap_or(entry.path());
                    found.push(Listed { name: format!("{beside}{}", relative.to_string_lossy()), bytes });
                }
                Err(error) => {
                    let is_below = error.depth() > 0;
                    let is_system = error.path().is_some_and(|path| path.ends_with("lost+found"));
                    let error = io::Error::from(error);
                    match error.kind() {
                        ErrorKind::NotFound if is_below => {}
                        ErrorKind::PermissionDenied if is_below && (lenient || is_system) => {}
                        _ => return Err(failure("reading", &start, error)),
                    }
                }
            }
        }
        Ok(found)
    }

    fn find_above(&self, name: &str) -> Result<Option<String>, StorageError> {
        let found = above::find_file(&self.root, name).map_err(|error| failure("looking above", &self.root, error))?;
        Ok(found.map(|path| path.display().to_string()))
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<Created, StorageError> {
        let (waiting, path) = self.stage_small(name, content)?;
        let failed = |error| failure("writing", &path, error);
        reach_rename(name);
        match disk::rename_new(&waiting, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                disk::remove(&waiting).map_err(failed)?;
                if std::fs::read(&path).map_err(failed)? != content {
                    return Ok(Created::Taken);
                }
            }
            done => done.map_err(failed)?,
        }
        reach_fsync(name);
        disk::sync_directory(&disk::parent(&path)).map_err(failed)?;
        Ok(Created::Yes)
    }

    fn replace(&self, name: &str, content: &[u8], read: Option<&Version>) -> Result<Replaced, StorageError> {
        let now = self.read(name)?.map(|(_, version)| version);
        if now.as_ref() != read {
            return Ok(Replaced::Changed);
        }
        let (waiting, path) = self.stage_small(name, content)?;
        let failed = |error| failure("writing", &path, error);
        reach_rename(name);
        std::fs::rename(&waiting, &path).map_err(failed)?;
        reach_fsync(name);
        disk::sync_directory(&disk::parent(&path)).map_err(failed)?;
        Ok(Replaced::Yes(version(content)))
    }

    fn stage(&self, name: &str) -> Result<Box<dyn StagedOutput>, StorageError> {
        let token = waiting(name, self.ledger) + ".inprogress";
        Ok(Box::new(LocalFile { path: self.path(&token)?, token, open: None, is_created: false, bytes: 0 }))
    }

    fn sync_staged(&self) -> Result<(), StorageError> {
        reach("names.fsync");
        for (_, directory) in self.directories() {
            let staging = directory.join(TEMPORARY).join(self.ledger.to_string());
            if staging.is_dir() {
                disk::sync_directory(&staging).map_err(|error| failure("writing", &staging, error))?;
            }
        }
        Ok(())
    }

    fn publish(&self, files: &[StagedFile]) -> Result<Vec<Published>, StorageError> {
        let published = files.iter().map(|file| self.publish_one(file)).collect::<Result<_, _>>()?;
        reach("renames.fsync");
        self.sync_published(files)?;
        Ok(published)
    }

    fn discard(&self, file: &StagedFile) -> Result<(), StorageError> {
        self.remove(&file.staged)
    }

    /// Leaves an empty directory for this ledger.
    fn clear(&self, is_given_up: &dyn Fn(&str) -> bool) -> Result<BTreeSet<String>, StorageError> {
        let mut others = BTreeSet::new();
        for (_, directory) in self.directories() {
            let all = directory.join(TEMPORARY);
            for path in disk::entries(&all).map_err(|error| failure("reading", &all, error))? {
                let Some(ledger) = path.file_name().and_then(|name| name.to_str()) else { continue };
                if is_given_up(ledger) {
                    tracing::debug!(path = %path.display(), "removing temporary files");
                    std::fs::remove_dir_all(&path).map_err(|error| failure("removing", &path, error))?;
                } else if disk::entries(&path).is_ok_and(|staged| !staged.is_empty()) {
                    others.insert(ledger.to_owned());
                }
            }
        }
        let staging = self.staging();
        disk::create_directories(&staging).map_err(|error| failure("creating", &staging, error))?;
        Ok(others)
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        let path = self.path(name)?;
        let removed = disk::remove(&path).and_then(|()| disk::if_found(disk::sync_directory(&disk::parent(&path))));
        removed.map(drop).map_err(|error| failure("removing", &path, error))
    }
}

/// A staged file. It is created when something is written, and may be closed between writes.
#[derive(Debug)]
struct LocalFile {
    path: PathBuf,
    token: String,
    open: Option<File>,
    is_created: bool,
    bytes: u64,
}

impl LocalFile {
    fn file(&mut self) -> io::Result<&mut File> {
        if self.open.is_none() {
            let file = if self.is_created {
                let file = OpenOptions::new().append(true).open(&self.path)?;
                if file.metadata()?.len() != self.bytes {
                    return Err(io::Error::other("something else changed this file"));
                }
                file
            } else {
                // The other directory is created when the archive is opened.
                if self.token.starts_with(BESIDE) {
                    disk::create_directories(&disk::parent(&self.path))?;
                }
                disk::create_new(&self.path)?
            };
            self.is_created = true;
            self.open = Some(file);
        }
        Ok(self.open.as_mut().expect("it was opened above"))
    }
}

impl Write for LocalFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file()?.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StagedOutput for LocalFile {
    fn at(&self) -> String {
        self.path.display().to_string()
    }

    fn pause(&mut self) {
        self.open = None;
    }

    fn finish(mut self: Box<Self>) -> Result<String, StorageError> {
        reach("file.fsync");
        let synced = self.file().and_then(|file| file.sync_all());
        synced.map_err(|error| failure("writing", &self.path, error))?;
        reach("file.fsynced");
        Ok(self.token)
    }
}

/// Whether there is a directory. It is an error if there is something else.
fn is_directory(path: &Path) -> Result<bool, StorageError> {
    match disk::if_found(std::fs::metadata(path)).map_err(|error| failure("opening", path, error))? {
        Some(metadata) if !metadata.is_dir() => {
            Err(StorageError::Unusable(format!("{} is no directory; an archive is one", path.display())))
        }
        found => Ok(found.is_some()),
    }
}

fn version(content: &[u8]) -> Version {
    Version(sha256(content))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::locked::tests::Heir;

    #[test]
    fn an_archive_is_free_once_its_writer_is_gone_whatever_child_has_its_descriptor() {
        let root = tempfile::tempdir().unwrap();
        let storage = LocalStorage::new(root.path().to_owned(), Uuid::nil());
        let first = storage.lock().unwrap();
        let _heir = Heir::of(first.locked.as_ref().unwrap());
        assert!(matches!(storage.lock(), Err(StorageError::Busy(_))));
        drop(first);
        storage.lock().unwrap();
    }

    #[test]
    fn a_listing_is_in_order_and_says_what_is_beside() {
        let directory = tempfile::tempdir().unwrap();
        let storage = LocalStorage::new(directory.path().join("a"), Uuid::nil());
        for name in ["b/2", "b/1", "a", "vanished:c"] {
            assert_eq!(storage.create(name, name.as_bytes()).unwrap(), Created::Yes);
        }
        let names = |below| storage.list(below, false).unwrap().into_iter().map(|found| found.name).collect::<Vec<_>>();
        assert_eq!(names(""), ["a", "b/1", "b/2"]);
        assert_eq!(names("b/"), ["b/1", "b/2"]);
        assert_eq!(names(BESIDE), ["vanished:c"]);
        assert!(names("c/").is_empty());
        assert!(directory.path().join("a-vanished/c").exists());
    }
}
