//! An HTTP endpoint that takes whatever is sent to it, and one that never answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Method and target, such as `POST /v1/traces`.
    pub(crate) line: String,
    /// Names and values, as `name: value` in lower case.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// An endpoint on loopback.
pub(crate) struct Endpoint {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    /// Connections that are never answered.
    _silent: Arc<Mutex<Vec<TcpStream>>>,
}

impl Endpoint {
    /// One that answers with this status and body.
    pub(crate) fn answering(status: &'static str, body: &'static str) -> Self {
        Self::start(move |stream, received, _| answer(&stream, status, body, received))
    }

    /// One that accepts connections and says nothing.
    pub(crate) fn silent() -> Self {
        Self::start(|stream, _, silent| silent.lock().unwrap().push(stream))
    }

    fn start(serve: impl Fn(TcpStream, &Mutex<Vec<Received>>, &Mutex<Vec<TcpStream>>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (received, silent) = (Arc::default(), Arc::default());
        let (heard, held, serve) = (Arc::clone(&received), Arc::clone(&silent), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heard, held, serve) = (Arc::clone(&heard), Arc::clone(&held), Arc::clone(&serve));
                std::thread::spawn(move || serve(stream, &heard, &held));
            }
        });
        Self { port, received, _silent: silent }
    }

    /// Its URL, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far, in order.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Their methods and targets.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.received().into_iter().map(|request| request.line).collect()
    }
}

/// Answers the one request of a connection.
fn answer(mut stream: &TcpStream, status: &str, body: &str, received: &Mutex<Vec<Received>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let first = lines.remove(0);
    let headers: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut content = vec![0; length];
    reader.read_exact(&mut content).unwrap();
    let line = first.trim_end_matches(" HTTP/1.1").to_owned();
    received.lock().unwrap().push(Received { line, headers, body: content });
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).ok();
}
