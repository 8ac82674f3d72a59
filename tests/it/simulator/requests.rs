//! Which requests are answered and which are refused: signature, clock, trace, body, conversation.

use sha1::{Digest, Sha1};
use yunxin_archiver::simulator::APP_SECRET;

use super::*;
use crate::support::caller::now;

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
