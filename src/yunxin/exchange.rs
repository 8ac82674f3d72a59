//! One request and its answer over HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::{Body, Request, Response};

use super::code::Fault;
use super::pace::Pacer;
use super::sending::{Leaving, Sending};

/// How much of a gateway's page is read, in bytes, so that the connection can be used again.
const GATEWAY_PAGE: usize = 64 << 10;
/// How much of a gateway's page is shown, in characters.
const GATEWAY_SHOWN: usize = 160;

/// An answer with HTTP status 200.
#[derive(Debug)]
pub(super) struct Received {
    /// The body, decompressed.
    pub(super) body: Bytes,
    /// The server's clock, in seconds since the epoch.
    pub(super) date: Option<i64>,
}

/// Why there is no answer of the API's.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) fault: Fault,
    pub(super) message: String,
    /// How long the gateway said to wait.
    pub(super) retry_after: Option<Duration>,
    /// Whether an answer had begun to arrive.
    pub(super) answered: bool,
}

impl Failed {
    pub(super) fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), retry_after: None, answered: false }
    }

    /// Names the proxy on the way, which may be at fault.
    pub(super) fn through(mut self, proxy: Option<&str>) -> Self {
        if let Some(proxy) = proxy {
            self.message = format!("through the proxy {proxy}: {}", self.message);
            // These are the HTTP library's words.
            if self.message.contains("proxy authorization required") {
                self.message.push_str("; the proxy's URL needs a user and password, or others");
            } else if self.message.contains("tunnel error: unsuccessful") {
                self.message.push_str("; the proxy refuses to connect to the API");
            }
        }
        self
    }
}

/// Sends `request` with `body` and reads its answer, of at most `most` bytes, within `timeout`. The request took the moment
/// `taken` of the pace. Returns the moment at which it was really sent, or none if a pause began before, and the answer.
pub(super) async fn exchange(
    http: &reqwest::Client,
    mut request: Request,
    body: Bytes,
    taken: Instant,
    pacer: &Arc<Pacer>,
    timeout: Duration,
    most: usize,
) -> (Option<Instant>, Result<Received, Failed>) {
    let sending = Sending::new(Arc::clone(pacer), taken);
    *request.body_mut() = Some(Body::wrap(Leaving::new(body, Arc::clone(&sending))));
    let mut result = tokio::time::timeout(timeout, send_and_read(http, request, &sending, most))
        .await
        .unwrap_or_else(|_| Err(Failed::new(Fault::Timeout, format!("no complete answer within {timeout:?}"))));
    if let Err(failed) = &mut result {
        failed.answered = sending.is_answered();
    }
    (sending.moment(), result)
}

async fn send_and_read(
    http: &reqwest::Client,
    request: Request,
    sending: &Sending,
    most: usize,
) -> Result<Received, Failed> {
    let response = http.execute(request).await.map_err(|error| {
        sending.ended(false);
        failed(&error)
    })?;
    sending.ended(true);
    let date = header(&response, "date").and_then(http_date);
    let status = response.status();
    if status.as_u16() == 200 {
        return Ok(Received { body: read(response, most).await?, date });
    }
    let retry_after = header(&response, "retry-after").and_then(|text| retry_after(text, date));
    let mut message = if status.is_redirection() {
        let to = header(&response, "location").unwrap_or("nowhere").to_owned();
        format!("HTTP {status}: a redirect to {to:?}, which is not followed")
    } else {
        format!("HTTP {status} from the gateway")
    };
    if let Ok(page) = read(response, GATEWAY_PAGE).await {
        let text = String::from_utf8_lossy(&page);
        let shown: String =
            text.split_whitespace().flat_map(|word| word.chars().chain([' '])).take(GATEWAY_SHOWN).collect();
        if !shown.trim().is_empty() {
            message = format!("{message}: {}", shown.trim());
        }
    }
    Err(Failed { retry_after, ..Failed::new(Fault::Status(status.as_u16()), message) })
}

/// Reads a body of at most `most` bytes, whatever it is compressed to.
async fn read(mut response: Response, most: usize) -> Result<Bytes, Failed> {
    let too_large = || Failed::new(Fault::Broken, format!("the answer is larger than {most} bytes"));
    let announced = response.content_length().unwrap_or(0);
    if announced > most as u64 {
        return Err(too_large());
    }
    let Some(first) = response.chunk().await.map_err(|error| failed(&error))? else {
        return Ok(Bytes::new());
    };
    let mut whole = Vec::new();
    let mut chunk = first;
    loop {
        if whole.len() + chunk.len() > most {
            return Err(too_large());
        }
        let next = response.chunk().await.map_err(|error| failed(&error))?;
        match next {
            None if whole.is_empty() => return Ok(chunk),
            None => {
                whole.extend_from_slice(&chunk);
                return Ok(whole.into());
            }
            Some(next) => {
                if whole.is_empty() {
                    whole.reserve((announced as usize).max(chunk.len() * 4).min(most));
                }
                whole.extend_from_slice(&chunk);
                chunk = next;
            }
        }
    }
}

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// The error with all its causes, but without the address, which names accounts.
fn failed(error: &reqwest::Error) -> Failed {
    let fault = if error.is_connect() {
        Fault::Connect
    } else if error.is_timeout() {
        Fault::Timeout
    } else {
        Fault::Broken
    };
    let mut message = String::from(match fault {
        Fault::Connect => "no connection",
        _ => "the answer did not arrive whole",
    });
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.ends_with(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    Failed::new(fault, message)
}

/// An HTTP date in seconds since the epoch. A wrong weekday does no harm.
fn http_date(text: &str) -> Option<i64> {
    const PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    PARSER.parse_timestamp(text).ok().map(jiff::Timestamp::as_second)
}

/// How long `Retry-After` says to wait: a number of seconds, or until a date by the server's own clock.
fn retry_after(text: &str, date: Option<i64>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = date.unwrap_or_else(|| jiff::Timestamp::now().as_second());
    Some(Duration::from_secs(u64::try_from(http_date(text)? - now).unwrap_or(0)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        assert_eq!(retry_after("120", None), Some(Duration::from_mins(2)));
        let date = http_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date, Some(784_111_777));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:57 GMT", date), Some(Duration::from_secs(20)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", date), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", date), None);
    }
}
