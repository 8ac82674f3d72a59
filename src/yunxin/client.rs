//! Asks the API for the messages of one batch until there is an answer, or a reason to stop asking.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::app::App;
use super::code::{Fault, Reaction, is_overload, reaction, remedy};
use super::concurrency::{Limiter, Most, Permit};
use super::exchange::{Failed, Received, exchange};
use super::outage::Outage;
use super::outcome::{Answer, AskFor, Outcome, Refusal, Stop};
use super::request;
use super::response::{Question, Reply, decode};
use super::settings::FetchSettings;
use super::stats::{Counters, InFlight, Stats, count};

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

/// What an attempt came to.
enum Step {
    Done(Outcome),
    Stop(Stop),
    /// Ask again; this was no attempt of the batch's.
    Again,
    /// Ask again if attempts are left.
    Retry(Setback),
}

/// Why an attempt has to be repeated.
struct Setback {
    code: Option<i64>,
    message: String,
    /// How long the gateway said to wait.
    told: Option<Duration>,
    /// Another endpoint works: there is nothing to wait for.
    elsewhere: bool,
}

/// One batch on its way through its attempts.
struct Course<'a> {
    ask: &'a AskFor,
    body: Bytes,
    urls: Vec<Option<Url>>,
    /// How often it was sent in vain.
    sent: u32,
    /// How often of these counts.
    attempts: u32,
    /// How many answers there were to requests of the app when this one was last sent.
    answers: u64,
    /// By which clock the last attempt was signed.
    clock_offset: i64,
    clock_corrected: bool,
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
        let mut course = Course {
            ask,
            body: request::body(&ask.refs).into(),
            urls: vec![None; self.app.endpoint_count()],
            sent: 0,
            attempts: 0,
            answers: self.app.standing.answers(),
            clock_offset: 0,
            clock_corrected: false,
        };
        let mut held = Some(permit);
        loop {
            let permit = match held.take() {
                Some(permit) => permit,
                None => unless_cancelled(cancel, self.limiter.acquire()).await?,
            };
            let waits = Instant::now();
            let slot = unless_cancelled(cancel, self.app.batch_messages.pacer.acquire()).await?;
            if let Some(stop) = self.refused.get() {
                return Err(stop.clone());
            }
            let setback = match self.attempt(&mut course, slot, slot - waits).await {
                Step::Done(outcome) => return Ok(outcome),
                Step::Stop(stop) => {
                    // Before the permit is free for another request.
                    if matches!(stop, Stop::Credentials { .. }) {
                        self.refused.set(stop.clone()).ok();
                    }
                    return Err(stop);
                }
                Step::Again => {
                    held = Some(permit);
                    continue;
                }
                Step::Retry(setback) => setback,
            };
            drop(permit);
            if course.attempts >= self.settings.attempts {
                tracing::debug!(attempts = course.sent, error = setback.message, "attempts used up");
                return Ok(Outcome::Exhausted { code: setback.code, message: setback.message, attempts: course.sent });
            }
            count(&self.counters.retried);
            unless_cancelled(cancel, tokio::time::sleep(self.wait(course.sent, &setback))).await?;
        }
    }

    /// How long to wait before the next attempt: anything up to a bound that doubles, so that batches that failed
    /// together do not come back together.
    fn wait(&self, sent: u32, setback: &Setback) -> Duration {
        let patience = &self.app.settings.patience;
        let told = setback.told.map_or(Duration::ZERO, |told| told.min(patience.longest_told));
        if setback.elsewhere {
            return Duration::ZERO;
        }
        let doublings = sent.saturating_sub(1).min(16);
        let bound = patience.backoff.saturating_mul(1 << doublings).min(patience.longest_backoff);
        bound.mul_f64(rand::random::<f64>()).max(told)
    }

    /// Sends once, and decides what that means.
    async fn attempt(&self, course: &mut Course<'_>, slot: Instant, waited: Duration) -> Step {
        let app = &*self.app;
        let pacer = &app.batch_messages.pacer;
        let answers = std::mem::replace(&mut course.answers, app.standing.answers());
        let endpoint = app.pick_endpoint();
        let url = course.urls[endpoint].get_or_insert_with(|| app.url(endpoint, &course.ask.conversation)).clone();
        course.clock_offset = app.standing.clock_offset();
        let request = app.request(url, course.clock_offset);
        count(&self.counters.sent);
        let (sent, result) = {
            let _in_flight = InFlight::enter(&self.counters);
            let (timeout, most) = (self.settings.timeout, app.settings.max_response);
            exchange(&app.http, request, course.body.clone(), slot, pacer, timeout, most).await
        };
        let Some(sent) = sent else {
            self.counters.sent.fetch_sub(1, Ordering::Relaxed);
            course.answers = answers;
            return Step::Again;
        };
        if result.as_ref().map_or_else(|failed| failed.answered, |_| true) {
            app.standing.answered();
        }
        let counts = app.standing.answers() != answers;
        let took = sent.elapsed();
        let received = match result {
            Ok(received) => received,
            Err(failed) => {
                let failed = failed.through(app.proxy_of(endpoint));
                return self.on_failure(course, endpoint, sent, failed, counts);
            }
        };
        self.counters.took(took);
        self.counters.bytes.fetch_add(received.body.len() as u64, Ordering::Relaxed);
        let fetched_at = jiff::Timestamp::now().as_millisecond();
        let question = Question {
            key: course.ask.key.as_str(),
            conversation: &course.ask.conversation.to_string(),
            conversation_type: course.ask.conversation.conversation_type.number(),
            refs: &course.ask.refs,
            fetched_at,
            raw: self.raw,
        };
        match decode(&received.body, &question) {
            Err(broken) => {
                let message = format!("the answer of {} bytes cannot be read: {broken}", received.body.len());
                self.on_failure(course, endpoint, sent, Failed::new(Fault::Broken, message), counts)
            }
            Ok(Reply::Answer(decoded)) => {
                app.endpoint_worked(endpoint);
                pacer.pass(sent);
                app.standing.proved();
                count(&self.counters.ok);
                self.succeeded(waited, took);
                Step::Done(Outcome::Answered(Answer {
                    rows: Arc::new(decoded.rows),
                    archived: decoded.archived,
                    verdicts: decoded.verdicts,
                    unrequested: decoded.unrequested,
                    repeated: decoded.repeated,
                    attempts: course.sent + 1,
                    bytes: received.body.len() as u64,
                    fetched_at,
                    latency: took,
                }))
            }
            Ok(Reply::Code(code, message)) => {
                app.endpoint_worked(endpoint);
                if reaction(code) != Reaction::Pause {
                    pacer.pass(sent);
                }
                self.on_code(course, code, message, &received, sent, (waited, took))
            }
        }
    }

    fn succeeded(&self, waited: Duration, took: Duration) {
        self.outage.succeeded();
        self.limiter.succeeded(waited, took);
        self.app.batch_messages.remember_concurrency(self.limiter.target());
    }

    /// No answer of the API's.
    fn on_failure(
        &self,
        course: &mut Course<'_>,
        endpoint: usize,
        sent: Instant,
        failed: Failed,
        counts: bool,
    ) -> Step {
        let app = &*self.app;
        let Failed { fault, message, retry_after, .. } = failed;
        let remedy = remedy(fault);
        if remedy.overload {
            self.limiter.overloaded(sent);
        }
        if remedy.pause {
            return self.pause(sent, retry_after, None, &message);
        }
        app.batch_messages.pacer.pass(sent);
        let elsewhere = app.endpoint_failed(endpoint, remedy.next_endpoint);
        tracing::debug!(endpoint = app.settings.endpoints[endpoint].as_str(), error = message, "a request failed");
        self.retry(course, Setback { code: None, message, told: retry_after, elsewhere }, counts)
    }

    /// The API said anything but 200.
    fn on_code(
        &self,
        course: &mut Course<'_>,
        code: i64,
        message: String,
        received: &Received,
        sent: Instant,
        (waited, took): (Duration, Duration),
    ) -> Step {
        let standing = &self.app.standing;
        let alone = course.ask.refs.len() <= 1;
        let refusal = match reaction(code) {
            // Decoding reads 200 as an answer, so it never comes here.
            Reaction::Read | Reaction::Permanent => Refusal::Permanent,
            Reaction::Retry => {
                if is_overload(code) {
                    self.limiter.overloaded(sent);
                }
                let setback = Setback { code: Some(code), message, told: None, elsewhere: false };
                return self.retry(course, setback, true);
            }
            Reaction::Pause => return self.pause(sent, None, Some(code), &message),
            Reaction::Stop => return Step::Stop(Stop::Credentials { code, message }),
            Reaction::OtherOwner => {
                standing.proved();
                self.succeeded(waited, took);
                Refusal::OtherOwner
            }
            Reaction::Split if alone => Refusal::Permanent,
            Reaction::Split => Refusal::Split { probe: false },
            Reaction::Doubt => {
                if !course.clock_corrected
                    && received.date.is_some_and(|date| standing.correct_clock(date, course.clock_offset))
                {
                    course.clock_corrected = true;
                    tracing::warn!("this machine's clock differs from the server's by more than a minute: corrected");
                    return Step::Again;
                }
                if alone && standing.doubted(course.ask.batch, &message) {
                    return Step::Stop(Stop::Credentials { code, message });
                }
                let probe = !standing.is_proven();
                if probe && !alone {
                    standing.begin_probe();
                }
                if alone { Refusal::Permanent } else { Refusal::Split { probe } }
            }
        };
        standing.succeeded();
        Step::Done(Outcome::Refused { code, message, refusal, attempts: course.sent + 1 })
    }

    /// Over the rate: all requests of this call pause.
    fn pause(&self, sent: Instant, told: Option<Duration>, code: Option<i64>, message: &str) -> Step {
        count(&self.counters.throttled);
        let pacer = &self.app.batch_messages.pacer;
        let pause = pacer.refuse(sent, told);
        let (_, allowed, _) = pacer.look();
        tracing::info!(code, ?pause, allowed, message, "over the rate limit: all requests pause");
        self.unless_hopeless(message).map_or(Step::Again, Step::Stop)
    }

    /// An attempt failed. Whether it counts: an outage is no failure of the batch, so it does only if something was
    /// answered, to whichever request of the app, since the batch was sent before.
    fn retry(&self, course: &mut Course<'_>, setback: Setback, counts: bool) -> Step {
        course.sent += 1;
        course.attempts += u32::from(counts);
        match self.unless_hopeless(&setback.message) {
            Some(stop) => Step::Stop(stop),
            None => Step::Retry(setback),
        }
    }

    /// Counts a failure; the end of the run when nothing has succeeded for too long.
    fn unless_hopeless(&self, message: &str) -> Option<Stop> {
        let gap = self.settings.timeout + self.app.settings.patience.longest_backoff;
        let (since, tried_for) = self.outage.failed(self.app.standing.successes(), Instant::now(), gap, message);
        (tried_for >= self.settings.give_up_after).then(|| Stop::Unreachable {
            since,
            tried_for,
            last_error: message.to_owned(),
        })
    }

    /// What the API said to single references (code 414) if nothing ever succeeded: when those were all there were, it
    /// is the credentials.
    pub fn credentials_in_doubt(&self) -> Option<(i64, String)> {
        self.app.standing.doubt().map(|message| (414, message))
    }

    /// Whether a batch was answered [`Refusal::Split`] with `probe`, and its parts are not yet said to be queued: to send
    /// another batch before one of its references would cost requests and tell nothing.
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
