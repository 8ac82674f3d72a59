//! An app: an AppKey, where its API is, and its quota.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use url::Url;

use super::proxy::{Proxy, is_loopback};
use super::reader::Reader;
use super::scalar::Whole;
use super::secret::{Kind, Lookup, Secret};
use super::setting::{Scalar, text};

choice! {
    /// A region of the API, with a primary host and a backup.
    Region {
        /// Mainland China.
        Cn = "cn";
        /// Singapore.
        Sg = "sg";
    }
}

impl Region {
    fn endpoints(self) -> Vec<Url> {
        let hosts = match self {
            Self::Cn => ["https://open.yunxinapi.com", "https://open-bak.yunxinapi.com"],
            Self::Sg => ["https://open-sg.yunxinapi.com", "https://open-sg-bak.yunxinapi.com"],
        };
        hosts.iter().filter_map(|url| Url::parse(url).ok()).collect()
    }
}

choice! {
    /// The version of the API in its paths.
    ApiVersion {
        /// `/im/v2.1/…`, the current one.
        V2_1 = "v2.1";
        /// `/im/v2/…`, the older spelling.
        V2 = "v2";
    }
}

settings! {
    /// One AppKey and its quota.
    pub App {
        @name;
        /// The AppKey. It is an identifier and no secret, but no message quotes it.
        app_key: Secret as Lookup<AppKey>, sample "env:YUNXIN_APP_KEY";
        /// The AppSecret.
        app_secret: Secret as Lookup<AppSecret>, sample "env:YUNXIN_APP_SECRET";
        /// The region of the API: `cn` is mainland China, `sg` is Singapore. Each has a primary host and a backup.
        region: Region, default "cn", undigested "the digest has the endpoints";
        /// Base URLs of the API instead of a region, the preferred one first. A path prefix is kept. `https`, except on
        /// loopback (`localhost`, `127.0.0.0/8`, `::1`); no user, password, query or fragment.
        endpoints: Vec<Url> as Vec<Endpoint>, default "null";
        /// The version in the paths of the API.
        api_version: ApiVersion, default "v2.1";
        /// Requests per second of `batch_messages`, of all jobs of this app together. The service counts each call by
        /// itself. Your plan says how many.
        rate_limit: u32 as Whole<u32, 1, 100_000>, default "100";
        /// How long the service keeps messages, such as `365d`; `7d` on the free plan. Jobs then say which references
        /// would be gone before they are asked for, and ask for those first: [retention](operations.md#retention).
        retention: Option<Duration>, default "null", undigested "it changes no message";
        /// CA certificates (PEM) to trust instead of the platform's, also those of a proxy.
        ca_file: Option<PathBuf>, default "null";
        /// [The proxy](#proxies) to the API. A URL with a user or password must be `env:` or `file:`.
        proxy: Proxy, default "env";
    }
    check |app, reader, key| {
        let endpoints = format!("{key}.endpoints");
        if !reader.is_written(&endpoints) {
            app.endpoints = app.region.endpoints();
        } else if app.endpoints.is_empty() {
            reader.mistake(&endpoints, "is empty: write at least one URL, or a region instead");
        } else if reader.is_written(&format!("{key}.region")) {
            reader.mistake(&format!("{key}.region"), "stands beside endpoints: write only one of the two");
        }
    }
}

/// An AppKey.
pub(super) struct AppKey;

impl Kind for AppKey {
    const FORM: &'static str = "text";

    fn literal(text: &str) -> Result<(), String> {
        if text.is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
    }

    fn check(text: &str) -> Result<(), String> {
        // It goes out as a header.
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(())
        } else {
            Err("is no AppKey: it holds white space or special characters".to_owned())
        }
    }
}

/// An AppSecret.
pub(super) struct AppSecret;

impl Kind for AppSecret {
    const MAY_BE_LITERAL: bool = false;

    const FORM: &'static str = "`env:NAME` or `file:PATH`";

    fn literal(_: &str) -> Result<(), String> {
        Err("a secret never stands in this file: write env:NAME or file:PATH, and if this was the real one, reset it"
            .to_owned())
    }
}

/// A base URL that may be asked: encrypted, or on this very machine.
pub(super) struct Endpoint;

impl Scalar for Endpoint {
    type Value = Url;

    // It may hold a password.
    const QUOTED: bool = false;

    fn schema() -> Json {
        text("URLs")
    }

    fn parse(text: &str) -> Result<Url, String> {
        endpoint(text).map_err(str::to_owned)
    }

    fn canonical(value: &Url) -> Json {
        json!(value.as_str())
    }
}

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

/// Warns of apps with one AppKey, each of which would use the whole quota.
pub(super) fn note_shared_keys(reader: &mut Reader<'_>, apps: &[App]) {
    for (n, app) in apps.iter().enumerate() {
        if let Some(first) = apps[..n].iter().find(|first| first.app_key.same(&app.app_key)) {
            let message = format!(
                "is also the AppKey of apps.{}: each of them paces on its own, and together they exceed the quota",
                first.name
            );
            reader.notes.push(app.app_key.mistake(message));
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
