//! What is in an archive's directory, or in the one beside it.

use std::io;
use std::path::Path;

use super::places::{DELTA_LOG, MANIFESTS, TEMPORARY};
use super::storage;

/// The files of a directory, by their paths relative to it, in order.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Manifests, as far as their place and name tell.
    pub(super) manifests: Vec<String>,
    /// Signatures of manifests.
    pub(super) signatures: Vec<String>,
    /// Parquet files, published.
    pub(super) data: Vec<String>,
    /// Files that are not published, with their sizes.
    pub(super) temporary: Vec<(String, u64)>,
    /// Everything else.
    pub(super) others: Vec<String>,
}

impl Contents {
    /// Lists a directory. See `storage::list` for `lenient`.
    pub(super) fn of(directory: &Path, lenient: bool) -> io::Result<Self> {
        let mut contents = Self::default();
        for (path, bytes) in storage::list(directory, lenient)? {
            let (top, below) = path.split_once('/').unwrap_or(("", &path));
            let extension = Path::new(&path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            let is_manifests = top == MANIFESTS && !below.contains('/');
            match extension {
                _ if top == TEMPORARY => contents.temporary.push((path, bytes)),
                _ if top == DELTA_LOG => {}
                "json" if is_manifests => contents.manifests.push(path),
                "sig" if is_manifests => contents.signatures.push(path),
                "parquet" => contents.data.push(path),
                _ => contents.others.push(path),
            }
        }
        Ok(contents)
    }
}
