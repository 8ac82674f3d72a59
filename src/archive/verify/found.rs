//! What lies in the directories of a Parquet archive, and what of it is named by nothing.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::chain::Link;
use super::columns::Content;
use super::{Verification, VerifyError, Wrong};
use crate::archive::parquet::beside;
use crate::model::manifest::BESIDE;

pub(super) const MANIFESTS: &str = "_manifests";
pub(super) const DEED: &str = "_archive.json";
pub(super) const LIST: &str = "_manifests/SHA256SUMS";
const TEMPORARY: &str = "_tmp";

/// Where an archive lies, and what says which of its messages vanished.
pub(super) struct Places {
    root: PathBuf,
    /// None where nothing can stand beside the archive.
    beside: Option<PathBuf>,
}

impl Places {
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.to_path_buf(), beside: beside(root) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn beside(&self) -> Option<&Path> {
        self.beside.as_deref()
    }

    /// Where a file lies of which a manifest says the path.
    pub(super) fn file(&self, content: Content, path: &str) -> Option<PathBuf> {
        match content {
            Content::Messages => Some(self.root.join(path)),
            Content::Vanished => Some(self.beside.as_ref()?.join(path)),
        }
    }

    /// The file as it is told: by its path from within the archive.
    pub(super) fn told(&self, content: Content, path: &str) -> String {
        match (content, self.beside.as_ref().and_then(|beside| beside.file_name())) {
            (Content::Messages, _) => path.to_owned(),
            (Content::Vanished, Some(name)) => format!("../{}/{path}", name.to_string_lossy()),
            (Content::Vanished, None) => format!("{BESIDE}{path}"),
        }
    }
}

/// What lies in an archive's directories, by paths relative to it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) manifests: BTreeSet<String>,
    pub(super) signatures: BTreeSet<String>,
    pub(super) data: BTreeSet<String>,
    pub(super) others: BTreeSet<String>,
}

impl Found {
    pub(super) fn in_archive(root: &Path) -> Result<Self, VerifyError> {
        let mut found = Self::default();
        let mut directories = vec![root.to_path_buf()];
        while let Some(directory) = directories.pop() {
            let failed = |error: io::Error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory if directory == root => VerifyError::Unusable(format!(
                    "{} is no directory; an archive of Parquet files is one",
                    root.display()
                )),
                _ => VerifyError::failed(format!("reading {}", directory.display()), error),
            };
            let entries = match std::fs::read_dir(&directory) {
                // Such as a file system's lost+found.
                Err(error) if error.kind() == ErrorKind::PermissionDenied && directory.ends_with("lost+found") => {
                    continue;
                }
                entries => entries.map_err(failed)?,
            };
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let path = entry.path();
                let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                let is_directory = entry.file_type().map_err(failed)?.is_dir();
                let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
                let in_manifests = directory == root.join(MANIFESTS);
                if is_directory {
                    // What is written and not yet committed is no part of the archive.
                    if relative != TEMPORARY {
                        directories.push(path);
                    }
                } else if in_manifests && extension == "json" {
                    found.manifests.insert(relative);
                } else if in_manifests && extension == "sig" {
                    found.signatures.insert(relative);
                } else if extension == "parquet" {
                    found.data.insert(relative);
                } else {
                    found.others.insert(relative);
                }
            }
        }
        Ok(found)
    }

    /// What lies beside the archive. Nothing need be there.
    pub(super) fn beside(places: &Places) -> Result<Self, VerifyError> {
        match places.beside() {
            Some(beside) if beside.is_dir() => Self::in_archive(beside),
            _ => Ok(Self::default()),
        }
    }
}

/// What is there and is named by nothing: in the archive and, found apart, beside it.
pub(super) fn strays(
    [within, beside]: [&Found; 2],
    places: &Places,
    is_named: impl Fn(Content, &str) -> bool,
    links: &[Link],
    out: &mut Verification,
) {
    let last = links.last().map(|link| link.manifest.run_id.as_str()).unwrap_or_default();
    for (content, found) in [(Content::Messages, within), (Content::Vanished, beside)] {
        for path in found.data.iter().filter(|path| !is_named(content, path)) {
            // The name holds the run, whose ID tells its time.
            let name = path.rsplit('/').next().and_then(|name| name.strip_prefix("part-"));
            let why = match name.and_then(|name| name.get(..36)) {
                Some(run) if run > last => ": its run is going on, or died and the next run names it",
                _ => "",
            };
            out.wrong(Wrong::Unnamed, places.told(content, path), format!("no manifest names it{why}"));
        }
    }
    for name in &within.signatures {
        if name.strip_suffix(".sig").is_none_or(|of| !within.manifests.contains(of)) {
            out.note(format!(
                "{name} is a signature without its manifest: of a run that died; the next writes it again"
            ));
        }
    }
    let others = within.others.iter().filter(|name| !matches!(name.as_str(), DEED | LIST)).cloned();
    let others_beside = beside.manifests.iter().chain(&beside.signatures).chain(&beside.others);
    for name in others.chain(others_beside.map(|name| places.told(Content::Vanished, name))) {
        out.note(format!("{name} is no data and no part of the archive"));
    }
}
