//! The simulated API, as a caller that knows only its documentation sees it.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use yunxin_archiver::simulator::{
    APP_KEY, APP_SECRET, DemoWorld, Echo, Fate, Fault, Handle, Hook, Message, Quirk, ReferenceShape, Rule, Settings,
    World, start, start_with, write_references,
};

use crate::support::caller::{Call, Raw, http, now};

const ID: i64 = 158_844_553_334_358_018;
const TIME: i64 = 1_753_951_805_248;
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

/// A service without a quota.
fn serve(world: World) -> Handle {
    start_with(Settings { rate_limit: 0, ..Settings::default() }, world).unwrap()
}

fn hello() -> World {
    let mut world = World::explicit();
    world.insert(Message::text("alice|1|bob", ID, TIME, "hello"));
    world
}

fn ask_hello() -> Call {
    Call::new("alice|1|bob", &[(ID, TIME)])
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer["data"][name].as_array().map_or(&[], Vec::as_slice)
}

/// The IDs of the found and of the failed.
fn ids(answer: &Value) -> (Vec<i64>, Vec<i64>) {
    let ids = |name| list(answer, name).iter().filter_map(|item| item["message_server_id"].as_i64()).collect();
    (ids("success_list"), ids("failed_list"))
}

#[tokio::test]
async fn a_signed_request_is_answered_with_its_messages() {
    let service = serve(hello());
    let answer = ask_hello().ask(&service).await;
    assert_eq!(answer["code"], 200);
    let item = &list(&answer, "success_list")[0];
    assert_eq!(item["message_server_id"], ID);
    assert_eq!(
        (&item["text"], &item["sender_id"], &item["receiver_id"]),
        (&"hello".into(), &"alice".into(), &"bob".into())
    );
    let older = Call { version: "v2", ..ask_hello() };
    assert_eq!(older.code(&service).await, 200);
    assert_eq!(service.stats().older_version, 1);
}

#[tokio::test]
async fn what_is_signed_wrongly_is_code_414_within_http_200() {
    let service = serve(hello());
    let upper = ask_hello();
    let sum = upper.headers.iter().find(|(name, _)| *name == "CheckSum").unwrap().1.to_uppercase();
    let long = "n".repeat(129);
    let long_sum = hex::encode(Sha1::digest(format!("{APP_SECRET}{long}{}", now())));
    for (what, call) in [
        ("upper-case hex", upper.header("CheckSum", sum)),
        ("no signature", ask_hello().header("CheckSum", "")),
        ("another nonce", ask_hello().header("Nonce", "another")),
        ("another time", ask_hello().header("CurTime", (now() - 100).to_string())),
        ("milliseconds", Call::signed_at(now() * 1_000, "alice|1|bob", &[(ID, TIME)])),
        ("too late", Call::signed_at(now() - 330, "alice|1|bob", &[(ID, TIME)])),
        ("too early", Call::signed_at(now() + 330, "alice|1|bob", &[(ID, TIME)])),
        ("a long nonce", ask_hello().header("Nonce", long).header("CheckSum", long_sum)),
        ("another content type", ask_hello().header("Content-Type", "text/plain")),
    ] {
        assert_eq!(call.code(&service).await, 414, "{what}");
    }
    let charset = ask_hello().header("Content-Type", "application/json;charset=utf-8");
    assert_eq!(charset.code(&service).await, 200);
    assert_eq!(ask_hello().header("AppKey", "nobody").code(&service).await, 101_303);
}

#[tokio::test]
async fn a_skewed_clock_shows_in_the_date_and_decides_what_is_in_time() {
    let service = serve(hello());
    service.faults(|faults| faults.clock_skew_s = 3_600);
    let response = ask_hello().send(&service).await;
    let date = response.headers()["date"].to_str().unwrap().to_owned();
    let service_time = jiff::fmt::rfc2822::parse(&date).unwrap().timestamp().as_second();
    assert!((3_590..3_700).contains(&(service_time - now())), "{date}");
    assert_eq!(response.json_code().await, 414);
    assert_eq!(Call::signed_at(service_time, "alice|1|bob", &[(ID, TIME)]).code(&service).await, 200);
}

trait JsonCode {
    async fn json_code(self) -> i64;
}

impl JsonCode for reqwest::Response {
    async fn json_code(self) -> i64 {
        serde_json::from_str::<Value>(&self.text().await.unwrap()).unwrap()["code"].as_i64().unwrap()
    }
}

#[tokio::test]
async fn a_repeated_trace_id_is_code_431() {
    let service = serve(hello());
    assert_eq!(ask_hello().header("X-custom-traceid", "t1").code(&service).await, 200);
    assert_eq!(ask_hello().header("X-custom-traceid", "t2").code(&service).await, 200);
    assert_eq!(ask_hello().header("X-custom-traceid", "t1").code(&service).await, 431);
    assert_eq!(ask_hello().code(&service).await, 200, "a trace ID is optional");
    service.faults(|faults| faults.script.push_back(Fault::Http { status: 502, retry_after: None }));
    assert_eq!(ask_hello().header("X-custom-traceid", "t3").send(&service).await.status(), 502);
    assert_eq!(
        ask_hello().header("X-custom-traceid", "t3").code(&service).await,
        431,
        "the attempt that failed counts"
    );
    assert_eq!(service.stats().repeated_traces, 2);
}

#[tokio::test]
async fn a_body_of_another_form_is_code_414() {
    let service = serve(hello());
    for body in [
        "",
        "{",
        r#"{"messages":[]}"#,
        r#"{"messages":[{"message_server_id":"158844553334358018","create_time":1753951805248}]}"#,
        r#"{"messages":[{"message_server_id":158844553334358018,"create_time":1753951805248.0}]}"#,
        r#"{"messages":[{"message_server_id":158844553334358018}]}"#,
        r#"{"messages":[{"message_server_id":0,"create_time":1753951805248}]}"#,
    ] {
        assert_eq!(ask_hello().body(body).code(&service).await, 414, "{body}");
    }
    let references: Vec<(i64, i64)> = (1..=101).map(|n| (n, TIME)).collect();
    assert_eq!(Call::new("alice|1|bob", &references[..100]).code(&service).await, 200);
    assert_eq!(Call::new("alice|1|bob", &references).code(&service).await, 414);
    let strict = Settings { batch_limit: 1, batch_limit_code: 419, rate_limit: 0, ..Settings::default() };
    let strict = start_with(strict, hello()).unwrap();
    assert_eq!(Call::new("alice|1|bob", &references[..2]).code(&strict).await, 419);
    assert_eq!(service.stats().largest_batch, 100);
}

#[tokio::test]
async fn a_conversation_is_found_by_both_spellings_and_in_any_case() {
    let service = serve(hello());
    for conversation in ["bob|1|alice", "ALICE|1|Bob"] {
        assert_eq!(ids(&Call::new(conversation, &[(ID, TIME)]).ask(&service).await), (vec![ID], vec![]));
    }
    assert_eq!(ids(&Call::new("alice|1|carol", &[(ID, TIME)]).ask(&service).await), (vec![], vec![ID]));
    for conversation in ["alice|1", "alice|7|bob", "|1|bob", "alice|2|a-team"] {
        assert_eq!(Call::new(conversation, &[(ID, TIME)]).code(&service).await, 414, "{conversation}");
    }
    let unencoded = Call { segment: "alice|1|bob".to_owned(), ..ask_hello() };
    let answer = unencoded.raw(service.addr(), LONG);
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("hello"), "{answer:?}");
}

#[tokio::test]
async fn one_request_too_many_in_a_second_blocks_the_app() {
    let settings = Settings { rate_limit: 2, block_ms: 500, ..Settings::default() };
    let service = start_with(settings, hello()).unwrap();
    let (a, b, c) = (ask_hello(), ask_hello(), ask_hello());
    let (a, b, c) = tokio::join!(a.code(&service), b.code(&service), c.code(&service));
    let mut codes = [a, b, c];
    codes.sort_unstable();
    assert_eq!(codes, [200, 200, 416]);
    // Past the block, and past the second that the three of them fill.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(ask_hello().code(&service).await, 200);
    let stats = service.stats();
    assert_eq!((stats.requests, stats.throttled, stats.busiest_second), (4, 1, 3));
    assert_eq!(stats.per_second.iter().sum::<u32>(), 4);
}

#[tokio::test]
async fn a_block_can_be_ordered_and_lifted() {
    let service = serve(hello());
    service.faults(|faults| faults.script.push_back(Fault::Block));
    assert_eq!(ask_hello().code(&service).await, 416);
    assert_eq!(ask_hello().code(&service).await, 416);
    assert_eq!(service.stats().in_block, 1);
    service.reset_stats();
    assert_eq!(ask_hello().code(&service).await, 200);
    assert_eq!(service.stats().requests, 1);
}

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

#[tokio::test]
async fn every_fate_is_answered_as_documented() {
    let mut world = hello();
    let message = |id| Message::text("alice|1|bob", id, TIME, "x");
    world.extend([
        message(1).fate(Fate::Missing),
        message(2).fate(Fate::Failed(398)),
        message(3).fate(Fate::Unanswered),
        message(4).fate(Fate::Poison),
        message(5).fate(Fate::Refused(404)),
    ]);
    let service = serve(world);
    let ask = async |references: &[(i64, i64)]| Call::new("alice|1|bob", references).ask(&service).await;
    let answer = ask(&[(1, TIME), (2, TIME), (3, TIME), (ID, TIME), (99, TIME)]).await;
    assert_eq!(ids(&answer), (vec![ID], vec![1, 2, 99]));
    let failed = list(&answer, "failed_list");
    assert_eq!(
        failed[0],
        json!({"message_server_id": 1, "create_time": TIME, "error_code": 107_404, "error_msg": "message not exist"})
    );
    assert_eq!(failed[1]["error_code"], 398);
    let wrong_time = ask(&[(ID, TIME + 1)]).await;
    assert_eq!(ids(&wrong_time), (vec![], vec![ID]), "the time must be exact");
    assert_eq!(ask(&[(ID, TIME), (4, TIME)]).await, json!({"code": 414, "msg": "parameter error", "data": {}}));
    assert_eq!(ask(&[(5, TIME), (ID, TIME)]).await["code"], 404);
    let stats = service.stats();
    assert_eq!((stats.messages, stats.failed, stats.references), (1, 4, 10));
}

#[tokio::test]
async fn some_messages_and_conversations_show_to_one_owner_only() {
    let mut world = World::explicit();
    world.insert(Message::text("alice|1|bob", 1, TIME, "x").seen_by(["Bob"], Fate::Missing));
    world.insert(Message::text("alice|1|bob", 2, TIME, "x").seen_by(["alice"], Fate::Unanswered));
    world.insert(Message::text("alice|2|77", 3, TIME, "x"));
    world.refuse("alice|2|77", 109_404);
    let service = serve(world);
    let both = [(1, TIME), (2, TIME)];
    assert_eq!(ids(&Call::new("alice|1|bob", &both).ask(&service).await), (vec![2], vec![1]));
    assert_eq!(ids(&Call::new("bob|1|alice", &both).ask(&service).await), (vec![1], vec![]));
    assert_eq!(Call::new("Alice|2|77", &[(3, TIME)]).code(&service).await, 109_404);
    assert_eq!(ids(&Call::new("carol|2|77", &[(3, TIME)]).ask(&service).await), (vec![3], vec![]));
    service.world(|world| world.allow("alice|2|77"));
    assert_eq!(Call::new("alice|2|77", &[(3, TIME)]).code(&service).await, 200);
}

#[tokio::test]
async fn answers_can_hold_more_than_was_asked() {
    let mut world = World::explicit();
    let message = |id| Message::text("alice|1|bob", id, TIME, "x");
    world.insert(message(10).echo(Echo::Twice));
    world.insert(message(20).echo(Echo::Stranger));
    world.insert(message(30).echo(Echo::BothLists));
    world.insert(message(40).quirk(Quirk::Undecodable));
    let service = serve(world);
    let references = [(10, TIME), (20, TIME), (30, TIME), (40, TIME)];
    let answer = Call::new("alice|1|bob", &references).ask(&service).await;
    assert_eq!(ids(&answer), (vec![10, 10, 20, 21, 30], vec![30]));
    assert_eq!(list(&answer, "success_list")[5]["message_server_id"], json!({"id": 1}));
    service.faults(|faults| faults.unordered = true);
    let shuffled = Call::new("alice|1|bob", &references).ask(&service).await;
    assert_ne!(list(&shuffled, "success_list"), list(&answer, "success_list"));
    assert_eq!(ids(&shuffled).0.len(), 5);
}

#[tokio::test]
async fn what_json_text_cannot_pass_through_a_value_arrives_untouched() {
    let mut world = hello();
    world.insert(Message::text("alice|1|bob", 7, TIME, "").quirk(Quirk::LoneSurrogate).field("odd", "1.00e5"));
    let service = serve(world);
    let text = Call::new("alice|1|bob", &[(7, TIME)]).send(&service).await.text().await.unwrap();
    assert!(text.contains(r#""text":"cut \ud83d""#) && text.contains(r#""odd":1.00e5"#), "{text}");
}

#[tokio::test]
async fn generated_references_are_all_found_and_nothing_else_is() {
    let mut csv = Vec::new();
    let shape = ReferenceShape { seed: 5, count: 900, conversations: 11, ..ReferenceShape::default() };
    write_references(&mut csv, &shape).unwrap();
    let settings = || Settings { seed: 5, rate_limit: 0, ..Settings::default() };
    let (service, twin) = (start(settings()).unwrap(), start(settings()).unwrap());
    let other = start(Settings { seed: 6, ..settings() }).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let mut batches = std::collections::BTreeMap::<&str, Vec<(i64, i64)>>::new();
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        batches.entry(fields[0]).or_default().push((fields[1].parse().unwrap(), fields[2].parse().unwrap()));
    }
    for (conversation, references) in &batches {
        for references in references.chunks(100) {
            let text = Call::new(conversation, references).send(&service).await.text().await.unwrap();
            let again = Call::new(conversation, references).send(&twin).await.text().await.unwrap();
            assert_eq!(text, again, "the same seed gives the same bytes");
            let found = ids(&serde_json::from_str(&text).unwrap()).0;
            assert_eq!(found, references.iter().map(|reference| reference.0).collect::<Vec<_>>());
            assert!(ids(&Call::new(conversation, references).ask(&other).await).0.len() < 2);
        }
    }
    assert_eq!(service.stats().messages, 900);
    let (conversation, references) = batches.first_key_value().unwrap();
    let (id, time) = references[0];
    assert_eq!(ids(&Call::new(conversation, &[(id, time + 1)]).ask(&service).await), (vec![], vec![id]));
    let any = start(Settings { world: yunxin_archiver::simulator::Kind::Any, ..settings() }).unwrap();
    assert_eq!(ids(&Call::new("x|3|9", &[(id, time + 1)]).ask(&any).await), (vec![id], vec![]));
}

#[tokio::test]
async fn shares_of_a_generated_world_fail_or_are_odd() {
    let settings: Settings = serde_json::from_value(json!({
        "world": "any", "rate_limit": 0, "missing": 0.2, "unanswered": 0.1, "odd": 0.5, "count_asks": true,
    }))
    .unwrap();
    let service = start(settings).unwrap();
    for batch in 0..10 {
        let references: Vec<(i64, i64)> = (1..=100).map(|n| (batch * 100 + n, TIME)).collect();
        let text = Call::new("alice|2|77", &references).send(&service).await.text().await.unwrap();
        serde_json::from_str::<&serde_json::value::RawValue>(&text).unwrap();
    }
    let stats = service.stats();
    assert!((150..250).contains(&stats.failed), "{}", stats.failed);
    assert!((650..750).contains(&stats.messages), "{}", stats.messages);
    assert_eq!((stats.asks.len(), stats.log.len()), (1_000, 10));
    assert_eq!(stats.log[0], ("alice|2|77".to_owned(), 100));
}

#[tokio::test]
async fn a_world_is_read_from_json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("world.jsonl");
    let lines = [
        r#"{"conversation_id":"a|1|b","message_server_id":1,"create_time":5,"item":{"message_server_id":1,"text":"\ud83d"}}"#,
        r#"{"conversation_id":"a|1|b","message_server_id":2,"create_time":5,"fate":{"failed":404},"quirks":["edited"]}"#,
        "",
        r#"{"conversation_id":"a|1|b","message_server_id":3,"create_time":5,"seen_by":["b"],"hidden_as":"unanswered"}"#,
        r#"{"conversation_id":"a|2|7","refuse":108404}"#,
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let settings: Settings =
        serde_json::from_value(json!({"world": "explicit", "messages": path, "rate_limit": 0})).unwrap();
    let service = start(settings.clone()).unwrap();
    let text = Call::new("a|1|b", &[(1, 5), (2, 5), (3, 5)]).send(&service).await.text().await.unwrap();
    assert!(text.contains(r#"[{"message_server_id":1,"text":"\ud83d"}]"#), "{text}");
    assert!(text.contains("\"error_code\":404") && !text.contains("\"message_server_id\":3"), "{text}");
    assert_eq!(Call::new("a|2|7", &[(1, 5)]).code(&service).await, 108_404);

    std::fs::write(&path, "\n{\"conversation_id\":\"a|b\",\"refuse\":1}").unwrap();
    let error = start(settings).unwrap_err().to_string();
    assert!(error.contains("world.jsonl: line 2") && error.contains("owner|type|other"), "{error}");
}

#[tokio::test]
async fn probes_and_statistics_are_served_under_the_prefix() {
    let settings = Settings { prefix: "/nimserver".to_owned(), ..Settings::default() };
    let service = start_with(settings, hello()).unwrap();
    let get = async |path: &str| http().get(format!("{}{path}", service.url())).send().await.unwrap();
    assert_eq!(get("/health/liveness.action").await.status(), 200);
    service.faults(|faults| faults.liveness = Some(Fault::Http { status: 502, retry_after: None }));
    assert_eq!(get("/health/liveness.action").await.status(), 502);
    assert_eq!(ask_hello().code(&service).await, 200);
    let stats: Value = serde_json::from_str(&get("/simulator/stats").await.text().await.unwrap()).unwrap();
    assert_eq!((&stats["probes"], &stats["requests"], &stats["codes"]["200"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(get("/elsewhere").await.status(), 404);
    let root = format!("http://{}/health/liveness.action", service.addr());
    assert_eq!(http().get(root).send().await.unwrap().status(), 404);
}

#[test]
fn stopping_ends_stalled_answers_and_frees_the_port() {
    let service = serve(hello());
    let addr = service.addr();
    service.faults(|faults| faults.script.push_back(Fault::Stall));
    let stalled = std::thread::spawn(move || ask_hello().raw(addr, LONG));
    while service.stats().in_flight == 0 {
        std::thread::yield_now();
    }
    service.stop();
    assert_ne!(stalled.join().unwrap().end, "silence");
    assert!(TcpStream::connect(addr).is_err());
    let again = start_with(Settings { port: addr.port(), ..Settings::default() }, hello()).unwrap();
    assert_eq!(again.addr(), addr);
    let taken = start_with(Settings { port: addr.port(), ..Settings::default() }, hello()).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn the_demo_world_serves_what_its_file_asks_for() {
    let demo = DemoWorld::new(1, 1_795_392_000_000);
    let mut csv = Vec::new();
    demo.write_references(&mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    assert_eq!(csv.lines().count() as u64, demo.expected().read + 1);
    let service = serve(demo.world());
    let team: Vec<(i64, i64)> = csv
        .lines()
        .filter(|line| line.contains("|2|4400000002,"))
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            (fields[1].parse().unwrap(), fields[2].parse().unwrap())
        })
        .collect();
    assert_eq!(team.len(), 60);
    assert_eq!(ids(&Call::new("team.lead|2|4400000002", &team).ask(&service).await).0.len(), 60);
    assert_eq!(Call::new("leaver|2|4400000002", &team).code(&service).await, 109_404);
}
