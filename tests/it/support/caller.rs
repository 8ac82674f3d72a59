//! A caller of the API that knows nothing of the client under test: it signs by hand and can look at raw bytes.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use yunxin_archiver::simulator::{APP_KEY, APP_SECRET, Handle};

/// A conversation ID as a path segment.
pub(crate) fn segment(conversation_id: &str) -> String {
    conversation_id.replace('|', "%7C")
}

/// The local clock, in seconds since the epoch.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// An HTTP client without any habits of its own. One for all tests, as making one is slow; each has a runtime of its
/// own, so no connection is kept.
pub(crate) fn http() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        // Some other test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        client.pool_max_idle_per_host(0).build().unwrap()
    });
    &CLIENT
}

/// One request, to be spoilt before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) version: &'static str,
    /// The conversation, as a path segment.
    pub(crate) segment: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Call {
    /// A proper request for these references.
    pub(crate) fn new(conversation_id: &str, references: &[(i64, i64)]) -> Self {
        Self::signed_at(now(), conversation_id, references)
    }

    /// A request signed with this time.
    pub(crate) fn signed_at(time: i64, conversation_id: &str, references: &[(i64, i64)]) -> Self {
        static NONCE: AtomicU64 = AtomicU64::new(1);
        let nonce = format!("nonce-{}", NONCE.fetch_add(1, Ordering::Relaxed));
        let messages: Vec<Value> =
            references.iter().map(|(id, time)| json!({"message_server_id": id, "create_time": time})).collect();
        Self {
            version: "v2.1",
            segment: segment(conversation_id),
            headers: vec![
                ("AppKey", APP_KEY.to_owned()),
                ("CheckSum", hex::encode(Sha1::digest(format!("{APP_SECRET}{nonce}{time}")))),
                ("Nonce", nonce),
                ("CurTime", time.to_string()),
                ("Content-Type", "application/json".to_owned()),
            ],
            body: json!({ "messages": messages }).to_string(),
        }
    }

    /// With this header instead.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(header, _)| *header != name);
        self.headers.push((name, value.into()));
        self
    }

    /// With this body instead.
    pub(crate) fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    fn path(&self) -> String {
        format!("/im/{}/conversations/{}/batch_messages", self.version, self.segment)
    }

    /// Sends it, and returns status, headers and body.
    pub(crate) async fn send(&self, service: &Handle) -> reqwest::Response {
        let request = http().post(format!("{}{}", service.url(), self.path())).body(self.body.clone());
        self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value)).send().await.unwrap()
    }

    /// Sends it, and returns the body of the HTTP 200 that the answer must be.
    pub(crate) async fn ask(&self, service: &Handle) -> Value {
        let response = self.send(service).await;
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Sends it, and returns the code of the answer.
    pub(crate) async fn code(&self, service: &Handle) -> i64 {
        self.ask(service).await["code"].as_i64().unwrap()
    }

    /// Sends it over a socket of its own, and reads until the connection ends or says nothing for `patience`.
    pub(crate) fn raw(&self, addr: SocketAddr, patience: Duration) -> Raw {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut request = format!("POST {} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n", self.path());
        for (name, value) in &self.headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        write!(request, "Content-Length: {}\r\n\r\n{}", self.body.len(), self.body).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Raw { bytes, end: "end".to_owned() },
                Ok(read) => bytes.extend(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Raw { bytes, end: "silence".to_owned() };
                }
                Err(error) => return Raw { bytes, end: format!("{:?}", error.kind()) },
            }
        }
    }
}

/// What came back over a socket.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Every byte.
    pub(crate) bytes: Vec<u8>,
    /// `end`, `silence`, or the kind of the error.
    pub(crate) end: String,
}

impl Raw {
    /// The status line and headers, in lower case.
    pub(crate) fn head(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.split("\r\n\r\n").next().unwrap().to_lowercase()
    }

    /// What follows the headers.
    pub(crate) fn body(&self) -> &[u8] {
        let head = self.bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        &self.bytes[head + 4..]
    }

    /// The length that the headers announce.
    pub(crate) fn announced(&self) -> usize {
        let head = self.head();
        let line = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        line.trim().parse().unwrap()
    }
}
