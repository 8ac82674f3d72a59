//! How the parts of an archive are called.
//!
//! Manifests, the ledger and this room name a file by its path relative to the archive. The path of a file that is beside
//! the archive begins with [`BESIDE`].

use std::path::{Component, Path};

use crate::model::manifest::BESIDE;
use crate::storage::Storage;

/// The owner record: whose the archive is, and its last commit.
pub(super) const OWNER_RECORD: &str = "_archive.json";
/// The directory of manifests.
pub(super) const MANIFESTS: &str = "_manifests";
/// The list of hashes, of paths relative to the archive: `sha256sum -c _manifests/SHA256SUMS` checks it.
pub(super) const SUMS: &str = "_manifests/SHA256SUMS";
/// The directory of what the workers of a fleet delivered and nobody has committed yet.
pub(super) const FLEET: &str = "_fleet";
/// The directory in which a Delta table keeps its log. It is no part of the archive.
pub(super) const DELTA_LOG: &str = "_delta_log";

/// The path of a file for people to read: relative to the archive.
pub(super) fn display(storage: &dyn Storage, path: &str) -> String {
    match (path.strip_prefix(BESIDE), storage.beside()) {
        (Some(relative), Some(beside)) => format!("../{}/{relative}", last_part(&beside)),
        _ => path.to_owned(),
    }
}

/// What follows the last slash.
pub(super) fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a relative path stays in its directory.
pub(super) fn is_inside(relative: &str) -> bool {
    Path::new(relative).components().all(|component| matches!(component, Component::Normal(_)))
}
