//! An archive in Postgres, on a real server.

mod archive;
mod commit;
mod confirmed;
mod failover;
mod pooler;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;
use yunxin_archiver::archive::postgres::{PostgresArchive, Settings};
use yunxin_archiver::archive::{Archive as _, ArchiveError, ArchiveWriter, Claim, Opened, Prepared, RunStamp};
use yunxin_archiver::config::PostgresSink;
use yunxin_archiver::model::message::{MessageRows, Row, TextColumn, Vanished};

use crate::support::postgres::PgUrl;

const LEDGER: Uuid = Uuid::from_u128(0x1ed6);
const RUN: Uuid = Uuid::from_u128(0x4001);
/// 2026-11-22T12:00:00Z.
const NOON: i64 = 1_795_348_800_000;

fn stamp() -> RunStamp {
    RunStamp { job: "nightly".to_owned(), app_key: "app".to_owned(), run_id: RUN, ledger_id: LEDGER }
}

fn claim(recorded: u64, intent: Option<u64>) -> Claim {
    Claim {
        ledger_id: LEDGER,
        job: "nightly".to_owned(),
        recorded,
        intent,
        unpublished: Vec::new(),
        runs: Vec::new(),
        manifests: Vec::new(),
    }
}

fn settings(url: &str) -> Settings {
    Settings { patience: Duration::from_secs(20), ..Settings::new(PostgresSink::new(SecretString::from(url))) }
}

fn sink(url: &str) -> Box<dyn ArchiveWriter> {
    writer(settings(url), stamp())
}

fn writer(settings: Settings, stamp: RunStamp) -> Box<dyn ArchiveWriter> {
    PostgresArchive::new(settings).writer(stamp).unwrap()
}

async fn open(database: &PgUrl) -> Box<dyn ArchiveWriter> {
    let mut sink = sink(&database.url());
    sink.open(&claim(0, None)).await.unwrap();
    sink
}

async fn refused(sink: &mut Box<dyn ArchiveWriter>, claim: &Claim) -> ArchiveError {
    let error = sink.open(claim).await.unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(!said.contains("hunter2"), "{said}");
    error
}

/// Messages of these IDs, never edited.
fn messages(ids: impl IntoIterator<Item = i64>) -> Arc<MessageRows> {
    let mut rows = MessageRows::default();
    for id in ids {
        push(&mut rows, Row::new(id, NOON, 1, NOON), &format!("message {id}"));
    }
    Arc::new(rows)
}

/// One version of a message.
fn version(id: i64, modify_time: Option<i64>, text: &str) -> Arc<MessageRows> {
    let mut rows = MessageRows::default();
    push(&mut rows, Row { modify_time, ..Row::new(id, NOON, 1, NOON) }, text);
    Arc::new(rows)
}

fn push(rows: &mut MessageRows, mut row: Row, text: &str) {
    row.text[TextColumn::ConversationKey as usize] = rows.intern("1|a|b");
    row.text[TextColumn::ConversationId as usize] = rows.intern("a|1|b");
    row.text[TextColumn::Text as usize] = rows.intern(text);
    rows.push(row);
}

/// A note that a message is gone.
fn vanished(message_server_id: i64) -> Vanished {
    Vanished {
        conversation_key: "1|a|b".to_owned(),
        conversation_id: "a|1|b".to_owned(),
        conversation_type: 1,
        message_server_id,
        create_time: NOON,
        code: 107_404,
        noticed_at: NOON,
    }
}

async fn committed(sink: &mut Box<dyn ArchiveWriter>, commit: u64, rows: Arc<MessageRows>) -> Prepared {
    sink.write(rows).await.unwrap();
    sink.prepare(commit).await.unwrap()
}

async fn scalar<T>(connection: &mut PgConnection, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.unwrap()
}

/// The texts of all messages, by ID, with their revisions.
async fn texts(connection: &mut PgConnection, table: &str) -> Vec<(i64, i32, String)> {
    let sql = format!("select message_server_id, revision, text from {table} order by 1, 2");
    sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap()
}

/// Ends every connection of the sink to this database, as an administrator or a failing network would.
async fn disconnect(connection: &mut PgConnection) -> i64 {
    scalar(
        connection,
        "select count(pg_terminate_backend(pid)) from pg_stat_activity \
         where datname = current_database() and application_name = 'yunxin-archiver'",
    )
    .await
}

fn opened(commit: u64, opened: &Opened) {
    assert_eq!((opened.commit, opened.missing.len()), (commit, 0));
}
