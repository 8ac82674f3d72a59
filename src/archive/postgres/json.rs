//! JSON text that `jsonb` accepts. Pure.
//!
//! `jsonb` refuses JSON that others accept: escapes of U+0000 and of unpaired surrogates, numbers beyond its range, and
//! nesting beyond the server's stack. One refused value would fail a whole commit, and every later try.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// JSON that nests deeper is stored as text: a setting bounds the server's stack.
const DEEPEST: usize = 512;
/// A number with more digits than this, before or after the point and written out, is stored as text.
const LONGEST_NUMBER: u64 = 1000;

/// JSON that `jsonb` accepts: the text as it is, if it does.
///
/// Escapes of U+0000 and of unpaired surrogates become U+FFFD, and oversized numbers become strings of their digits. Text
/// that is no JSON, or that nests too deeply, becomes one string.
pub(super) fn fitted(text: &str) -> Cow<'_, str> {
    if serde_json::from_str::<IgnoredAny>(text).is_ok()
        && let Some(fitted) = fit(text)
    {
        return fitted;
    }
    let text = text.replace('\0', "\u{fffd}");
    Cow::Owned(serde_json::Value::String(text).to_string())
}

/// Replaces what `jsonb` refuses. The text is valid JSON. `None` if it nests too deeply.
fn fit(text: &str) -> Option<Cow<'_, str>> {
    let mut out = String::new();
    // `text[kept..]` is not in `out` yet.
    let (mut at, mut kept, mut depth) = (0, 0, 0);
    while let Some(&byte) = text.as_bytes().get(at) {
        let start = at;
        let replacement = match byte {
            b'"' => {
                // Every escape in the string is looked at; the string ends at the first quote that is not escaped.
                at += 1;
                while text.as_bytes()[at] != b'"' {
                    let length = token_length(&text[at..]);
                    if is_refused_escape(&text[at..at + length]) {
                        out.push_str(&text[kept..at]);
                        out.push_str("\\ufffd");
                        kept = at + length;
                    }
                    at += length;
                }
                at += 1;
                None
            }
            b'-' | b'0'..=b'9' => {
                let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                at += text.as_bytes()[at..].iter().take_while(|byte| is_number(byte)).count();
                let number = &text[start..at];
                is_oversized(number).then(|| format!("\"{number}\""))
            }
            _ => {
                match byte {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                None
            }
        };
        if depth > DEEPEST {
            return None;
        }
        if let Some(replacement) = replacement {
            out.push_str(&text[kept..start]);
            out.push_str(&replacement);
            kept = at;
        }
    }
    if kept == 0 {
        return Some(Cow::Borrowed(text));
    }
    out.push_str(&text[kept..]);
    Some(Cow::Owned(out))
}

/// The length of the first token in the rest of a string: an escape, or both of a surrogate pair, or everything up to the
/// next escape or quote.
fn token_length(rest: &str) -> usize {
    match rest.as_bytes() {
        [b'\\', b'u', ..] => match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            _ => 6,
        },
        [b'\\', ..] => 2,
        bytes => memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len()),
    }
}

/// The UTF-16 unit of an escape `\uXXXX` at the start of a text.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

/// Whether this is an escape of U+0000 or of an unpaired surrogate.
fn is_refused_escape(token: &str) -> bool {
    token.len() == 6 && matches!(unit(token), Some(0 | 0xd800..=0xdfff))
}

fn is_oversized(number: &str) -> bool {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shift = exponent.trim_start_matches(['+', '-']).parse().unwrap_or(u64::MAX);
    let (left, right) = if exponent.starts_with('-') { (0, shift) } else { (shift, 0) };
    let digits = |text: &str, shift: u64| (text.trim_start_matches('-').len() as u64).saturating_add(shift);
    digits(whole, left) > LONGEST_NUMBER || digits(fraction, right) > LONGEST_NUMBER
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::{Cow, DEEPEST};

    fn fitted(text: &str) -> (String, bool) {
        let fitted = super::fitted(text);
        (fitted.clone().into_owned(), matches!(fitted, Cow::Owned(_)))
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
