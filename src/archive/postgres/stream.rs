//! Messages on their way into the table before their commit is due.
//!
//! A transaction of its own task takes messages as they come, so that the database works while the next answers are
//! fetched. It ends before its commit does: what belongs to the commit besides, and making it final, is left to whoever
//! finishes the stream. A stream that is dropped, or that fails, has written nothing; its messages are still with the
//! sink.

use std::sync::Arc;

use sqlx::Error;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::commit::{self, Begun, CommitId, Counts, PIECE};
use super::connect::{Session, Trouble, trouble};
use super::copy::{Encoder, Messages};
use super::statements::Statements;
use crate::failpoint::reach;
use crate::model::message::MessageRows;
use crate::panics::unended;

/// A transaction that messages are being copied in.
pub(super) struct Stream {
    /// The commit that it belongs to.
    pub(super) sequence: u64,
    /// Bounded by what a sink holds before its commit is due.
    messages: UnboundedSender<Arc<MessageRows>>,
    task: JoinHandle<Ended>,
}

/// What became of a stream.
pub(super) enum Ended {
    /// The messages are in the table, in a transaction that is not yet committed.
    Copied(Session, Counts),
    /// Straight into the table is not the way: some are there already, or the database did not write all of them. What
    /// was done is to be rolled back.
    Met(Session),
    /// The archive does not wait for this commit. What was done is to be rolled back.
    NotOurs(Session),
    /// The connection, or the server, had enough.
    Failed(Error),
}

/// What a stream needs to begin.
pub(super) struct Start {
    pub(super) session: Session,
    pub(super) statements: Arc<Statements>,
    pub(super) encoder: Encoder,
    pub(super) id: CommitId,
    /// The first messages.
    pub(super) first: Arc<MessageRows>,
}

impl Stream {
    /// Begins the transaction of a commit.
    pub(super) fn begin(start: Start) -> Self {
        let (messages, incoming) = unbounded_channel();
        let sequence = start.id.sequence;
        Self { sequence, messages, task: tokio::spawn(start.run(incoming)) }
    }

    /// Sends messages on. What fails is told in the end.
    pub(super) fn send(&self, rows: Arc<MessageRows>) {
        self.messages.send(rows).ok();
    }

    /// Waits until all messages that were sent are in the table.
    pub(super) async fn finish(self) -> Ended {
        drop(self.messages);
        match self.task.await {
            Ok(ended) => ended,
            Err(error) => Ended::Failed(Error::Io(std::io::Error::other(unended(error)))),
        }
    }
}

impl Start {
    async fn run(mut self, mut incoming: UnboundedReceiver<Arc<MessageRows>>) -> Ended {
        match self.copy(&mut incoming).await {
            Ok(Course::Copied(counts)) => Ended::Copied(self.session, counts),
            Ok(Course::Met) => Ended::Met(self.session),
            Ok(Course::NotOurs) => Ended::NotOurs(self.session),
            Err(error) if trouble(&error) == Trouble::Conflict => Ended::Met(self.session),
            Err(error) => Ended::Failed(error),
        }
    }

    async fn copy(&mut self, incoming: &mut UnboundedReceiver<Arc<MessageRows>>) -> Result<Course, Error> {
        let Self { session, statements, encoder, id, first } = self;
        let keys = first.rows().iter().map(|row| row.message_server_id);
        match commit::begin_copy(session, statements, id, keys).await? {
            Begun::Free => {}
            // What was copied before a message was met would have to be vacuumed.
            Begun::Met => return Ok(Course::Met),
            Begun::NotOurs => return Ok(Course::NotOurs),
        }
        let mut copy = session.connection.copy_in_raw(&statements.copy).await?;
        encoder.clear();
        encoder.begin();
        let (mut counts, mut order) = (Counts::default(), Vec::new());
        let mut next = Some(Arc::clone(first));
        while let Some(rows) = next {
            // By key within what comes at a time: neighbours in the index are written together.
            order.clear();
            order.extend(0..rows.len() as u32);
            order.sort_unstable_by_key(|row| rows.rows()[*row as usize].message_server_id);
            let messages = Messages::new(&rows);
            for row in &order {
                encoder.row(&messages, &rows.rows()[*row as usize]);
            }
            counts.inserted += rows.len() as u64;
            drop(rows);
            if encoder.encoded().len() >= PIECE || incoming.is_empty() {
                counts.bytes += encoder.encoded().len() as u64;
                copy.send(encoder.encoded()).await?;
                encoder.clear();
            }
            next = incoming.recv().await;
        }
        encoder.end();
        counts.bytes += encoder.encoded().len() as u64;
        copy.send(encoder.encoded()).await?;
        let written = copy.finish().await?;
        reach("postgres.copied");
        Ok(if written < counts.inserted { Course::Met } else { Course::Copied(counts) })
    }
}

/// How copying went, while the session is lent to it.
enum Course {
    Copied(Counts),
    Met,
    NotOurs,
}
