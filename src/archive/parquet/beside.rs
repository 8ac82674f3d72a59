//! Where things lie: in the archive, or in the directory beside it that says which messages vanished.

use std::path::{Component, Path, PathBuf};

use super::archive::Archive;
use super::disk;
use crate::archive::ArchiveError;
use crate::model::manifest::{BESIDE, vanished_directory};

/// The directory beside an archive, of what vanished. A path without a name, such as `.`, is looked up; nothing stands
/// beside `/`.
pub fn beside(archive: &Path) -> Option<PathBuf> {
    vanished_directory(archive).or_else(|| vanished_directory(&archive.canonicalize().ok()?))
}

/// The same as it is found from within the archive: by its whole path where the archive's own is a link to elsewhere.
pub(super) fn from_within(archive: &Path) -> Option<String> {
    let beside = beside(archive)?;
    let (above, name) = (disk::parent(&beside).canonicalize().ok()?, beside.file_name()?);
    if archive.canonicalize().ok()?.parent() == Some(above.as_path()) {
        return Some(format!("../{}", name.to_string_lossy()));
    }
    Some(above.join(name).to_string_lossy().into_owned())
}

impl Archive {
    /// The directory beside the archive, of what vanished.
    pub(super) fn beside(&self) -> Result<PathBuf, ArchiveError> {
        beside(self.root()).ok_or_else(|| {
            ArchiveError::Unusable(format!(
                "nothing can stand beside {}, and what vanished is noted in a directory beside the archive: choose \
                 another path",
                self.root().display()
            ))
        })
    }

    /// Where files of what vanished are written until they are published, as path and as it is recorded: beside the
    /// archive as well, which may be a file system of its own.
    pub(super) fn temporary_beside(&self) -> Result<(PathBuf, String), ArchiveError> {
        let (_, temporary) = self.temporary();
        Ok((self.beside()?.join(&temporary), format!("{BESIDE}{temporary}")))
    }

    /// A recorded path, refused when it would leave the archive or the directory beside it.
    pub(super) fn inside(&self, recorded: &str) -> Result<PathBuf, ArchiveError> {
        let (root, path) = match recorded.strip_prefix(BESIDE) {
            Some(path) => (self.beside()?, Path::new(path)),
            None => (self.root().to_path_buf(), Path::new(recorded)),
        };
        if path.components().all(|component| matches!(component, Component::Normal(_))) {
            return Ok(root.join(path));
        }
        Err(ArchiveError::Unusable(format!("the recorded path {recorded:?} leads out of the archive")))
    }
}
