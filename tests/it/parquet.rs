//! Parquet archives, read back by readers that are not ours, and what a crash leaves of them.

mod commit;
mod content;
mod files;
mod ownership;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use yunxin_archiver::archive::parquet::{Compression, Encodings, PartitionColumn, schema};
use yunxin_archiver::archive::{ArchiveError, ArchiveWriter, Claim};
use yunxin_archiver::model::manifest::{DataFile, Manifest, Sealed, StagedFile};
use yunxin_archiver::model::message::{MessageRows, Row, TextColumn};

use crate::support::parquet::{Archive, push_message, texts};

const DAY: i64 = 86_400_000;

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

async fn prepared(archive: &Archive, recorded: u64) -> (Box<dyn ArchiveWriter>, Vec<StagedFile>) {
    let mut sink = archive.open(recorded).await;
    let mut rows = MessageRows::default();
    for id in 0..4 {
        push_message(&mut rows, recorded as i64 * 10 + id, id * DAY, "text");
    }
    sink.write(Arc::new(rows)).await.unwrap();
    let files = sink.prepare(recorded + 1).await.unwrap().files;
    assert_eq!(files.len(), 4);
    (sink, files)
}

fn published(archive: &Archive) -> Vec<String> {
    archive.tree().into_iter().filter(|path| path.ends_with(".parquet")).collect()
}

fn paths(files: &[StagedFile]) -> Vec<String> {
    files.iter().map(|file| file.file.path.clone()).collect()
}

/// What they are once they are published.
fn files_of(files: &[StagedFile]) -> Vec<DataFile> {
    files.iter().map(|file| file.file.clone()).collect()
}

fn manifest(archive: &Archive, files: &[StagedFile]) -> Manifest {
    let files = files_of(files);
    Manifest {
        version: 1,
        sequence: 1,
        job: "nightly".to_owned(),
        run_id: "0192f1d2-0000-7000-8000-000000000000".to_owned(),
        ledger_id: archive.ledger_id.to_string(),
        app_key: "app/key".to_owned(),
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::UNIX_EPOCH,
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
        ..Manifest::default()
    }
}

/// The metadata of the archive's one file.
fn only_file(archive: &Archive) -> Value {
    let files = archive.files();
    let files = files.as_object().unwrap();
    assert_eq!(files.len(), 1);
    files.values().next().unwrap().clone()
}

/// Descriptors that this process holds of files below a directory, scratch files without a name included.
fn descriptors(root: &Path) -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(root) && target != root)
        .count()
}
