//! Checks requests as the service does, and says what is wrong with them.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::Deserialize;
use sha1::{Digest, Sha1};

use super::conversation::decode_segment;
use super::settings::App;

/// Seconds by which a request's time may differ from the service's.
const TOLERANCE_S: i64 = 300;
const NONCE_MAX: usize = 128;

/// Why a request is refused: the code and what is said.
pub(super) type Refusal = (i64, &'static str);

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// The batch call; the conversation ID still encoded.
    Batch { version: &'a str, segment: &'a str },
    /// The liveness probe.
    Liveness,
    /// What the service saw.
    Stats,
    /// Nothing.
    Nowhere,
}

/// Finds where a path leads.
pub(super) fn place<'a>(path: &'a str, prefix: &str) -> Place<'a> {
    let Some(rest) = path.strip_prefix(prefix.trim_end_matches('/')) else { return Place::Nowhere };
    match rest {
        "/health/liveness.action" => return Place::Liveness,
        "/simulator/stats" => return Place::Stats,
        _ => {}
    }
    let mut parts = rest.split('/');
    let parts = [(); 7].map(|()| parts.next());
    match parts {
        [Some(""), Some("im"), Some(version), Some("conversations"), Some(segment), Some("batch_messages"), None]
            if matches!(version, "v2.1" | "v2") =>
        {
            Place::Batch { version, segment }
        }
        _ => Place::Nowhere,
    }
}

/// One header as text; empty when it is absent or no text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Checks signature, time and content type against the service's clock, in seconds since the epoch.
pub(super) fn check_headers(headers: &HeaderMap, app: &App, now: i64) -> Result<(), Refusal> {
    let (nonce, time) = (header(headers, "Nonce"), header(headers, "CurTime"));
    if nonce.is_empty() || nonce.len() > NONCE_MAX {
        return Err((414, "Nonce must have 1 to 128 characters"));
    }
    if time.is_empty() || !time.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err((414, "CurTime must be seconds since the epoch"));
    }
    let seconds: i64 = time.parse().map_err(|_| (414, "CurTime must be seconds since the epoch"))?;
    if (seconds - now).abs() > TOLERANCE_S {
        return Err((414, "CurTime is more than 5 minutes from the time of the service"));
    }
    let digest = Sha1::new().chain_update(&app.secret).chain_update(nonce).chain_update(time).finalize();
    if header(headers, "CheckSum") != hex::encode(digest) {
        return Err((414, "CheckSum is wrong"));
    }
    let content_type = header(headers, CONTENT_TYPE.as_str());
    if content_type.split(';').next().map(str::trim) != Some("application/json") {
        return Err((414, "Content-Type must be application/json"));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    messages: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    message_server_id: i64,
    create_time: i64,
}

/// Reads the references of a request: ID and create time of each, both JSON integers, nothing else.
pub(super) fn read_body(body: &[u8]) -> Option<Vec<(i64, i64)>> {
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(body.messages.into_iter().map(|item| (item.message_server_id, item.create_time)).collect())
}

/// Checks the references of a request.
pub(super) fn check_references(
    references: Option<&[(i64, i64)]>,
    limit: usize,
    limit_code: i64,
) -> Result<&[(i64, i64)], Refusal> {
    match references {
        None => Err((414, "messages must be a list of message_server_id and create_time, both integers")),
        Some([]) => Err((414, "messages is empty")),
        Some(references) if references.len() > limit => Err((limit_code, "too many messages")),
        Some(references) if references.iter().any(|&(id, time)| id <= 0 || time <= 0) => {
            Err((414, "message_server_id and create_time must be positive"))
        }
        Some(references) => Ok(references),
    }
}

/// The conversation ID of a path segment, in which pipes must be encoded.
pub(super) fn conversation_id(segment: &str) -> String {
    decode_segment(segment).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_documentation_says() {
        let batch = |version| Place::Batch { version, segment: "a%7C1%7Cb" };
        assert_eq!(place("/im/v2.1/conversations/a%7C1%7Cb/batch_messages", ""), batch("v2.1"));
        assert_eq!(place("/nim/im/v2/conversations/a%7C1%7Cb/batch_messages", "/nim"), batch("v2"));
        assert_eq!(place("/nim/health/liveness.action", "/nim/"), Place::Liveness);
        for path in ["/", "/im/v2.1/conversations/a/batch_messages/", "/im/v1/conversations/a/batch_messages", "/x"] {
            assert_eq!(place(path, ""), Place::Nowhere, "{path}");
        }
        assert_eq!(place("/im/v2.1/conversations/a/batch_messages", "/nim"), Place::Nowhere);
    }

    #[test]
    fn both_numbers_must_be_integers_and_nothing_else_be_there() {
        let read = |body: &str| read_body(body.as_bytes());
        assert_eq!(
            read(r#"{"messages":[{"message_server_id":158844553334358018,"create_time":1753951805248}]}"#),
            Some(vec![(158_844_553_334_358_018, 1_753_951_805_248)])
        );
        for body in [
            "",
            "[]",
            "{}",
            r#"{"messages":[{"message_server_id":"1","create_time":2}]}"#,
            r#"{"messages":[{"message_server_id":1.0,"create_time":2}]}"#,
            r#"{"messages":[{"message_server_id":1}]}"#,
            r#"{"messages":[{"message_server_id":1,"create_time":2,"x":3}]}"#,
            r#"{"messages":[],"x":1}"#,
            r#"{"messages":[{"message_server_id":9223372036854775808,"create_time":2}]}"#,
        ] {
            assert_eq!(read(body), None, "{body}");
        }
    }
}
