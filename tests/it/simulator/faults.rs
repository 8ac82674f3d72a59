//! Faults: what a caller sees of each, and which requests they meet.

use std::io::Read;

use yunxin_archiver::simulator::{APP_KEY, Hook, Rule};

use super::*;
use crate::support::caller::Raw;

/// Long enough for half an answer to arrive on a busy machine.
const SHORT: Duration = Duration::from_secs(2);

/// What a caller sees of one fault.
fn meet(service: &Handle, fault: &str, patience: Duration) -> Raw {
    service.faults(|faults| faults.script.push_back(fault.parse().unwrap()));
    ask_hello().raw(service.addr(), patience)
}

#[test]
fn answers_break_on_the_wire_as_told() {
    let service = serve(hello());
    let proper = meet(&service, "ok", LONG);
    assert_eq!(proper.end, "end");
    assert_eq!(proper.announced(), proper.body().len());

    let reset = meet(&service, "reset", LONG);
    assert_eq!((reset.bytes.len(), reset.end.as_str()), (0, "ConnectionReset"));
    let middle = meet(&service, "reset-mid", LONG);
    assert_eq!(middle.end, "ConnectionReset");
    assert!(!middle.bytes.is_empty() && middle.bytes.len() < proper.bytes.len());
    let close = meet(&service, "close", LONG);
    assert_eq!((close.bytes.len(), close.end.as_str()), (0, "end"));
    let truncated = meet(&service, "truncate", LONG);
    assert_eq!(truncated.end, "end");
    assert_eq!(truncated.announced(), proper.announced());
    assert!(!truncated.body().is_empty() && truncated.body().len() < truncated.announced());
    let short = meet(&service, "wrong-length", LONG);
    assert_eq!(short.body(), proper.body());
    assert_eq!(short.announced() + 7, short.body().len());
    let other = meet(&service, "not-http", LONG);
    assert!(!other.bytes.starts_with(b"HTTP"));
    let stalled = meet(&service, "stall", SHORT);
    assert_eq!((stalled.bytes.len(), stalled.end.as_str()), (0, "silence"));
    let half = meet(&service, "stall-mid", SHORT);
    assert_eq!((half.body().len(), half.end.as_str()), (half.announced() / 2, "silence"));
}

#[test]
fn answers_are_strange_as_told() {
    let service = serve(hello());
    let proper = meet(&service, "ok", LONG);
    let json = |raw: &Raw| serde_json::from_slice::<Value>(raw.body());

    assert_eq!(json(&meet(&service, "503", LONG)).unwrap()["code"], 503);
    let busy = meet(&service, "http 503 retry-after 7", LONG);
    assert!(busy.head().starts_with("http/1.1 503") && busy.head().contains("retry-after: 7"), "{}", busy.head());
    let away = meet(&service, "redirect http://127.0.0.1:9/x", LONG);
    assert!(away.head().starts_with("http/1.1 307") && away.head().contains("location: http://127.0.0.1:9/x"));
    let garbage = meet(&service, "garbage", LONG);
    assert!(garbage.head().starts_with("http/1.1 200") && std::str::from_utf8(garbage.body()).is_err());
    assert!(meet(&service, "html", LONG).body().starts_with(b"<html>"));
    assert!(meet(&service, "empty", LONG).body().is_empty());
    assert_eq!(meet(&service, "body {\"code\":200}", LONG).body(), b"{\"code\":200}");
    assert_eq!(meet(&service, "drip 100 1ms", LONG).body(), proper.body());
    assert_eq!(meet(&service, "delay 1ms", LONG).body(), proper.body());
    let zipped = meet(&service, "gzip", LONG);
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(zipped.body()).read_to_end(&mut text).unwrap();
    assert!(zipped.head().contains("content-encoding: gzip"));
    assert_eq!(text, proper.body());
    assert!(meet(&service, "huge 3MB", LONG).bytes.len() > 3 << 20);
    let stats = service.stats();
    assert_eq!((stats.answered, stats.requests), (1, 12));
    assert_eq!(stats.faults["http 503 retry-after 7"], 1);
}

#[tokio::test]
async fn rules_and_hooks_pick_their_requests() {
    let service = serve(hello());
    service.faults(|faults| faults.rules.push(Rule::first(Fault::Code(500), 2)));
    for code in [500, 500, 200] {
        assert_eq!(ask_hello().code(&service).await, code);
    }
    service.faults(|faults| {
        faults.hook = Some(Hook::new(|request| {
            assert_eq!((request.version, request.app_key), ("v2.1", APP_KEY));
            (request.conversation_id == "bob|1|alice" && request.references == [(ID, TIME)]).then_some(Fault::Code(404))
        }));
    });
    assert_eq!(ask_hello().code(&service).await, 200);
    assert_eq!(Call::new("bob|1|alice", &[(ID, TIME)]).code(&service).await, 404);
}
