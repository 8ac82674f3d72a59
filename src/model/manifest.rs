//! What one run added to an archive, and how the runs of an archive vouch for each other.
//!
//! Every run leaves a manifest. It names the run's files and what became of every reference, and holds the hash of the
//! manifest before it: whoever changes one has to change all that follow. What a manifest is, is its exact bytes.

mod signature;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::summary::{References, ThreadExtras};

pub use signature::{KeyError, PublicKey, Signature, Signer};

/// The version of the form that is written.
pub const VERSION: u32 = 2;

/// One run's files and counts. A file that no manifest names is not yet data.
///
/// Manifests of version 1 end with the files: all that they do not say is absent here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this document's form.
    pub version: u32,
    /// Counts the archive's manifests from 1, without a gap.
    pub sequence: u64,
    /// SHA-256 of the exact bytes of the manifest before, lower-case hex; null in the first.
    #[serde(default)]
    pub previous: Option<String>,
    /// The job.
    pub job: String,
    /// The run.
    pub run_id: String,
    /// The ledger that wrote it.
    pub ledger_id: String,
    /// The `AppKey`.
    pub app_key: String,
    /// The command that ran, such as `run` or `retry`.
    #[serde(default)]
    pub command: Option<String>,
    /// The program that ran, with its version.
    #[serde(default)]
    pub tool: Option<String>,
    /// The host that it ran on.
    #[serde(default)]
    pub host: Option<String>,
    /// Who ran it, if that was said.
    #[serde(default)]
    pub operator: Option<String>,
    /// What for, if that was said.
    #[serde(default)]
    pub purpose: Option<String>,
    /// SHA-256 of what the job means, without secrets.
    #[serde(default)]
    pub configuration_sha256: Option<String>,
    /// When the run began.
    pub started_at: Timestamp,
    /// When it ended. Of a run that died, when its last commit was recorded, or else when it began.
    pub finished_at: Timestamp,
    /// Whether the run died, so that a later one wrote this. What it had not recorded is not counted.
    #[serde(default)]
    pub died: bool,
    /// A running SHA-256 over the references as they were planned; null when none was.
    #[serde(default)]
    pub references_sha256: Option<String>,
    /// Every reference, by the state in which it ended.
    #[serde(default)]
    pub references: Option<References>,
    /// Messages fetched to complete threads, by the state in which they ended.
    #[serde(default)]
    pub thread_extras: Option<ThreadExtras>,
    /// Failures new in this run.
    #[serde(default)]
    pub failures: Vec<FailureCount>,
    /// Messages that the run committed.
    pub rows: u64,
    /// Bytes of all files; what a database was sent.
    pub bytes: u64,
    /// Who signed it; the signature itself lies beside it.
    #[serde(default)]
    pub signature: Option<SignedBy>,
    /// The files, in the order of their commits.
    pub files: Vec<DataFile>,
    /// Files that say which messages vanished, in the order of their commits. They lie beside the archive: their paths
    /// are relative to [`vanished_directory`]. Neither `rows` nor `bytes` count them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vanished: Vec<DataFile>,
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

/// The archive of which this would be the [`vanished_directory`], if it has such a name.
pub fn vanished_owner(path: &std::path::Path) -> Option<std::path::PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix("-vanished")?;
    (!name.is_empty()).then(|| path.with_file_name(name))
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCount {
    /// The class.
    pub class: String,
    /// The API's code.
    pub code: Option<i64>,
    /// How many.
    pub count: u64,
}

/// The key that a manifest is signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBy {
    /// `ed25519`.
    pub algorithm: String,
    /// The key's fingerprint: SHA-256 of the public key in its DER form, lower-case hex.
    pub key_sha256: String,
    /// The public key as PEM.
    pub public_key: String,
}

/// A file of an archive, as manifests and the ledger know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Relative to the archive, with `/`.
    pub path: String,
    /// Messages in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
    /// The range of its times and IDs, where it is known.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub range: Option<FileRange>,
}

/// A file that was written and is not published yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// What it will be once it is published.
    pub file: DataFile,
    /// Where it lies until then, relative to the archive.
    pub staged: String,
}

/// The least and the greatest of a file's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRange {
    /// Of `create_time`, milliseconds since the epoch.
    pub create_time: Bounds,
    /// Of `message_server_id`.
    pub message_server_id: Bounds,
}

/// Two ends, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The least.
    pub min: i64,
    /// The greatest.
    pub max: i64,
}

impl Bounds {
    /// Of one value.
    pub fn of(value: i64) -> Self {
        Self { min: value, max: value }
    }

    /// Of both.
    pub fn with(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

impl FileRange {
    /// Of one message.
    pub fn of(create_time: i64, message_server_id: i64) -> Self {
        Self { create_time: Bounds::of(create_time), message_server_id: Bounds::of(message_server_id) }
    }

    /// Of both.
    pub fn with(self, other: Self) -> Self {
        Self {
            create_time: self.create_time.with(other.create_time),
            message_server_id: self.message_server_id.with(other.message_server_id),
        }
    }
}

impl Manifest {
    /// The file's name under `_manifests/`: `<sequence>-<run>.json`, the sequence of eight digits so that names sort.
    pub fn file_name(&self) -> String {
        format!("{:08}-{}.json", self.sequence, self.run_id)
    }
}

/// A manifest as its exact bytes, which are what is hashed, signed and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What the bytes say.
    pub manifest: Manifest,
    /// JSON, with a line break at its end.
    pub text: String,
    /// The signature over the bytes; none for a manifest that is not signed, or that was found where it belongs.
    pub signature: Option<Signature>,
}

impl Sealed {
    /// Writes a manifest out, and signs it if there is a key.
    pub fn new(mut manifest: Manifest, signer: Option<&Signer>) -> Self {
        if let Some(signer) = signer {
            manifest.signature = Some(signer.public().named());
        }
        let mut text = serde_json::to_string_pretty(&manifest).expect("a manifest's maps have text for keys");
        text.push('\n');
        let signature = signer.map(|signer| signer.sign(text.as_bytes()));
        Self { manifest, text, signature }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// What makes the text no manifest.
    pub fn read(text: String) -> Result<Self, serde_json::Error> {
        Ok(Self { manifest: serde_json::from_str(&text)?, text, signature: None })
    }

    /// SHA-256 of the exact bytes, lower-case hex: what the next manifest calls `previous`.
    pub fn sha256(&self) -> String {
        sha256(self.text.as_bytes())
    }
}

/// SHA-256, lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_version_1_is_still_read() {
        let text = r#"{"version":1,"sequence":3,"job":"nightly","run_id":"r","ledger_id":"l","app_key":"a",
            "started_at":"2026-11-22T00:00:00Z","finished_at":"2026-11-22T00:01:00Z","rows":2,"bytes":9,
            "files":[{"path":"a.parquet","rows":2,"bytes":9,"sha256":"00"}]}"#;
        let read = Sealed::read(text.to_owned()).unwrap();
        assert_eq!((read.manifest.version, read.manifest.previous, read.manifest.files[0].range), (1, None, None));
    }

    #[test]
    fn what_is_written_is_read_back_and_hashes_as_its_bytes() {
        let file = DataFile {
            path: "a.parquet".to_owned(),
            rows: 2,
            bytes: 9,
            sha256: "00".to_owned(),
            range: Some(FileRange::of(1, i64::MAX).with(FileRange::of(-5, 3))),
        };
        let manifest = Manifest { version: VERSION, sequence: 1, files: vec![file], ..Manifest::default() };
        let sealed = Sealed::new(manifest.clone(), None);
        assert_eq!(Sealed::read(sealed.text.clone()).unwrap().manifest, manifest);
        assert_eq!(sealed.sha256(), sha256(sealed.text.as_bytes()));
        assert!(sealed.text.contains(&format!("\"max\": {}", i64::MAX)) && sealed.text.ends_with("}\n"));
    }
}
