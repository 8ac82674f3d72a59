//! Asks the API for the messages of one batch until there is an answer, or a reason to stop asking.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::app::App;
use super::code::{Fault, Meaning, Reaction, reaction};
use super::concurrency::{Limiter, Most, Permit};
use super::exchange::{Failed, exchange};
use super::outage::Outage;
use super::outcome::{Answer, AskFor, Outcome, Refusal, Stop};
use super::question::Question;
use super::request;
use super::response::{Reply, decode};
use super::settings::FetchSettings;
use super::stats::{Counters, InFlight, Stats, count};
use crate::retry::{Jitter, Policy, Tries};

/// Fetches for one job.
#[derive(Debug)]
pub struct Client {
    app: Arc<App>,
    settings: FetchSettings,
    /// Whether messages keep their JSON text.
    raw: bool,
    limiter: Arc<Limiter>,
    counters: Counters,
    outage: Outage,
    /// Set once the API refused the credentials: nothing is sent any more.
    refused: OnceLock<Stop>,
}

/// What follows from an attempt.
enum Next {
    /// The batch has ended.
    End(Outcome),
    /// The run stops.
    Stop(Stop),
    /// The batch is sent again at once. This was no attempt.
    Repeat,
    /// The batch is sent again after this wait.
    Retry(Duration),
}

/// A batch that has not ended yet.
struct Unfinished<'a> {
    ask: &'a AskFor,
    body: Bytes,
    /// Where it is sent, for each endpoint that was needed.
    urls: Vec<Option<Url>>,
    tries: Tries,
    /// How many requests of the app had been answered when it was last sent.
    answers: u64,
    /// How far ahead of ours the clock was that the last attempt was signed by, in seconds.
    clock_offset: i64,
    clock_corrected: bool,
}

/// A request that was sent.
#[derive(Clone, Copy)]
struct Sent {
    at: Instant,
    endpoint: usize,
    /// How long it waited for the pace.
    waited: Duration,
    /// From sending it to the end of its answer.
    took: Duration,
    /// Whether it is an attempt that counts if it fails: an outage is no failure of the batch, so something must have been
    /// answered, to whichever request of the app, since the batch was sent before.
    counts: bool,
}

impl Client {
    /// A client of `app` for one job.
    pub fn new(app: Arc<App>, settings: FetchSettings) -> Self {
        let most = Most { connections: app.settings.connections, rate: app.settings.rate_limit };
        let limiter = Limiter::new(settings.concurrency, most, app.batch_messages.earlier_concurrency());
        Self {
            app,
            limiter,
            counters: Counters::default(),
            outage: Outage::new(settings.give_up_after),
            settings,
            raw: false,
            refused: OnceLock::new(),
        }
    }

    /// Lets messages keep their JSON text.
    pub fn with_raw(self, raw: bool) -> Self {
        Self { raw, ..self }
    }

    /// Waits for a slot among the requests that may be under way.
    pub async fn permit(&self) -> Permit {
        self.limiter.acquire().await
    }

    /// Asks for `ask` until there is an outcome, or a reason to stop the run.
    ///
    /// The permit is given up while the batch waits to be sent again. Once `cancel` is cancelled nothing more is sent;
    /// a request that is under way is finished, and its outcome returned.
    pub async fn fetch(&self, permit: Permit, ask: &AskFor, cancel: &CancellationToken) -> Result<Outcome, Stop> {
        let patience = &self.app.settings.patience;
        let retry = Policy {
            first: patience.backoff,
            factor: 2.0,
            longest: patience.longest_backoff,
            jitter: Jitter::Full,
            attempts: Some(self.settings.attempts),
        };
        let mut batch = Unfinished {
            ask,
            body: request::body(&ask.refs).into(),
            urls: vec![None; self.app.endpoint_count()],
            tries: retry.start(),
            answers: self.app.standing.answers(),
            clock_offset: 0,
            clock_corrected: false,
        };
        let mut free_permit = Some(permit);
        loop {
            let permit = match free_permit.take() {
                Some(permit) => permit,
                None => unless_cancelled(cancel, self.limiter.acquire()).await?,
            };
            let began = Instant::now();
            let taken = unless_cancelled(cancel, self.app.batch_messages.pacer.acquire()).await?;
            if let Some(stop) = self.refused.get() {
                return Err(stop.clone());
            }
            match self.attempt(&mut batch, taken, taken - began).await {
                Next::End(outcome) => return Ok(outcome),
                Next::Stop(stop) => {
                    // Before the permit is free for another request.
                    if matches!(stop, Stop::Credentials { .. }) {
                        self.refused.set(stop.clone()).ok();
                    }
                    return Err(stop);
                }
                Next::Repeat => free_permit = Some(permit),
                Next::Retry(wait) => {
                    drop(permit);
                    count(&self.counters.retried);
                    unless_cancelled(cancel, tokio::time::sleep(wait)).await?;
                }
            }
        }
    }

    /// Sends the batch once, at the moment `taken` of the pace, and decides what follows.
    async fn attempt(&self, batch: &mut Unfinished<'_>, taken: Instant, waited: Duration) -> Next {
        let app = &*self.app;
        let pacer = &app.batch_messages.pacer;
        let answers_before = std::mem::replace(&mut batch.answers, app.standing.answers());
        let endpoint = app.pick_endpoint();
        let url = batch.urls[endpoint].get_or_insert_with(|| app.url(endpoint, &batch.ask.conversation)).clone();
        batch.clock_offset = app.standing.clock_offset();
        let request = app.request(url, batch.clock_offset);
        count(&self.counters.sent);
        let (at, result) = {
            let _in_flight = InFlight::enter(&self.counters);
            let (timeout, most) = (self.settings.timeout, app.settings.max_response);
            exchange(&app.http, request, batch.body.clone(), taken, pacer, timeout, most).await
        };
        let Some(at) = at else {
            // A pause began before it left.
            self.counters.sent.fetch_sub(1, Ordering::Relaxed);
            batch.answers = answers_before;
            return Next::Repeat;
        };
        if result.as_ref().map_or_else(|failed| failed.answered, |_| true) {
            app.standing.answered();
        }
        let counts = app.standing.answers() != answers_before;
        let sent = Sent { at, endpoint, waited, took: at.elapsed(), counts };
        let received = match result {
            Ok(received) => received,
            Err(failed) => return self.on_failure(batch, sent, failed.through(app.proxy_of(endpoint))),
        };
        received.date.into_iter().for_each(|date| app.standing.saw_clock(date));
        self.counters.took(sent.took);
        self.counters.bytes.fetch_add(received.body.len() as u64, Ordering::Relaxed);
        let fetched_at = jiff::Timestamp::now().as_millisecond();
        let question = Question {
            key: batch.ask.key.as_str(),
            conversation: &batch.ask.conversation.to_string(),
            conversation_type: batch.ask.conversation.conversation_type.number(),
            refs: &batch.ask.refs,
            fetched_at,
            raw: self.raw,
        };
        match decode(&received.body, &question) {
            Err(broken) => {
                let message = format!("the answer of {} bytes cannot be read: {broken}", received.body.len());
                self.on_failure(batch, sent, Failed::new(Fault::Broken, message))
            }
            Ok(Reply::Answer(decoded)) => {
                app.endpoint_worked(endpoint);
                pacer.pass(at);
                app.standing.proved();
                count(&self.counters.ok);
                self.succeeded(sent);
                Next::End(Outcome::Answered(Answer {
                    rows: Arc::new(decoded.rows),
                    archived: decoded.archived,
                    verdicts: decoded.verdicts,
                    unrequested: decoded.unrequested,
                    repeated: decoded.repeated,
                    attempts: batch.tries.made() + 1,
                    bytes: received.body.len() as u64,
                    fetched_at,
                    latency: sent.took,
                }))
            }
            Ok(Reply::Code(code, message)) => {
                app.endpoint_worked(endpoint);
                if reaction(code) != Reaction::Pause {
                    pacer.pass(at);
                }
                self.on_code(batch, sent, code, message, received.date)
            }
        }
    }

    fn succeeded(&self, sent: Sent) {
        self.outage.succeeded();
        self.limiter.succeeded(sent.waited, sent.took);
        self.app.batch_messages.remember_concurrency(self.limiter.target());
    }

    /// The API gave no answer.
    fn on_failure(&self, batch: &mut Unfinished<'_>, sent: Sent, failed: Failed) -> Next {
        let app = &*self.app;
        let Failed { fault, message, retry_after, .. } = failed;
        if fault.is_overload() {
            self.limiter.overloaded(sent.at);
        }
        if fault.is_over_rate() {
            return self.pause(sent.at, retry_after, None, &message);
        }
        app.batch_messages.pacer.pass(sent.at);
        let another_works = app.endpoint_failed(sent.endpoint, fault.is_of_endpoint());
        tracing::debug!(endpoint = app.settings.endpoints[sent.endpoint].as_str(), error = message, "a request failed");
        match self.retry(batch, sent.counts, None, message) {
            // There is nothing to wait for.
            Next::Retry(_) if another_works => Next::Retry(Duration::ZERO),
            Next::Retry(wait) => {
                let told = retry_after.unwrap_or_default().min(app.settings.patience.longest_told);
                Next::Retry(wait.max(told))
            }
            next => next,
        }
    }

    /// The API answered with a code other than 200. `date` is the server's clock.
    fn on_code(&self, batch: &mut Unfinished<'_>, sent: Sent, code: i64, message: String, date: Option<i64>) -> Next {
        let standing = &self.app.standing;
        let alone = batch.ask.refs.len() <= 1;
        let refusal = match reaction(code) {
            Reaction::Retry => {
                if Meaning::of(code) == Meaning::Busy {
                    self.limiter.overloaded(sent.at);
                }
                return self.retry(batch, true, Some(code), message);
            }
            Reaction::Pause => return self.pause(sent.at, None, Some(code), &message),
            Reaction::Stop => return Next::Stop(Stop::Credentials { code, message }),
            Reaction::OtherOwner => {
                standing.proved();
                self.succeeded(sent);
                Refusal::OtherOwner
            }
            Reaction::Split if !alone => Refusal::Split { probe: false },
            Reaction::Doubt => {
                if !batch.clock_corrected && date.is_some_and(|date| standing.correct_clock(date, batch.clock_offset)) {
                    batch.clock_corrected = true;
                    tracing::warn!("this machine's clock differs from the server's by more than a minute: corrected");
                    return Next::Repeat;
                }
                if alone && standing.doubted(batch.ask.batch, code, &message) {
                    return Next::Stop(Stop::Credentials { code, message });
                }
                let probe = !standing.is_proven();
                if probe && !alone {
                    standing.begin_probe();
                }
                if alone { Refusal::Permanent } else { Refusal::Split { probe } }
            }
            // Decoding has read the lists of an answer with code 200.
            Reaction::Read | Reaction::Split | Reaction::Permanent => Refusal::Permanent,
        };
        standing.succeeded();
        Next::End(Outcome::Refused { code, message, refusal, attempts: batch.tries.made() + 1 })
    }

    /// The app is over its rate: all requests of this call pause.
    fn pause(&self, sent: Instant, told: Option<Duration>, code: Option<i64>, message: &str) -> Next {
        count(&self.counters.throttled);
        let pacer = &self.app.batch_messages.pacer;
        let pause = pacer.refuse(sent, told);
        self.app.note_throttled();
        let (_, allowed, _) = pacer.look();
        tracing::info!(code, ?pause, allowed, message, "over the rate limit: all requests pause");
        self.hopeless(message).map_or(Next::Repeat, Next::Stop)
    }

    /// An attempt failed.
    fn retry(&self, batch: &mut Unfinished<'_>, counts: bool, code: Option<i64>, message: String) -> Next {
        let wait = batch.tries.failed(counts);
        if let Some(stop) = self.hopeless(&message) {
            return Next::Stop(stop);
        }
        wait.map_or_else(
            || {
                tracing::debug!(tries = %batch.tries, error = message, "attempts used up");
                Next::End(Outcome::Exhausted { code, message, attempts: batch.tries.made() })
            },
            Next::Retry,
        )
    }

    /// Counts a failure. Returns the end of the run when nothing has succeeded for too long.
    fn hopeless(&self, message: &str) -> Option<Stop> {
        let gap = self.settings.timeout + self.app.settings.patience.longest_backoff;
        let (since, tried_for) = self.outage.failed(self.app.standing.successes(), Instant::now(), gap, message);
        (tried_for >= self.settings.give_up_after).then(|| Stop::Unreachable {
            since,
            tried_for,
            last_error: message.to_owned(),
        })
    }

    /// The API's code and text when it called single references bad parameters and nothing ever succeeded. If those were
    /// all the references there were, the credentials are wrong.
    pub fn credentials_in_doubt(&self) -> Option<(i64, String)> {
        self.app.standing.doubt()
    }

    /// Whether a batch was answered [`Refusal::Split`] with `probe` and its parts are not queued yet. Sending another batch
    /// before one of its references would cost requests and tell nothing.
    pub fn is_probing(&self) -> bool {
        self.app.standing.is_probing()
    }

    /// The parts of a batch that was answered [`Refusal::Split`] with `probe` are queued.
    pub fn parts_are_queued(&self) {
        self.app.standing.end_probe();
    }

    /// What this client did so far, and the pace of its app.
    pub fn stats(&self) -> Stats {
        let (paused_for, allowed_rate, send_rate) = self.app.batch_messages.pacer.look();
        let concurrency = self.limiter.target();
        let unanswered = self.outage.is_under_way(self.app.standing.successes());
        Stats { send_rate, allowed_rate, paused_for, concurrency, unanswered, ..self.counters.snapshot() }
    }
}

async fn unless_cancelled<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Stop> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Stop::Cancelled),
        done = work => Ok(done),
    }
}
