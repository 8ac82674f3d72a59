//! One commit: messages and the row that says so, in one transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row, SqlStr};
use uuid::Uuid;

use super::connect::{Session, last_row};
use super::copy::{Encoder, Messages};
use super::schema::Locks;
use super::statements::Statements;
use super::versions::{Item, NEVER, passes, sift};
use crate::failpoint::reach;
use crate::model::message::{MessageRows, Vanished};

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
    /// Whether the database says that it wrote fewer rows than it was sent.
    pub(super) short: bool,
    /// Earlier versions that are not among the revisions.
    pub(super) unkept: u64,
    /// Messages that stayed in an earlier version, and one of them.
    pub(super) unrevised: Option<(u64, i64)>,
}

/// Whose commit it is, and which.
#[derive(Debug, Clone)]
pub(super) struct CommitId {
    pub(super) app_key: String,
    pub(super) ledger_id: Uuid,
    pub(super) locks: Locks,
    /// The archive's last commit, as far as this process knows.
    pub(super) before: u64,
    pub(super) sequence: u64,
}

/// What is committed.
pub(super) struct Commit<'a> {
    pub(super) id: &'a CommitId,
    pub(super) run_id: Uuid,
    pub(super) pending: &'a [Arc<MessageRows>],
    pub(super) vanished: &'a [Vanished],
    pub(super) messages: u64,
}

/// Begins the transaction of a commit. Returns `false`, in a transaction that is to be rolled back, if the archive is
/// not, or no longer, where this commit comes next.
pub(super) async fn begin(session: &mut Session, statements: &Statements, id: &CommitId) -> Result<bool, sqlx::Error> {
    Ok(begun(session, statements.begin(id)).await? == Begun::Free)
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
    begun(session, begin).await
}

async fn begun(session: &mut Session, begin: String) -> Result<Begun, sqlx::Error> {
    let row = last_row(&mut session.connection, begin).await?;
    reach("postgres.fenced");
    Ok(match (row.try_get("moved")?, row.try_get("met")?) {
        (false, _) => Begun::NotOurs,
        (true, false) => Begun::Free,
        (true, true) => Begun::Met,
    })
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
    let mut writer = Writer::new(session, statements, encoder, commit);
    for (depth, pass) in passes.iter().enumerate() {
        match way {
            Way::Copy if depth == 0 => writer.counts.short |= writer.copy(pass).await?,
            Way::Merge => writer.merge(pass).await?,
            // The later passes hold what the first has just written.
            Way::Copy | Way::Sift => {
                let there = writer.versions(&commit.id.app_key, pass).await?;
                let (fresh, newer) = sift(pass, there);
                writer.counts.short |= writer.copy(&fresh).await?;
                writer.revise(&newer).await?;
            }
        }
    }
    Ok(writer.counts)
}

/// What the database says of a commit when everything is written.
pub(super) struct Recorded {
    /// Whether there is a row that says so.
    pub(super) noted: bool,
    /// Vanished messages that are not noted.
    pub(super) unnoted: u64,
    /// The triggers on the table of messages: they may undo what was written.
    pub(super) triggers: Option<String>,
    /// Whether there are triggers on the archive's other tables, which may do so too.
    pub(super) others: bool,
}

/// Writes what belongs to the commit besides its messages.
pub(super) async fn record(
    session: &mut Session,
    statements: &Statements,
    commit: &Commit<'_>,
    counts: Counts,
) -> Result<Recorded, sqlx::Error> {
    let connection = &mut session.connection;
    for vanished in commit.vanished.chunks(VANISHED) {
        note(connection, statements, commit, vanished).await?;
    }
    let row = last_row(connection, statements.record(commit, counts)).await?;
    let mut unnoted = 0;
    for vanished in commit.vanished.chunks(VANISHED) {
        let ids: BTreeSet<i64> = vanished.iter().map(|message| message.message_server_id).collect();
        let ids: Vec<i64> = ids.into_iter().collect();
        let sent = ids.len() as u64;
        let noted: i64 = sqlx::query_scalar(statements.vanished.clone())
            .persistent(false)
            .bind(&commit.id.app_key)
            .bind(ids)
            .fetch_one(&mut *connection)
            .await?;
        unnoted += sent.saturating_sub(noted as u64);
    }
    Ok(Recorded {
        noted: row.try_get("recorded")?,
        unnoted,
        triggers: row.try_get("triggers")?,
        others: row.try_get("others")?,
    })
}

/// Messages of a commit that are not in the table: how many, and one of them.
pub(super) async fn missing(
    session: &mut Session,
    statements: &Statements,
    encoder: &mut Encoder,
    commit: &Commit<'_>,
) -> Result<Option<(u64, i64)>, sqlx::Error> {
    let mut reader = Writer::new(session, statements, encoder, commit);
    // The first pass has every message.
    let pass = passes(commit.pending).swap_remove(0);
    let there = reader.versions(&commit.id.app_key, &pass).await?;
    let (missing, _) = sift(&pass, there);
    Ok(missing.first().map(|first| (missing.len() as u64, first.message_server_id)))
}

/// Makes the commit final.
pub(super) async fn finish(session: &mut Session) -> Result<(), sqlx::Error> {
    reach("postgres.commit");
    session.commit().await?;
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
        .persistent(false)
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

/// The messages' part of a transaction.
struct Writer<'a> {
    connection: &'a mut PgConnection,
    statements: &'a Statements,
    encoder: &'a mut Encoder,
    pending: &'a [Arc<MessageRows>],
    /// Whether the staging table is there, and used.
    staged: bool,
    counts: Counts,
}

impl<'a> Writer<'a> {
    fn new(
        session: &'a mut Session,
        statements: &'a Statements,
        encoder: &'a mut Encoder,
        commit: &'a Commit<'_>,
    ) -> Self {
        let connection = &mut session.connection;
        Self { connection, statements, encoder, pending: commit.pending, staged: false, counts: Counts::default() }
    }

    /// Copies messages straight into the table: a conflict if one is there. Returns whether the database says that it
    /// wrote fewer.
    async fn copy(&mut self, pass: &[Item]) -> Result<bool, sqlx::Error> {
        if pass.is_empty() {
            return Ok(false);
        }
        let written = self.send(&self.statements.copy, pass).await?;
        self.counts.inserted += pass.len() as u64;
        reach("postgres.copied");
        Ok(written < pass.len() as u64)
    }

    /// Writes messages of which some are there: adds, revises, or leaves alone.
    async fn merge(&mut self, pass: &[Item]) -> Result<(), sqlx::Error> {
        if pass.is_empty() {
            return Ok(());
        }
        self.stage(pass).await?;
        let inserted = self.execute(&self.statements.insert).await?;
        self.counts.inserted += inserted;
        if inserted < pass.len() as u64 {
            // Most likely the others are there.
            self.counts.short = true;
            self.revise_staged().await?;
        }
        Ok(())
    }

    /// Writes new versions of messages that are there in earlier ones.
    async fn revise(&mut self, pass: &[Item]) -> Result<(), sqlx::Error> {
        if pass.is_empty() {
            return Ok(());
        }
        self.stage(pass).await?;
        let revised = self.revise_staged().await?;
        self.counts.short |= revised < pass.len() as u64;
        Ok(())
    }

    async fn stage(&mut self, pass: &[Item]) -> Result<(), sqlx::Error> {
        let statements = self.statements;
        self.execute(if self.staged { &statements.truncate_staging } else { &statements.create_staging }).await?;
        self.staged = true;
        self.send(&statements.copy_staging, pass).await.map(drop)
    }

    async fn revise_staged(&mut self) -> Result<u64, sqlx::Error> {
        let Self { statements, .. } = *self;
        self.execute(&statements.keep).await?;
        let row = last_row(self.connection, statements.unkept.clone()).await?;
        self.counts.unkept += row.try_get::<i64, _>("unkept")? as u64;
        let revised = self.execute(&statements.revise).await?;
        self.counts.revised += revised;
        let row = last_row(self.connection, statements.unrevised.clone()).await?;
        if let Some(example) = row.try_get("example")? {
            self.counts.unrevised = Some((row.try_get::<i64, _>("unrevised")? as u64, example));
        }
        reach("postgres.merged");
        Ok(revised)
    }

    /// Which of these messages are there, and when they were edited.
    async fn versions(&mut self, app_key: &str, pass: &[Item]) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        let keys: Vec<i64> = pass.iter().map(|item| item.message_server_id).collect();
        let mut found = sqlx::query_as::<_, (i64, Option<i64>)>(self.statements.versions.clone())
            .persistent(false)
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

    /// Returns how many rows the database says that it wrote.
    async fn send(&mut self, statement: &str, pass: &[Item]) -> Result<u64, sqlx::Error> {
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
        copy.finish().await
    }
}
