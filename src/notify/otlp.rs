//! Metrics and a trace of each run over OTLP, by HTTP with protobuf.
//!
//! The variables `OTEL_EXPORTER_OTLP_…`, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are read by the SDK; those of
//! certificates and timeouts, which it leaves to the HTTP client, are read here.

mod spans;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::SpanExporter as _;
use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;
use url::Url;

use super::http::{Http, Trust, beginning, describe};
use super::{Destination, Ended};
use crate::metrics::JobMetrics;

/// The name of the service and of the instrumentation, and what every attribute's name begins with.
const NAME: &str = env!("CARGO_PKG_NAME");
/// The job, as an attribute. `job` alone would meet the label that Prometheus makes of the service's name.
pub(super) const JOB: &str = "yunxin_archiver.job";
/// The protocol that is spoken.
const PROTOCOL: &str = "http/protobuf";
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Otlp {
    /// The collector; none is that of the environment.
    url: Option<SecretString>,
    http: Http,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Metrics,
    Traces,
}

impl Signal {
    /// The word for it in variables.
    fn word(self) -> &'static str {
        match self {
            Self::Metrics => "METRICS",
            Self::Traces => "TRACES",
        }
    }

    /// A variable of the exporter: of this signal, or else of all.
    fn variable(self, name: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{}_{name}", self.word()), format!("OTEL_EXPORTER_OTLP_{name}")];
        names.into_iter().find_map(|name| variable(&name).map(|value| (name, value)))
    }

    /// Whether it is sent at all. A protocol other than ours is an error.
    fn is_wanted(self) -> Result<bool, String> {
        if variable(&format!("OTEL_{}_EXPORTER", self.word())).is_some_and(|exporter| exporter == "none") {
            return Ok(false);
        }
        match self.variable("PROTOCOL") {
            Some((name, protocol)) if protocol != PROTOCOL => {
                Err(format!("{name} is {protocol:?}, and this program speaks {PROTOCOL} alone"))
            }
            _ => Ok(true),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Otlp {
    /// To this collector, or to that of the environment.
    pub(super) fn new(url: Option<SecretString>, http: Http) -> Self {
        Self { url, http }
    }

    /// Where a signal goes, if the environment does not say it.
    fn endpoint(&self, path: &str) -> Option<String> {
        self.url.as_ref().map(|url| format!("{}/{path}", url.expose_secret().trim_end_matches('/')))
    }

    fn transport(&self, signal: Signal, said: &Said) -> Result<Transport, String> {
        let read = |name| {
            let Some((variable, path)) = signal.variable(name) else { return Ok(None) };
            std::fs::read(&path).map(Some).map_err(|error| format!("{variable}: {path}: {error}"))
        };
        let (certificate, key) = (read("CLIENT_CERTIFICATE")?, read("CLIENT_KEY")?);
        if certificate.is_some() != key.is_some() {
            return Err(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY go together".to_owned()
            );
        }
        let identity = certificate.zip(key).map(|(certificate, key)| [certificate, key].concat());
        let trust = Trust { ca: read("CERTIFICATE")?, identity };
        let timeout = signal.variable("TIMEOUT").and_then(|(_, millis)| millis.parse().ok());
        Ok(Transport {
            http: self.http.clone(),
            trust,
            timeout: timeout.map_or(TIMEOUT, Duration::from_millis),
            runtime: Handle::current(),
            said: said.clone(),
        })
    }

    async fn send_metrics(&self, metrics: &JobMetrics) -> Result<(), String> {
        if !Signal::Metrics.is_wanted()? {
            return Ok(());
        }
        let said = Said::default();
        let mut exporter = MetricExporter::builder().with_http();
        if let Some(endpoint) = self.endpoint("v1/metrics") {
            exporter = exporter.with_endpoint(endpoint);
        }
        let exporter = exporter.with_http_client(self.transport(Signal::Metrics, &said)?).build();
        let exporter = Told {
            exporter: exporter.map_err(|error| unbuilt(&error))?,
            said: said.clone(),
            is_done: AtomicBool::default(),
        };
        let metrics = metrics.clone();
        // The SDK exports on a thread of its own, and waits for it.
        let flushed = tokio::task::spawn_blocking(move || {
            let reader = PeriodicReader::builder(exporter).build();
            let provider = SdkMeterProvider::builder().with_reader(reader).with_resource(resource()).build();
            let meter = provider.meter(NAME);
            for sample in metrics.samples() {
                let mut attributes = vec![KeyValue::new(JOB, metrics.job.clone())];
                attributes.extend(sample.label.map(|(name, value)| KeyValue::new(name, value)));
                let gauge = meter.f64_gauge(sample.family.name).with_description(sample.family.help);
                gauge.with_unit(sample.family.unit).build().record(sample.value, &attributes);
            }
            provider.force_flush()
        });
        said.judge(flushed.await.map_err(|_| "the exporter panicked".to_owned())?)
    }

    async fn send_trace(&self, ended: &Ended<'_>) -> Result<(), String> {
        if !Signal::Traces.is_wanted()? {
            return Ok(());
        }
        let said = Said::default();
        let mut exporter = SpanExporter::builder().with_http();
        if let Some(endpoint) = self.endpoint("v1/traces") {
            exporter = exporter.with_endpoint(endpoint);
        }
        let exporter = exporter.with_http_client(self.transport(Signal::Traces, &said)?).build();
        let mut exporter = exporter.map_err(|error| unbuilt(&error))?;
        exporter.set_resource(&resource());
        said.judge(exporter.export(spans::spans(ended)).await)
    }
}

#[async_trait]
impl Destination for Otlp {
    fn name(&self) -> String {
        "the OTLP collector".to_owned()
    }

    async fn tell(&self, ended: &Ended<'_>) -> Result<(), String> {
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(());
        }
        let (metrics, trace) = tokio::join!(self.send_metrics(ended.metrics), self.send_trace(ended));
        let failed = |signal: &str, why: String| format!("{signal}: {why}");
        metrics.map_err(|why| failed("metrics", why)).and(trace.map_err(|why| failed("trace", why)))
    }
}

/// Why there is no exporter. The error of the library quotes URLs.
fn unbuilt(error: &ExporterBuildError) -> String {
    let text = error.to_string();
    let setting = text.strip_prefix("invalid exporter configuration: ").and_then(|rest| rest.split(':').next());
    format!("{} is invalid", setting.unwrap_or("the exporter"))
}

/// Who sends. The environment says more of it, or something else.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let mut resource = Resource::builder();
    for (name, value) in [("service.name", NAME), ("service.version", env!("CARGO_PKG_VERSION"))] {
        let said = found.get(&name.into()).map(|value| value.to_string());
        if said.is_none_or(|said| said.starts_with("unknown_service")) {
            resource = resource.with_attribute(KeyValue::new(name, value));
        }
    }
    resource.build()
}

/// What a request met last: the exporters keep that to themselves.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<Option<String>>>);

impl Said {
    fn set(&self, what: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How an export ended: as the exporter says, or worse.
    fn judge<E: fmt::Display>(&self, exported: Result<(), E>) -> Result<(), String> {
        let failed = exported.err().map(|error| error.to_string());
        self.take().or(failed).map_or(Ok(()), Err)
    }
}

/// What a collector answers, of either signal.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    partial: Option<Partial>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Partial {
    /// Data points or spans.
    #[prost(int64, tag = "1")]
    rejected: i64,
}

/// An exporter that exports once, and whose errors are kept. The SDK would export again when it is shut down.
struct Told {
    exporter: MetricExporter,
    said: Said,
    is_done: AtomicBool,
}

impl PushMetricExporter for Told {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        if self.is_done.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let exported = self.exporter.export(metrics).await;
        let failed = exported.as_ref().err().map(ToString::to_string);
        self.said.set(self.said.take().or(failed));
        exported
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// Our HTTP client, for the exporters. Its requests are made by the runtime, whatever thread waits for them.
struct Transport {
    http: Http,
    trust: Trust,
    timeout: Duration,
    runtime: Handle,
    said: Said,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string())?;
        let client = self.http.client(&url, &self.trust).inspect_err(|why| self.said.set(Some(why.clone())))?;
        let sending = client.request(parts.method, url).headers(parts.headers).body(body).timeout(self.timeout);
        let answered = self.runtime.spawn(async move {
            let answer = sending.send().await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, beginning(answer).await?))
        });
        let (status, headers, body) = answered.await?.map_err(|error| {
            let why = describe(&error.without_url());
            self.said.set(Some(why.clone()));
            why
        })?;
        // What an earlier try met has passed.
        self.said.set(if status.is_success() {
            let partial = Answer::decode(body.as_slice()).unwrap_or_default().partial.unwrap_or_default();
            (partial.rejected > 0).then(|| format!("it took a part alone, and rejected {}", partial.rejected))
        } else {
            Some(format!("it answered {status}"))
        });
        let mut response = http::Response::builder().status(status).body(body.into())?;
        *response.headers_mut() = headers;
        Ok(response)
    }
}
