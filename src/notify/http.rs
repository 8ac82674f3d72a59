//! Requests to endpoints. No error shows more of a URL than its host.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, Response, StatusCode, redirect};
use tokio::time::sleep;
use url::Url;

use crate::config::Proxies;
use crate::retry::{Jitter, Policy};

/// A night is not called lost because of one lost packet. Whoever waits gives up before this does.
const TRIES: Policy = Policy {
    first: Duration::from_millis(250),
    factor: 2.0,
    longest: Duration::from_secs(2),
    jitter: Jitter::Full,
    attempts: Some(5),
};
/// How much of a body is read, in bytes, and a chunk more.
const MOST: usize = 64 << 10;

/// Sends requests.
#[derive(Debug, Clone)]
pub(super) struct Http {
    proxies: Arc<Proxies>,
}

/// Whom a client trusts, and as whom it shows itself, both as PEM.
#[derive(Clone, Default)]
pub(super) struct Trust {
    /// CA certificates instead of the platform's.
    pub(super) ca: Option<Vec<u8>>,
    /// A certificate with its private key.
    pub(super) identity: Option<Vec<u8>>,
}

impl Http {
    /// Sends through these proxies.
    pub(super) fn new(proxies: &Proxies) -> Self {
        Self { proxies: Arc::new(proxies.clone()) }
    }

    /// A client for the host of this URL.
    pub(super) fn client(&self, url: &Url, trust: &Trust) -> Result<Client, String> {
        // Another part of the process may have installed it already, which does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("yunxin-archiver/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy();
        if let Some(via) = self.proxies.of(url) {
            builder = builder.proxy(reqwest::Proxy::all(via.url.clone()).map_err(|error| describe(&error))?);
        }
        if url.scheme() == "http" {
            // Without encryption no root certificate is needed, and a machine may have none.
            builder = builder.tls_certs_only([]);
        } else if let Some(ca) = &trust.ca {
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(ca).map_err(|error| describe(&error))?);
        }
        if let Some(identity) = &trust.identity {
            builder = builder.identity(Identity::from_pem(identity).map_err(|error| describe(&error))?);
        }
        builder.build().map_err(|error| describe(&error.without_url()))
    }

    /// Sends a request until it succeeds or is refused for good. An answer's words are not told: they may quote the request,
    /// and with it a password.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<(), String> {
        let client = self.client(&url, &Trust::default())?;
        let mut tries = TRIES.start();
        loop {
            let (refused, may_pass) = match prepare(client.request(method.clone(), url.clone())).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    let status = answer.status();
                    let may_pass = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    (format!("it answered {status}"), may_pass)
                }
                Err(error) => (describe(&error.without_url()), true),
            };
            match tries.failed(true).filter(|_| may_pass) {
                Some(wait) => sleep(wait).await,
                None => return Err(refused),
            }
        }
    }
}

/// The body of an answer, of which no more is read than an endpoint has to say.
pub(super) async fn beginning(mut answer: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < MOST
        && let Some(chunk) = answer.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error without its URL, with its causes.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
