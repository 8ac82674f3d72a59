use proptest::prelude::*;

use super::*;

#[test]
fn what_is_json_is_taken_and_what_is_not_is_refused() {
    for good in ["{}", " [ ] ", "[1,-0.5e+3,true,null,\"\\u00e9\\n\"]", "{\"a\":{\"b\":[{}]},\"c\":[]}", "0", "\"\""] {
        assert!(parse(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "{",
        "[",
        "[1,]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "[,]",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "01",
        "1.",
        "-",
        "1e",
        "+1",
        "tru",
        "nul",
        "\"\\x\"",
        "\"\\u12\"",
        "\"a\nb\"",
        "\"",
        "[}",
        "{]",
        "[1}",
        "{} {}",
        "{a:1}",
        ".5",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn depth_costs_no_stack_and_is_marked() {
    let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let value = parse(&deep).unwrap();
    assert_eq!(value.text.len(), deep.len());
    assert!(value.deep);
    let mixed = format!("{}1{}", "{\"a\":[".repeat(200), "]}".repeat(200));
    assert!(parse(&mixed).unwrap().deep);
    assert!(parse(&mixed[..mixed.len() - 1]).is_err());
    let shallow = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert!(!parse(&shallow).unwrap().deep);
}

#[test]
fn escapes_are_resolved_and_half_a_pair_is_replaced() {
    let text = parse(r#""a\u4f60\ud83d\ude00\ud83dx\udc00\\\/\t\u0000""#).unwrap();
    assert!(text.is_lone());
    assert_eq!(text.content().unwrap(), "a你😀\u{fffd}x\u{fffd}\\/\t\0");
    let object = parse(r#"{"k\ud83d":"\ud83d\ude00\\ud83d\udc00"}"#).unwrap();
    assert_eq!(object.readable(), r#"{"k\ufffd":"\ud83d\ude00\\ud83d\ufffd"}"#);
}

#[test]
fn only_exact_integers_are_integers() {
    let integer = |text: &str| parse(text).unwrap().integer_or_digits();
    assert_eq!(integer("158844553334358018"), Some(158_844_553_334_358_018));
    assert_eq!(integer("\"9223372036854775807\""), Some(i64::MAX));
    for not in ["1.5e17", "158844553334358018.0", "9223372036854775808", "\"-1\"", "\"1.0\"", "\"\"", "true", "\" 1\""]
    {
        assert_eq!(integer(not), None, "{not}");
    }
}

fn arbitrary_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(|number| serde_json::json!(number)),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_serde_writes_is_taken_whole(value in arbitrary_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let value = parse(&text).unwrap();
        prop_assert_eq!(value.text, text.as_str());
    }

    #[test]
    fn agrees_with_serde_on_what_is_json(value in arbitrary_json(), at in any::<prop::sample::Index>(), byte in prop::sample::select(b"{}[],:\"\\0-1.eEtn u".to_vec())) {
        let mut bytes = serde_json::to_vec(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) {
            let ours = parse(&text);
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            // serde's raw values refuse lone surrogates in no place, and numbers of any size are fine for both.
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{} {:?} {:?}", text, ours, theirs);
        }
    }

    #[test]
    fn a_string_holds_what_was_written_however_it_is_escaped(text in any::<String>()) {
        let escaped = text.encode_utf16().fold(String::new(), |escaped, unit| escaped + &format!("\\u{unit:04x}"));
        for json in [quoted(&text), format!("\"{escaped}\"")] {
            prop_assert_eq!(&parse(&json).unwrap().content().unwrap(), &text);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), prefix in "[\\[{\":,a-f0-9\\\\u]{0,40}") {
        let _ = parse(&text);
        let _ = parse(&prefix);
        let _ = parse(&format!("\"{prefix}\""));
    }
}
