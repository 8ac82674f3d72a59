//! The few steps of a file system that survive a crash: directories, atomic files, renames that never replace; and what its
//! errors mean.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::storage::StorageError;

/// Creates a file that must not exist yet, readable by its owner only.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
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

/// The directory that holds a path; `.` for a bare name.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Writes a whole file and makes its content durable. Replaces one that a crash left behind.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    remove(path)?;
    let mut file = create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Deletes a file. It need not exist.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if_found(std::fs::remove_file(path)).map(drop)
}

/// The size of a file; `None` if it does not exist.
pub(super) fn size(path: &Path) -> io::Result<Option<u64>> {
    Ok(if_found(std::fs::metadata(path))?.map(|metadata| metadata.len()))
}

/// What is directly in a directory, in order. Nothing if it does not exist.
pub(super) fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(entries) = if_found(std::fs::read_dir(directory))? else { return Ok(Vec::new()) };
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort_unstable();
    Ok(paths)
}

/// Reads `length` bytes from `start`.
pub(super) fn read_range(path: &Path, start: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The size of a file and its last `length` bytes, or all of a shorter one.
pub(super) fn read_end(path: &Path, length: usize) -> io::Result<Option<(u64, Vec<u8>)>> {
    let Some(size) = size(path)? else { return Ok(None) };
    let length = size.min(length as u64);
    Ok(Some((size, read_range(path, size - length, length as usize)?)))
}

/// `None` for what does not exist.
pub(super) fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Renames a file unless the new name is taken ([`ErrorKind::AlreadyExists`]). Both names are on one file system.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rename_exclusive(from, to) {
        Err(error) if is_unsupported(&error) => link_new(from, to),
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
fn link_new(from: &Path, to: &Path) -> io::Result<()> {
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

/// What an error of the file system means to the user. Names the path.
pub(super) fn failure(doing: &str, path: &Path, error: io::Error) -> StorageError {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => StorageError::Denied(format!("{doing} {path}: permission denied")),
        ErrorKind::NotADirectory => {
            StorageError::Unusable(format!("{doing} {path}: a part of this path is no directory"))
        }
        _ => StorageError::Failed { doing: format!("{doing} {path}"), source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_rename_never_replaces_with_or_without_help_of_the_file_system() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (index, rename) in [rename_new, link_new].into_iter().enumerate() {
            let target = path(&format!("target{index}"));
            std::fs::write(path("a"), "a").unwrap();
            rename(&path("a"), &target).unwrap();
            assert!(!path("a").exists());
            std::fs::write(path("b"), "b").unwrap();
            assert_eq!(rename(&path("b"), &target).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read_to_string(&target).unwrap(), "a");
            assert_eq!(rename(&path("c"), &path("d")).unwrap_err().kind(), ErrorKind::NotFound);
        }
    }

    #[test]
    fn directories_and_files_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        create_directories(&inner).unwrap();
        create_directories(&inner).unwrap();
        write_new(&inner.join("file"), b"x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory.path().join("a")), 0o700);
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(mode(&inner.join("file")), 0o600);
    }
}
