//! Turns an answer's text, and the fault that it meets, into what goes out on the wire.

use std::convert::Infallible;
use std::io::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};

use super::fault::Fault;
use super::wire::{Line, Outgoing};

const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html");
const PAGE: &str = "<html><head><title>Gateway</title></head><body><h1>Gateway</h1><hr>gateway</body></html>";
/// An answer that is cut in the middle is cut behind this many bytes, which its status line and headers do not exceed.
const HEAD: usize = 60;

/// Renders the proper answer, `body`, spoilt by `fault`.
pub(super) async fn render(body: String, fault: &Fault, line: &Line, date: HeaderValue) -> Response<Body> {
    let json = |body: Body| respond(StatusCode::OK, JSON, date.clone(), body);
    let half = HEAD + body.len() / 2;
    match fault {
        Fault::Ok | Fault::Code(_) | Fault::Block => json(body.into()),
        Fault::Body(text) => json(text.clone().into()),
        Fault::Http { status, retry_after } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
            let mut response = respond(status, HTML, date, PAGE.into());
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, (*seconds).into());
            }
            response
        }
        Fault::Redirect(url) => {
            let mut response = respond(StatusCode::TEMPORARY_REDIRECT, HTML, date, Body::empty());
            if let Ok(url) = HeaderValue::from_str(url) {
                response.headers_mut().insert(LOCATION, url);
            }
            response
        }
        Fault::Reset => cut(line, 0, true, json(body.into())),
        Fault::ResetMid => cut(line, half, true, json(body.into())),
        Fault::Close => cut(line, 0, false, json(body.into())),
        Fault::Truncate => cut(line, half, false, json(body.into())),
        Fault::WrongLength => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: {}\r\ncontent-length: {}\r\n\r\n",
                date.to_str().unwrap_or_default(),
                body.len().saturating_sub(7)
            );
            line.set(Outgoing::Instead { bytes: [head.as_bytes(), body.as_bytes()].concat(), sent: 0 });
            json(body.into())
        }
        Fault::NotHttp => {
            line.set(Outgoing::Instead {
                bytes: b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\r\n\r\n".to_vec(),
                sent: 0,
            });
            json(body.into())
        }
        Fault::Garbage => {
            let bytes: Vec<u8> = (0..512_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 16) as u8 | 0x80).collect();
            json(bytes.into())
        }
        Fault::Html => respond(StatusCode::OK, HTML, date, PAGE.into()),
        Fault::Empty => json(Body::empty()),
        Fault::Stall => std::future::pending().await,
        Fault::StallMid => {
            let length = body.len();
            let sent = Bytes::from(body).slice(..length / 2);
            let endless = stream::iter([Ok::<_, Infallible>(sent)]).chain(stream::pending());
            let mut response = json(Body::from_stream(endless));
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
            response
        }
        Fault::Delay(time) => {
            tokio::time::sleep(*time).await;
            json(body.into())
        }
        Fault::Drip { bytes, every } => drip(body, *bytes, *every, &json),
        Fault::Gzip => {
            let mut response = json(compressed(body.as_bytes()).into());
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        Fault::Huge(size) => {
            let blank = Bytes::from(vec![b' '; 1 << 16]);
            let (whole, rest) = (size >> 16, (size & 0xffff) as usize);
            let padding = stream::iter(0..whole).map({
                let blank = blank.clone();
                move |_| blank.clone()
            });
            let parts = padding.chain(stream::iter([blank.slice(..rest), Bytes::from(body)]));
            json(Body::from_stream(parts.map(Ok::<_, Infallible>)))
        }
    }
}

/// An HTTP response with the headers that every answer has.
pub(super) fn respond(status: StatusCode, kind: HeaderValue, date: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(DATE, date);
    response
}

/// A JSON document beside the API.
pub(super) fn document(body: String, date: HeaderValue) -> Response<Body> {
    respond(StatusCode::OK, JSON, date, body.into())
}

/// A gateway's error.
pub(super) fn gateway(status: StatusCode, date: HeaderValue) -> Response<Body> {
    respond(status, HTML, date, PAGE.into())
}

fn cut(line: &Line, after: usize, reset: bool, response: Response<Body>) -> Response<Body> {
    line.set(Outgoing::Cut { after, reset });
    response
}

fn drip(body: String, bytes: usize, every: Duration, json: &dyn Fn(Body) -> Response<Body>) -> Response<Body> {
    let length = body.len();
    let drops = stream::unfold((Bytes::from(body), true), move |(mut rest, first)| async move {
        if rest.is_empty() {
            return None;
        }
        if !first {
            tokio::time::sleep(every).await;
        }
        let drop = rest.split_to(bytes.clamp(1, rest.len()));
        Some((Ok::<_, Infallible>(drop), (rest, false)))
    });
    let mut response = json(Body::from_stream(drops));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}
