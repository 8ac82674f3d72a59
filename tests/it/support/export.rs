//! Archives with the same messages in Parquet and in Postgres, and exports of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;
use yunxin_archiver::archive::parquet::{ParquetArchive, Settings};
use yunxin_archiver::archive::postgres::{self, PostgresArchive};
use yunxin_archiver::archive::{Archive as _, Claim, RunStamp};
use yunxin_archiver::config::PostgresSink;
use yunxin_archiver::model::manifest::{BESIDE, DataFile, Manifest, Sealed, StagedFile, is_vanished};
use yunxin_archiver::model::message::{MessageRows, Row, TextColumn, Vanished};

use super::parquet::Archive;
use super::postgres::database;

/// A message to be archived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent<'a> {
    pub(crate) id: i64,
    pub(crate) at: &'a str,
    pub(crate) conversation: &'a str,
    pub(crate) key: &'a str,
    pub(crate) sender: &'a str,
    pub(crate) kind: i32,
    pub(crate) text: &'a str,
    pub(crate) attachment: &'a str,
    pub(crate) extension: &'a str,
    pub(crate) receivers: &'a str,
    pub(crate) inclusive: Option<bool>,
    /// The message that it answers, and its time and sender.
    pub(crate) answers: Option<(i64, &'a str, &'a str)>,
    pub(crate) revision: i32,
    pub(crate) edited: Option<&'a str>,
    pub(crate) extra: &'a str,
}

pub(crate) fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn rows(sent: &[Sent<'_>]) -> MessageRows {
    let mut rows = MessageRows::default();
    for message in sent {
        let conversation_type: i32 = message.key[..1].parse().unwrap();
        let mut row = Row::new(message.id, at(message.at), conversation_type, at("2026-11-30T00:00:00Z"));
        row.message_type = Some(message.kind);
        row.revision = message.revision;
        row.modify_time = message.edited.map(at);
        row.inclusive = message.inclusive;
        let mut texts = vec![
            (TextColumn::ConversationKey, message.key),
            (TextColumn::ConversationId, message.conversation),
            (TextColumn::SenderId, message.sender),
            (TextColumn::Text, message.text),
            (TextColumn::Attachment, message.attachment),
            (TextColumn::Extension, message.extension),
            (TextColumn::ReceiverAccountIds, message.receivers),
            (TextColumn::Extra, message.extra),
        ];
        let raw = format!("{{\"sender_id\":\"{}\",\"text\":{}}}", message.sender, Value::from(message.text));
        texts.push((TextColumn::Raw, &raw));
        if conversation_type == 1 {
            texts.push((TextColumn::ReceiverId, message.key.rsplit('|').next().unwrap()));
        } else {
            row.team_id = message.key[2..].parse().ok();
        }
        if message.edited.is_some() {
            texts.push((TextColumn::ModifyAccountId, message.sender));
        }
        if let Some((id, time, sender)) = message.answers {
            row.thread_reply_message_server_id = Some(id);
            row.thread_reply_create_time = Some(at(time));
            texts.push((TextColumn::ThreadReplySenderId, sender));
        }
        for (column, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            row.text[column as usize] = rows.intern(text);
        }
        rows.push(row);
    }
    rows
}

/// What is exported from, and where to.
pub(crate) struct Stage {
    directory: TempDir,
    archive: Option<Archive>,
    next: std::sync::atomic::AtomicU32,
}

impl Stage {
    /// A Parquet archive with one run per list of messages, the last of which noticed that some vanished.
    pub(crate) async fn parquet(runs: &[&[Sent<'_>]], vanished: &[Vanished]) -> Self {
        let mut archive = Archive::new();
        archive.settings.raw = true;
        for (n, run) in runs.iter().enumerate() {
            let noticed = if n + 1 == runs.len() { vanished } else { &[] };
            seal(&archive.settings, archive.ledger_id, n as u64 + 1, rows(run), noticed).await;
        }
        Self { directory: tempfile::tempdir().unwrap(), archive: Some(archive), next: 0.into() }
    }

    /// The same in Postgres, as the job `nightly` of a configuration.
    pub(crate) async fn postgres(runs: &[&[Sent<'_>]], vanished: &[Vanished]) -> Self {
        let database = database().await;
        let (ledger_id, run_id) = (Uuid::now_v7(), Uuid::now_v7());
        let place = PostgresSink { raw: true, ..PostgresSink::new(SecretString::from(database.url())) };
        let stamp = RunStamp { job: "nightly".to_owned(), app_key: "app".to_owned(), run_id, ledger_id };
        let mut sink = PostgresArchive::new(postgres::Settings::new(place)).writer(stamp).unwrap();
        let claim = Claim {
            ledger_id,
            job: "nightly".to_owned(),
            recorded: 0,
            intent: None,
            unpublished: Vec::new(),
            runs: Vec::new(),
            manifests: Vec::new(),
        };
        sink.open(&claim).await.unwrap();
        for (n, run) in runs.iter().enumerate() {
            sink.write(Arc::new(rows(run))).await.unwrap();
            if n + 1 == runs.len() {
                sink.write_vanished(vanished.to_vec()).await.unwrap();
            }
            sink.prepare(n as u64 + 1).await.unwrap();
        }
        drop(sink);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), "secret").unwrap();
        std::fs::write(directory.path().join("url"), database.url()).unwrap();
        std::fs::write(
            directory.path().join("jobs.yaml"),
            "version: 1\napps:\n  main: { app_key: app, app_secret: file:secret, region: cn }\njobs:\n  nightly:\n    \
             app: main\n    source: { csv: { path: refs.csv } }\n    sink: { postgres: { url: file:url } }\n",
        )
        .unwrap();
        Self { directory, archive: None, next: 0.into() }
    }

    /// The Parquet archive's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.archive.as_ref().unwrap().root
    }

    /// A directory for whatever a test needs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `export` with these arguments into a directory.
    pub(crate) fn try_export(&self, into: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yunxin-archiver"));
        command.current_dir(self.directory.path()).arg("export");
        match &self.archive {
            Some(archive) => command.arg("--archive").arg(&archive.root),
            None => command.arg("nightly"),
        };
        command.args(arguments).arg("-o").arg(into).output().unwrap()
    }

    /// Exports, and returns the directory.
    pub(crate) fn write(&self, arguments: &[&str]) -> PathBuf {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let into = self.path(&format!("export-{number}"));
        let output = self.try_export(&into, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        into
    }

    /// Exports, and returns the directory and what independent readers see in it.
    pub(crate) fn export(&self, arguments: &[&str]) -> (PathBuf, Value) {
        let into = self.write(arguments);
        let seen = read(&into);
        (into, seen)
    }

    /// The IDs of the exported messages, thread context marked by a sign.
    pub(crate) fn ids(&self, arguments: &[&str]) -> Vec<i64> {
        let into = self.write(&[arguments, &["--format", "jsonl"]].concat());
        let lines = std::fs::read_to_string(into.join("messages.jsonl")).unwrap();
        lines
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                let id = line["message_server_id"].as_str().unwrap().parse::<i64>().unwrap();
                if line["context"] == true { -id } else { id }
            })
            .collect()
    }
}

/// One run of a job, from its beginning to its manifest.
async fn seal(settings: &Settings, ledger_id: Uuid, sequence: u64, rows: MessageRows, vanished: &[Vanished]) {
    let stamp = RunStamp { job: "nightly".to_owned(), app_key: "app".to_owned(), run_id: Uuid::now_v7(), ledger_id };
    let mut sink = ParquetArchive::new(settings.clone()).writer(stamp.clone()).unwrap();
    let claim = Claim {
        ledger_id,
        job: "nightly".to_owned(),
        recorded: sequence - 1,
        intent: None,
        unpublished: Vec::new(),
        runs: Vec::new(),
        manifests: Vec::new(),
    };
    sink.open(&claim).await.unwrap();
    sink.write(Arc::new(rows)).await.unwrap();
    sink.write_vanished(vanished.to_vec()).await.unwrap();
    let prepared = sink.prepare(sequence).await.unwrap();
    sink.publish(sequence, &prepared.files).await.unwrap();
    sink.write_manifest(&Sealed::new(manifest(&stamp, sequence, &prepared.files), None)).await.unwrap();
}

fn manifest(stamp: &RunStamp, sequence: u64, files: &[StagedFile]) -> Manifest {
    let files = files.iter().map(|file| file.file.clone());
    let (mut vanished, files): (Vec<DataFile>, Vec<DataFile>) = files.partition(|file| is_vanished(&file.path));
    for file in &mut vanished {
        file.path = file.path.trim_start_matches(BESIDE).to_owned();
    }
    serde_json::from_value(serde_json::json!({
        "version": 1, "sequence": sequence, "job": stamp.job, "run_id": stamp.run_id.to_string(),
        "ledger_id": stamp.ledger_id.to_string(), "app_key": stamp.app_key,
        "started_at": "2026-11-30T00:00:00Z", "finished_at": "2026-11-30T00:00:01Z",
        "rows": 0, "bytes": 0, "files": files, "vanished": vanished,
    }))
    .unwrap()
}

/// What independent readers see in an export.
pub(crate) fn read(directory: &Path) -> Value {
    python("read_export.py", directory)
}

fn python(script: &str, argument: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support").join(script);
    let output = Command::new("python3").arg(script).arg(argument).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
