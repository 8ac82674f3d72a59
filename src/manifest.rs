//! What one run added to an archive.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One run's files. A file that no manifest names is not yet data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this document's form: 1.
    pub version: u32,
    /// Counts the archive's manifests from 1, without a gap.
    pub sequence: u64,
    /// The job.
    pub job: String,
    /// The run.
    pub run_id: String,
    /// The ledger that wrote it.
    pub ledger_id: String,
    /// The `AppKey`.
    pub app_key: String,
    /// When the run began.
    pub started_at: Timestamp,
    /// When the last commit was recorded; for a run that committed nothing, when it began.
    pub finished_at: Timestamp,
    /// Messages in all files.
    pub rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The files, in the order of their commits.
    pub files: Vec<ManifestFile>,
    /// Files that say which messages vanished, in the order of their commits. They lie beside the archive: their paths
    /// are relative to [`vanished_directory`]. Neither `rows` nor `bytes` count them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vanished: Vec<ManifestFile>,
}

/// What stands before the path of a file that says which messages vanished, where such files are listed with others.
pub const BESIDE: &str = "vanished:";

/// Whether this is the path of a file that says which messages vanished, and not of one of messages.
pub fn is_vanished(path: &str) -> bool {
    path.starts_with(BESIDE)
}

/// The directory beside an archive that says which of its messages vanished: `<archive>-vanished`. Nothing for a path
/// that has no name.
pub fn vanished_directory(archive: &std::path::Path) -> Option<std::path::PathBuf> {
    let mut name = archive.file_name()?.to_owned();
    name.push("-vanished");
    Some(archive.with_file_name(name))
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to the archive, with `/`.
    pub path: String,
    /// Messages in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
}

impl Manifest {
    /// The file's name under `_manifests/`: `<sequence>-<run>.json`, the sequence of eight digits so that names sort.
    pub fn file_name(&self) -> String {
        format!("{:08}-{}.json", self.sequence, self.run_id)
    }
}
