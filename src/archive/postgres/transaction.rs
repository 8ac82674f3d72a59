//! The transaction of a commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row, SqlStr};

use super::connect::{Session, last_row};
use super::encode::{Encoder, Messages};
use super::statements::{CommitId, Counts, Statements};
use super::versions::{Item, NEVER, sift};
use crate::failpoint::reach;
use crate::model::message::{MessageRows, Vanished};

/// How much is sent at a time: every piece is one message of the protocol and one write.
const PIECE: usize = 256 * 1024;
/// How many keys are looked up to decide whether to look first.
const SAMPLE: usize = 64;
/// How many vanished messages one statement notes.
const VANISHED: usize = 10_000;

/// What was written, and what the database says about it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) counts: Counts,
    /// Whether the database says that it wrote fewer rows than it was sent.
    pub(super) short: bool,
    /// Earlier versions that are not among the revisions.
    pub(super) unkept: u64,
    /// Messages that stayed in an earlier version: how many, and one of them.
    pub(super) unrevised: Option<(u64, i64)>,
}

/// What the database says when everything is written.
pub(super) struct Recorded {
    pub(super) written: Written,
    /// Whether the row of the commit is there.
    pub(super) has_row: bool,
    /// Vanished messages whose notes are not there.
    pub(super) unnoted: u64,
    /// The triggers on the table of messages, which may undo what was written.
    pub(super) triggers: Option<String>,
    /// Whether there are triggers on the archive's other tables.
    pub(super) other_triggers: bool,
}

/// A transaction that makes a commit.
pub(super) struct Transaction<'a> {
    connection: &'a mut PgConnection,
    statements: &'a Statements,
    encoder: &'a mut Encoder,
    id: &'a CommitId,
    pending: &'a [Arc<MessageRows>],
    /// Whether the staging table exists.
    has_staging: bool,
    written: Written,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(
        session: &'a mut Session,
        statements: &'a Statements,
        encoder: &'a mut Encoder,
        id: &'a CommitId,
        pending: &'a [Arc<MessageRows>],
    ) -> Self {
        let connection = &mut session.connection;
        Self { connection, statements, encoder, id, pending, has_staging: false, written: Written::default() }
    }

    /// Begins, and moves the archive on to this commit. Returns whether some of a sample of these messages are there
    /// already; `None` if the archive is not where this commit comes next.
    pub(super) async fn begin(&mut self, messages: &[Item]) -> Result<Option<bool>, sqlx::Error> {
        let sample = messages.iter().step_by(messages.len().div_ceil(SAMPLE).max(1));
        let sample: Vec<String> = sample.map(|item| item.message_server_id.to_string()).collect();
        let row = last_row(self.connection, self.statements.begin(self.id, &sample.join(","))).await?;
        reach("postgres.fenced");
        let moved: bool = row.try_get("moved")?;
        Ok(if moved { Some(row.try_get("met")?) } else { None })
    }

    /// Writes all messages. Without `look_first`, it is a conflict if one of them is there.
    pub(super) async fn write(&mut self, passes: &[Vec<Item>], look_first: bool) -> Result<(), sqlx::Error> {
        for (depth, pass) in passes.iter().enumerate() {
            if depth == 0 && !look_first {
                self.copy(pass).await?;
                continue;
            }
            // The messages of later passes are those that the passes before have just written.
            let there = self.versions(pass).await?;
            let (fresh, newer) = sift(pass, there);
            self.copy(&fresh).await?;
            self.revise(&newer).await?;
        }
        Ok(())
    }

    /// Writes what belongs to the commit besides its messages.
    pub(super) async fn record(&mut self, messages: u64, vanished: &[Vanished]) -> Result<Recorded, sqlx::Error> {
        self.written.counts.messages = messages;
        for vanished in vanished.chunks(VANISHED) {
            self.note(vanished).await?;
        }
        let row = last_row(self.connection, self.statements.record(self.id, self.written.counts)).await?;
        let mut unnoted = 0;
        for vanished in vanished.chunks(VANISHED) {
            let ids: BTreeSet<i64> = vanished.iter().map(|message| message.message_server_id).collect();
            let sent = ids.len() as u64;
            let noted: i64 = sqlx::query_scalar(self.statements.vanished.clone())
                .persistent(false)
                .bind(&self.id.app_key)
                .bind(ids.into_iter().collect::<Vec<_>>())
                .fetch_one(&mut *self.connection)
                .await?;
            unnoted += sent.saturating_sub(noted as u64);
        }
        Ok(Recorded {
            written: self.written,
            has_row: row.try_get("recorded")?,
            unnoted,
            triggers: row.try_get("triggers")?,
            other_triggers: row.try_get("others")?,
        })
    }

    /// Those of these messages that are not in the table: how many, and one of them.
    pub(super) async fn missing(&mut self, messages: &[Item]) -> Result<Option<(u64, i64)>, sqlx::Error> {
        let there = self.versions(messages).await?;
        let (missing, _) = sift(messages, there);
        Ok(missing.first().map(|first| (missing.len() as u64, first.message_server_id)))
    }

    /// Notes that messages vanished.
    async fn note(&mut self, vanished: &[Vanished]) -> Result<(), sqlx::Error> {
        fn column<T>(vanished: &[Vanished], of: impl Fn(&Vanished) -> T) -> Vec<T> {
            vanished.iter().map(of).collect()
        }
        sqlx::query(self.statements.vanish.clone())
            .persistent(false)
            .bind(&self.id.app_key)
            .bind(self.id.run_id.to_string())
            .bind(column(vanished, |message| message.conversation_key.clone()))
            .bind(column(vanished, |message| message.conversation_id.clone()))
            .bind(column(vanished, |message| message.conversation_type))
            .bind(column(vanished, |message| message.message_server_id))
            .bind(column(vanished, |message| message.create_time))
            .bind(column(vanished, |message| message.code))
            .bind(column(vanished, |message| message.noticed_at))
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// Copies messages straight into the table. It is a conflict if one is there.
    async fn copy(&mut self, pass: &[Item]) -> Result<(), sqlx::Error> {
        if pass.is_empty() {
            return Ok(());
        }
        let written = self.send(&self.statements.copy, pass).await?;
        self.written.counts.inserted += pass.len() as u64;
        self.written.short |= written < pass.len() as u64;
        reach("postgres.copied");
        Ok(())
    }

    /// Writes new versions of messages that are there in earlier ones, and keeps the earlier ones.
    async fn revise(&mut self, pass: &[Item]) -> Result<(), sqlx::Error> {
        if pass.is_empty() {
            return Ok(());
        }
        let statements = self.statements;
        self.execute(if self.has_staging { &statements.truncate_staging } else { &statements.create_staging }).await?;
        self.has_staging = true;
        self.send(&statements.copy_staging, pass).await?;
        self.execute(&statements.keep).await?;
        let row = last_row(self.connection, statements.unkept.clone()).await?;
        self.written.unkept += row.try_get::<i64, _>("unkept")? as u64;
        let revised = self.execute(&statements.revise).await?;
        self.written.counts.revised += revised;
        self.written.short |= revised < pass.len() as u64;
        let row = last_row(self.connection, statements.unrevised.clone()).await?;
        if let Some(example) = row.try_get("example")? {
            self.written.unrevised = Some((row.try_get::<i64, _>("unrevised")? as u64, example));
        }
        reach("postgres.merged");
        Ok(())
    }

    /// Which of these messages are there, and when they were edited.
    async fn versions(&mut self, pass: &[Item]) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        let keys: Vec<i64> = pass.iter().map(|item| item.message_server_id).collect();
        sqlx::query_as::<_, (i64, Option<i64>)>(self.statements.versions.clone())
            .persistent(false)
            .bind(&self.id.app_key)
            .bind(keys)
            .fetch(&mut *self.connection)
            .map_ok(|(key, modified)| (key, modified.unwrap_or(NEVER)))
            .try_collect()
            .await
    }

    async fn execute(&mut self, statement: &SqlStr) -> Result<u64, sqlx::Error> {
        Ok(self.connection.execute(sqlx::raw_sql(statement.clone())).await?.rows_affected())
    }

    /// Copies messages to where a statement says. Returns how many rows the database says that it wrote.
    async fn send(&mut self, statement: &str, pass: &[Item]) -> Result<u64, sqlx::Error> {
        let Self { encoder, pending, .. } = self;
        let mut copy = self.connection.copy_in_raw(statement).await?;
        let messages: Vec<_> = pending.iter().map(|rows| Messages::new(rows)).collect();
        encoder.begin();
        for item in pass {
            encoder.row(&messages[item.chunk as usize], &pending[item.chunk as usize].rows()[item.row as usize]);
            if encoder.encoded().len() >= PIECE {
                self.written.counts.bytes += encoder.encoded().len() as u64;
                copy.send(encoder.encoded()).await?;
                encoder.clear();
            }
        }
        encoder.end();
        self.written.counts.bytes += encoder.encoded().len() as u64;
        copy.send(encoder.encoded()).await?;
        copy.finish().await
    }
}
