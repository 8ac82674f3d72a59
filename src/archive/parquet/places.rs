//! Where the parts of an archive are: its data, its manifests, its owner record, and the directory beside it with the
//! notes of what vanished.

use std::path::{Component, Path, PathBuf};

use super::storage;
use crate::archive::ArchiveError;
use crate::model::manifest::{BESIDE, vanished_directory};

/// The owner record: whose the archive is, and its last commit.
pub(super) const OWNER_RECORD: &str = "_archive.json";
/// The directory of manifests.
pub(super) const MANIFESTS: &str = "_manifests";
/// The list of hashes, of paths relative to the archive: `sha256sum -c _manifests/SHA256SUMS` checks it.
pub(super) const SUMS: &str = "_manifests/SHA256SUMS";
/// The directory of files that are not published. It has one directory for each ledger.
pub(super) const TEMPORARY: &str = "_tmp";
/// The directory in which a Delta table keeps its log. It is no part of the archive.
pub(super) const DELTA_LOG: &str = "_delta_log";

/// The directories of an archive.
///
/// Manifests, the ledger and this room name a file by its path relative to the archive. The path of a file that is beside
/// the archive begins with [`BESIDE`].
#[derive(Debug, Clone)]
pub(super) struct Places {
    root: PathBuf,
}

impl Places {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The archive's directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory beside the archive. `None` if nothing can be beside it, as beside `/`. A path without a name, such
    /// as `.`, is looked up.
    pub(super) fn beside(&self) -> Option<PathBuf> {
        vanished_directory(&self.root).or_else(|| vanished_directory(&self.root.canonicalize().ok()?))
    }

    /// The directory beside the archive, if it exists.
    pub(super) fn existing_beside(&self) -> Option<PathBuf> {
        self.beside().filter(|beside| beside.is_dir())
    }

    /// The directory beside the archive, as seen from within the archive: relative, or absolute if the archive's own
    /// path is a link to somewhere else.
    pub(super) fn beside_from_within(&self) -> Option<String> {
        let beside = self.beside()?;
        let (above, name) = (storage::parent(&beside).canonicalize().ok()?, beside.file_name()?);
        if self.root.canonicalize().ok()?.parent() == Some(above.as_path()) {
            return Some(format!("../{}", name.to_string_lossy()));
        }
        Some(above.join(name).to_string_lossy().into_owned())
    }

    /// The directory of a file: the archive, or the one beside it.
    pub(super) fn directory_of(&self, path: &str) -> Result<PathBuf, ArchiveError> {
        if !path.starts_with(BESIDE) {
            return Ok(self.root.clone());
        }
        self.beside().ok_or_else(|| {
            ArchiveError::Unusable(format!(
                "there can be no directory beside {}, which is where vanished messages are noted: choose another path",
                self.root.display()
            ))
        })
    }

    /// The place of a file. Refuses a path that leads out of its directory.
    pub(super) fn file(&self, path: &str) -> Result<PathBuf, ArchiveError> {
        let relative = path.strip_prefix(BESIDE).unwrap_or(path);
        if !is_inside(relative) {
            return Err(ArchiveError::Unusable(format!("the recorded path {path:?} leads out of the archive")));
        }
        Ok(self.directory_of(path)?.join(relative))
    }

    /// The path of a file for people to read: relative to the archive.
    pub(super) fn display(&self, path: &str) -> String {
        match (path.strip_prefix(BESIDE), self.beside()) {
            (Some(relative), Some(beside)) => {
                format!("../{}/{relative}", beside.file_name().unwrap_or_default().to_string_lossy())
            }
            _ => path.to_owned(),
        }
    }
}

/// Whether a relative path stays in its directory.
pub(super) fn is_inside(relative: &str) -> bool {
    Path::new(relative).components().all(|component| matches!(component, Component::Normal(_)))
}
