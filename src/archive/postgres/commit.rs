//! A commit: over as many connections as it takes, with messages that are there already, and confirmed by the database.
//!
//! Messages are copied straight into the table, unless some are likely to be there already. If some turn out to be, what
//! was copied is taken back, and the commit looks first: it copies the messages that are not there, and revises those that
//! are there in an earlier version.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Row as _};

use super::connect::{Refusal, Session, Tries, Trouble, last_row, timed, trouble};
use super::statements::{CommitId, Counts};
use super::target::{OpenArchive, PATIENCE, Target};
use super::transaction::{Recorded, Transaction, Written};
use super::versions::{Item, passes};
use crate::archive::ArchiveError;
use crate::failpoint::reach;
use crate::model::message::{MessageRows, Vanished};

/// How often a commit may look first and then meet messages that another writer has just written.
const CONFLICTS: usize = 5;

/// What is committed.
pub(super) struct Commit<'a> {
    pub(super) id: CommitId,
    pub(super) pending: &'a [Arc<MessageRows>],
    pub(super) vanished: &'a [Vanished],
    /// How many messages are pending.
    pub(super) messages: u64,
}

/// What became of a commit whose connection broke.
enum Resumed {
    /// It was not made.
    ToMake(Session),
    /// It was made, with so many bytes.
    Made(Session, u64),
}

impl Target {
    /// Makes a commit. Returns the bytes written.
    pub(super) async fn commit(&self, archive: &mut OpenArchive, commit: &Commit<'_>) -> Result<u64, ArchiveError> {
        let mut tries = Tries::new();
        loop {
            let error = match timed(PATIENCE, self.try_commit(archive, commit)).await {
                Ok(bytes) => return Ok(bytes),
                Err(Refusal::Archive(error)) => return Err(error),
                Err(Refusal::Database(error)) => error,
            };
            let said = error.to_string();
            let failed = |error| self.server.report(&format!("cannot commit to {}", self.table()), error);
            tries.wait(error).await.map_err(failed)?;
            tracing::warn!(
                commit = commit.id.sequence,
                error = said,
                "the commit is tried again over a new connection"
            );
        }
    }

    /// Makes a commit over one connection: the open one, or a new one. Returns the bytes written.
    async fn try_commit(&self, archive: &mut OpenArchive, commit: &Commit<'_>) -> Result<u64, Refusal> {
        let mut session = match archive.session.take() {
            Some(session) => session,
            None => match self.resume(archive, commit).await? {
                Resumed::ToMake(session) => session,
                Resumed::Made(session, bytes) => {
                    archive.session = Some(session);
                    return Ok(bytes);
                }
            },
        };
        archive.tried = commit.id.sequence;
        let statements = Arc::clone(&archive.statements);
        let passes = passes(commit.pending);
        let mut look_first = archive.look_first;
        let mut conflicts = 0;
        let recorded = loop {
            let mut transaction =
                Transaction::new(&mut session, &statements, &mut archive.encoder, &commit.id, commit.pending);
            let Some(met) = transaction.begin(if look_first { &[] } else { &passes[0] }).await? else {
                session.rollback().await?;
                return Err(self.refusal(&mut session, &commit.id).await?.into());
            };
            look_first |= met;
            let done = match transaction.write(&passes, look_first).await {
                Ok(()) => transaction.record(commit.messages, commit.vanished).await,
                Err(error) => Err(error),
            };
            match done {
                // Which messages were there before is only known after looking first.
                Ok(recorded) if !look_first && (recorded.written.short || recorded.triggers.is_some()) => {}
                Ok(recorded) => {
                    self.confirm(&mut transaction, commit, &passes[0], &recorded).await?;
                    break recorded;
                }
                Err(error) if trouble(&error) == Trouble::Conflict && conflicts < CONFLICTS => conflicts += 1,
                Err(error) => return Err(error.into()),
            }
            look_first = true;
            session.rollback().await?;
        };
        reach("postgres.commit");
        session.commit().await?;
        reach("postgres.committed");
        let Counts { inserted, revised, bytes, messages } = recorded.written.counts;
        tracing::debug!(commit = commit.id.sequence, messages, inserted, revised, bytes, "committed");
        // If no message was there already, the next ones are probably new as well.
        archive.look_first = inserted != messages || recorded.triggers.is_some();
        archive.session = Some(session);
        Ok(bytes)
    }

    /// Insists that what was sent is there. If the database wrote fewer rows, or if triggers may have undone what it wrote,
    /// the keys decide: rows may be elsewhere in the table's inheritance.
    async fn confirm(
        &self,
        transaction: &mut Transaction<'_>,
        commit: &Commit<'_>,
        messages: &[Item],
        recorded: &Recorded,
    ) -> Result<(), Refusal> {
        let names = &self.names;
        let Written { short, unkept, unrevised, .. } = recorded.written;
        let missing = if short || recorded.triggers.is_some() || recorded.other_triggers {
            transaction.missing(messages).await?
        } else {
            None
        };
        let (table, what) = if let Some((count, example)) = missing {
            let all = commit.messages;
            (&names.messages, format!("lacks {count} of the {all} messages (such as {example}) that were"))
        } else if let Some((count, example)) = unrevised {
            (&names.messages, format!("lacks {count} new versions of messages (such as {example}) that were"))
        } else if unkept > 0 {
            (&names.revisions, format!("lacks {unkept} earlier versions that were"))
        } else if recorded.unnoted > 0 {
            let all = commit.vanished.len();
            (&names.vanished, format!("lacks {} of the {all} notes that were", recorded.unnoted))
        } else if !recorded.has_row {
            (&names.commits, "lacks the row of the commit that was".to_owned())
        } else {
            return Ok(());
        };
        let triggers = recorded.triggers.as_ref().filter(|_| *table == names.messages);
        Err(self.dropped(table, &what, triggers.map(String::as_str)).into())
    }

    /// Why the archive refuses this commit.
    async fn refusal(&self, session: &mut Session, id: &CommitId) -> Result<ArchiveError, sqlx::Error> {
        let archive = self.names.qualified(&self.names.archive);
        let sql = format!("select max(sequence) as sequence from {archive} where ledger_id = '{}'", id.ledger_id);
        let sequence: Option<i64> = last_row(&mut session.connection, sql).await?.try_get("sequence")?;
        Ok(match sequence.map(|sequence| sequence as u64) {
            Some(sequence) if sequence < id.before => self.lost(id.before),
            Some(sequence) if sequence == id.before && sequence < id.sequence => {
                self.dropped(&self.names.archive, &format!("keeps commit {sequence} whatever is"), None)
            }
            _ => ArchiveError::NotOurs(format!(
                "the archive {} at {} does not wait for commit {} of ledger {}: another ledger took it over, or an \
                 old copy of this one is in use",
                self.table(),
                self.server.place(),
                id.sequence,
                id.ledger_id
            )),
        })
    }

    fn lost(&self, committed: u64) -> ArchiveError {
        self.failed(&format!(
            "the server lost commits up to {committed}, as by a failover to a standby that did not have them yet; \
             the next run fetches their messages again"
        ))
    }

    /// Connects again, and finds out whether the commit was made.
    async fn resume(&self, archive: &OpenArchive, commit: &Commit<'_>) -> Result<Resumed, Refusal> {
        let mut session = self.server.session(self.locks(), true).await?;
        let owner = self.names.qualified(&self.names.archive);
        let commits = self.names.qualified(&self.names.commits);
        let found: Option<(i64, Option<String>, Option<i64>)> = sqlx::query_as(AssertSqlSafe(format!(
            "select a.sequence, c.run_id, c.bytes from {owner} a left join {commits} c using (ledger_id, sequence) \
             where ledger_id = $1"
        )))
        .persistent(false)
        .bind(commit.id.ledger_id.to_string())
        .fetch_optional(&mut session.connection)
        .await?;
        session.rollback().await?;
        match found {
            Some((sequence, ..)) if (sequence as u64) < archive.committed => Err(self.lost(archive.committed).into()),
            // Another copy of the ledger may have made a commit of this number.
            Some((sequence, Some(run), bytes))
                if sequence as u64 == commit.id.sequence
                    && archive.tried == commit.id.sequence
                    && run == commit.id.run_id.to_string() =>
            {
                tracing::info!(commit = commit.id.sequence, "the commit had been made before the connection broke");
                Ok(Resumed::Made(session, bytes.unwrap_or(0) as u64))
            }
            // The commit itself finds anything else that is wrong.
            _ => Ok(Resumed::ToMake(session)),
        }
    }
}
