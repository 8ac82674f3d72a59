//! Hostile answers, as far as whole jobs are concerned: whatever they hold, each reference ends in one state, and what
//! can be archived is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use yunxin_archiver::model::Column;
use yunxin_archiver::model::columns::Origin;
use yunxin_archiver::simulator::{Message, Settings};

use crate::support::faulty_api::{Act, Asked, FaultyApi, http};
use crate::support::storm::{Ran, Site, To, database};

const TIME: i64 = 1_792_800_000_000;
const MEGABYTE: usize = 1 << 20;

fn site(to: To) -> Site {
    let mut site = Site::with(to, Settings { rate_limit: 0, ..Settings::default() });
    site.app = "rate_limit: 5000".to_owned();
    site
}

#[test]
fn a_value_of_any_type_in_any_field_is_archived_for_what_it_is() {
    let columns = Column::all(false).iter().filter(|column| matches!(column.origin, Origin::Item(_)));
    let fields = columns.map(|column| column.name).filter(|name| *name != "message_server_id");
    let fields: Vec<&str> = fields.chain(["conversation_id", "thread_config", "nobody_knows"]).collect();
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let digits = "7".repeat(200_000);
    let values = [
        "null",
        "true",
        "1.5",
        "-0.0",
        "1e999",
        "-1",
        "9223372036854775808",
        "99999999999999999999999999",
        "\"\"",
        "\"x\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"=cmd()\"",
        "[]",
        "[[],{}]",
        "[\"a\",null,1]",
        "{}",
        "{\"\":{\"\":null}}",
        "{\"a\":1,\"a\":2}",
        "{\"half\\udc00\":\"\\u0000\"}",
        &deep,
        &digits,
    ];
    for to in [To::Parquet, To::Postgres(database())] {
        let mut site = site(to);
        site.fetch = "batch_size: 100, threads: complete".to_owned();
        let numbered = fields.iter().flat_map(|field| values.iter().map(move |value| (*field, *value))).zip(1..);
        let messages = numbered.map(|((field, value), id)| {
            let conversation = format!("a{}|1|b", id % 7);
            (conversation.clone(), id, TIME, Message::text(&conversation, id, TIME, "x").field(field, value))
        });
        site.hold(messages);
        let ran = site.plain().exits(0);
        let references = &ran.summary()["references"];
        assert_eq!(references["archived"], fields.len() * values.len(), "{references}");
        site.is_whole();
    }
}

/// The reference to which there is the hostile answer of this number.
fn id(number: usize) -> i64 {
    9_007_199_254_740_993 + number as i64
}

/// What it is called, the answer, and whether the message is archived from it; none beyond the last.
fn hostile(number: usize) -> Option<(&'static str, Vec<u8>, bool)> {
    let id = id(number);
    let item = |fields: &str| format!("{{\"message_server_id\":{id}{fields}}}");
    let answer = |items: &str| format!("{{\"code\":200,\"data\":{{\"success_list\":[{items}]}}}}").into_bytes();
    let found = |fields: &str| answer(&item(fields));
    let text = |byte: u8, count: usize| String::from_utf8(vec![byte; count]).unwrap();
    let mut invalid = found(",\"text\":\"#\"");
    let at = invalid.iter().position(|byte| *byte == b'#').unwrap();
    invalid.splice(at..=at, [0xff, 0xfe]);
    let mut overlong = found(",\"text\":\"#\"");
    overlong.splice(at..=at, [0xc0, 0x80]);
    let others: Vec<String> = (0..2_000).map(|n| format!("{{\"message_server_id\":{}}}", 5_000_000 + n)).collect();
    let raw = |text: &str| text.as_bytes().to_vec();
    Some(match number {
        0 => ("a text of 10 MB", found(&format!(",\"text\":\"{}\"", text(b'x', 10 * MEGABYTE))), true),
        1 => ("an unknown field of 10 MB", found(&format!(",\"note\":\"{}\"", text(b'y', 10 * MEGABYTE))), true),
        2 => (
            "an attachment of 10 MB",
            found(&format!(",\"attachment\":{{\"n\":\"{}\"}}", text(b'z', 10 * MEGABYTE))),
            true,
        ),
        3 => ("a number of a million digits", found(&format!(",\"n\":{}", text(b'9', MEGABYTE))), true),
        4 => (
            "a hundred thousand lists in each other",
            found(&format!(",\"n\":{}{}", text(b'[', 100_000), text(b']', 100_000))),
            true,
        ),
        5 => ("lists that never end", found(&format!(",\"n\":{}", text(b'[', MEGABYTE))), false),
        6 => ("a million empty fields", found(&",\"\":0".repeat(MEGABYTE)), true),
        7 => ("a text twice", found(",\"text\":\"a\",\"text\":\"b\""), true),
        8 => ("its own ID twice", found(&format!(",\"message_server_id\":{id}")), true),
        9 => (
            "another's ID and then its own",
            answer(&format!("{{\"message_server_id\":1,\"message_server_id\":{id}}}")),
            true,
        ),
        10 => (
            "its data twice",
            raw(&format!("{{\"code\":200,\"data\":{{}},\"data\":{{\"success_list\":[{}]}}}}", item(""))),
            true,
        ),
        11 => ("bytes that are no UTF-8", invalid, true),
        12 => ("a NUL of two bytes", overlong, true),
        13 => ("half of an emoji", found(",\"text\":\"\\ud83d\",\"attachment\":{\"\\udc00\":\"\\ud83d\"}"), true),
        14 => ("NUL", found(",\"text\":\"\\u0000\",\"extension\":\"\\u0000\",\"sender_id\":\"\\u0000\""), true),
        15 => ("NUL as a byte", found(",\"text\":\"\0\""), false),
        16 => ("an ID as a text", answer(&format!("{{\"message_server_id\":\"{id}\"}}")), true),
        17 => ("an ID as a float", answer(&format!("{{\"message_server_id\":{id}.0}}")), false),
        18 => ("an ID in powers of ten", answer(&format!("{{\"message_server_id\":{id}e0}}")), false),
        19 => {
            ("an ID of a million digits", answer(&format!("{{\"message_server_id\":{}}}", text(b'1', MEGABYTE))), false)
        }
        20 => ("the negative of an ID", answer(&format!("{{\"message_server_id\":-{id}}}")), false),
        21 => ("no ID", answer("{}"), false),
        22 => ("an item that is none", answer("17"), false),
        23 => ("two thousand others", answer(&others.join(",")), false),
        24 => ("two thousand others and it", answer(&format!("{},{}", others.join(","), item(""))), true),
        25 => ("it a thousand times", answer(&vec![item(""); 1_000].join(",")), true),
        26 => (
            "it in both lists",
            raw(&format!(
                "{{\"code\":200,\"data\":{{\"failed_list\":[{{\"message_server_id\":{id},\"error_code\":107404}}],\
             \"success_list\":[{}]}}}}",
                item("")
            )),
            true,
        ),
        27 => {
            ("lists that are none", raw("{\"code\":200,\"data\":{\"success_list\":{},\"failed_list\":\"x\"}}"), false)
        }
        28 => ("data that is none", raw("{\"code\":200,\"data\":[]}"), false),
        29 => ("a code that is a list", raw("{\"code\":[200],\"data\":{}}"), false),
        30 => ("no code", raw("{\"data\":{\"success_list\":[]}}"), false),
        31 => ("a list", raw("[]"), false),
        32 => ("nothing", Vec::new(), false),
        33 => ("two answers", [found(""), found("")].concat(), false),
        34 => ("an answer and more", [found(""), raw(" trailing")].concat(), false),
        35 => (
            "an answer cut short",
            {
                let mut cut = found("");
                cut.pop();
                cut
            },
            false,
        ),
        _ => return None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_answer_holds_each_reference_ends_in_one_state() {
    let sane = Arc::new(AtomicBool::new(false));
    let is_sane = Arc::clone(&sane);
    let api = FaultyApi::serve(move |_, asked| match number(asked) {
        Some(number) if !is_sane.load(Ordering::SeqCst) => Act::Write(http(200, &[], hostile(number).unwrap().1)),
        _ => asked.found(),
    })
    .await;
    let endpoint = format!("[\"{}\"]", api.url);
    let done = tokio::task::spawn_blocking(move || {
        for to in [To::Parquet, To::Postgres(database())] {
            sane.store(false, Ordering::SeqCst);
            let mut site = site(to);
            site.endpoints = Some(endpoint.clone());
            site.fetch = "batch_size: 1, attempts: 1, concurrency: 4, timeout: 60s".to_owned();
            let cases: Vec<_> =
                (0..).map_while(hostile).map(|(name, body, archived)| (name, body.len(), archived)).collect();
            // First one that proves the credentials.
            site.add([("first|1|b".to_owned(), 1, TIME)]);
            site.add((0..cases.len()).map(|number| (format!("h{number}|1|b"), id(number), TIME)));
            let ran = site.plain().exits(3);
            let failed = failed(&site.run(&["failures", "nightly", "--format", "jsonl"]));
            for (number, (name, _, archived)) in cases.iter().enumerate() {
                assert_eq!(!failed.contains(&id(number)), *archived, "{name}: {failed:?} of {:?}", site.to);
            }
            let references = &ran.summary()["references"];
            assert_eq!(references["archived"], cases.len() + 1 - failed.len(), "{references}");
            assert_eq!(references["pending"], 0, "{references}");
            assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
            sane.store(true, Ordering::SeqCst);
            site.run(&["retry", "nightly", "--all"]).exits(0);
            site.completes();
        }
    });
    done.await.unwrap();
}

/// Which answer is wanted: the account of the dialogue says it, whichever side asks.
fn number(asked: &Asked) -> Option<usize> {
    let conversation = asked.line.split("/conversations/").nth(1)?.split('/').next()?;
    conversation.split("%7C").find_map(|part| part.strip_prefix('h')?.parse().ok())
}

/// The IDs of open failures.
fn failed(listed: &Ran) -> BTreeSet<i64> {
    listed.stdout.lines().map(|line| crate::support::site::id_in(&serde_json::from_str(line).unwrap())).collect()
}
