//! Who is told how runs went.

use std::path::PathBuf;

use url::Url;

use super::secret::{Kind, Lookup, Secret};

settings! {
    /// Where the metrics of runs go.
    pub Metrics {
        /// A file for the textfile collector of Prometheus' node_exporter, whose name must end in `.prom`. It is replaced as
        /// a whole after each job; jobs that did not run keep their lines. `run --metrics` names another for one run.
        file: Option<PathBuf>, default "null";
        /// The URL of a Pushgateway, such as `http://pushgateway:9091`. Each job has a group of its own, by the key `job`.
        /// With a user or password: `env:` or `file:`.
        pushgateway: Option<Secret> as Option<Lookup<BaseUrl>>, default "null";
    }
}

/// The URL that the paths of a service begin with.
pub(super) struct BaseUrl;

impl Kind for BaseUrl {
    const FORM: &'static str = "URL";

    fn literal(text: &str) -> Result<(), String> {
        let url = web(text)?;
        if url.username().is_empty() && url.password().is_none() && !text.contains('@') {
            return Self::check(text);
        }
        Err("a URL with a user or password never stands in this file: write env:NAME or file:PATH, \
             and if the password was the real one, change it"
            .to_owned())
    }

    fn check(text: &str) -> Result<(), String> {
        let url = web(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or fragment, and its path is to be continued".to_owned());
        }
        Ok(())
    }
}

/// A URL of the web; the error never quotes it.
fn web(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "is no http:// or https:// URL".to_owned())
}
