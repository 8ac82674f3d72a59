//! Pings of a monitor, as healthchecks.io understands them. They carry figures and no words of others.

use std::fmt::Write as _;

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::http::Http;
use crate::config::{self, PingAs};
use crate::model::summary::JobSummary;

/// The URL of a monitor.
#[derive(Clone)]
pub(super) struct Ping {
    url: SecretString,
    on: config::PingOn,
    http: Http,
}

impl Ping {
    pub(super) fn new(url: SecretString, on: config::PingOn, http: Http) -> Self {
        Self { url, on, http }
    }

    /// Says that a run begins.
    pub(super) async fn begins(self) -> Result<(), String> {
        self.send(Some("start"), String::new()).await
    }

    /// Says how the runs of these jobs ended, the gravest of them with this exit code.
    pub(super) async fn ends(&self, jobs: &[JobSummary], exit_code: u8) -> Result<(), String> {
        let said = match exit_code {
            0 => PingAs::Success,
            3 => self.on.partial,
            5 => self.on.stopped,
            75 => self.on.busy,
            _ => PingAs::Fail,
        };
        let path = match said {
            PingAs::Success => None,
            PingAs::Fail => Some("fail"),
            PingAs::Log => Some("log"),
        };
        self.send(path, jobs.iter().map(figures).collect()).await
    }

    async fn send(&self, path: Option<&str>, body: String) -> Result<(), String> {
        let mut url = Url::parse(self.url.expose_secret()).map_err(|_| "its URL is none".to_owned())?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.http.send(Method::POST, url, |request| request.body(body.clone())).await
    }
}

/// The figures of a job, in a few lines.
fn figures(job: &JobSummary) -> String {
    let seconds = job.finished_at.duration_since(job.started_at).as_secs_f64();
    let mut text = format!("{}: {}, exit {}, {seconds:.1} s\n", job.job, job.outcome.as_str(), job.exit_code);
    let mut row = |name: &str, counts: &[(&str, u64)]| {
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(text, "{name}: {}", counts.join(", "));
    };
    let r = &job.references;
    row("rows", &[("read", r.read), ("skipped", r.skipped), ("invalid", r.invalid), ("duplicate", r.duplicate)]);
    row("references", &[("archived", r.archived), ("failed", r.failed), ("pending", r.pending)]);
    let failures: Vec<(&str, u64)> = job.failures.iter().map(|(class, count)| (class.as_str(), *count)).collect();
    if !failures.is_empty() {
        row("new failures", &failures);
    }
    if !job.looks_wrong.is_empty() {
        row("looks wrong", &[("findings", job.looks_wrong.len() as u64)]);
    }
    let requests = &job.requests;
    row("requests", &[("sent", requests.sent), ("retried", requests.retried), ("throttled", requests.throttled)]);
    row("bytes", &[("received", job.bytes.received), ("written", job.bytes.written)]);
    text
}
