//! NATS: the one file that knows the library.
//!
//! | name | what | who says it |
//! |---|---|---|
//! | stream `<prefix>_<job>`, subjects `<prefix>.<job>.batches.<number>` | batches that wait for a worker: a work queue | the coordinator |
//! | `<prefix>.<job>.results` | where a result is | workers |
//! | `<prefix>.<job>.shares` | requests for a share of the quota, with their answers | workers |
//! | `<prefix>.<job>.orders` | what all workers are told | the coordinator |

use std::collections::HashSet;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use async_nats::jetstream::{self, AckKind, Context, message::PublishMessage};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, Subscriber};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret as _;
use url::Url;

use crate::config::Fleet;

/// The name of the consumer that all workers of a job share.
const CONSUMER: &str = "workers";
/// The most batches that wait for workers or are with them.
pub(super) const MOST_OUT: usize = 100_000;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long NATS remembers which batches were published, so that one that is sent twice is there once.
const REMEMBERED: Duration = Duration::from_mins(2);

/// Why NATS cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NatsError {
    /// The configuration. Exit 2.
    #[error("{0}")]
    Unusable(String),
    /// Credentials. Exit 4.
    #[error("NATS refuses the credentials of `fleet`: {0}")]
    Denied(String),
    /// Anything else. It may pass.
    #[error("{doing}: {why}")]
    Failed { doing: String, why: String },
}

/// Says what was being done when something failed.
trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, NatsError>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, NatsError> {
        self.map_err(|error| NatsError::Failed { doing: what.to_owned(), why: error.to_string() })
    }
}

/// A connection, for one job.
#[derive(Debug)]
pub(crate) struct Nats {
    client: Client,
    jetstream: Context,
    stream: String,
    subject: String,
    replicas: usize,
    redeliver_after: Duration,
}

impl Nats {
    /// Connects. A worker waits `patiently` for a server that is not there yet.
    pub(crate) async fn connect(fleet: &Fleet, job: &str, patiently: bool) -> Result<Self, NatsError> {
        // Another part of the process may have installed it already, which does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let looked_up =
            |secret: &crate::config::Secret| secret.look_up().map_err(|error| NatsError::Unusable(error.to_string()));
        let urls = looked_up(&fleet.nats)?;
        let mut options = ConnectOptions::new()
            .name(format!("yunxin-archiver {job}"))
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE))
            .event_callback(|event| async move {
                match event {
                    Event::Connected => tracing::debug!("connected to NATS"),
                    Event::Disconnected => tracing::warn!("the connection to NATS broke: it is made again"),
                    event => tracing::debug!(%event, "NATS"),
                }
            });
        if let Some(credentials) = &fleet.credentials {
            // A looked-up secret ends without a line break, and the library wants one after the last line.
            let file = format!("{}\n", looked_up(credentials)?.expose_secret());
            options = options.credentials(&file).map_err(|_| {
                let what = "is no credentials file of NATS, which holds a JWT and a seed";
                NatsError::Unusable(credentials.error(what).to_string())
            })?;
        }
        if let Some(path) = &fleet.ca_file {
            options = options.add_root_certificates(path.clone());
        }
        if patiently {
            options = options.retry_on_initial_connect();
        }
        let mut servers = Vec::new();
        for url in urls.expose_secret().split(',') {
            let mut url = Url::parse(url.trim()).map_err(|_| {
                NatsError::Unusable(
                    fleet.nats.error("is no URL of a NATS server, such as nats://nats.example:4222").to_string(),
                )
            })?;
            let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            options = match (url.username(), url.password()) {
                ("", None) => options,
                (user, Some(password)) => options.user_and_password(decoded(user), decoded(password)),
                (token, None) => options.token(decoded(token)),
            };
            // The library takes neither from a URL, and may log it.
            url.set_username("").ok();
            url.set_password(None).ok();
            servers.push(url.to_string());
        }
        let hosts = servers.join(", ");
        let client = options.connect(servers).await.map_err(|error| match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                NatsError::Denied(error.kind().to_string())
            }
            // What the library says of an address may quote it.
            kind => NatsError::Failed {
                doing: format!("connecting to NATS at {hosts} (`fleet.nats`)"),
                why: format!("{kind}; is nats-server running there, and can this machine reach it?"),
            },
        })?;
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(PATIENCE);
        Ok(Self {
            client,
            jetstream,
            stream: format!("{}_{job}", fleet.prefix),
            subject: format!("{}.{job}", fleet.prefix),
            replicas: fleet.replicas,
            redeliver_after: fleet.redeliver_after,
        })
    }

    /// Whether it is connected at present.
    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// How often batches are renewed that a worker holds.
    pub(super) fn renew_every(&self) -> Duration {
        self.redeliver_after / 3
    }

    /// Makes the queue if it is missing. Returns a sentence about it.
    pub(crate) async fn prepare(&self) -> Result<String, NatsError> {
        let Self { stream: name, subject, .. } = self;
        let failed = |error: String| NatsError::Failed {
            doing: format!("making the stream {name} in NATS"),
            why: format!(
                "{error}. Either let this user make it, or make it yourself: `nats stream add {name} --subjects \
                 '{subject}.batches.>' --retention work --storage file --dupe-window 2m --defaults`, and in it the consumer \
                 `nats consumer add {name} {CONSUMER} --pull --ack explicit --wait {}s --max-pending {MOST_OUT} --defaults`",
                self.redeliver_after.as_secs()
            ),
        };
        let config = Config {
            name: name.clone(),
            subjects: vec![format!("{subject}.batches.>")],
            retention: RetentionPolicy::WorkQueue,
            num_replicas: self.replicas,
            duplicate_window: REMEMBERED,
            ..Config::default()
        };
        let stream = self.jetstream.get_or_create_stream(config).await.map_err(|error| failed(error.to_string()))?;
        let found = &stream.cached_info().config;
        if found.retention != RetentionPolicy::WorkQueue {
            return Err(failed("there is a stream of this name, and it is no work queue".to_owned()));
        }
        let consumer = pull::Config {
            durable_name: Some(CONSUMER.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.redeliver_after,
            max_ack_pending: MOST_OUT as i64,
            ..pull::Config::default()
        };
        stream.create_consumer(consumer).await.map_err(|error| failed(error.to_string()))?;
        let server = self.client.server_info();
        Ok(format!("NATS {}, stream {name}", server.version))
    }

    /// Removes every batch from the queue.
    pub(super) async fn purge(&self) -> Result<(), NatsError> {
        let stream = self.jetstream.get_stream_no_info(&self.stream).await.doing("emptying the queue")?;
        stream.purge().await.doing("emptying the queue")?;
        Ok(())
    }

    /// Puts a batch into the queue, once for each `id`.
    pub(super) async fn publish(&self, number: i64, id: &str, content: Vec<u8>) -> Result<(), NatsError> {
        let message = PublishMessage::build().payload(content.into()).message_id(id);
        let subject = format!("{}.batches.{number}", self.subject);
        let stored = self.jetstream.send_publish(subject, message).await.doing("publishing a batch")?;
        stored.await.doing("publishing a batch")?;
        Ok(())
    }

    /// How many batches are in the queue or with workers.
    pub(super) async fn queued(&self) -> Result<u64, NatsError> {
        let stream = self.jetstream.get_stream(&self.stream).await.doing("looking at the queue")?;
        Ok(stream.cached_info().state.messages)
    }

    /// The numbers of the batches that are in the queue or with workers.
    pub(super) async fn queued_numbers(&self) -> Result<HashSet<i64>, NatsError> {
        let stream = self.jetstream.get_stream(&self.stream).await.doing("looking at the queue")?;
        let subjects =
            stream.info_with_subjects(format!("{}.batches.>", self.subject)).await.doing("looking at the queue")?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.doing("looking at the queue")?;
        Ok(subjects.iter().filter_map(|(subject, _)| subject.rsplit('.').next()?.parse().ok()).collect())
    }

    /// Takes up to `most` batches from the queue. Waits for the first one for at most `wait`.
    pub(super) async fn take(&self, most: usize, wait: Duration) -> Result<Vec<Taken>, NatsError> {
        const WHAT: &str = "taking batches from the queue";
        let consumer: PullConsumer =
            self.jetstream.get_consumer_from_stream(CONSUMER, &self.stream).await.doing(WHAT)?;
        let there = consumer.fetch().max_messages(most).messages().await.doing(WHAT)?;
        let mut taken: Vec<_> = there.try_collect().await.doing(WHAT)?;
        if taken.is_empty() {
            let first = consumer.batch().max_messages(1).expires(wait).messages().await.doing(WHAT)?;
            taken = first.try_collect().await.doing(WHAT)?;
        }
        Ok(taken.into_iter().map(Taken).collect())
    }

    /// What workers announce.
    pub(super) async fn results(&self) -> Result<Inbox, NatsError> {
        self.subscribe("results").await
    }

    /// Requests for shares.
    pub(super) async fn share_requests(&self) -> Result<Inbox, NatsError> {
        self.subscribe("shares").await
    }

    /// What all workers are told.
    pub(super) async fn orders(&self) -> Result<Inbox, NatsError> {
        self.subscribe("orders").await
    }

    async fn subscribe(&self, what: &str) -> Result<Inbox, NatsError> {
        let subject = format!("{}.{what}", self.subject);
        let messages = self.client.subscribe(subject).await.doing("listening")?;
        self.client.flush().await.doing("listening")?;
        Ok(Inbox { messages, client: self.client.clone() })
    }

    /// Says where a result is.
    pub(super) async fn announce(&self, content: Vec<u8>) -> Result<(), NatsError> {
        self.say("results", content).await
    }

    /// Tells all workers something.
    pub(super) async fn order(&self, content: Vec<u8>) -> Result<(), NatsError> {
        self.say("orders", content).await
    }

    async fn say(&self, what: &str, content: Vec<u8>) -> Result<(), NatsError> {
        let doing = format!("speaking of {what}");
        self.client.publish(format!("{}.{what}", self.subject), content.into()).await.doing(&doing)?;
        let flushed = tokio::time::timeout(PATIENCE, self.client.flush()).await.doing(&doing)?;
        flushed.doing(&doing)
    }

    /// Asks the coordinator for a share. Returns its answer.
    pub(super) async fn ask_share(&self, content: Vec<u8>) -> Result<Bytes, NatsError> {
        let answer = self.client.request(format!("{}.shares", self.subject), content.into()).await;
        Ok(answer.doing("asking for a share of the quota")?.payload)
    }
}

/// Messages as they come. They may be lost, and come twice.
#[derive(Debug)]
pub(super) struct Inbox {
    messages: Subscriber,
    client: Client,
}

impl Inbox {
    /// The next message. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Option<Received> {
        let message = self.messages.next().await?;
        Some(Received { content: message.payload, reply: message.reply, client: self.client.clone() })
    }
}

/// A message.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) content: Bytes,
    reply: Option<async_nats::Subject>,
    client: Client,
}

impl Received {
    /// Answers it, if an answer is wanted.
    pub(super) async fn answer(self, content: Vec<u8>) {
        if let Some(reply) = self.reply
            && let Err(error) = self.client.publish(reply, content.into()).await
        {
            tracing::debug!(%error, "an answer could not be sent");
        }
    }
}

/// A batch that a worker has taken from the queue. It comes back there unless it is renewed.
#[derive(Debug)]
pub(super) struct Taken(jetstream::Message);

impl Taken {
    pub(super) fn content(&self) -> &[u8] {
        &self.0.payload
    }

    /// Whether a worker had it before.
    pub(super) fn came_back(&self) -> bool {
        self.0.info().is_ok_and(|info| info.delivered > 1)
    }

    /// Keeps it for longer.
    pub(super) async fn renew(&self) {
        self.say(AckKind::Progress).await;
    }

    /// It is done, or of no use.
    pub(super) async fn done(&self) {
        self.say(AckKind::Ack).await;
    }

    /// Gives it back, for others to take after a while.
    pub(super) async fn give_back(&self, after: Duration) {
        self.say(AckKind::Nak((!after.is_zero()).then_some(after))).await;
    }

    async fn say(&self, kind: AckKind) {
        if let Err(error) = self.0.ack_with(kind).await {
            tracing::debug!(%error, "NATS could not be told about a batch");
        }
    }
}
