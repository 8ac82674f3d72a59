//! What is in an archive, or beside it.

use std::collections::BTreeMap;
use std::path::Path;

use super::places::{DELTA_LOG, FLEET, MANIFESTS};
use crate::model::manifest::BESIDE;
use crate::storage::{NO_PATH, Storage, StorageError, TEMPORARY};

/// Files by their paths, in order.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Manifests, as far as their place and name tell.
    pub(super) manifests: Vec<String>,
    /// Signatures of manifests.
    pub(super) signatures: Vec<String>,
    /// Parquet files, published, with their sizes.
    pub(super) data: BTreeMap<String, u64>,
    /// Files that are not published, with their sizes.
    pub(super) temporary: Vec<(String, u64)>,
    /// Everything else.
    pub(super) others: Vec<String>,
}

impl Contents {
    /// Lists the archive. See [`Storage::list`] for `lenient`.
    pub(super) fn of(storage: &dyn Storage, lenient: bool) -> Result<Self, StorageError> {
        Self::below(storage, "", lenient)
    }

    /// Lists what is beside the archive.
    pub(super) fn beside(storage: &dyn Storage) -> Result<Self, StorageError> {
        Self::below(storage, BESIDE, false)
    }

    fn below(storage: &dyn Storage, start: &str, lenient: bool) -> Result<Self, StorageError> {
        let mut contents = Self::default();
        for found in storage.list(start, lenient)? {
            if found.name.contains(NO_PATH) {
                contents.others.push(found.name.replace(NO_PATH, ""));
                continue;
            }
            let path = found.name;
            let relative = &path[start.len()..];
            let (top, below) = relative.split_once('/').unwrap_or(("", relative));
            let extension =
                Path::new(relative).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            let is_manifests = top == MANIFESTS && !below.contains('/');
            match extension {
                _ if top == TEMPORARY || top == FLEET => contents.temporary.push((path, found.bytes)),
                _ if top == DELTA_LOG => {}
                "json" if is_manifests => contents.manifests.push(path),
                "sig" if is_manifests => contents.signatures.push(path),
                "parquet" => drop(contents.data.insert(path, found.bytes)),
                _ => contents.others.push(path),
            }
        }
        Ok(contents)
    }
}
