//! A commit over as many connections as it takes, and by whichever way its messages come into the table.

use std::io;

use sqlx::AssertSqlSafe;
use tokio::time::{sleep, timeout};

use super::commit::{self, Commit, Counts, Way};
use super::connect::{Refusal, Session, Trouble, delays, trouble};
use super::copy::Encoder;
use super::statements::Statements;
use super::stream::{Ended, Stream};
use super::{COMMIT, TRIES, Target, Writing, versions};
use crate::sink::SinkError;

impl Target {
    /// Makes the commit, over as many connections as it takes. Returns the bytes written.
    pub(super) async fn commit(&self, writing: &mut Writing, commit: &Commit<'_>) -> Result<u64, SinkError> {
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
        let statements = &writing.statements;
        let encoder = &mut writing.encoder;
        let counts = match streamed {
            Streamed::All(counts) => counts,
            Streamed::Met => self.write(&mut session, statements, encoder, commit, Way::Sift).await?,
            Streamed::Nothing => self.write(&mut session, statements, encoder, commit, writing.way).await?,
        };
        commit::complete(&mut session, statements, commit, counts).await?;
        let Counts { inserted, revised, bytes } = counts;
        tracing::debug!(commit = commit.id.sequence, messages = commit.messages, inserted, revised, bytes, "committed");
        // Where nothing was there already, the next messages are likely to be new as well.
        let all_new = inserted == commit.messages;
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
        commit::rollback(&mut session).await?;
        Ok((session, streamed))
    }

    /// Writes all messages of a commit in a new transaction, by another way if they are met.
    async fn write(
        &self,
        session: &mut Session,
        statements: &Statements,
        encoder: &mut Encoder,
        commit: &Commit<'_>,
        mut way: Way,
    ) -> Result<Counts, Refusal> {
        let passes = versions::passes(commit.pending);
        loop {
            if !commit::begin(session, statements, commit.id).await? {
                commit::rollback(session).await?;
                return Err(SinkError::NotOurs(format!(
                    "the archive {} at {} does not wait for commit {} of ledger {}: another ledger took it over, or an \
                     old copy of this one is in use",
                    self.table(),
                    self.server.place(),
                    commit.id.sequence,
                    commit.id.ledger_id
                ))
                .into());
            }
            let error = match commit::write(session, statements, encoder, commit, &passes, way).await {
                Ok(counts) => return Ok(counts),
                Err(error) => error,
            };
            way = match way {
                Way::Copy if trouble(&error) == Trouble::Conflict => Way::Sift,
                Way::Sift if trouble(&error) == Trouble::Conflict => Way::Merge,
                _ => return Err(error.into()),
            };
            commit::rollback(session).await?;
        }
    }

    /// Connects again, and finds out what became of the commit under way.
    async fn resume(&self, writing: &mut Writing, commit: &Commit<'_>) -> Result<Resumed, Refusal> {
        let mut session = self.server.session(self.lock_key(), Some(&writing.backend)).await?;
        writing.backend = session.backend.clone();
        let archive = self.names.qualified(&self.names.archive);
        let commits = self.names.qualified(&self.names.commits);
        let found: Option<(i64, Option<i64>)> = sqlx::query_as(AssertSqlSafe(format!(
            "select a.sequence, c.bytes from {archive} a left join {commits} c using (ledger_id, sequence) \
             where ledger_id = $1"
        )))
        .bind(commit.id.ledger_id.to_string())
        .fetch_optional(&mut session.connection)
        .await?;
        let sequence = found.map(|(sequence, _)| sequence as u64);
        if sequence.is_some_and(|sequence| sequence < writing.committed) {
            return Err(self
                .failed(&format!(
                    "the server lost commits up to {}, as by a failover to a standby that did not have them yet; \
                     the next run fetches their messages again",
                    writing.committed
                ))
                .into());
        }
        match found {
            Some((_, bytes)) if sequence == Some(commit.id.sequence) && writing.tried == commit.id.sequence => {
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
    /// Nothing, as some messages are there already.
    Met,
    Nothing,
}

enum Resumed {
    ToCommit(Session),
    Committed(Session, u64),
}
