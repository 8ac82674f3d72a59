//! A worker: it takes batches from the queue of a job, asks for them, and delivers what it got. It has no state that outlives
//! it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::message::{Order, Task, Trouble, decode};
use super::nats::{Inbox, Nats, Taken};
use super::shift::{AskedTask, Post, Shift};
use crate::archive::{Archive, RunStamp};
use crate::config::Job;
use crate::run::{RunError, Stop, describe, joined};
use crate::yunxin::{App, AppSettings, Permit, Stop as ApiStop};

/// How long a worker that is told to stop waits for requests under way.
const GRACE: Duration = Duration::from_secs(10);
/// How long the queue is waited for at a time.
const WAIT: Duration = Duration::from_secs(5);
/// How long to wait after something went wrong.
const AGAIN: Duration = Duration::from_secs(5);
/// How long to wait for a queue that is not there.
const NO_QUEUE: Duration = Duration::from_secs(1);

/// What a worker of a job needs.
pub(crate) struct WorkerParts {
    pub(crate) job: Job,
    /// What this worker takes the job to mean.
    pub(crate) digest: String,
    pub(crate) api: AppSettings,
    pub(crate) archive: Box<dyn Archive>,
    pub(crate) nats: Arc<Nats>,
    pub(crate) stop: Stop,
}

struct Worker {
    post: Arc<Post>,
    digest: String,
    api: AppSettings,
    archive: Box<dyn Archive>,
    stop: Stop,
    orders: Inbox,
    taking: JoinSet<Vec<Taken>>,
    shift: Option<Shift>,
    /// Until when requests under way may finish, once the worker is told to stop.
    grace: Option<Instant>,
    /// Whether it was said that the configuration is another than the coordinator's.
    has_warned: bool,
}

/// What happens next to a worker.
enum Event {
    Stopped,
    GraceOver,
    Asked(Box<Result<AskedTask, RunError>>),
    Ordered(Option<Order>),
    Due,
    Taken(Vec<Taken>),
    Permit(Permit),
}

/// Works for a job until told to stop.
///
/// # Errors
///
/// What cannot pass by itself: the credentials of the API or the archive are refused, or the configuration cannot work.
pub(crate) async fn work(parts: WorkerParts) -> Result<(), RunError> {
    let WorkerParts { job, digest, api, archive, nats, stop } = parts;
    let orders = tokio::select! {
        orders = nats.orders() => orders?,
        () = stop.told() => return Ok(()),
    };
    let worker = name();
    tracing::info!(job = job.name, worker, "waiting for batches");
    let post = Post { job, worker, nats, cancel: CancellationToken::new() };
    let mut worker = Worker {
        post: Arc::new(post),
        digest,
        api,
        archive,
        stop,
        orders,
        taking: JoinSet::new(),
        shift: None,
        grace: None,
        has_warned: false,
    };
    while let Err(error) = worker.work().await {
        worker.fail(error).await?;
    }
    Ok(())
}

impl Worker {
    /// Works until told to stop, or until something goes wrong.
    async fn work(&mut self) -> Result<(), RunError> {
        loop {
            let is_quiet = self.shift.as_ref().is_none_or(Shift::is_quiet);
            if self.grace.is_some() && is_quiet {
                break;
            }
            self.take_more();
            match self.next().await {
                Event::Stopped => {
                    self.grace = Some(Instant::now() + GRACE);
                    self.post.cancel.cancel();
                    self.taking.shutdown().await;
                    if let Some(shift) = &mut self.shift {
                        shift.give_back_waiting().await;
                    }
                }
                Event::GraceOver => break,
                Event::Taken(taken) => {
                    for taken in taken {
                        self.admit(taken).await?;
                    }
                }
                Event::Ordered(Some(Order::Pause(pause))) => {
                    if let Some(shift) = &self.shift {
                        shift.pause(pause);
                    }
                }
                Event::Ordered(Some(Order::HandOver)) => {
                    if let Some(shift) = &mut self.shift {
                        shift.end_soon().await;
                    }
                }
                Event::Ordered(Some(Order::Ended(run))) => {
                    if let Some(shift) = self.shift.take_if(|shift| shift.run == run) {
                        shift.end().await;
                    }
                }
                Event::Ordered(None) => {}
                Event::Asked(asked) => {
                    if let Some(shift) = &mut self.shift {
                        shift.take((*asked)?).await?;
                    }
                }
                Event::Due => {
                    if let Some(shift) = &mut self.shift {
                        shift.hand_over().await?;
                    }
                }
                Event::Permit(permit) => {
                    if let Some(shift) = &mut self.shift {
                        shift.ask(permit);
                    }
                }
            }
        }
        if let Some(mut shift) = self.shift.take() {
            shift.hand_over().await?;
            shift.give_up(None).await;
        }
        Ok(())
    }

    async fn next(&mut self) -> Event {
        let is_stopping = self.grace.is_some();
        let due = self.shift.as_ref().and_then(Shift::due_at);
        let client = self.shift.as_ref().filter(|shift| shift.has_waiting()).map(|shift| Arc::clone(&shift.client));
        let (grace, shift) = (self.grace, &mut self.shift);
        tokio::select! {
            biased;
            () = self.stop.told(), if !is_stopping => Event::Stopped,
            asked = async {
                match shift {
                    Some(shift) => shift.asked().await,
                    None => std::future::pending().await,
                }
            } => Event::Asked(Box::new(asked)),
            Some(received) = self.orders.next() => Event::Ordered(decode(&received.content).ok()),
            () = sleep_until(grace) => Event::GraceOver,
            () = sleep_until(due) => Event::Due,
            Some(taken) = self.taking.join_next() => {
                Event::Taken(joined("the queue", taken.map(Ok)).unwrap_or_default())
            }
            permit = async {
                match &client {
                    Some(client) => client.permit().await,
                    None => std::future::pending().await,
                }
            }, if !is_stopping => Event::Permit(permit),
        }
    }

    /// Begins to take batches from the queue if there is room for more.
    fn take_more(&mut self) {
        let room = self.shift.as_ref().map_or(1, Shift::room);
        if self.grace.is_none() && room > 0 && self.taking.is_empty() {
            let post = Arc::clone(&self.post);
            self.taking.spawn(async move {
                match post.nats.take(room, WAIT).await {
                    Ok(taken) => taken,
                    Err(error) => {
                        tracing::debug!("{error}");
                        tokio::time::sleep(NO_QUEUE).await;
                        Vec::new()
                    }
                }
            });
        }
    }

    /// Takes up a batch, if it is for this worker.
    async fn admit(&mut self, taken: Taken) -> Result<(), RunError> {
        let task: Task = match decode(taken.content()) {
            Ok(task) => task,
            Err(error) => {
                tracing::warn!("a batch cannot be read and is left to others: {error}");
                taken.give_back(AGAIN).await;
                return Ok(());
            }
        };
        if task.digest != self.digest {
            if !std::mem::replace(&mut self.has_warned, true) {
                tracing::warn!(
                    job = self.post.job.name,
                    "the coordinator fetches or archives by other settings than those of this worker's file, so its \
                     batches are left to others: give both the same app, fetch and sink, and start this worker again"
                );
            }
            taken.give_back(AGAIN).await;
            return Ok(());
        }
        let current = self.shift.as_ref().map(|shift| shift.run);
        if current > Some(task.run) {
            taken.done().await;
            return Ok(());
        }
        if current != Some(task.run) {
            // Whatever an earlier run had out is void.
            self.shift = None;
            self.shift = Some(self.begin(&task)?);
        }
        if let Some(shift) = &mut self.shift {
            shift.add(task, taken);
        }
        Ok(())
    }

    /// Begins to work for a run.
    fn begin(&self, task: &Task) -> Result<Shift, RunError> {
        let stamp = RunStamp {
            job: self.post.job.name.clone(),
            app_key: self.api.app_key.clone(),
            run_id: task.run,
            ledger_id: task.ledger,
        };
        let app = App::new(self.api.clone()).map_err(|error| RunError::Fleet(error.to_string()))?;
        let stager = || self.archive.stager(stamp.clone(), Uuid::now_v7());
        let stagers = [stager()?, stager()?];
        let deliveries = self.archive.deliveries(task.ledger)?;
        tracing::info!(job = stamp.job, run = %stamp.run_id, "working for a run");
        Ok(Shift::new(&self.post, &stamp, app, (stagers, deliveries)))
    }

    /// Gives up what is under way. Returns the error if it cannot pass by itself.
    async fn fail(&mut self, error: RunError) -> Result<(), RunError> {
        let why = describe(&error);
        let is_final = matches!(error.exit_code(), 2 | 4);
        tracing::warn!(job = self.post.job.name, "what is under way is given up, and its batches go back: {why}");
        if let Some(shift) = self.shift.take() {
            let trouble = match &error {
                RunError::Api(ApiStop::Credentials { code, message }) => {
                    Trouble::Credentials { code: *code, message: message.clone() }
                }
                _ => Trouble::Passing(why),
            };
            shift.give_up(Some(trouble)).await;
        }
        if is_final {
            return Err(error);
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = self.stop.told() => {}
        }
        Ok(())
    }
}

/// A name that tells this worker from all others, and its host.
fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = Uuid::now_v7().simple().to_string();
    format!("{host}-{}", &id[id.len() - 12..])
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
