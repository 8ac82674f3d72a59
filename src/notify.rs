//! Tells others how runs went. Nothing here changes how they went: what fails is a warning, and all endpoints together
//! delay a command by ten seconds at most.
//!
//! A destination of metrics is a module and an arm in [`Notifier::new`].

mod file;
mod hooks;
mod http;
mod otlp;
mod patience;
mod ping;
mod pushgateway;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::task::JoinHandle;

use self::file::MetricsFile;
use self::http::Http;
use self::patience::Patience;
use self::ping::Ping;
use self::pushgateway::Pushgateway;
use crate::config::{self, Hooks, Metrics, Proxies, Secret};
use crate::metrics::JobMetrics;
use crate::model::summary::{JobSummary, Summary};
use crate::model::trace::Trace;
use crate::panics::caught;

/// The run of a job that has ended.
pub struct Ended<'a> {
    /// How it ended.
    pub summary: &'a JobSummary,
    /// Its metrics.
    pub metrics: &'a JobMetrics,
    /// Where its time went.
    pub trace: &'a Trace,
}

/// Somebody who is told of every job whose run has ended.
#[async_trait]
trait Destination: Send + Sync {
    /// What it is called in a warning; no secret.
    fn name(&self) -> String;

    /// Whether it waits for nobody.
    fn is_local(&self) -> bool {
        false
    }

    /// Tells it. The error holds no secret.
    async fn tell(&self, ended: &Ended<'_>) -> Result<(), String>;
}

/// Everybody who is told.
pub struct Notifier {
    destinations: Vec<Box<dyn Destination>>,
    http: Http,
    with_destinations: Patience,
    with_monitors: Patience,
}

/// A monitor that was told that a run begins.
#[derive(Default)]
pub struct Monitored(Option<(Ping, JoinHandle<Result<(), String>>)>);

impl Notifier {
    /// Those that these settings name, reached through these proxies. `jobs` are the jobs of the configuration.
    pub fn new(settings: &Metrics, proxies: &Proxies, jobs: Vec<String>) -> Self {
        let mut destinations: Vec<Box<dyn Destination>> = Vec::new();
        let http = Http::new(proxies);
        if let Some(path) = &settings.file {
            destinations.push(Box::new(MetricsFile::new(path.clone(), jobs)));
        }
        if let Some(url) = look_up(settings.pushgateway.as_ref(), "the Pushgateway") {
            destinations.push(Box::new(Pushgateway::new(url, http.clone())));
        }
        match &settings.otlp {
            config::Otlp::Off => {}
            config::Otlp::Environment => destinations.push(Box::new(otlp::Otlp::new(None, http.clone()))),
            config::Otlp::At(url) => {
                let url = look_up(Some(url), "the OTLP collector");
                destinations.extend(url.map(|url| Box::new(otlp::Otlp::new(Some(url), http.clone())) as _));
            }
        }
        Self { destinations, http, with_destinations: Patience::default(), with_monitors: Patience::default() }
    }

    /// Whether nobody is told of metrics.
    pub fn is_idle(&self) -> bool {
        self.destinations.is_empty()
    }

    /// Tells that the run of a job has ended.
    pub async fn ended(&self, ended: &Ended<'_>) {
        let patience = &self.with_destinations;
        let tell = async |destination: &dyn Destination| {
            let telling = caught(destination.tell(ended)).map(|told| told.unwrap_or_else(|died| Err(died.to_string())));
            let told = if destination.is_local() { telling.await } else { patience.within(telling).await };
            told.unwrap_or_else(|why| warn(Some(&ended.summary.job), &destination.name(), &why));
        };
        patience.spend(join_all(self.destinations.iter().map(|destination| tell(destination.as_ref())))).await;
    }

    /// Tells a monitor that a run begins, and does not wait for it.
    pub fn begins(&self, settings: &config::Ping) -> Monitored {
        let url = look_up(settings.url.as_ref(), "the monitor");
        let ping = url.map(|url| Ping::new(url, settings.on.clone(), self.http.clone()));
        Monitored(ping.map(|ping| (ping.clone(), tokio::spawn(ping.begins()))))
    }

    /// Tells a monitor how the runs of these jobs ended, the gravest of them with this exit code.
    pub async fn ends(&self, monitored: Monitored, jobs: &[JobSummary], exit_code: u8) {
        let Some((ping, beginning)) = monitored.0 else { return };
        let (patience, stop) = (&self.with_monitors, beginning.abort_handle());
        let telling = caught(async {
            // The monitor hears of the beginning first.
            let begun = beginning.await.unwrap_or_else(|_| Err("the program gave it up".to_owned()));
            begun.and(ping.ends(jobs, exit_code).await)
        });
        let telling = telling.map(|told| told.unwrap_or_else(|died| Err(died.to_string())));
        let told = patience.spend(patience.within(telling)).await;
        stop.abort();
        told.unwrap_or_else(|why| warn(None, "the monitor", &why));
    }

    /// Runs the hooks of a command that has ended with this exit code.
    pub async fn hooks(&self, hooks: &Hooks, summary: &Summary, exit_code: u8) {
        match serde_json::to_string(summary) {
            Ok(text) => hooks::run(hooks, exit_code, &text).await,
            Err(error) => warn(None, "hooks", &error.to_string()),
        }
    }
}

fn look_up(url: Option<&Secret>, who: &str) -> Option<secrecy::SecretString> {
    url?.look_up().map_err(|error| warn(None, who, &error.to_string())).ok()
}

fn warn(job: Option<&str>, who: &str, why: &str) {
    tracing::warn!(job, "{who} could not be told how the run went, which changes nothing else: {why}");
}
