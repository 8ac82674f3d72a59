//! Reads on a thread or a task, a few chunks ahead of whoever takes them.

use std::thread::JoinHandle;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::checkpoint::Checkpoint;
use super::error::SourceError;
use super::rows::SampledChunk;
use crate::failpoint::reach;

/// How many chunks are read ahead.
const AHEAD: usize = 3;

/// The reader's end of the channel.
pub(super) struct ChunkSender(mpsc::Sender<SampledChunk>);

impl ChunkSender {
    /// Hands over what was read, from a thread.
    pub(super) fn send_blocking(&self, chunk: Option<SampledChunk>) -> Result<(), SourceError> {
        let Some(chunk) = chunk else { return Ok(()) };
        reach("source.read");
        self.0.blocking_send(chunk).map_err(nobody)
    }

    /// Hands over what was read, from a task.
    pub(super) async fn send(&self, chunk: Option<SampledChunk>) -> Result<(), SourceError> {
        let Some(chunk) = chunk else { return Ok(()) };
        reach("source.read");
        self.0.send(chunk).await.map_err(nobody)
    }
}

/// Ends a reader to whom nobody listens any more. Nobody sees this error either.
fn nobody<T>(_: mpsc::error::SendError<T>) -> SourceError {
    SourceError::Unusable("nobody reads the source any more".to_owned())
}

/// What a reader ends with, once all chunks are handed over.
type Ended = Result<Option<Checkpoint>, SourceError>;

enum Reader {
    Thread(JoinHandle<Ended>),
    /// Dropping it ends a query that nobody waits for.
    Task(AbortOnDropHandle<Ended>),
    Gone,
}

/// A source whose reader is at work.
pub(super) struct ReadAhead {
    receiver: mpsc::Receiver<SampledChunk>,
    reader: Reader,
    checkpoint: Option<Checkpoint>,
}

impl ReadAhead {
    /// Reads on a thread of its own. A thread of the runtime would keep it from ending while it waits for input.
    pub(super) fn on_thread<F>(read: F) -> Result<Self, SourceError>
    where
        F: FnOnce(&ChunkSender) -> Ended + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let thread = std::thread::Builder::new().name("source".to_owned()).spawn(move || read(&ChunkSender(sender)));
        let thread =
            thread.map_err(|error| SourceError::failed("cannot start a thread to read on".to_owned(), error))?;
        Ok(Self { receiver, reader: Reader::Thread(thread), checkpoint: None })
    }

    /// Reads on a task.
    pub(super) fn on_task<F>(read: impl FnOnce(ChunkSender) -> F) -> Self
    where
        F: Future<Output = Ended> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let task = AbortOnDropHandle::new(tokio::spawn(read(ChunkSender(sender))));
        Self { receiver, reader: Reader::Task(task), checkpoint: None }
    }

    /// The next chunk; `None` when everything was read. A panic of the reader goes on here.
    pub(super) async fn next(&mut self) -> Result<Option<SampledChunk>, SourceError> {
        if let Some(chunk) = self.receiver.recv().await {
            return Ok(Some(chunk));
        }
        let ended = match &mut self.reader {
            Reader::Task(task) => task.await.map_err(|error| error.try_into_panic().ok()),
            reader => match std::mem::replace(reader, Reader::Gone) {
                Reader::Thread(thread) => thread.join().map_err(Some),
                _ => return Ok(None),
            },
        };
        self.reader = Reader::Gone;
        match ended {
            Ok(ended) => self.checkpoint = ended?,
            Err(Some(panic)) => std::panic::resume_unwind(panic),
            Err(None) => {
                return Err(SourceError::failed("the source cannot be read on".to_owned(), "its reader was stopped"));
            }
        }
        Ok(None)
    }

    /// How far the source was read, once [`Self::next`] has returned `None`.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.clone()
    }
}
