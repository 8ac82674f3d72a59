//! One commit: messages and the row that says so, in one transaction.

use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Either, Executor, Row, SqlStr};
use uuid::Uuid;

use super::connect::Session;
use super::copy::{Encoder, Messages};
use super::statements::Statements;
use super::versions::{Item, NEVER, sift};
use crate::failpoint::reach;
use crate::message::{MessageRows, Vanished};
use crate::sink::Announced;

/// How much is sent at a time: every piece is one message of the protocol and one write.
pub(super) const PIECE: usize = 256 * 1024;
/// How many keys are looked up before it is decided how to write.
const SAMPLE: usize = 64;
/// How many vanished messages one statement notes.
const VANISHED: usize = 10_000;

/// How messages come into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Straight into it: the fastest, when none is there already.
    Copy,
    /// Those that are not there already straight into it, the rest by merging: cheap when many are there.
    Sift,
    /// All by merging, which no other writer of the same messages can disturb.
    Merge,
}

/// What a commit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Messages that were not there.
    pub(super) inserted: u64,
    /// Messages that were there in an earlier version.
    pub(super) revised: u64,
    /// Bytes sent for all of them.
    pub(super) bytes: u64,
}

/// Whose commit it is, and which.
#[derive(Debug, Clone)]
pub(super) struct CommitId {
    pub(super) app_key: String,
    pub(super) ledger_id: Uuid,
    pub(super) sequence: u64,
}

/// What is committed.
pub(super) struct Commit<'a> {
    pub(super) id: &'a CommitId,
    pub(super) run_id: Uuid,
    pub(super) pending: &'a [Arc<MessageRows>],
    pub(super) vanished: &'a [Vanished],
    pub(super) messages: u64,
    pub(super) announced: &'a Announced,
}

/// Begins the transaction of a commit. Returns `false`, in a transaction that is to be rolled back, if the archive is
/// not, or no longer, where this commit comes next.
pub(super) async fn begin(session: &mut Session, statements: &Statements, id: &CommitId) -> Result<bool, sqlx::Error> {
    let begun = session.connection.execute(sqlx::raw_sql(AssertSqlSafe(statements.begin(id)))).await?;
    reach("postgres.fenced");
    Ok(begun.rows_affected() > 0)
}

/// Where a transaction stands that messages are to be copied in straight away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// Nothing is against it.
    Free,
    /// Some of the messages are there already. It is to be rolled back.
    Met,
    /// The archive is not, or no longer, where this commit comes next. It is to be rolled back.
    NotOurs,
}

/// Begins the transaction of a commit whose first messages have these keys, and which may take as long as messages come:
/// that is the commit interval's to say. Copying straight into the table is the cheapest way, but only if no message is
/// there already: a sample tells.
pub(super) async fn begin_copy(
    session: &mut Session,
    statements: &Statements,
    id: &CommitId,
    keys: impl ExactSizeIterator<Item = i64>,
) -> Result<Begun, sqlx::Error> {
    let step = keys.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<String> = keys.step_by(step).map(|key| key.to_string()).collect();
    let begin = statements.begin_copy(id, &sample.join(","));
    let mut results = sqlx::raw_sql(AssertSqlSafe(begin)).fetch_many(&mut session.connection);
    let (mut fenced, mut met) = (0, None);
    while let Some(result) = results.try_next().await? {
        match result {
            // The select counts as well, after its row.
            Either::Left(done) if met.is_none() => fenced += done.rows_affected(),
            Either::Left(_) => {}
            Either::Right(row) => met = Some(row.try_get(0)?),
        }
    }
    drop(results);
    reach("postgres.fenced");
    Ok(match (fenced, met) {
        (0, _) => Begun::NotOurs,
        (_, Some(false)) => Begun::Free,
        (_, Some(true) | None) => Begun::Met,
    })
}

/// Takes back what the transaction did.
pub(super) async fn rollback(session: &mut Session) -> Result<(), sqlx::Error> {
    session.connection.execute("rollback").await?;
    // It may have been made in this transaction.
    session.staged = false;
    Ok(())
}

/// Writes all messages of the commit that the session's transaction is for.
pub(super) async fn write(
    session: &mut Session,
    statements: &Statements,
    encoder: &mut Encoder,
    commit: &Commit<'_>,
    passes: &[Vec<Item>],
    way: Way,
) -> Result<Counts, sqlx::Error> {
    let mut writer = Writer {
        connection: &mut session.connection,
        statements,
        encoder,
        pending: commit.pending,
        staging: if session.staged { Staging::Empty } else { Staging::Missing },
        counts: Counts::default(),
    };
    for (depth, pass) in passes.iter().enumerate() {
        match way {
            // The later passes hold what the first has just written.
            _ if depth > 0 => writer.merge(pass).await?,
            Way::Copy => writer.copy(pass).await?,
            Way::Sift => {
                let there = writer.versions(&commit.id.app_key, pass).await?;
                let (fresh, newer) = sift(pass, there);
                writer.copy(&fresh).await?;
                writer.merge(&newer).await?;
            }
            Way::Merge => writer.merge(pass).await?,
        }
    }
    let Writer { counts, staging, .. } = writer;
    session.staged = staging != Staging::Missing;
    Ok(counts)
}

/// Writes what belongs to the commit besides its messages, and makes it final once it is announced.
pub(super) async fn complete(
    session: &mut Session,
    statements: &Statements,
    commit: &Commit<'_>,
    counts: Counts,
) -> Result<(), sqlx::Error> {
    let connection = &mut session.connection;
    for vanished in commit.vanished.chunks(VANISHED) {
        note(connection, statements, commit, vanished).await?;
    }
    commit.announced.wait().await;
    reach("postgres.commit");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statements.commit(commit, counts)))).await?;
    reach("postgres.committed");
    Ok(())
}

/// Notes that messages vanished.
async fn note(
    connection: &mut PgConnection,
    statements: &Statements,
    commit: &Commit<'_>,
    vanished: &[Vanished],
) -> Result<(), sqlx::Error> {
    fn column<T>(vanished: &[Vanished], of: impl Fn(&Vanished) -> T) -> Vec<T> {
        vanished.iter().map(of).collect()
    }
    sqlx::query(statements.vanish.clone())
        .bind(&commit.id.app_key)
        .bind(commit.run_id.to_string())
        .bind(column(vanished, |message| message.conversation_key.clone()))
        .bind(column(vanished, |message| message.conversation_id.clone()))
        .bind(column(vanished, |message| message.conversation_type))
        .bind(column(vanished, |message| message.message_server_id))
        .bind(column(vanished, |message| message.create_time))
        .bind(column(vanished, |message| message.code))
        .bind(column(vanished, |message| message.noticed_at))
        .execute(connection)
        .await?;
    Ok(())
}

/// What the staging table, which lives as long as the session, is in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Staging {
    Missing,
    Empty,
    Used,
}

/// The messages' part of a transaction.
struct Writer<'a> {
    connection: &'a mut PgConnection,
    statements: &'a Statements,
    encoder: &'a mut Encoder,
    pending: &'a [Arc<MessageRows>],
    staging: Staging,
    counts: Counts,
}

impl Writer<'_> {
    /// Copies messages straight into the table: a conflict if one is there.
    async fn copy(&mut self, pass: &[Item]) -> Result<(), sqlx::Error> {
        if !pass.is_empty() {
            self.send(&self.statements.copy, pass).await?;
            self.counts.inserted += pass.len() as u64;
            reach("postgres.copied");
        }
        Ok(())
    }

    /// Writes messages of which some are there: adds, revises, or leaves alone.
    async fn merge(&mut self, pass: &[Item]) -> Result<(), sqlx::Error> {
        if pass.is_empty() {
            return Ok(());
        }
        match self.staging {
            Staging::Missing => {
                self.execute(&self.statements.create_staging).await?;
            }
            Staging::Empty => {}
            Staging::Used => {
                self.execute(&self.statements.truncate_staging).await?;
            }
        }
        self.staging = Staging::Used;
        self.send(&self.statements.copy_staging, pass).await?;
        let inserted = self.execute(&self.statements.insert).await?;
        self.counts.inserted += inserted;
        if inserted < pass.len() as u64 {
            self.execute(&self.statements.keep).await?;
            self.counts.revised += self.execute(&self.statements.revise).await?;
            reach("postgres.merged");
        }
        Ok(())
    }

    /// Which of these messages are there, and when they were edited.
    async fn versions(&mut self, app_key: &str, pass: &[Item]) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        let keys: Vec<i64> = pass.iter().map(|item| item.message_server_id).collect();
        let mut found = sqlx::query_as::<_, (i64, Option<i64>)>(self.statements.versions.clone())
            .bind(app_key)
            .bind(keys)
            .fetch(&mut *self.connection);
        let mut versions = Vec::new();
        while let Some((key, modified)) = found.try_next().await? {
            versions.push((key, modified.unwrap_or(NEVER)));
        }
        Ok(versions)
    }

    async fn execute(&mut self, statement: &SqlStr) -> Result<u64, sqlx::Error> {
        Ok(self.connection.execute(sqlx::raw_sql(statement.clone())).await?.rows_affected())
    }

    async fn send(&mut self, statement: &str, pass: &[Item]) -> Result<(), sqlx::Error> {
        let Self { encoder, pending, counts, .. } = self;
        let mut copy = self.connection.copy_in_raw(statement).await?;
        encoder.clear();
        encoder.begin();
        let messages: Vec<_> = pending.iter().map(|rows| Messages::new(rows)).collect();
        for item in pass {
            let row = &pending[item.chunk as usize].rows()[item.row as usize];
            encoder.row(&messages[item.chunk as usize], row);
            if encoder.encoded().len() >= PIECE {
                counts.bytes += encoder.encoded().len() as u64;
                copy.send(encoder.encoded()).await?;
                encoder.clear();
            }
        }
        encoder.end();
        counts.bytes += encoder.encoded().len() as u64;
        copy.send(encoder.encoded()).await?;
        copy.finish().await?;
        Ok(())
    }
}
