//! How a request is signed, and what is done when its signature is doubted.

use std::collections::HashSet;

use sha1::{Digest, Sha1};

use super::*;

const BIG: i64 = 158_844_553_334_358_018;

#[tokio::test]
async fn a_request_is_signed_and_exact_to_the_last_digit() {
    let api = FaultyApi::serve(|number, asked| if number == 0 { Act::code(500) } else { asked.found() }).await;
    let client = client(&api);
    let answer = answer(&client, &ask(&[BIG, BIG - 1])).await;
    assert_eq!((answer.attempts, answer.archived.len()), (2, 2));
    assert_eq!(answer.rows.rows()[0].message_server_id, BIG);
    assert_eq!(answer.rows.get(&answer.rows.rows()[0], TextColumn::ConversationId), Some("Alice@x.cn|1|bob"));
    assert_eq!(answer.rows.get(&answer.rows.rows()[0], TextColumn::ConversationKey), Some("1|alice@x.cn|bob"));
    let asked = api.asked();
    for one in &asked {
        assert_eq!(one.line, "POST /nimserver/im/v2.1/conversations/Alice%40x.cn%7C1%7Cbob/batch_messages HTTP/1.1");
        assert_eq!(
            one.body,
            r#"{"messages":[{"message_server_id":158844553334358018,"create_time":1753951805248},{"message_server_id":158844553334358017,"create_time":1753951805248}]}"#
        );
        let digest = Sha1::digest(format!("{SECRET}{}{}", one.header("nonce"), one.header("curtime")));
        assert_eq!(one.header("checksum"), hex::encode(digest));
        assert_eq!(one.header("appkey"), "the-app-key");
        assert_eq!(one.header("content-type"), "application/json");
        assert!(one.header("user-agent").starts_with("yunxin-archiver/"));
        assert!((1..=128).contains(&one.header("nonce").len()));
    }
    for name in ["nonce", "x-custom-traceid", "checksum"] {
        let values: HashSet<_> = asked.iter().map(|one| one.header(name)).collect();
        assert_eq!(values.len(), 2, "{name} is fresh for every attempt");
    }
    let stats = client.stats();
    assert_eq!((stats.sent, stats.ok, stats.retried, stats.in_flight), (2, 1, 1, 0));
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_once() {
    let date = "Sat, 06 Nov 2094 08:49:37 GMT";
    let server_time = 3_939_871_777_i64;
    let api = FaultyApi::serve(move |_, asked| {
        let curtime: i64 = asked.header("curtime").parse().unwrap();
        let body = if (curtime - server_time).abs() < 300 {
            return asked.found();
        } else {
            found(&json!({"code": 414, "msg": "bad checksum"}))
        };
        Act::Write(http(200, &[("date", date)], body))
    })
    .await;
    let client = client(&api);
    assert_eq!(answer(&client, &ask(&[1, 2])).await.attempts, 1, "the correction is no attempt");
    answer(&client, &ask(&[1, 2])).await;
    assert_eq!(api.asked().len(), 3);
}

#[tokio::test]
async fn three_single_references_of_three_batches_in_doubt_are_the_credentials() {
    let api = FaultyApi::serve(|_, _| Act::code(414)).await;
    let client = client(&api);
    for (batch, id) in [(1, 1), (1, 2), (2, 3)] {
        assert_eq!(refused(fetch(&client, &AskFor { batch, ..ask(&[id]) }).await), (414, Refusal::Permanent));
    }
    let stop = fetch(&client, &AskFor { batch: 3, ..ask(&[4]) }).await.unwrap_err();
    assert_eq!(stop, Stop::Credentials { code: 414, message: "said so".into() });

    // Once something has succeeded it never is.
    let api = FaultyApi::serve(|number, asked| if number == 0 { asked.found() } else { Act::code(414) }).await;
    let client = client_of(&[&api.url], FetchSettings::default());
    answer(&client, &ask(&[9])).await;
    for batch in 0..5 {
        assert_eq!(refused(fetch(&client, &AskFor { batch, ..ask(&[1]) }).await), (414, Refusal::Permanent));
    }
    assert_eq!(refused(fetch(&client, &ask(&[1, 2])).await), (414, Refusal::Split { probe: false }));
    assert_eq!(client.credentials_in_doubt(), None);
}
