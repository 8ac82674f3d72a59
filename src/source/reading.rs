//! Reading ahead: a thread or a task that reads, and the source that hands out what was read.

use std::io::Read;
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::files::{self, Kind};
use super::intake::{Intake, Run};
use super::settings::{Input, Settings};
use super::{Checkpoint, Source, SourceError, mysql, postgres, sqlite};
use crate::failpoint::reach;
use crate::model::reference::ReferenceChunk;

/// How many chunks are read ahead.
const AHEAD: usize = 3;

/// What a reader says, in order.
enum Item {
    Run(Run),
    End(Option<Checkpoint>),
}

/// Why a reader stops before the end.
pub(super) enum Stop {
    /// Nobody listens any more.
    Unheard,
    /// It cannot go on.
    Error(SourceError),
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Error(error)
    }
}

/// The reader's end of the channel.
pub(super) struct Outlet {
    sender: mpsc::Sender<Result<Item, SourceError>>,
}

impl Outlet {
    /// Hands over what was read, from a thread.
    pub(super) fn send_blocking(&self, run: Option<Run>) -> Result<(), Stop> {
        let Some(run) = run else { return Ok(()) };
        reach("source.read");
        self.sender.blocking_send(Ok(Item::Run(run))).map_err(|_| Stop::Unheard)
    }

    /// Hands over what was read, from a task.
    pub(super) async fn send(&self, run: Option<Run>) -> Result<(), Stop> {
        let Some(run) = run else { return Ok(()) };
        reach("source.read");
        self.sender.send(Ok(Item::Run(run))).await.map_err(|_| Stop::Unheard)
    }

    fn last(ended: Result<Option<Checkpoint>, Stop>) -> Option<Result<Item, SourceError>> {
        match ended {
            Ok(checkpoint) => Some(Ok(Item::End(checkpoint))),
            Err(Stop::Error(error)) => Some(Err(error)),
            Err(Stop::Unheard) => None,
        }
    }
}

/// A source whose reader is at work.
pub(super) struct Reading {
    receiver: mpsc::Receiver<Result<Item, SourceError>>,
    checkpoint: Option<Checkpoint>,
    ended: bool,
    reader: Reader,
}

/// Who reads.
enum Reader {
    /// `None` once it was waited for.
    Thread(Option<JoinHandle<()>>),
    /// Ends a query as soon as nobody waits for it.
    Task(AbortOnDropHandle<()>),
}

impl Reader {
    /// Waits for one that said nothing more. It can only have panicked: that goes on in whoever waits.
    async fn ended(&mut self) {
        let died = match self {
            Self::Thread(thread) => thread.take().and_then(|thread| thread.join().err()),
            Self::Task(task) => task.await.err().and_then(|error| error.try_into_panic().ok()),
        };
        if let Some(panic) = died {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Reading {
    fn new(receiver: mpsc::Receiver<Result<Item, SourceError>>, reader: Reader) -> Self {
        Self { receiver, checkpoint: None, ended: false, reader }
    }

    /// Reads on a thread of its own: one that waits for input must not keep the runtime from ending.
    pub(super) fn on_thread<F>(read: F) -> Result<Self, SourceError>
    where
        F: FnOnce(&Outlet) -> Result<Option<Checkpoint>, Stop> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let outlet = Outlet { sender };
        let work = move || {
            if let Some(item) = Outlet::last(read(&outlet)) {
                // Nobody listening is no error: the reader of the source went away.
                let _ = outlet.sender.blocking_send(item);
            }
        };
        match std::thread::Builder::new().name("source".to_owned()).spawn(work) {
            Ok(thread) => Ok(Self::new(receiver, Reader::Thread(Some(thread)))),
            Err(error) => Err(SourceError::Failed {
                context: "cannot start a thread to read on".to_owned(),
                source: error.into(),
            }),
        }
    }

    /// Reads on a task.
    pub(super) fn on_task<F>(read: impl FnOnce(Outlet) -> F) -> Self
    where
        F: Future<Output = (Outlet, Result<Option<Checkpoint>, Stop>)> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let read = read(Outlet { sender });
        let task = tokio::spawn(async move {
            let (outlet, ended) = read.await;
            if let Some(item) = Outlet::last(ended) {
                let _ = outlet.sender.send(item).await;
            }
        });
        Self::new(receiver, Reader::Task(AbortOnDropHandle::new(task)))
    }

    /// The next run of rows; `None` at the end.
    pub(super) async fn run(&mut self) -> Result<Option<Run>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        match self.receiver.recv().await {
            Some(Ok(Item::Run(run))) => Ok(Some(run)),
            Some(Ok(Item::End(checkpoint))) => {
                self.ended = true;
                self.checkpoint = checkpoint;
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None => {
                self.reader.ended().await;
                Err(SourceError::Failed {
                    context: "the source cannot be read on".to_owned(),
                    source: "its reader ended before it".into(),
                })
            }
        }
    }
}

#[async_trait]
impl Source for Reading {
    async fn next(&mut self) -> Result<Option<ReferenceChunk>, SourceError> {
        Ok(self.run().await?.map(|run| run.chunk))
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.clone()
    }
}

/// Begins to read; of the first `samples` rows samples are taken, and nothing is read beyond them if there are any.
pub(super) async fn begin(
    settings: Settings,
    checkpoint: Option<Checkpoint>,
    stdin: Box<dyn Read + Send>,
    samples: usize,
) -> Result<Reading, SourceError> {
    let intake = Intake::new(&settings, samples)?;
    let Settings { input, from, .. } = settings;
    let (files, kind) = match input {
        Input::Csv { files, delimiter } => (files, Kind::Csv { delimiter }),
        Input::Jsonl { files } => (files, Kind::Jsonl),
        Input::Parquet { files } => (files, Kind::Parquet),
        Input::Sqlite { path, query } => return sqlite::begin(path, query, checkpoint, from, intake).await,
        Input::Postgres { url, query } => return postgres::begin(url, query, checkpoint, from, intake).await,
        Input::Mysql { url, query } => return mysql::begin(url, query, checkpoint, from, intake).await,
    };
    files::begin(&files, kind, checkpoint, from.as_ref(), intake, stdin).await
}
