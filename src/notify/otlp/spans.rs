//! A run as spans: one for the whole, with one below it for each of its stages.

use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use uuid::Uuid;

use super::{JOB, NAME};
use crate::model::summary::{References, Requests};
use crate::notify::Ended;

/// The spans of a run. The trace has the run's ID.
pub(super) fn spans(ended: &Ended<'_>) -> Vec<SpanData> {
    let Ended { summary, trace, .. } = ended;
    let run = summary.run_id.as_deref().and_then(|id| Uuid::try_parse(id).ok());
    let trace_id = TraceId::from_bytes(run.unwrap_or_else(Uuid::now_v7).into_bytes());
    let scope = InstrumentationScope::builder(NAME).with_version(env!("CARGO_PKG_VERSION")).build();
    let job = KeyValue::new(JOB, summary.job.clone());
    let count = |name: &str, number: u64| {
        KeyValue::new(format!("yunxin_archiver.{name}"), i64::try_from(number).unwrap_or(i64::MAX))
    };
    let root_id = span_id();
    let span = |span_id, parent_span_id, name: String, attributes| SpanData {
        span_context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: SystemTime::from(summary.started_at),
        end_time: SystemTime::from(summary.finished_at.max(summary.started_at)),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    };

    let References { read, archived, failed, pending, .. } = summary.references;
    let Requests { sent, throttled, .. } = summary.requests;
    let mut attributes = vec![job.clone(), KeyValue::new("yunxin_archiver.outcome", summary.outcome.as_str())];
    attributes.extend(summary.run_id.iter().map(|id| KeyValue::new("yunxin_archiver.run_id", id.clone())));
    attributes.extend([
        count("exit_code", summary.exit_code.into()),
        count("references.read", read),
        count("references.archived", archived),
        count("references.failed", failed),
        count("references.pending", pending),
        count("requests.sent", sent),
        count("requests.throttled", throttled),
        count("stages.dropped", trace.dropped),
    ]);
    let mut root = span(root_id, SpanId::INVALID, format!("run {}", summary.job), attributes);
    root.status = match summary.exit_code {
        0 => Status::Ok,
        code => Status::error(format!("exit {code}")),
    };
    let stages = trace.stages.iter().map(|stage| {
        let counts = stage.counts.iter().map(|(name, number)| count(name, *number));
        let attributes = std::iter::once(job.clone()).chain(counts).collect();
        let (start_time, end_time) = (SystemTime::from(stage.began), SystemTime::from(stage.ended));
        SpanData { start_time, end_time, ..span(span_id(), root_id, stage.kind.as_str().to_owned(), attributes) }
    });
    let stages: Vec<SpanData> = stages.collect();
    std::iter::once(root).chain(stages).collect()
}

/// A random ID, never zero.
fn span_id() -> SpanId {
    SpanId::from_bytes(rand::random::<u64>().max(1).to_be_bytes())
}
