//! A Parquet archive in a directory of its own, and what independent readers see in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;
use yunxin_archiver::archive::parquet::{ParquetArchive, Settings};
use yunxin_archiver::archive::{Archive as _, ArchiveWriter, Claim, RunStamp};
use yunxin_archiver::model::manifest::StagedFile;
use yunxin_archiver::model::message::{MessageRows, Row, Span, TEXT_COLUMNS, TextColumn};

/// An archive, and the ledger that would own it.
pub(crate) struct Archive {
    _directory: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) ledger_id: Uuid,
}

impl Archive {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("archive");
        let settings = Settings::new(&root);
        Self { _directory: directory, root, settings, ledger_id: Uuid::now_v7() }
    }

    /// What the ledger would claim, had it recorded so many commits.
    pub(crate) fn claim(&self, recorded: u64, unpublished: &[StagedFile]) -> Claim {
        Claim {
            ledger_id: self.ledger_id,
            job: "nightly".to_owned(),
            recorded,
            intent: None,
            unpublished: unpublished.to_vec(),
            runs: Vec::new(),
            manifests: Vec::new(),
        }
    }

    /// A writer of a new run, not yet opened.
    pub(crate) fn sink(&self) -> Box<dyn ArchiveWriter> {
        let stamp = RunStamp {
            job: "nightly".to_owned(),
            app_key: "app/key".to_owned(),
            run_id: Uuid::now_v7(),
            ledger_id: self.ledger_id,
        };
        ParquetArchive::new(self.settings.clone()).writer(stamp).unwrap()
    }

    /// A writer of a new run, opened by a ledger that recorded so many commits.
    pub(crate) async fn open(&self, recorded: u64) -> Box<dyn ArchiveWriter> {
        let mut sink = self.sink();
        let opened = sink.open(&self.claim(recorded, &[])).await.unwrap();
        assert_eq!(opened.commit, recorded);
        assert_eq!(opened.warnings, Vec::<String>::new());
        sink
    }

    /// Writes, commits and publishes rows as the next run.
    pub(crate) async fn commit(&self, commit: u64, rows: MessageRows) -> Vec<StagedFile> {
        let mut sink = self.open(commit - 1).await;
        sink.write(Arc::new(rows)).await.unwrap();
        let prepared = sink.prepare(commit).await.unwrap();
        sink.publish(commit, &prepared.files).await.unwrap();
        prepared.files
    }

    /// Every file under the archive, relative to it, sorted; without the names of a run.
    pub(crate) fn tree(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let mut directories = vec![self.root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    paths.push(path.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        paths.sort();
        paths
    }

    /// Metadata of every `.parquet` file by its path, as PyArrow sees it.
    pub(crate) fn files(&self) -> Value {
        read(&self.root, "files")
    }

    /// Types and rows, as DuckDB and PyArrow see them.
    pub(crate) fn rows(&self) -> Value {
        read(&self.root, "rows")
    }
}

/// What `read_parquet.py` says of an archive: of its `files`, or of its `rows`.
pub(crate) fn read(root: &Path, what: &str) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/read_parquet.py");
    let output = Command::new("python3").arg(script).arg(what).arg(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Appends a message with the least that a message has, and a text.
pub(crate) fn push_message(rows: &mut MessageRows, id: i64, create_time: i64, text: &str) {
    let mut row = Row::new(id, create_time, 1, 1_700_000_000_000);
    row.text = texts(
        rows,
        &[(TextColumn::ConversationKey, "1|a|b"), (TextColumn::ConversationId, "b|1|a"), (TextColumn::Text, text)],
    );
    rows.push(row);
}

/// Text columns of a row, all others null.
pub(crate) fn texts(rows: &mut MessageRows, values: &[(TextColumn, &str)]) -> [Span; TEXT_COLUMNS] {
    let mut spans = [Span::NULL; TEXT_COLUMNS];
    for (column, text) in values {
        spans[*column as usize] = rows.intern(text);
    }
    spans
}
