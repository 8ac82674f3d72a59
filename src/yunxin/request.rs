//! The one request of the API that is used: where it goes and what it says.

use std::fmt::Write as _;

use url::Url;

use crate::config::ApiVersion;
use crate::model::reference::ConversationId;

/// Where a request for messages of `conversation` goes. The endpoint's own path is kept as a prefix.
pub(super) fn url(endpoint: &Url, version: ApiVersion, conversation: &ConversationId) -> Url {
    let prefix = endpoint.path().trim_end_matches('/');
    let mut path = String::with_capacity(prefix.len() + 160);
    path.push_str(prefix);
    path.push_str("/im/");
    path.push_str(version.as_str());
    path.push_str("/conversations/");
    encode_into(&mut path, &conversation.owner);
    let _ = write!(path, "%7C{}%7C", conversation.conversation_type.number());
    encode_into(&mut path, &conversation.other);
    path.push_str("/batch_messages");
    let mut url = endpoint.clone();
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Appends `text` with everything percent-encoded that is not unreserved (RFC 3986).
fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

/// The request's body for references of (ID, create time in milliseconds).
pub(super) fn body(refs: &[(i64, i64)]) -> String {
    let mut body = String::with_capacity(16 + refs.len() * 80);
    body.push_str("{\"messages\":[");
    for (index, (id, create_time)) in refs.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(body, "{comma}{{\"message_server_id\":{id},\"create_time\":{create_time}}}");
    }
    body.push_str("]}");
    body
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::reference::ConversationType;

    fn conversation(owner: &str, other: &str) -> ConversationId {
        ConversationId { owner: owner.into(), conversation_type: ConversationType::OneToOne, other: other.into() }
    }

    #[test]
    fn the_conversation_is_one_path_segment_behind_the_endpoints_own_path() {
        let endpoint = Url::parse("https://example.com/nimserver/").unwrap();
        let url = url(&endpoint, ApiVersion::V2_1, &conversation("a@b.c", "d-e_f"));
        assert_eq!(
            url.as_str(),
            "https://example.com/nimserver/im/v2.1/conversations/a%40b.c%7C1%7Cd-e_f/batch_messages"
        );
        let endpoint = Url::parse("http://127.0.0.1:8080").unwrap();
        let url = super::url(&endpoint, ApiVersion::V2, &conversation("a/../b?", "你%"));
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:8080/im/v2/conversations/a%2F..%2Fb%3F%7C1%7C%E4%BD%A0%25/batch_messages"
        );
    }

    #[test]
    fn ids_beyond_double_precision_are_written_exactly() {
        assert_eq!(
            body(&[(158_844_553_334_358_018, 1_753_951_805_248), (i64::MAX, 0)]),
            r#"{"messages":[{"message_server_id":158844553334358018,"create_time":1753951805248},{"message_server_id":9223372036854775807,"create_time":0}]}"#
        );
    }

    proptest! {
        #[test]
        fn any_account_comes_back_out_of_the_path(owner in "[^|]{1,20}", other in "[^|]{1,20}") {
            let endpoint = Url::parse("https://example.com/p").unwrap();
            let url = url(&endpoint, ApiVersion::V2_1, &conversation(&owner, &other));
            let segments: Vec<_> = url.path_segments().unwrap().collect();
            prop_assert_eq!(segments.len(), 6);
            let mut bytes = Vec::new();
            let mut rest = segments[4].bytes();
            while let Some(byte) = rest.next() {
                if byte == b'%' {
                    let hex = [rest.next().unwrap(), rest.next().unwrap()];
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
                } else {
                    bytes.push(byte);
                }
            }
            prop_assert_eq!(String::from_utf8(bytes).unwrap(), format!("{owner}|1|{other}"));
        }
    }
}
