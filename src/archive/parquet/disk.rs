//! The few steps of a file system that survive a crash: directories, atomic files, renames that never replace.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;

/// Says what an error of the file system means to the user, naming the path.
pub(super) fn failure(what: &str, path: &Path, error: io::Error) -> ArchiveError {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => ArchiveError::Denied(format!("{what} {path}: permission denied")),
        ErrorKind::NotADirectory => {
            ArchiveError::Unusable(format!("{what} {path}: a part of this path is no directory"))
        }
        _ => ArchiveError::Failed { context: format!("{what} {path}"), source: Box::new(error) },
    }
}

/// Opens a file that must not exist yet, for its owner only.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a directory's entries durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Creates a directory and its missing parents, for their owner only and durably.
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
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        sync_directory(&parent(directory))?;
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

/// Writes a whole file under a temporary name, durably.
pub(super) fn write_temporary(path: &Path, content: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Renames a file unless the new name is taken ([`ErrorKind::AlreadyExists`]). Both names are of one file system.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rename_exclusive(from, to) {
        Err(error) if cannot(&error) => link_new(from, to),
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

/// Whether the file system has no such operation, as opposed to refusing this one.
fn cannot(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

/// For file systems without an exclusive rename: a link fails when the name is taken.
fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from),
        Err(error) if cannot(&error) || error.kind() == ErrorKind::PermissionDenied => {
            // Nor links: names hold the run's ID and a count, so looking first is as good as it gets.
            if to.try_exists()? {
                return Err(ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        Err(error) => Err(error),
    }
}

/// The size of a file, or `None` when nothing is there.
pub(super) fn size(path: &Path) -> io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.size())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
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
        write_temporary(&inner.join("file"), b"x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory.path().join("a")), 0o700);
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(mode(&inner.join("file")), 0o600);
    }
}
