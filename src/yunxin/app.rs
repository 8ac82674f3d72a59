//! What all jobs of one app share: its quotas, endpoints, connections and standing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Method, Request, redirect};
use tokio::sync::Notify;
use url::Url;

use super::endpoints::Endpoints;
use super::pace::Pacer;
use super::request;
use super::settings::{AppSettings, Patience};
use super::sign::Signature;
use super::standing::{Standing, local_clock};
use crate::model::reference::ConversationId;

/// Connections that have been idle for this long are closed.
const IDLE: Duration = Duration::from_mins(1);

/// Why no client can be made of these settings.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No endpoint at all.
    #[error("the app has no endpoint")]
    NoEndpoint,
    /// An endpoint that is no URL of a host.
    #[error("endpoint {0:?} is no http:// or https:// address of a host")]
    Endpoint(String),
    /// An `AppKey` that no header can hold.
    #[error("the app key holds characters that no HTTP header can hold")]
    AppKey,
    /// Certificates that cannot be read.
    #[error("the CA bundle holds no PEM certificates that can be read")]
    CaBundle(#[source] Option<reqwest::Error>),
    /// TLS could not be set up.
    #[error("HTTP cannot be set up")]
    Http(#[source] reqwest::Error),
}

/// One app in this process.
#[derive(Debug)]
pub struct App {
    pub(super) settings: AppSettings,
    pub(super) http: reqwest::Client,
    pub(super) batch_messages: Call,
    pub(super) standing: Standing,
    key_header: HeaderValue,
    endpoints: Mutex<Endpoints>,
    /// Signalled when the API refuses a request because of the rate.
    throttled: Notify,
}

/// One call of the API. The service counts the requests of each call separately, so each call has a pace of its own and is
/// paused alone.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) pacer: Arc<Pacer>,
    /// How many requests at a time were reached; 0 before anything succeeded.
    concurrency: AtomicUsize,
}

impl Call {
    /// At most `limit` requests in any second.
    fn new(limit: u32, patience: Patience) -> Self {
        Self { pacer: Arc::new(Pacer::new(limit, patience)), concurrency: AtomicUsize::new(0) }
    }

    pub(super) fn earlier_concurrency(&self) -> Option<usize> {
        Some(self.concurrency.load(Ordering::Relaxed)).filter(|reached| *reached > 0)
    }

    pub(super) fn remember_concurrency(&self, reached: usize) {
        self.concurrency.store(reached, Ordering::Relaxed);
    }
}

impl App {
    /// Checks the settings and sets up HTTP. Nothing is sent.
    pub fn new(settings: AppSettings) -> Result<Arc<Self>, ClientError> {
        if settings.endpoints.is_empty() {
            return Err(ClientError::NoEndpoint);
        }
        for url in &settings.endpoints {
            if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
                return Err(ClientError::Endpoint(url.to_string()));
            }
        }
        let app_key = HeaderValue::from_str(&settings.app_key).map_err(|_| ClientError::AppKey)?;
        let patience = settings.patience;
        Ok(Arc::new(Self {
            http: http_client(&settings)?,
            batch_messages: Call::new(settings.rate_limit, patience),
            standing: Standing::default(),
            key_header: app_key,
            endpoints: Mutex::new(Endpoints::new(settings.endpoints.len(), patience.endpoint_return)),
            throttled: Notify::new(),
            settings,
        }))
    }

    /// From now on at most `share` requests are sent in any second, and none from `until` on: the app's quota is shared
    /// with other processes, whoever grants the shares. The clock is looked at right before each request leaves.
    pub fn share(&self, share: u32, until: Instant) {
        self.batch_messages.pacer.share(share, until);
    }

    /// When the oldest request was sent that has not ended. What was sent before it has arrived.
    pub fn oldest_open(&self) -> Option<Instant> {
        self.batch_messages.pacer.oldest_open()
    }

    /// Pauses all requests, because another process of the app was refused for its rate.
    pub fn pause(&self, pause: Duration) {
        self.batch_messages.pacer.pause(pause);
    }

    /// Waits until the API refuses a request because of the rate.
    pub async fn throttled(&self) {
        self.throttled.notified().await;
    }

    pub(super) fn note_throttled(&self) {
        self.throttled.notify_one();
    }

    /// How many seconds the service's clock was ahead of this machine's by its last answer. `None` if none told.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.standing.clock_ahead()
    }

    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn endpoint_count(&self) -> usize {
        self.settings.endpoints.len()
    }

    pub(super) fn pick_endpoint(&self) -> usize {
        self.endpoints().pick(Instant::now())
    }

    pub(super) fn endpoint_worked(&self, index: usize) {
        self.endpoints().worked(index);
    }

    pub(super) fn endpoint_failed(&self, index: usize, leave: bool) -> bool {
        self.endpoints().failed(index, leave, Instant::now())
    }

    /// The name of the proxy before an endpoint.
    pub(super) fn proxy_of(&self, endpoint: usize) -> Option<&str> {
        Some(self.settings.proxies.get(endpoint)?.as_ref()?.name.as_str())
    }

    pub(super) fn url(&self, endpoint: usize, conversation: &ConversationId) -> Url {
        request::url(&self.settings.endpoints[endpoint], self.settings.api_version, conversation)
    }

    /// A request without its body, signed now by a clock that is `clock_offset` seconds ahead of ours.
    pub(super) fn request(&self, url: Url, clock_offset: i64) -> Request {
        let signature = Signature::new(&self.settings.app_secret, local_clock() + clock_offset, rand::random());
        let mut request = Request::new(Method::POST, url);
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("appkey", self.key_header.clone());
        insert(headers, "nonce", signature.nonce);
        insert(headers, "curtime", signature.curtime);
        insert(headers, "checksum", signature.checksum);
        insert(headers, "x-custom-traceid", signature.trace_id);
        request
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, digits: String) {
    if let Ok(value) = HeaderValue::try_from(digits) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn http_client(settings: &AppSettings) -> Result<reqwest::Client, ClientError> {
    // Another part of the process may have installed it already, which does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("yunxin-archiver/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .gzip(true)
        .no_proxy()
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(1024)
        .connect_timeout(settings.connect_timeout);
    if settings.proxies.iter().any(Option::is_some) {
        let origins = settings.endpoints.iter().map(Url::origin);
        let through: Vec<_> = origins.zip(settings.proxies.clone()).collect();
        builder = builder.proxy(reqwest::Proxy::custom(move |url| {
            let (_, proxy) = through.iter().find(|(origin, _)| *origin == url.origin())?;
            proxy.as_ref().map(|proxy| proxy.url.clone())
        }));
    }
    if let Some(bundle) = &settings.ca_bundle {
        let certificates = Certificate::from_pem_bundle(bundle).map_err(|error| ClientError::CaBundle(Some(error)))?;
        if certificates.is_empty() {
            return Err(ClientError::CaBundle(None));
        }
        builder = builder.tls_certs_only(certificates);
    } else if settings.endpoints.iter().all(|url| url.scheme() == "http") {
        // Without encryption no root certificate is needed, and a machine may have none.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(ClientError::Http)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_refusal_of_one_call_pauses_that_call_alone() {
        let pause = Duration::from_hours(1);
        let patience = Patience { throttle_pause: pause, longest_throttle_pause: pause, ..Patience::default() };
        let (one, other) = (Call::new(1000, patience), Call::new(1000, patience));
        let sent = one.pacer.acquire().await;
        one.pacer.refuse(sent, None);
        for _ in 0..3 {
            other.pacer.acquire().await;
        }
        assert!(one.pacer.acquire().now_or_never().is_none());
    }
}
