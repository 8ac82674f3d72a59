//! `metrics.otlp`, against a receiver made of the protocol's published schema.

use std::io::Read as _;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message as _;

use super::{Samples, samples, site, spoil, tell};
use crate::support::endpoint::{Endpoint, Received};
use crate::support::server::free_port;
use crate::support::site::{Ended, Site, dialogues};

/// The text of an attribute, whatever its type.
fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
    Some(match value {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    })
}

fn body(request: &Received) -> Vec<u8> {
    assert!(request.headers.contains(&"content-type: application/x-protobuf".to_owned()), "{:?}", request.headers);
    if !request.headers.contains(&"content-encoding: gzip".to_owned()) {
        return request.body.clone();
    }
    let mut plain = Vec::new();
    GzDecoder::new(request.body.as_slice()).read_to_end(&mut plain).unwrap();
    plain
}

/// The samples of a request, as the file of metrics has them, with the attributes of who sent them.
fn metrics(request: &Received, job: &str) -> (Samples, Vec<KeyValue>) {
    let mut sent = ExportMetricsServiceRequest::decode(body(request).as_slice()).unwrap();
    assert_eq!((sent.resource_metrics.len(), sent.resource_metrics[0].scope_metrics.len()), (1, 1));
    let mut of_resource = sent.resource_metrics.remove(0);
    let mut found = Samples::new();
    for metric in of_resource.scope_metrics.remove(0).metrics {
        assert!(!metric.description.is_empty());
        let Some(metric::Data::Gauge(gauge)) = metric.data else { panic!("{metric:?}") };
        for point in gauge.data_points {
            assert_eq!(attribute(&point.attributes, "yunxin_archiver.job").as_deref(), Some(job));
            let labels = point.attributes.iter().filter(|label| label.key != "yunxin_archiver.job");
            let label = labels.map(|l| format!(" {}=\"{}\"", l.key, attribute(&point.attributes, &l.key).unwrap()));
            let Some(number_data_point::Value::AsDouble(value)) = point.value else { panic!("{point:?}") };
            let name = metric.name.trim_start_matches("yunxin_archiver_");
            found.insert(format!("{name}{}", label.collect::<String>()), value);
        }
    }
    (found, of_resource.resource.unwrap().attributes)
}

fn spans(request: &Received) -> Vec<Span> {
    let mut sent = ExportTraceServiceRequest::decode(body(request).as_slice()).unwrap();
    assert_eq!((sent.resource_spans.len(), sent.resource_spans[0].scope_spans.len()), (1, 1));
    sent.resource_spans.remove(0).scope_spans.remove(0).spans
}

/// The only request with this target.
fn only(endpoint: &Endpoint, target: &str) -> Received {
    let mut found = endpoint.received();
    found.retain(|request| request.line == format!("POST {target}"));
    assert_eq!(found.len(), 1, "{target}: {:?}", endpoint.lines());
    found.remove(0)
}

#[test]
fn a_collector_gets_the_metrics_and_a_trace_whose_id_is_the_runs() {
    let (site, collector) = (Site::nightly(dialogues(3, 4)), Endpoint::answering("200 OK", ""));
    tell(&site, &format!("metrics: {{ otlp: '{}/base', file: night.prom }}", collector.url()));
    let ended = site.night().exits(0);
    let (found, resource) = metrics(&only(&collector, "/base/v1/metrics"), "nightly");
    assert_eq!(found, samples(&site.read("night.prom"), "nightly"));
    assert_eq!(attribute(&resource, "service.name").as_deref(), Some("yunxin-archiver"));
    assert_eq!(attribute(&resource, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));

    let spans = spans(&only(&collector, "/base/v1/traces"));
    let run_id = ended.job()["run_id"].as_str().unwrap().replace('-', "");
    let root = spans.iter().find(|span| span.parent_span_id.is_empty()).unwrap();
    assert_eq!(root.name, "run nightly");
    assert_eq!(root.status.as_ref().unwrap().code, StatusCode::Ok as i32);
    assert_eq!(attribute(&root.attributes, "yunxin_archiver.references.archived").as_deref(), Some("12"));
    for span in &spans {
        assert_eq!(hex::encode(&span.trace_id), run_id);
        assert!(root.start_time_unix_nano <= span.start_time_unix_nano, "{span:?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano, "{span:?}");
        assert!(std::ptr::eq(span, root) || span.parent_span_id == root.span_id, "{span:?}");
    }
    let of = |name: &str, count: &str| {
        let named: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
        named.iter().map(|span| attribute(&span.attributes, count).unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    assert_eq!(of("intake", "yunxin_archiver.read"), 12);
    assert_eq!(of("fetch", "yunxin_archiver.requests"), ended.requests("sent"));
    assert_eq!(of("commit", "yunxin_archiver.rows"), 12);
    assert!(spans.iter().any(|span| span.name == "manifest"), "{spans:?}");
}

#[test]
fn a_run_that_failed_or_did_not_begin_is_an_error_in_the_trace() {
    let (site, collector) = (site(), Endpoint::answering("200 OK", ""));
    tell(&site, &format!("metrics: {{ otlp: '{}' }}", collector.url()));
    spoil(&site);
    site.night().exits(3);
    std::fs::remove_file(site.path("refs.csv")).unwrap();
    site.night().exits(2);
    let traces: Vec<Vec<Span>> =
        collector.received().iter().filter(|request| request.line == "POST /v1/traces").map(spans).collect();
    let status = |spans: &[Span]| spans[0].status.clone().unwrap().message;
    assert_eq!(traces.iter().map(|spans| status(spans)).collect::<Vec<_>>(), ["exit 3", "exit 2"]);
    assert!(traces[0].iter().any(|span| span.name == "follow-up asks"), "{:?}", traces[0]);
    assert_eq!(traces[1].len(), 1);
}

/// Runs the job with these variables.
fn with(site: &Site, variables: &[(&str, &str)]) -> Ended {
    let mut command = site.command(&["run", "--json", "--log-format", "json", "-vv"]);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(!stderr.contains("hunter2") && !stdout.contains("hunter2"), "{stderr}");
    Ended { code: output.status.code(), summary: serde_json::from_str(&stdout).unwrap(), stdout, stderr }
}

#[test]
fn the_variables_of_opentelemetry_are_honoured() {
    let (site, collector) = (Site::nightly(dialogues(1, 3)), Endpoint::answering("200 OK", ""));
    let traces = Endpoint::answering("200 OK", "");
    tell(&site, "metrics: { otlp: env }");
    with(
        &site,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("{}/all", collector.url())),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/exactly/here", traces.url())),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2,x-team=archive"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_SERVICE_NAME", "nights"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod,service.version=7"),
        ],
    )
    .exits(0);
    let request = only(&collector, "/all/v1/metrics");
    for header in ["authorization: bearer hunter2", "x-team: archive", "content-encoding: gzip"] {
        assert!(request.headers.contains(&header.to_owned()), "{:?}", request.headers);
    }
    let (_, resource) = metrics(&request, "nightly");
    for (name, value) in [("service.name", "nights"), ("deployment.environment", "prod"), ("service.version", "7")] {
        assert_eq!(attribute(&resource, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(spans(&only(&traces, "/exactly/here"))[0].name, "run nightly");
    assert_eq!(collector.lines().len(), 1);

    let at = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    for (name, value, warning) in [
        ("OTEL_SDK_DISABLED", "true", None),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", Some("this program speaks http/protobuf alone")),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/ca.pem", Some("/no/such/ca.pem: No such file")),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "jobs.yaml", Some("go together")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hunter2@no host", Some("OTEL_EXPORTER_OTLP_ENDPOINT is invalid")),
    ] {
        let ended = with(&site, &[(at.0, &at.1), (name, value)]).exits(0);
        assert!(warning.is_none_or(|warning| ended.stderr.contains(warning)), "{}", ended.stderr);
        assert_eq!(collector.lines().len(), 1, "{name}");
    }
    with(&site, &[(at.0, &at.1), ("OTEL_METRICS_EXPORTER", "none")]).exits(0);
    assert_eq!(collector.lines()[1..], ["POST /v1/traces"]);
}

#[test]
fn a_collector_that_refuses_or_is_away_is_a_warning_without_its_password() {
    let (site, refusing) = (Site::nightly(dialogues(1, 3)), Endpoint::answering("401 Unauthorized", "hunter2?"));
    tell(&site, "metrics: { otlp: 'env:COLLECTOR' }");
    let url = refusing.url().replace("//", "//me:hunter2@");
    let ended = with(&site, &[("COLLECTOR", &url)]).exits(0);
    assert!(ended.stderr.contains("the OTLP collector could not be told") && ended.stderr.contains("401"));
    assert!(refusing.received()[0].headers.iter().any(|line| line.starts_with("authorization: basic ")));
    // What is answered with success may still be refused in part: a message with the number of points or spans.
    let picky = Endpoint::answering("200 OK", "\n\u{2}\u{8}\u{3}");
    let ended = with(&site, &[("COLLECTOR", &picky.url())]).exits(0);
    assert!(ended.stderr.contains("it took a part alone, and rejected 3"), "{}", ended.stderr);
    let away = format!("http://me:hunter2@127.0.0.1:{}/hunter2", free_port());
    let ended = with(&site, &[("COLLECTOR", &away)]).exits(0);
    assert!(ended.stderr.contains("Connection refused"), "{}", ended.stderr);
}

#[test]
fn endpoints_that_say_nothing_end_no_run_and_change_no_exit_code() {
    let (site, silent) = (site(), Endpoint::silent());
    site.write_secret("ping", &silent.url());
    let url = silent.url();
    tell(
        &site,
        &format!("metrics: {{ otlp: '{url}', pushgateway: '{url}', file: night.prom }}\nping: {{ url: 'file:ping' }}"),
    );
    let ended = site.night().exits(0);
    for who in ["the OTLP collector", "the Pushgateway", "the monitor"] {
        assert!(ended.stderr.contains(&format!("{who} could not be told")), "{who}: {}", ended.stderr);
    }
    spoil(&site);
    site.night().exits(3);
    assert_eq!(samples(&site.read("night.prom"), "nightly")["last_run_exit_code"], 3.0);
}
