//! JSON with a line for each value, for people.

use serde::de::IgnoredAny;

/// Indents JSON text. Keys stay in their order, and numbers as they are written: a parser would round them. Escapes of
/// characters that people can read are resolved. `None` if the text is no JSON.
pub(super) fn indented(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(2 * text.len());
    let (mut rest, mut depth) = (text.trim_start(), 0);
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        match first {
            '{' | '[' => {
                out.push(first);
                let inside = rest[1..].trim_start();
                if let Some(closing @ ('}' | ']')) = inside.chars().next() {
                    out.push(closing);
                    length = rest.len() - inside.len() + 1;
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                new_line(&mut out, depth);
                out.push(first);
            }
            ',' => {
                out.push(first);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                length = string_length(rest);
                let written = &rest[..length];
                match serde_json::from_str::<String>(written) {
                    Ok(content) => out.push_str(&serde_json::Value::from(content).to_string()),
                    Err(_) => out.push_str(written),
                }
            }
            _ => {
                length = rest.find([',', '}', ']', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
                out.push_str(&rest[..length]);
            }
        }
        rest = rest[length..].trim_start();
    }
    Some(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// The length of the string that JSON text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_keys_and_repetitions_stay_as_they_are_written() {
        let text = r#" {"b" :[1e3, -0.10 ,158844553334358018158844553334358018],"a":{ },"a":[ ],"t":"\u4f60 \"}\\"} "#;
        let expected = r#"{
  "b": [
    1e3,
    -0.10,
    158844553334358018158844553334358018
  ],
  "a": {},
  "a": [],
  "t": "你 \"}\\"
}"#;
        assert_eq!(indented(text).as_deref(), Some(expected));
        assert_eq!(indented("1E400").as_deref(), Some("1E400"));
        assert_eq!(indented("{").as_deref(), None);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            ".*".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                prop::collection::vec((".*", inner), 0..5)
                    .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_a_parser_would_print_where_that_loses_nothing(value in json()) {
            let expected = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(indented(&value.to_string()), Some(expected.clone()));
            prop_assert_eq!(indented(&expected), Some(expected));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            indented(&text);
        }
    }
}
