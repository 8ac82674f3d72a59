//! An HTTP server that answers byte for byte as a test says, and remembers what it was asked.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use url::Url;

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) line: String,
    /// Names lower-cased.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The IDs that it asks for.
    pub(crate) fn ids(&self) -> Vec<i64> {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["messages"].as_array().unwrap().iter().map(|m| m["message_server_id"].as_i64().unwrap()).collect()
    }

    /// An answer that holds every message.
    pub(crate) fn found(&self) -> Act {
        let items: Vec<_> = self.ids().iter().map(|id| json!({"message_server_id": id, "text": "hello"})).collect();
        Act::say(&json!({"code": 200, "msg": "success", "data": {"success_list": items}}))
    }
}

/// What the server does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Writes these bytes and keeps the connection.
    Write(Vec<u8>),
    /// Writes these bytes and closes.
    WriteAndClose(Vec<u8>),
    /// Writes these bytes, a few at a time with pauses.
    Drip(Vec<u8>, Duration),
    /// Does it later.
    Later(Duration, Box<Act>),
    /// Does it once it gets a permit, which it uses up.
    Held(Arc<Semaphore>, Box<Act>),
    /// Resets the connection.
    Reset,
}

/// An HTTP answer.
pub(crate) fn http(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut answer = format!("HTTP/1.1 {status} Some\r\n");
    for (name, value) in headers {
        let _ = write!(answer, "{name}: {value}\r\n");
    }
    let _ = write!(answer, "content-length: {}\r\n\r\n", body.len());
    [answer.as_bytes(), body].concat()
}

impl Act {
    pub(crate) fn say(body: &Value) -> Self {
        Self::Write(http(200, &[], body.to_string()))
    }

    pub(crate) fn code(code: i64) -> Self {
        Self::say(&json!({"code": code, "msg": "said so", "data": {}}))
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Write(http(status, &[], "<html>gateway</html>"))
    }
}

/// A running server; it ends when dropped.
pub(crate) struct FaultyApi {
    pub(crate) url: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl FaultyApi {
    /// Serves `act`, which is told the request's number, from 0, and the request.
    pub(crate) async fn serve(act: impl Fn(usize, &Asked) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        Self::serve_on(listener, act)
    }

    pub(crate) fn serve_on(listener: TcpListener, act: impl Fn(usize, &Asked) -> Act + Send + Sync + 'static) -> Self {
        let url = Url::parse(&format!("http://{}/nimserver", listener.local_addr().unwrap())).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, act) = (Arc::clone(&asked), Arc::new(act));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                connections.spawn(converse(stream, Arc::clone(&log), Arc::clone(&act)));
            }
        });
        Self { url, asked, task }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for FaultyApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse<F: Fn(usize, &Asked) -> Act>(mut stream: TcpStream, log: Arc<Mutex<Vec<Asked>>>, act: Arc<F>) {
    let mut buffer = Vec::new();
    while let Some(asked) = read_request(&mut stream, &mut buffer).await {
        let number = {
            let mut log = log.lock().unwrap();
            log.push(asked.clone());
            log.len() - 1
        };
        let mut todo = act(number, &asked);
        let todo = loop {
            todo = match todo {
                Act::Later(delay, next) => {
                    tokio::time::sleep(delay).await;
                    *next
                }
                Act::Held(permits, next) => {
                    permits.acquire().await.unwrap().forget();
                    *next
                }
                now => break now,
            };
        };
        match todo {
            Act::Write(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Act::WriteAndClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Act::Drip(bytes, pause) => {
                for piece in bytes.chunks(8) {
                    if stream.write_all(piece).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
            Act::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
            Act::Later(..) | Act::Held(..) => unreachable!("resolved above"),
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Asked> {
    let mut at = None;
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let mut lines = head.split("\r\n");
            let line = lines.next().unwrap().to_owned();
            let headers: HashMap<_, _> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect();
            let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let body = String::from_utf8(buffer[end + 4..end + 4 + length].to_vec()).unwrap();
                buffer.drain(..end + 4 + length);
                return Some(Asked { at: at.unwrap_or_else(Instant::now), line, headers, body });
            }
        }
        let read = stream.read_buf(buffer).await.ok()?;
        at.get_or_insert_with(Instant::now);
        if read == 0 {
            return None;
        }
    }
}
