//! Settings of an app and of a job that fetches.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

pub use crate::config::{ApiVersion, Concurrency, Fetch as FetchSettings};

/// The app whose quota is used; shared by all its jobs.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// The `AppKey`, an identifier and no secret.
    pub app_key: String,
    /// The secret that signs; shown nowhere.
    pub app_secret: SecretString,
    /// Where the API is, the preferred one first. A path is kept as a prefix.
    pub endpoints: Vec<Url>,
    /// Which spelling of the call is used.
    pub api_version: ApiVersion,
    /// Requests per second of `batch_messages`. The service counts each call separately.
    pub rate_limit: u32,
    /// Certificates in PEM that are trusted instead of the platform's.
    pub ca_bundle: Option<Vec<u8>>,
    /// The proxies of the endpoints, in their order; an endpoint without one is asked directly.
    pub proxies: Vec<Option<Proxy>>,
    /// Connections that may be open at a time: [`Concurrency::Auto`] goes no further.
    pub connections: u16,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// The largest answer that is read, in bytes, decompressed.
    pub max_response: usize,
    /// Waiting times.
    pub patience: Patience,
}

/// A proxy before an endpoint.
#[derive(Clone)]
pub struct Proxy {
    /// Its URL, which may hold a user and password; shown nowhere.
    pub url: Url,
    /// Its URL without these.
    pub name: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl AppSettings {
    /// The settings with every default.
    pub fn new(app_key: impl Into<String>, app_secret: SecretString, endpoints: Vec<Url>) -> Self {
        Self {
            app_key: app_key.into(),
            app_secret,
            endpoints,
            api_version: ApiVersion::V2_1,
            rate_limit: 100,
            ca_bundle: None,
            proxies: Vec::new(),
            connections: u16::MAX,
            connect_timeout: Duration::from_secs(5),
            max_response: 64 << 20,
            patience: Patience::default(),
        }
    }
}

/// Waiting times, apart from those that a job chooses. Tests choose shorter ones.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The first retry waits at most this long; each further one may wait twice as long as the one before.
    pub backoff: Duration,
    /// No retry waits longer unless it is told to.
    pub longest_backoff: Duration,
    /// The first pause after being over the rate; it doubles while that repeats.
    pub throttle_pause: Duration,
    /// No such pause is longer.
    pub longest_throttle_pause: Duration,
    /// The longest wait that `Retry-After` can ask for.
    pub longest_told: Duration,
    /// After this long a failed endpoint is tried again.
    pub endpoint_return: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(30),
            throttle_pause: Duration::from_secs(10),
            longest_throttle_pause: Duration::from_mins(2),
            longest_told: Duration::from_mins(10),
            endpoint_return: Duration::from_secs(30),
        }
    }
}
