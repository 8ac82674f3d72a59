//! How a request passes through the service: quota, faults, signature, form, world.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::body::{Body, to_bytes};
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Request, State};
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode};
use axum::{Extension, Router};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::net::TcpListener;

use super::answer::{document, gateway, render};
use super::conversation::Conversation;
use super::fault::Fault;
use super::faults::RequestInfo;
use super::quota::{Admission, Quota};
use super::request::{Place, check_headers, check_references, conversation_id, header, place, read_body};
use super::settings::Settings;
use super::stats::Stats;
use super::wire::{Line, Loopback};
use super::world::{Answer, World, refused};

const BODY_MAX: usize = 4 << 20;

/// A service: its settings, and what it has seen.
#[derive(Debug)]
pub(super) struct Service {
    settings: Settings,
    pub(super) now: Mutex<Now>,
}

/// What changes while a service runs.
#[derive(Debug)]
pub(super) struct Now {
    pub(super) world: World,
    pub(super) faults: super::faults::Faults,
    pub(super) stats: Stats,
    quotas: HashMap<String, Quota>,
    traces: HashSet<u64>,
    hasher: RandomState,
    sequence: u64,
}

/// The answer to a request, before any fault on the wire.
struct Decision {
    answer: Answer,
    fault: Fault,
    delay: Duration,
}

impl Service {
    pub(super) fn new(settings: Settings, world: World) -> Self {
        let now = Now {
            world,
            faults: settings.faults.clone(),
            stats: Stats::default(),
            quotas: settings
                .apps
                .iter()
                .map(|app| (app.key.clone(), Quota::new(settings.rate_limit, settings.block())))
                .collect(),
            traces: HashSet::new(),
            hasher: RandomState::new(),
            sequence: 0,
        };
        Self { settings, now: Mutex::new(now) }
    }

    /// What changes. A test that panics while it holds the lock does not stop the service.
    pub(super) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was seen, and which requests the quota has counted.
    pub(super) fn reset(&self) {
        let mut now = self.now();
        now.stats = Stats { in_flight: now.stats.in_flight, ..Stats::default() };
        for quota in now.quotas.values_mut() {
            *quota = Quota::new(self.settings.rate_limit, self.settings.block());
        }
    }

    /// Serves connections for as long as it is polled.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        let app = Router::new().fallback(dispatch).with_state(self);
        axum::serve(Loopback(listener), app.into_make_service_with_connect_info::<Line>()).await
    }

    /// Decides what a batch request is answered. Nothing here waits: arrivals are counted in their order.
    fn decide(&self, head: &Parts, version: &str, segment: &str, body: &[u8], clock: i64) -> Decision {
        let headers = &head.headers;
        let references = read_body(body);
        let key = header(headers, "AppKey");
        let arrived = Instant::now();
        let mut guard = self.now();
        let now = &mut *guard;
        now.stats.arrival(arrived, self.settings.rate_limit);
        now.stats.older_version += u64::from(version != "v2.1");
        let skewed = clock + now.faults.clock_skew_s;
        let direct = |answer| Decision { answer, fault: Fault::Ok, delay: Duration::ZERO };
        let Some(app) = self.settings.apps.iter().find(|app| app.key == key) else {
            return direct(refused(101_303, "app key does not exist"));
        };
        let Some(quota) = now.quotas.get_mut(key) else {
            return direct(refused(101_303, "app key does not exist"));
        };
        let admission = quota.admit(arrived);
        now.stats.busiest_second = now.stats.busiest_second.max(quota.busiest);
        if admission != Admission::Admitted {
            now.stats.throttled += 1;
            now.stats.in_block += u64::from(admission == Admission::Blocked);
            return direct(refused(416, "rate limit exceeded"));
        }
        now.sequence += 1;
        let conversation_id = conversation_id(segment);
        let trace_id = Some(header(headers, "X-custom-traceid")).filter(|trace| !trace.is_empty());
        let repeated = trace_id.is_some_and(|trace| !now.traces.insert(now.hasher.hash_one(trace)));
        let fault = now.faults.next(
            self.settings.seed,
            &RequestInfo {
                sequence: now.sequence,
                app_key: key,
                version,
                conversation_id: &conversation_id,
                references: references.as_deref().unwrap_or_default(),
                trace_id,
                nonce: header(headers, "Nonce"),
                user_agent: headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()),
            },
        );
        let delay = now.faults.delay(self.settings.seed, now.sequence);
        let early = match fault {
            Fault::Code(code) => Some(refused(code, "simulated")),
            Fault::Block => {
                now.quotas.values_mut().for_each(|quota| quota.block_from(arrived));
                Some(refused(416, "rate limit exceeded"))
            }
            _ => None,
        };
        if fault == Fault::Ok {
            now.stats.answered += 1;
        } else {
            *now.stats.faults.entry(fault.to_string()).or_default() += 1;
        }
        let refusal = check_headers(headers, app, skewed).and_then(|()| {
            if repeated {
                now.stats.repeated_traces += 1;
                return Err((431, "repeated request"));
            }
            let (limit, code) = (self.settings.batch_limit, self.settings.batch_limit_code);
            let references = check_references(references.as_deref(), limit, code)?;
            let conversation = Conversation::parse(&conversation_id).ok_or((414, "conversation_id is wrong"))?;
            Ok((conversation, references))
        });
        if let Ok((_, references)) = &refusal {
            now.stats.count(&conversation_id, references, self.settings.count_asks);
        }
        let answer = early.unwrap_or_else(|| match refusal {
            Err((code, reason)) => refused(code, reason),
            Ok((conversation, references)) => {
                now.world.answer(&conversation, references, now.faults.unordered, skewed * 1000)
            }
        });
        Decision { answer, fault, delay }
    }
}

/// Counts a batch request as in flight until it is answered or the client goes away.
struct InFlight(Arc<Service>);

impl InFlight {
    fn new(service: &Arc<Service>) -> Self {
        let mut now = service.now();
        now.stats.in_flight += 1;
        now.stats.most_in_flight = now.stats.most_in_flight.max(now.stats.in_flight);
        Self(Arc::clone(service))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut now = self.0.now();
        now.stats.in_flight = now.stats.in_flight.saturating_sub(1);
    }
}

async fn dispatch(
    State(service): State<Arc<Service>>,
    Extension(ConnectInfo(line)): Extension<ConnectInfo<Line>>,
    request: Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let clock = seconds_since_the_epoch();
    let date = date(clock + service.now().faults.clock_skew_s);
    match (place(head.uri.path(), &service.settings.prefix), &head.method) {
        (Place::Batch { version, segment }, &Method::POST) => {
            let _in_flight = InFlight::new(&service);
            let Ok(body) = to_bytes(body, BODY_MAX).await else {
                return gateway(StatusCode::PAYLOAD_TOO_LARGE, date);
            };
            let Decision { answer, fault, delay } = service.decide(&head, version, segment, &body, clock);
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            service.now().stats.count_answer(&answer, &fault);
            render(answer.body, &fault, &line, date).await
        }
        (Place::Liveness, &Method::GET) => {
            let fault = {
                let mut now = service.now();
                now.stats.probes += 1;
                now.faults.liveness.clone().unwrap_or(Fault::Ok)
            };
            render("{\"code\":200,\"msg\":\"success\"}".to_owned(), &fault, &line, date).await
        }
        (Place::Stats, &Method::GET) => {
            let stats = service.now().stats.clone();
            document(serde_json::to_string(&stats).unwrap_or_default(), date)
        }
        (Place::Nowhere, _) => gateway(StatusCode::NOT_FOUND, date),
        _ => gateway(StatusCode::METHOD_NOT_ALLOWED, date),
    }
}

fn seconds_since_the_epoch() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn date(seconds: i64) -> HeaderValue {
    let timestamp = Timestamp::from_second(seconds).unwrap_or_default();
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp).unwrap_or_default();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}
