//! The service that hands credentials to containers.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// A service whose keys expire in a minute. Each is another one.
pub(crate) struct CredentialService {
    url: String,
    handed_out: Arc<AtomicU64>,
}

impl CredentialService {
    /// Starts it. It answers those who know the word.
    pub(crate) fn start(word: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/credentials", listener.local_addr().unwrap());
        let handed_out = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&handed_out);
        std::thread::spawn(move || {
            while let Ok((mut client, _)) = listener.accept() {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|read| read == 1) {
                    request.push(byte[0]);
                }
                let request = String::from_utf8(request).unwrap();
                let (status, body) = if request.contains(&format!("uthorization: {word}\r\n")) {
                    let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                    let expiration = Timestamp::now() + SignedDuration::from_mins(1);
                    let body = format!(
                        "{{\"AccessKeyId\":\"yunxin-it\",\"SecretAccessKey\":\"hunter2-session\",\
                         \"Token\":\"hunter2-session-{number}\",\"Expiration\":\"{expiration}\"}}"
                    );
                    ("200 OK", body)
                } else {
                    ("401 Unauthorized", String::new())
                };
                let length = body.len();
                write!(client, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").ok();
            }
        });
        Self { url, handed_out }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many keys it handed out.
    pub(crate) fn handed_out(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.handed_out)
    }
}
