//! The ledger: what it promises, at its public API and on real files.

mod commits;
mod crash;
mod failures;
mod follow_ups;
mod history;
mod opening;
mod planning;
mod refetch;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use uuid::Uuid;
use yunxin_archiver::ledger::{
    AppLock, Beginning, Commit, CutSettings, FailedRef, FailureFilter, FailureState, FinishedBatch, Identity, JobLock,
    Ledger, LedgerError, Planned, RetryFilter, RunNote,
};
use yunxin_archiver::model::failure::{Class, Reason};
use yunxin_archiver::model::manifest::{DataFile, StagedFile};
use yunxin_archiver::model::reference::{ConversationId, Invalid};
use yunxin_archiver::plan::{Batch, BatchRef, FollowUp, History, Purpose};

use crate::support::ledger::open_ledger;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A ledger in a directory of its own, with a run begun.
struct Fixture {
    dir: TempDir,
    ledger: Ledger,
    run: Uuid,
    now: Timestamp,
}

impl Fixture {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let ledger = open_ledger(&path(&dir), &identity()).await.unwrap();
        let now = "2026-11-22T03:00:00Z".parse().unwrap();
        let run = Uuid::now_v7();
        ledger.begin_run(run, "run", now).await.unwrap();
        ledger.note_run(run, &RunNote::default(), 0, 0).await.unwrap();
        Self { dir, ledger, run, now }
    }

    fn path(&self) -> PathBuf {
        path(&self.dir)
    }

    /// The same ledger as the next process finds it.
    async fn reopened(self) -> Self {
        let Self { dir, ledger, run, now } = self;
        drop(ledger);
        let ledger = open_ledger(&path(&dir), &identity()).await.unwrap();
        Self { dir, ledger, run, now }
    }

    /// Plans one batch of new IDs; returns its number.
    async fn plan(&self, batch: Batch) -> i64 {
        let mut ids: Vec<i64> = batch.refs.iter().map(|reference| reference.message_server_id).collect();
        ids.sort_unstable();
        let planned = Planned { batches: &[batch], new_ids: &ids, ..Planned::default() };
        self.ledger.plan(self.run, self.now, &planned).await.unwrap().first_seq
    }

    fn commit(&self, seq: u64, finished: Vec<FinishedBatch>) -> Commit {
        let rows = finished.iter().map(|batch| batch.archived.len() as u64).sum();
        Commit { seq, run_id: self.run, now: self.now, finished, files: Vec::new(), rows, bytes: rows * 100 }
    }

    fn order(&self, batch_size: usize) -> CutSettings {
        CutSettings { run_id: self.run, now: self.now, batch_size }
    }

    /// Plans a batch of one failed reference, and records its failure.
    async fn fail(&self, conversation: &str, id: i64, reason: Reason) -> u64 {
        let seq = self.plan(batch(conversation, &[id])).await;
        let failed = FinishedBatch { failures: vec![failed(conversation, id, reason)], ..finished(seq) };
        self.ledger.record(&self.commit(0, vec![failed])).await.unwrap().new_failures.values().sum()
    }
}

fn path(dir: &TempDir) -> PathBuf {
    dir.path().join("state/nightly.sqlite")
}

fn identity() -> Identity {
    Identity {
        job: "nightly".to_owned(),
        app_key: "key".to_owned(),
        sink: "/archive".to_owned(),
        partitioning: "date".to_owned(),
    }
}

fn batch(conversation: &str, ids: &[i64]) -> Batch {
    let conversation = ConversationId::parse(conversation).unwrap();
    Batch {
        key: conversation.key(),
        asked: conversation.owner.clone(),
        purpose: Purpose::Reference,
        owners: vec![conversation.owner],
        histories: Vec::new(),
        refs: ids.iter().map(|id| BatchRef { message_server_id: *id, create_time: 1_000 + id, owner: 0 }).collect(),
    }
}

/// A batch's references, to be asked for once more under this owner, or under one that is still to be chosen.
fn more(batch: Batch, asked: Option<&str>, history: History) -> FollowUp {
    let Batch { key, purpose, owners, refs, .. } = batch;
    FollowUp { key, asked: asked.map(str::to_owned), purpose, owners, refs, history: Arc::new(history) }
}

fn finished(seq: i64) -> FinishedBatch {
    FinishedBatch { seq, ..FinishedBatch::default() }
}

fn archived(seq: i64, ids: &[i64]) -> FinishedBatch {
    FinishedBatch { archived: ids.to_vec(), ..finished(seq) }
}

fn failed(conversation: &str, id: i64, reason: Reason) -> FailedRef {
    FailedRef {
        message_server_id: id,
        create_time: 1_000 + id,
        conversation_id: conversation.to_owned(),
        reason,
        attempts: 1,
    }
}

fn reason(class: Class, code: Option<i64>, retryable: bool) -> Reason {
    Reason { class, code, message: format!("{class}"), retryable }
}

fn file(path: &str, rows: u64) -> DataFile {
    DataFile { path: path.to_owned(), rows, bytes: 1_000, sha256: "ab".repeat(32), range: None }
}

fn ids_of(batch: &Batch) -> Vec<i64> {
    batch.refs.iter().map(|reference| reference.message_server_id).collect()
}

async fn pending_ids(ledger: &Ledger) -> Vec<i64> {
    let mut ids: Vec<i64> =
        ledger.pending(0, 1_000).await.unwrap().iter().flat_map(|pending| ids_of(&pending.batch)).collect();
    ids.sort_unstable();
    ids
}

fn names(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs a statement behind the ledger's back.
async fn tamper(path: &Path, sql: &'static str) {
    let mut conn = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::query(sql).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}
