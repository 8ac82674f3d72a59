//! JSON text as `jsonb` takes it. Pure.
//!
//! `jsonb` refuses JSON that others accept: the escape of U+0000, escapes of unpaired surrogates, numbers beyond its
//! range, and nesting beyond the server's stack. One refused value would fail a whole commit, and every later try.

use memchr::memchr2;

/// Deeper JSON is kept as text: the server's stack is bounded by a setting of its own.
const DEEPEST: usize = 512;
/// Numbers with more digits than this, before or after the point and written out, are kept as text.
const LONGEST_NUMBER: u64 = 1000;

/// Appends JSON that `jsonb` accepts, and returns whether it differs from `text`.
///
/// Escapes of U+0000 and of unpaired surrogates become U+FFFD, oversized numbers become strings of their digits. What
/// is no JSON at all, or nests too deeply, becomes one string that holds the text.
pub(super) fn push(out: &mut Vec<u8>, text: &str) -> bool {
    let start = out.len();
    let mut reader = Reader { bytes: text.as_bytes(), at: 0, kept: 0, changed: false, out };
    if reader.document() {
        let Reader { kept, changed, .. } = reader;
        out.extend_from_slice(&text.as_bytes()[kept..]);
        changed
    } else {
        out.truncate(start);
        push_string(out, text);
        true
    }
}

/// Appends `text` as a JSON string, U+0000 replaced by U+FFFD.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0 => out.extend_from_slice("\u{fffd}".as_bytes()),
            1..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Reads a document without recursion. `bytes[kept..]` is not yet in `out`.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    kept: usize,
    changed: bool,
    out: &'a mut Vec<u8>,
}

impl Reader<'_> {
    fn document(&mut self) -> bool {
        let mut inside = Nesting { objects: [0; DEEPEST / 64], depth: 0 };
        loop {
            self.white();
            let opened = match self.peek() {
                Some(b'{') => Some(true),
                Some(b'[') => Some(false),
                Some(b'"') if self.string() => None,
                Some(b'-' | b'0'..=b'9') if self.number() => None,
                Some(b't') if self.word(b"true") => None,
                Some(b'f') if self.word(b"false") => None,
                Some(b'n') if self.word(b"null") => None,
                _ => return false,
            };
            if let Some(object) = opened {
                self.at += 1;
                self.white();
                let closing = if object { b'}' } else { b']' };
                if self.peek() == Some(closing) {
                    self.at += 1;
                } else if !inside.enter(object) || object && !self.key() {
                    return false;
                } else {
                    continue;
                }
            }
            loop {
                self.white();
                match (inside.object(), self.peek()) {
                    (None, None) => return true,
                    (Some(true), Some(b'}')) | (Some(false), Some(b']')) => {
                        self.at += 1;
                        inside.depth -= 1;
                    }
                    (Some(object), Some(b',')) => {
                        self.at += 1;
                        self.white();
                        if object && !self.key() {
                            return false;
                        }
                        break;
                    }
                    _ => return false,
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn white(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(word);
        self.at += word.len();
        found
    }

    fn key(&mut self) -> bool {
        if self.peek() != Some(b'"') || !self.string() {
            return false;
        }
        self.white();
        let colon = self.peek() == Some(b':');
        self.at += 1;
        colon
    }

    fn string(&mut self) -> bool {
        self.at += 1;
        loop {
            let rest = &self.bytes[self.at.min(self.bytes.len())..];
            let Some(plain) = memchr2(b'"', b'\\', rest) else { return false };
            if rest[..plain].iter().any(|&byte| byte < 0x20) {
                return false;
            }
            self.at += plain;
            if rest[plain] == b'"' {
                self.at += 1;
                return true;
            }
            match rest.get(plain + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                Some(b'u') => {
                    if !self.escape() {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }

    /// Reads `\uXXXX`, with its second half if it is the first of a pair.
    fn escape(&mut self) -> bool {
        let start = self.at;
        let Some(unit) = self.unit(start) else { return false };
        self.at += 6;
        let second_follows = || matches!(self.unit(self.at), Some(0xdc00..=0xdfff));
        match unit {
            0xd800..=0xdbff if second_follows() => self.at += 6,
            0 | 0xd800..=0xdfff => self.replace(start, "\\ufffd".as_bytes()),
            _ => {}
        }
        true
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
    }

    fn number(&mut self) -> bool {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first = self.peek();
        let whole = self.digits();
        if whole == 0 || whole > 1 && first == Some(b'0') {
            return false;
        }
        let mut fraction = 0;
        if self.peek() == Some(b'.') {
            self.at += 1;
            fraction = self.digits();
            if fraction == 0 {
                return false;
            }
        }
        let (mut left, mut right) = (0, 0);
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            let negative = self.peek() == Some(b'-');
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            let digits = self.at;
            if self.digits() == 0 {
                return false;
            }
            let exponent = self.bytes[digits..self.at]
                .iter()
                .fold(0_u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
            *(if negative { &mut right } else { &mut left }) = exponent;
        }
        if whole.saturating_add(left) > LONGEST_NUMBER || fraction.saturating_add(right) > LONGEST_NUMBER {
            self.out.extend_from_slice(&self.bytes[self.kept..start]);
            self.out.push(b'"');
            self.out.extend_from_slice(&self.bytes[start..self.at]);
            self.out.push(b'"');
            self.kept = self.at;
            self.changed = true;
        }
        true
    }

    fn digits(&mut self) -> u64 {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        (self.at - start) as u64
    }

    /// Puts `replacement` in the place of what was read since `start`.
    fn replace(&mut self, start: usize, replacement: &[u8]) {
        self.out.extend_from_slice(&self.bytes[self.kept..start]);
        self.out.extend_from_slice(replacement);
        self.kept = self.at;
        self.changed = true;
    }
}

/// What the reader stands in: one bit per level, set for an object.
struct Nesting {
    objects: [u64; DEEPEST / 64],
    depth: usize,
}

impl Nesting {
    fn enter(&mut self, object: bool) -> bool {
        if self.depth == DEEPEST {
            return false;
        }
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if object {
            self.objects[word] |= bit;
        } else {
            self.objects[word] &= !bit;
        }
        self.depth += 1;
        true
    }

    fn object(&self) -> Option<bool> {
        let level = self.depth.checked_sub(1)?;
        Some(self.objects[level / 64] >> (level % 64) & 1 == 1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fitted(text: &str) -> (String, bool) {
        let mut out = b"before".to_vec();
        let changed = push(&mut out, text);
        (String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned(), changed)
    }

    #[test]
    fn what_jsonb_takes_is_kept_as_it_is() {
        for text in [
            "null",
            " {} ",
            "[]",
            r#"{"a":[1,-0.5e+3,true,false,null,"\"\\\/\b\f\n\r\té"],"b":{"c":{}}}"#,
            r#""\ud83d\ude00 \uFFFF""#,
            "[1, [2, [3]], {\"x\" : [ ] }]",
            "-0",
            "1e999",
        ] {
            assert_eq!(fitted(text), (text.to_owned(), false));
        }
    }

    #[test]
    fn escapes_that_no_text_can_hold_become_the_replacement_character() {
        assert_eq!(fitted(r#"{"\u0000":"a\u0000b"}"#), (r#"{"\ufffd":"a\ufffdb"}"#.to_owned(), true));
        assert_eq!(
            fitted(r#"["\ud83d","\uDE00x","\ud83d\ud83d\ude00"]"#).0,
            r#"["\ufffd","\ufffdx","\ufffd\ud83d\ude00"]"#
        );
        assert_eq!(fitted(r#""\\u0000""#), (r#""\\u0000""#.to_owned(), false));
    }

    #[test]
    fn numbers_beyond_the_range_become_strings() {
        assert_eq!(fitted(r#"{"n":1e400000,"m":-2}"#), (r#"{"n":"1e400000","m":-2}"#.to_owned(), true));
        assert_eq!(fitted("1E-99999999999999999999").0, "\"1E-99999999999999999999\"");
    }

    #[test]
    fn what_is_no_json_becomes_a_string_that_holds_it() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":}",
            "01",
            "1.",
            "+1",
            "nul",
            "\"\u{1}\"",
            "1 2",
            "{\"a\" 1}",
            "\"\\x\"",
            "\"\\u12\"",
        ] {
            let (out, changed) = fitted(text);
            assert!(changed, "{text}");
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
        assert_eq!(fitted("\0").0, "\"\u{fffd}\"");
    }

    #[test]
    fn json_that_nests_too_deeply_becomes_a_string_that_holds_it() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(fitted(&nested(DEEPEST)), (nested(DEEPEST), false));
        assert_eq!(fitted(&nested(DEEPEST + 2)), (format!("\"{}\"", nested(DEEPEST + 2)), true));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn valid_json_is_never_refused(value in json()) {
            let text = value.to_string();
            prop_assume!(!text.contains("\\u0000"));
            prop_assert_eq!(fitted(&text), (text.clone(), false));
        }

        #[test]
        fn whatever_comes_json_leaves(text in "\\PC*|[\\[\\]{}\",:0-9eE.\\\\u+d-]*") {
            let (out, changed) = fitted(&text);
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&out).is_ok(), "{} -> {}", text, out);
            prop_assert_eq!(changed, out != text);
        }
    }
}
