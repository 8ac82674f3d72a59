//! Tells others how runs went. Nothing here changes how they went: what fails is a warning, and all endpoints together
//! delay a command by ten seconds at most.
//!
//! A destination of metrics is a module and an arm in [`Notifier::new`].

mod file;
mod http;
mod patience;
mod pushgateway;

use std::path::PathBuf;

use async_trait::async_trait;
use futures_util::future::join_all;

use self::file::MetricsFile;
use self::http::Http;
use self::patience::Patience;
use self::pushgateway::Pushgateway;
use crate::config::{Metrics, Proxies};
use crate::metrics::JobMetrics;
use crate::panics::caught;

/// Somebody who is told of every job whose run has ended.
#[async_trait]
trait Destination: Send + Sync {
    /// What it is called in a warning; no secret.
    fn name(&self) -> String;

    /// Tells it. The error holds no secret.
    async fn tell(&self, metrics: &JobMetrics) -> Result<(), String>;
}

/// Everybody who is told.
pub struct Notifier {
    destinations: Vec<Box<dyn Destination>>,
    patience: Patience,
}

impl Notifier {
    /// Those that these settings name, reached through these proxies. `jobs` are the jobs of the configuration.
    pub fn new(settings: &Metrics, proxies: &Proxies, jobs: Vec<String>) -> Self {
        let mut destinations: Vec<Box<dyn Destination>> = Vec::new();
        if let Some(path) = &settings.file {
            destinations.push(Box::new(MetricsFile::new(PathBuf::clone(path), jobs)));
        }
        let http = Http::new(proxies);
        if let Some(url) = &settings.pushgateway {
            match url.look_up() {
                Ok(url) => destinations.push(Box::new(Pushgateway::new(url, http.clone()))),
                Err(error) => warn(None, "the Pushgateway", &error.to_string()),
            }
        }
        Self { destinations, patience: Patience::default() }
    }

    /// Whether nobody is told.
    pub fn is_idle(&self) -> bool {
        self.destinations.is_empty()
    }

    /// Tells that the run of a job has ended.
    pub async fn ended(&self, metrics: &JobMetrics) {
        let tell = async |destination: &dyn Destination| {
            let told = caught(self.patience.within(destination.tell(metrics))).await;
            let told = told.unwrap_or_else(|panicked| Err(panicked.to_string()));
            told.unwrap_or_else(|why| warn(Some(&metrics.job), &destination.name(), &why));
        };
        self.patience.spend(join_all(self.destinations.iter().map(|destination| tell(destination.as_ref())))).await;
    }
}

fn warn(job: Option<&str>, who: &str, why: &str) {
    tracing::warn!(job, "{who} could not be told how the run went, which changes nothing else: {why}");
}
