//! Whether an archive could be written, without writing to it.

use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{Access, access};

use super::disk::failure;
use crate::archive::ArchiveError;

/// Looks at the archive's directory, or at the nearest one above it that exists. Says what was found.
pub(super) fn probe(root: &Path) -> Result<String, ArchiveError> {
    let mut nearest = root;
    loop {
        match std::fs::metadata(nearest) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(ArchiveError::Unusable(format!(
                    "{} is no directory; an archive is one",
                    nearest.display()
                )));
            }
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::NotFound => match nearest.parent() {
                Some(parent) => nearest = parent,
                None => return Err(failure("opening", root, error)),
            },
            Err(error) => return Err(failure("opening", nearest, error)),
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
