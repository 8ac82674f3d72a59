//! An object store that fails as a test says, and remembers what it was asked: a proxy before a real one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It is refused with this status and code.
    Refused(u16, &'static str),
    /// The connection is closed without an answer.
    Cut,
    /// It is done, and answered as an error.
    Done(u16, &'static str),
    /// It is done, and the connection is closed without an answer.
    DoneAndCut,
    /// It is done as if it had not this header.
    Ignored(&'static str),
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    headers: HeaderMap,
}

impl Asked {
    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

type Rule = Box<dyn FnMut(&Asked) -> Option<Fault> + Send>;

/// What follows a bucket in the name of its host. No resolver knows it.
pub(crate) const VIRTUAL: &str = ".store.invalid";

/// The proxy.
pub(crate) struct FaultyStore {
    address: String,
    shared: Arc<Shared>,
    _threads: tokio::runtime::Runtime,
}

struct Shared {
    store: String,
    http: reqwest::Client,
    asked: Mutex<Vec<Asked>>,
    faults: AtomicU64,
    rule: Mutex<Rule>,
}

impl FaultyStore {
    /// A proxy before the store at this address.
    pub(crate) fn before(store: &str) -> Self {
        // Whichever test comes first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Arc::new(Shared {
            store: store.to_owned(),
            http: reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap(),
            asked: Mutex::default(),
            faults: AtomicU64::new(0),
            rule: Mutex::new(Box::new(|_| None)),
        });
        let listener = threads.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Arc::clone(&shared);
        let app = axum::Router::new().fallback(move |request| Arc::clone(&server).answer(request));
        threads.spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { address, shared, _threads: threads }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// From now on requests fail by this rule.
    pub(crate) fn fails(&self, rule: impl FnMut(&Asked) -> Option<Fault> + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Every request since the last call, which are forgotten with it.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// How many requests failed.
    pub(crate) fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::SeqCst)
    }
}

impl Shared {
    async fn answer(self: Arc<Self>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let mut path = parts.uri.path_and_query().unwrap().to_string();
        let mut headers = parts.headers;
        // The store behind knows the bucket by the path alone.
        if let Some(bucket) = headers["host"].to_str().unwrap().split_once(VIRTUAL).map(|(bucket, _)| bucket) {
            path = format!("/{bucket}{path}");
        }
        let asked = {
            let mut all = self.asked.lock().unwrap();
            let (number, method) = (all.len() as u64, parts.method.to_string());
            all.push(Asked { number, method, path: path.clone(), headers: headers.clone() });
            all[all.len() - 1].clone()
        };
        let fault = (self.rule.lock().unwrap())(&asked);
        self.faults.fetch_add(u64::from(fault.is_some()), Ordering::SeqCst);
        if let Some(Fault::Refused(status, code)) = fault {
            return refused(status, code);
        }
        if let Some(Fault::Cut) = fault {
            cut();
        }
        // The store behind checks no signature, and knows no sessions.
        for name in ["host", "x-amz-security-token"] {
            headers.remove(name);
        }
        if let Some(Fault::Ignored(name)) = fault {
            headers.remove(name);
        }
        let asked = self.http.request(parts.method, format!("{}{path}", self.store)).headers(headers).body(body);
        let answer = asked.send().await.unwrap();
        let mut response = Response::builder().status(answer.status());
        *response.headers_mut().unwrap() = answer.headers().clone();
        let body = answer.bytes().await.unwrap();
        match fault {
            Some(Fault::Done(status, code)) => refused(status, code),
            Some(Fault::DoneAndCut) => cut(),
            _ => {
                response.headers_mut().unwrap().remove("transfer-encoding");
                response.body(Body::from(body)).unwrap()
            }
        }
    }
}

fn refused(status: u16, code: &str) -> Response {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as the test says</Message></Error>");
    Response::builder().status(status).header("content-type", "application/xml").body(Body::from(text)).unwrap()
}

/// Ends the task of the connection, and with it the connection.
fn cut() -> ! {
    std::panic::resume_unwind(Box::new("cut"))
}
