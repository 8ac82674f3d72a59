//! What an app means: an AppKey, where its API is, and its quota.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use url::{Host, Url};

use super::document::AppDocument;
use super::proxy::Proxy;
use super::reading::Reading;
use super::secret::Reference;
use super::written::Written;

/// The version of the API in its paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiVersion {
    /// `v2.1`, the current one.
    V2_1,
    /// `v2`, the older spelling.
    V2,
}

impl ApiVersion {
    /// As it stands in the path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2_1 => "v2.1",
            Self::V2 => "v2",
        }
    }
}

/// One AppKey and its quota.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name in the file.
    pub name: String,
    /// The AppKey; see [`Config::app_key`](super::Config::app_key).
    pub app_key: Reference,
    /// The AppSecret; see [`Config::app_secret`](super::Config::app_secret).
    pub app_secret: Reference,
    /// Base URLs in order of preference, at least one. They may carry a path prefix and do not end in `/` beyond the root.
    pub endpoints: Vec<Url>,
    /// The API's version.
    pub api_version: ApiVersion,
    /// Requests per second of `batch_messages`.
    pub rate_limit: u32,
    /// CA certificates to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
    /// Through which proxy the API is asked; see [`Config::proxies`](super::Config::proxies).
    pub proxy: Proxy,
}

const CN: [&str; 2] = ["https://open.yunxinapi.com", "https://open-bak.yunxinapi.com"];
const SG: [&str; 2] = ["https://open-sg.yunxinapi.com", "https://open-sg-bak.yunxinapi.com"];

impl App {
    pub(super) fn read(
        reading: &mut Reading<'_>,
        name: &Written<String>,
        written: &Written<AppDocument>,
    ) -> Option<Self> {
        let key = format!("apps.{}", name.value);
        let app = &written.value;
        let app_key = reading.reference(
            &app.app_key,
            name.at,
            &format!("{key}.app_key"),
            "the AppKey, or env:NAME or file:PATH of it",
            |text| if text.is_empty() { Err("is empty".to_owned()) } else { Ok(()) },
        );
        let app_secret = reading.reference(
            &app.app_secret,
            name.at,
            &format!("{key}.app_secret"),
            "env:NAME or file:PATH of the AppSecret",
            |_| {
                Err("a secret never stands in this file: write env:NAME or file:PATH, \
                     and if this was the real one, reset it"
                    .to_owned())
            },
        );
        let region = reading.choice(&app.region, &format!("{key}.region"), CN, &[("cn", CN), ("sg", SG)]);
        let endpoints = match (&app.endpoints, &app.region) {
            (Some(endpoints), Some(region)) => {
                let message = "stands beside endpoints: write only one of the two";
                reading.mistake(region.at, &format!("{key}.region"), message);
                read_endpoints(reading, endpoints, &format!("{key}.endpoints"))
            }
            (Some(endpoints), None) => read_endpoints(reading, endpoints, &format!("{key}.endpoints")),
            (None, _) => region.iter().filter_map(|url| Url::parse(url).ok()).collect(),
        };
        let versions = [("v2.1", ApiVersion::V2_1), ("v2", ApiVersion::V2)];
        let api_version = reading.choice(&app.api_version, &format!("{key}.api_version"), ApiVersion::V2_1, &versions);
        let rate_limit = reading.number(&app.rate_limit, &format!("{key}.rate_limit"), 100, 1..=100_000) as u32;
        let ca_file = app.ca_file.is_some().then(|| reading.path(&app.ca_file, &format!("{key}.ca_file"), "."));
        let proxy = Proxy::read(reading, &app.proxy, name.at, &format!("{key}.proxy"));
        Some(Self {
            name: name.value.clone(),
            app_key: app_key?,
            app_secret: app_secret?,
            endpoints,
            api_version,
            rate_limit,
            ca_file,
            proxy: proxy?,
        })
    }
}

fn read_endpoints(reading: &mut Reading<'_>, written: &Written<Vec<Written<String>>>, key: &str) -> Vec<Url> {
    let mut endpoints: Vec<Url> = Vec::new();
    if written.value.is_empty() {
        reading.mistake(written.at, key, "is empty: write at least one URL, or a region instead");
    }
    for (n, leaf) in written.value.iter().enumerate() {
        let key = format!("{key}[{n}]");
        let Some(text) = reading.text(leaf, &key) else { continue };
        match endpoint(&text.value) {
            Ok(url) if endpoints.contains(&url) => reading.mistake(leaf.at, &key, "is the same URL a second time"),
            Ok(url) => endpoints.push(url),
            // The text itself may hold a password.
            Err(message) => reading.mistake(leaf.at, &key, message),
        }
    }
    endpoints
}

/// A base URL that may be asked: encrypted, or on this very machine.
fn endpoint(text: &str) -> Result<Url, &'static str> {
    let mut url = Url::parse(text).map_err(|_| "is no URL, such as https://open.yunxinapi.com")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("carries a user or password: an endpoint needs neither, requests are signed");
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err("is http to another machine: write https, http is for loopback only"),
        _ => return Err("is neither https nor http"),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("carries a query or fragment: a base URL is scheme, host, port and path prefix");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().as_ref().is_some_and(Ipv4Addr::is_loopback)
        }
        None => false,
    }
}

/// Whether a text can name an app or a job.
pub(super) fn check_name(reading: &mut Reading<'_>, name: &Written<String>, key: &str, what: &str) {
    let text = &name.value;
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let goes_on = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if !starts || !goes_on || text.len() > 64 {
        let message = format!(
            "{:?} cannot name {what}: up to 64 lower-case letters, digits, _ and -, beginning with a letter or digit",
            text.chars().take(64).collect::<String>()
        );
        reading.mistake(name.at, key, message);
    }
}

/// Says of apps with one AppKey that each would use the whole quota.
pub(super) fn note_shared_keys(reading: &mut Reading<'_>, apps: &[App]) {
    for (n, app) in apps.iter().enumerate() {
        if let Some(first) = apps[..n].iter().find(|first| first.app_key.same(&app.app_key)) {
            let message = format!(
                "is the AppKey of apps.{} as well: each of them paces on its own, and together they exceed the quota",
                first.name
            );
            reading.notes.push(app.app_key.mistake(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_reaches_this_machine_only() {
        for url in ["http://localhost:1", "http://127.0.0.1:8080", "http://127.9.9.9", "http://[::1]:1/nimserver"] {
            assert!(endpoint(url).is_ok(), "{url}");
        }
        for url in ["http://open.yunxinapi.com", "http://10.0.0.1", "http://localhost.evil.example", "http://0.0.0.0"] {
            assert!(endpoint(url).is_err(), "{url}");
        }
    }

    #[test]
    fn an_endpoint_keeps_its_path_prefix_without_a_last_slash() {
        assert_eq!(endpoint("https://h/nimserver/").as_ref().map(Url::as_str), Ok("https://h/nimserver"));
        assert_eq!(endpoint("https://h").as_ref().map(Url::as_str), Ok("https://h/"));
    }
}
