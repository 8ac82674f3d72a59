//! Conversations as the service reads them: accounts lower-cased, one dialogue whoever looks at it.

/// A conversation ID, taken apart and lower-cased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conversation {
    /// The account in whose name a request asks.
    pub(super) owner: String,
    /// 1 one-to-one, 2 team, 3 super team.
    pub(super) kind: u8,
    /// The other account, or the team's ID.
    pub(super) other: String,
    /// The same for both sides of a one-to-one dialogue, and for all members of a team.
    pub(super) key: String,
}

impl Conversation {
    /// Reads `owner|type|other`; `None` when it is not of that form. A team's ID is a number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        let mut parts = text.split('|');
        let (owner, kind, other) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || owner.is_empty() || other.is_empty() {
            return None;
        }
        let kind = match kind {
            "1" => 1,
            "2" => 2,
            "3" => 3,
            _ => return None,
        };
        if kind != 1 && !other.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let key = match kind {
            1 if owner <= other => format!("1|{owner}|{other}"),
            1 => format!("1|{other}|{owner}"),
            _ => format!("{kind}|{other}"),
        };
        Some(Self { owner: owner.to_owned(), kind, other: other.to_owned(), key })
    }

    /// The two accounts of a one-to-one dialogue, the lesser first.
    pub(super) fn sides(&self) -> (&str, &str) {
        if self.owner <= self.other { (&self.owner, &self.other) } else { (&self.other, &self.owner) }
    }
}

/// Undoes percent-encoding of one path segment; `None` for a broken escape, for bytes that are no UTF-8, and for a pipe
/// that was not encoded.
pub(super) fn decode_segment(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (high, low) = (hex_digit(*rest.first()?)?, hex_digit(*rest.get(1)?)?);
                bytes.push(high << 4 | low);
                rest = &rest[2..];
            }
            b'|' => return None,
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_dialogue_share_a_key() {
        assert_eq!(Conversation::parse("Bob|1|alice").unwrap().key, "1|alice|bob");
        assert_eq!(Conversation::parse("ALICE|1|bob").unwrap().key, "1|alice|bob");
        assert_eq!(Conversation::parse("alice|3|77").unwrap().key, "3|77");
    }

    #[test]
    fn what_is_no_conversation_is_refused() {
        for text in ["", "a", "a|1", "a|1|b|c", "|1|b", "a|1|", "a|4|b", "a|2|team", "a|x|b"] {
            assert_eq!(Conversation::parse(text), None, "{text}");
        }
    }

    #[test]
    fn segments_are_decoded_strictly() {
        assert_eq!(decode_segment("a%7C1%7cb%40x").as_deref(), Some("a|1|b@x"));
        for text in ["a|1|b", "a%7", "a%zz", "%ff"] {
            assert_eq!(decode_segment(text), None, "{text}");
        }
    }
}
