//! Metrics in a Pushgateway, each job in a group of its own.

use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::http::Http;
use super::{Destination, Ended};
use crate::metrics::text;

/// The type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) struct Pushgateway {
    url: SecretString,
    http: Http,
}

impl Pushgateway {
    pub(super) fn new(url: SecretString, http: Http) -> Self {
        Self { url, http }
    }
}

#[async_trait]
impl Destination for Pushgateway {
    fn name(&self) -> String {
        "the Pushgateway".to_owned()
    }

    async fn tell(&self, ended: &Ended<'_>) -> Result<(), String> {
        let metrics = ended.metrics;
        let mut url = Url::parse(self.url.expose_secret()).map_err(|_| "its URL is none".to_owned())?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["metrics", "job", metrics.job.as_str()]);
        }
        // What is not sent is to vanish from the group, except the last success, of which only the gateway may know.
        let method = if metrics.last_success.is_some() { Method::PUT } else { Method::POST };
        let body = text(std::slice::from_ref(metrics), "", |_| false);
        self.http.send(method, url, |request| request.header(CONTENT_TYPE, TEXT).body(body.clone())).await
    }
}
