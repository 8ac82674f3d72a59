//! The file system under an archive. No other file of this room opens, creates, moves, lists or deletes files by itself.
//!
//! An archive needs little of its store: to stage a file and make it durable, to publish it under a name that nothing
//! has, to replace a small file in one step, to read, to list, to delete, and to keep other writers out. Every function
//! blocks.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use crate::archive::ArchiveError;
use crate::locked::Locked;

/// What an error of the file system means to the user. Names the path.
pub(super) fn failure(doing: &str, path: &Path, error: io::Error) -> ArchiveError {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => ArchiveError::Denied(format!("{doing} {path}: permission denied")),
        ErrorKind::NotADirectory => {
            ArchiveError::Unusable(format!("{doing} {path}: a part of this path is no directory"))
        }
        _ => ArchiveError::failed(format!("{doing} {path}"), error),
    }
}

/// Creates a file that must not exist yet, readable by its owner only.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file of `bytes` bytes to append to it.
pub(super) fn append(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().append(true).open(path)?;
    if file.metadata()?.len() != bytes {
        return Err(io::Error::other("something else changed this file"));
    }
    Ok(file)
}

/// Creates a file without a name in a directory. It is gone when it is closed, even after a crash.
pub(super) fn create_nameless(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!("{}.scratch", uuid::Uuid::now_v7()));
    let file = create(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Writes a whole staged file and makes its content durable. Replaces one that a crash left behind.
pub(super) fn stage(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = stage_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Creates a staged file. Replaces one that a crash left behind.
pub(super) fn stage_new(path: &Path) -> io::Result<File> {
    remove(path)?;
    create(path)
}

/// Moves a staged file to a name that nothing has: [`ErrorKind::AlreadyExists`] if something does. Both names are on one
/// file system.
pub(super) fn publish(from: &Path, to: &Path) -> io::Result<()> {
    match rename_exclusive(from, to) {
        Err(error) if is_unsupported(&error) => publish_by_link(from, to),
        done => done,
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_exclusive(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_exclusive(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Whether the file system does not know the operation, rather than refusing it this time.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

/// For file systems without an exclusive rename: a link fails if the name is taken.
fn publish_by_link(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from),
        Err(error) if is_unsupported(&error) || error.kind() == ErrorKind::PermissionDenied => {
            // No links either. Names contain the run's ID and a number, so it is enough to look first.
            if to.try_exists()? {
                return Err(ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        Err(error) => Err(error),
    }
}

/// Moves a staged file to a name, replacing what is there.
pub(super) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Creates a directory and its missing parents, durably and for their owner only.
pub(super) fn create_directories(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = path;
    while !at.as_os_str().is_empty() && !at.try_exists()? {
        missing.push(at);
        match at.parent() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    for directory in missing.iter().rev() {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => sync_directory(&parent(directory))?,
        }
    }
    Ok(())
}

/// The directory of a path; `.` for a bare name.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Opens a file to read parts of it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Reads a whole file; `None` if it does not exist.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if_found(std::fs::read(path))
}

/// The size of a file in bytes and its SHA-256, lower-case hex.
pub(super) fn hash(path: &Path) -> io::Result<(u64, String)> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    loop {
        let piece = match reader.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            piece => piece?,
        };
        if piece.is_empty() {
            return Ok((bytes, hex::encode(digest.finalize())));
        }
        digest.update(piece);
        let length = piece.len();
        bytes += length as u64;
        reader.consume(length);
    }
}

/// The size of a file; `None` if it does not exist.
pub(super) fn size(path: &Path) -> io::Result<Option<u64>> {
    Ok(if_found(std::fs::metadata(path))?.map(|metadata| metadata.len()))
}

/// Whether there is a directory; an error if there is something else.
pub(super) fn is_directory(path: &Path) -> Result<bool, ArchiveError> {
    match if_found(std::fs::metadata(path)).map_err(|error| failure("opening", path, error))? {
        Some(metadata) if !metadata.is_dir() => {
            Err(ArchiveError::Unusable(format!("{} is no directory; an archive is one", path.display())))
        }
        found => Ok(found.is_some()),
    }
}

fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Deletes a file. It need not exist.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if_found(std::fs::remove_file(path)).map(drop)
}

/// Deletes a directory and everything in it.
pub(super) fn remove_directory(path: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(path)
}

/// The files below a directory, by their paths relative to it with `/`, in order, with their sizes.
///
/// Skips what disappears meanwhile, and directories that may not be read: with `lenient` all of them, else only a file
/// system's own `lost+found`.
pub(super) fn list(directory: &Path, lenient: bool) -> io::Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(directory).sort_by_file_name() {
        let found = entry.and_then(|entry| {
            let bytes = if entry.file_type().is_dir() { None } else { Some(entry.metadata()?.len()) };
            Ok((entry, bytes))
        });
        match found {
            Ok((_, None)) => {}
            Ok((entry, Some(bytes))) => {
                let relative = entry.path().strip_prefix(directory).unwrap_or(entry.path());
                files.push((relative.to_string_lossy().into_owned(), bytes));
            }
            Err(error) => {
                let is_below = error.depth() > 0;
                let is_system = error.path().is_some_and(|path| path.ends_with("lost+found"));
                let error = io::Error::from(error);
                match error.kind() {
                    ErrorKind::NotFound if is_below => {}
                    ErrorKind::PermissionDenied if is_below && (lenient || is_system) => {}
                    _ => return Err(error),
                }
            }
        }
    }
    Ok(files)
}

/// The names directly in a directory, in order. None if it does not exist.
pub(super) fn names(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(entries) = if_found(std::fs::read_dir(directory))? else { return Ok(Vec::new()) };
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort_unstable();
    Ok(paths)
}

/// Keeps other processes of this host out of a directory, for as long as the lock lives. `None` on file systems of other
/// hosts that have no such locks.
pub(super) fn lock(directory: &Path) -> Result<Option<Locked>, ArchiveError> {
    let file = File::open(directory).map_err(|error| failure("opening", directory, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Locked::of(file))),
        Err(TryLockError::WouldBlock) => Err(ArchiveError::Busy(format!(
            "the archive at {} is being written by another process",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => {
            tracing::debug!(root = %directory.display(), %error, "the archive cannot be locked");
            Ok(None)
        }
    }
}

/// Checks, without writing, that a directory could be written or created. Returns a sentence about what was found.
pub(super) fn probe(root: &Path) -> Result<String, ArchiveError> {
    let mut nearest = root;
    while !is_directory(nearest)? {
        match nearest.parent() {
            Some(parent) => nearest = parent,
            None => return Err(failure("opening", root, ErrorKind::NotFound.into())),
        }
    }
    access(nearest, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| failure("writing to", nearest, error.into()))?;
    Ok(if nearest == root {
        format!("{} can be written", root.display())
    } else {
        format!("{} will be made in {}", root.display(), nearest.display())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn publishing_never_replaces_with_or_without_help_of_the_file_system() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (index, publish) in [publish, publish_by_link].into_iter().enumerate() {
            let target = path(&format!("target{index}"));
            std::fs::write(path("a"), "a").unwrap();
            publish(&path("a"), &target).unwrap();
            assert!(!path("a").exists());
            std::fs::write(path("b"), "b").unwrap();
            assert_eq!(publish(&path("b"), &target).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read_to_string(&target).unwrap(), "a");
            assert_eq!(publish(&path("c"), &path("d")).unwrap_err().kind(), ErrorKind::NotFound);
        }
    }

    #[test]
    fn directories_and_files_are_their_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        create_directories(&inner).unwrap();
        create_directories(&inner).unwrap();
        stage(&inner.join("file"), b"x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory.path().join("a")), 0o700);
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(mode(&inner.join("file")), 0o600);
    }

    #[test]
    fn a_listing_is_relative_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        create_directories(&directory.path().join("b")).unwrap();
        for name in ["b/2", "b/1", "a"] {
            stage(&directory.path().join(name), name.as_bytes()).unwrap();
        }
        let found = list(directory.path(), false).unwrap();
        assert_eq!(found, [("a".to_owned(), 1), ("b/1".to_owned(), 3), ("b/2".to_owned(), 3)]);
        assert!(list(&directory.path().join("c"), false).is_err());
    }
}
