//! A commit over as many connections as it takes, and by whichever way its messages come into the table.

use std::io;

use sqlx::{AssertSqlSafe, Row as _};
use tokio::time::{sleep, timeout};

use super::commit::{self, Commit, CommitId, Counts, Recorded, Way};
use super::connect::{Refusal, Session, Trouble, delays, last_row, trouble};
use super::copy::Encoder;
use super::statements::Statements;
use super::stream::{Ended, Stream};
use super::{COMMIT, TRIES, Target, Writing, versions};
use crate::archive::ArchiveError;

impl Target {
    /// Makes the commit, over as many connections as it takes. Returns the bytes written.
    pub(super) async fn commit(&self, writing: &mut Writing, commit: &Commit<'_>) -> Result<u64, ArchiveError> {
        let mut delays = delays();
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match timeout(COMMIT, self.attempt(writing, commit)).await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(Refusal::Sink(error))) => return Err(error),
                Ok(Err(Refusal::Database(error))) => error,
                Err(_) => io::Error::new(io::ErrorKind::TimedOut, "the commit took too long").into(),
            };
            if trouble(&error) != Trouble::Transient || tries == TRIES {
                return Err(self.server.report(&format!("cannot commit to {}", self.table()), error));
            }
            tracing::warn!(commit = commit.id.sequence, %error, "the commit is tried again over a new connection");
            sleep(delays.next().unwrap_or_default()).await;
        }
    }

    /// Makes the commit over one connection, a new one if there is none. Returns the bytes written.
    async fn attempt(&self, writing: &mut Writing, commit: &Commit<'_>) -> Result<u64, Refusal> {
        let (mut session, streamed) = match (writing.stream.take(), writing.session.take()) {
            (Some(stream), _) => self.streamed(stream, commit).await?,
            (None, Some(session)) => (session, Streamed::Nothing),
            (None, None) => match self.resume(writing, commit).await? {
                Resumed::ToCommit(session) => (session, Streamed::Nothing),
                Resumed::Committed(session, bytes) => {
                    writing.session = Some(session);
                    return Ok(bytes);
                }
            },
        };
        writing.tried = commit.id.sequence;
        let (statements, encoder) = (&writing.statements, &mut writing.encoder);
        let (mut counts, way) = match streamed {
            Streamed::All(counts) => (counts, Way::Copy),
            Streamed::Met => self.write(&mut session, statements, encoder, commit, Way::Sift).await?,
            Streamed::Nothing => self.write(&mut session, statements, encoder, commit, writing.way).await?,
        };
        let mut recorded = commit::record(&mut session, statements, commit, counts).await?;
        if way == Way::Copy && (counts.short || recorded.triggers.is_some()) {
            // What was there before and what was not can only be told by looking first.
            session.rollback().await?;
            counts = self.write(&mut session, statements, encoder, commit, Way::Sift).await?.0;
            recorded = commit::record(&mut session, statements, commit, counts).await?;
        }
        self.confirm(&mut session, statements, encoder, commit, counts, &recorded).await?;
        commit::finish(&mut session).await?;
        let Counts { inserted, revised, bytes, .. } = counts;
        tracing::debug!(commit = commit.id.sequence, messages = commit.messages, inserted, revised, bytes, "committed");
        // Where nothing was there already, the next messages are likely to be new as well.
        let all_new = inserted == commit.messages && recorded.triggers.is_none();
        writing.way = if all_new { Way::Copy } else { Way::Sift };
        writing.session = Some(session);
        Ok(bytes)
    }

    /// The session of a stream, and what is in its transaction.
    async fn streamed(&self, stream: Stream, commit: &Commit<'_>) -> Result<(Session, Streamed), Refusal> {
        // A commit of another number would be one that nobody waits for.
        let in_vain = stream.sequence != commit.id.sequence;
        let (mut session, streamed) = match stream.finish().await {
            Ended::Copied(session, counts) if !in_vain => return Ok((session, Streamed::All(counts))),
            Ended::Copied(session, _) | Ended::NotOurs(session) => (session, Streamed::Nothing),
            Ended::Met(session) => (session, Streamed::Met),
            Ended::Failed(error) => return Err(error.into()),
        };
        session.rollback().await?;
        Ok((session, streamed))
    }

    /// Insists that what was sent is there. Where the database wrote fewer rows, or where triggers may have undone what
    /// it wrote, the keys decide: rows may stand elsewhere in the table's inheritance.
    async fn confirm(
        &self,
        session: &mut Session,
        statements: &Statements,
        encoder: &mut Encoder,
        commit: &Commit<'_>,
        counts: Counts,
        recorded: &Recorded,
    ) -> Result<(), Refusal> {
        let names = &self.names;
        let missing = if counts.short || recorded.triggers.is_some() || recorded.others {
            commit::missing(session, statements, encoder, commit).await?
        } else {
            None
        };
        let (table, what) = match missing {
            Some((count, example)) => (
                &names.messages,
                format!("lacks {count} of the {} messages (such as {example}) that were", commit.messages),
            ),
            None if let Some((count, example)) = counts.unrevised => {
                (&names.messages, format!("lacks {count} new versions of messages (such as {example}) that were"))
            }
            None if counts.unkept > 0 => {
                (&names.revisions, format!("lacks {} earlier versions that were", counts.unkept))
            }
            None if recorded.unnoted > 0 => (
                &names.vanished,
                format!("lacks {} of the {} notes that were", recorded.unnoted, commit.vanished.len()),
            ),
            None if !recorded.noted => (&names.commits, "lacks the row of the commit that was".to_owned()),
            None => return Ok(()),
        };
        let triggers = recorded.triggers.as_ref().filter(|_| *table == names.messages);
        Err(self.dropped(table, &what, triggers.map(String::as_str)).into())
    }

    /// Writes all messages of a commit in a new transaction, by another way if they are met.
    async fn write(
        &self,
        session: &mut Session,
        statements: &Statements,
        encoder: &mut Encoder,
        commit: &Commit<'_>,
        mut way: Way,
    ) -> Result<(Counts, Way), Refusal> {
        let passes = versions::passes(commit.pending);
        loop {
            if !commit::begin(session, statements, commit.id).await? {
                session.rollback().await?;
                return Err(self.refusal(session, commit.id).await?.into());
            }
            let error = match commit::write(session, statements, encoder, commit, &passes, way).await {
                Ok(counts) => return Ok((counts, way)),
                Err(error) => error,
            };
            way = match way {
                Way::Copy if trouble(&error) == Trouble::Conflict => Way::Sift,
                Way::Sift if trouble(&error) == Trouble::Conflict => Way::Merge,
                _ => return Err(error.into()),
            };
            session.rollback().await?;
        }
    }

    /// Why the archive does not wait for this commit.
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

    /// Connects again, and finds out what became of the commit under way.
    async fn resume(&self, writing: &mut Writing, commit: &Commit<'_>) -> Result<Resumed, Refusal> {
        let mut session = self.server.session(self.locks(), true).await?;
        let archive = self.names.qualified(&self.names.archive);
        let commits = self.names.qualified(&self.names.commits);
        let found: Option<(i64, Option<String>, Option<i64>)> = sqlx::query_as(AssertSqlSafe(format!(
            "select a.sequence, c.run_id, c.bytes from {archive} a left join {commits} c using (ledger_id, sequence) \
             where ledger_id = $1"
        )))
        .persistent(false)
        .bind(commit.id.ledger_id.to_string())
        .fetch_optional(&mut session.connection)
        .await?;
        session.rollback().await?;
        match found {
            Some((sequence, ..)) if (sequence as u64) < writing.committed => Err(self.lost(writing.committed).into()),
            // Another copy of the ledger may have made a commit of this number.
            Some((sequence, Some(run), bytes))
                if sequence as u64 == commit.id.sequence
                    && writing.tried == commit.id.sequence
                    && run == commit.run_id.to_string() =>
            {
                tracing::info!(commit = commit.id.sequence, "the commit had been made before the connection broke");
                Ok(Resumed::Committed(session, bytes.unwrap_or(0) as u64))
            }
            // Anything else that is amiss the commit itself meets.
            _ => Ok(Resumed::ToCommit(session)),
        }
    }
}

/// What a stream left in its session's transaction.
enum Streamed {
    All(Counts),
    /// Nothing, as some messages are there already, or were not written.
    Met,
    Nothing,
}

enum Resumed {
    ToCommit(Session),
    Committed(Session, u64),
}
