use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::json;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;
use yunxin_archiver::message::TextColumn;
use yunxin_archiver::reference::ConversationId;
use yunxin_archiver::yunxin::{
    Answer, App, AppSettings, AskFor, Client, ClientError, Concurrency, FetchSettings, Outcome, Patience, Refusal,
    Stop, Verdict,
};

use crate::support::faulty_api::{Act, Asked, FaultyApi, http};

const SECRET: &str = "s3cr3t-never-shown";
const THROTTLE_PAUSE: Duration = Duration::from_millis(150);
const BIG: i64 = 158_844_553_334_358_018;

fn settings(endpoints: &[&Url]) -> AppSettings {
    let endpoints = endpoints.iter().map(|url| (*url).clone()).collect();
    AppSettings {
        rate_limit: 1000,
        patience: Patience {
            backoff: Duration::from_millis(4),
            longest_backoff: Duration::from_millis(20),
            throttle_pause: THROTTLE_PAUSE,
            longest_throttle_pause: Duration::from_millis(600),
            longest_told: Duration::from_secs(2),
            endpoint_return: Duration::from_millis(200),
        },
        ..AppSettings::new("the-app-key", SecretString::from(SECRET), endpoints)
    }
}

fn client_of(endpoints: &[&Url], fetch: FetchSettings) -> Client {
    Client::new(App::new(settings(endpoints)).unwrap(), fetch)
}

fn client(api: &FaultyApi) -> Client {
    client_of(&[&api.url], FetchSettings::default())
}

fn ask(refs: &[i64]) -> AskFor {
    let conversation = ConversationId::parse("Alice@x.cn|1|bob").unwrap();
    let refs = refs.iter().map(|id| (*id, 1_753_951_805_248)).collect();
    AskFor { key: conversation.key(), conversation, refs, batch: 1 }
}

async fn fetch(client: &Client, ask: &AskFor) -> Result<Outcome, Stop> {
    client.fetch(client.permit().await, ask, &CancellationToken::new()).await
}

async fn answer(client: &Client, ask: &AskFor) -> Answer {
    match fetch(client, ask).await {
        Ok(Outcome::Answered(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

fn exhausted(outcome: Result<Outcome, Stop>) -> (Option<i64>, String, u32) {
    match outcome {
        Ok(Outcome::Exhausted { code, message, attempts }) => (code, message, attempts),
        other => panic!("{other:?}"),
    }
}

fn refused(outcome: Result<Outcome, Stop>) -> (i64, Refusal) {
    match outcome {
        Ok(Outcome::Refused { code, refusal, message, .. }) => {
            assert_eq!(message, "said so");
            (code, refusal)
        }
        other => panic!("{other:?}"),
    }
}

/// Does `first` to the first request, and answers all others.
async fn once(first: Act) -> FaultyApi {
    FaultyApi::serve(move |number, asked| if number == 0 { first.clone() } else { asked.found() }).await
}

fn found(body: &serde_json::Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

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
async fn refusals_of_a_whole_request_say_what_to_do_about_it() {
    let expected = [
        (405, Refusal::Split { probe: false }, Refusal::Permanent),
        (419, Refusal::Split { probe: false }, Refusal::Permanent),
        (414, Refusal::Split { probe: true }, Refusal::Permanent),
        (107_404, Refusal::OtherOwner, Refusal::OtherOwner),
        (102_404, Refusal::OtherOwner, Refusal::OtherOwner),
        (102_422, Refusal::OtherOwner, Refusal::OtherOwner),
        (404, Refusal::OtherOwner, Refusal::OtherOwner),
        (108_404, Refusal::OtherOwner, Refusal::OtherOwner),
        (109_404, Refusal::OtherOwner, Refusal::OtherOwner),
        (110_302, Refusal::OtherOwner, Refusal::OtherOwner),
        (110_404, Refusal::OtherOwner, Refusal::OtherOwner),
        (123_456, Refusal::Permanent, Refusal::Permanent),
    ];
    for (code, several, alone) in expected {
        let api = FaultyApi::serve(move |_, _| Act::code(code)).await;
        let client = client(&api);
        assert_eq!(refused(fetch(&client, &ask(&[1, 2])).await), (code, several));
        if code == 414 {
            assert_eq!(client.credentials_in_doubt(), None);
        }
        assert_eq!(refused(fetch(&client, &ask(&[1])).await), (code, alone));
        assert_eq!(client.credentials_in_doubt().map(|(code, _)| code), (code == 414).then_some(414));
        assert_eq!(api.asked().len(), 2, "{code} is not asked again");
    }
}

#[tokio::test]
async fn fatal_codes_stop_the_run_at_once_and_show_no_secret() {
    for code in [301, 315, 403, 422, 997, 101_301, 101_302, 101_303, 101_403] {
        let api = FaultyApi::serve(move |_, _| Act::code(code)).await;
        let stop = fetch(&client(&api), &ask(&[1, 2])).await.unwrap_err();
        assert_eq!(stop, Stop::Credentials { code, message: "said so".into() });
        assert!(!format!("{stop} {stop:?}").contains(SECRET));
        assert_eq!(api.asked().len(), 1);
    }
}

#[tokio::test]
async fn passing_troubles_are_retried_until_they_pass_or_attempts_are_used_up() {
    for code in [408, 500, 503, 514, 431, 398, 399, 511, 107_323, 108_449, 109_449] {
        let api = once(Act::code(code)).await;
        assert_eq!(answer(&client(&api), &ask(&[1])).await.attempts, 2, "{code}");
    }
    let api = FaultyApi::serve(|_, _| Act::code(503)).await;
    assert_eq!(exhausted(fetch(&client(&api), &ask(&[1])).await), (Some(503), "said so".into(), 6));
    assert_eq!(api.asked().len(), 6);
}

#[tokio::test]
async fn gateways_and_broken_answers_are_retried() {
    let whole = json!({"code": 200, "data": {"success_list": [{"message_server_id": 1}]}});
    let bytes = found(&whole);
    let cut = |by: usize| bytes[..bytes.len() - by].to_vec();
    let mut wrong_length = http(200, &[], &bytes);
    wrong_length.truncate(wrong_length.len() - 5);
    let mut bad_gzip = gzip(&bytes);
    let middle = bad_gzip.len() / 2;
    bad_gzip[middle] ^= 0xff;
    let mut faults = vec![
        ("reset", Act::Reset),
        ("closed", Act::WriteAndClose(Vec::new())),
        ("closed in the head", Act::WriteAndClose(b"HTTP/1.1 200 O".to_vec())),
        ("cut JSON", Act::Write(http(200, &[], cut(3)))),
        ("shorter than announced", Act::WriteAndClose(wrong_length)),
        ("longer than announced", Act::WriteAndClose([http(200, &[], cut(4)), b"more".to_vec()].concat())),
        ("no HTTP", Act::WriteAndClose(b"hello\r\n\r\n".to_vec())),
        ("empty", Act::Write(http(200, &[], ""))),
        ("a page", Act::Write(http(200, &[], "<html></html>"))),
        ("no code", Act::Write(http(200, &[], "{}"))),
        ("broken gzip", Act::Write(http(200, &[("content-encoding", "gzip")], bad_gzip))),
        ("gzip that is none", Act::Write(http(200, &[("content-encoding", "gzip")], &bytes))),
    ];
    for status in [204, 400, 401, 403, 404, 408, 500, 501, 502, 503, 504] {
        faults.push(("status", Act::Write(http(status, &[], ""))));
    }
    for (name, fault) in faults {
        let api = once(fault.clone()).await;
        assert_eq!(answer(&client(&api), &ask(&[1])).await.attempts, 2, "{name} {fault:?}");
    }
    let api = FaultyApi::serve(|_, _| Act::status(403)).await;
    let (code, message, attempts) = exhausted(fetch(&client(&api), &ask(&[1])).await);
    assert_eq!((code, attempts), (None, 6));
    assert!(message.contains("403") && message.contains("gateway"), "{message}");
}

#[tokio::test]
async fn compressed_answers_are_read_and_bombs_are_cut() {
    let text = "long ".repeat(10_000);
    let whole = found(&json!({"code": 200, "data": {"success_list": [{"message_server_id": 1, "text": text}]}}));
    let zipped = gzip(&whole);
    let api = FaultyApi::serve(move |_, asked| {
        assert_eq!(asked.header("accept-encoding"), "gzip");
        Act::Write(http(200, &[("content-encoding", "gzip")], &zipped))
    })
    .await;
    let got = answer(&client(&api), &ask(&[1])).await;
    assert_eq!(got.rows.get(&got.rows.rows()[0], TextColumn::Text), Some(text.as_str()));
    assert_eq!(got.bytes, whole.len() as u64);

    let bomb = gzip(&vec![b' '; 20 << 20]);
    for (headers, body) in [(vec![("content-encoding", "gzip")], bomb), (vec![], vec![b' '; 2 << 20])] {
        let api = FaultyApi::serve(move |_, _| Act::Write(http(200, &headers, &body))).await;
        let app = App::new(AppSettings { max_response: 1 << 20, ..settings(&[&api.url]) }).unwrap();
        let client = Client::new(app, FetchSettings { attempts: 2, ..FetchSettings::default() });
        let (_, message, _) = exhausted(fetch(&client, &ask(&[1])).await);
        assert!(message.contains("larger than 1048576 bytes"), "{message}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = FaultyApi::serve(|_, asked| asked.found()).await;
    let location = elsewhere.url.to_string();
    let api = FaultyApi::serve(move |_, _| Act::Write(http(307, &[("location", &location)], ""))).await;
    let (_, message, _) = exhausted(fetch(&client(&api), &ask(&[1])).await);
    assert!(message.contains("not followed"), "{message}");
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn a_gateway_that_says_when_to_come_back_is_heeded() {
    let api = once(Act::Write(http(503, &[("retry-after", "1")], ""))).await;
    answer(&client(&api), &ask(&[1])).await;
    let asked = api.asked();
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_failed_endpoint_is_left_and_returned_to() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let first =
        FaultyApi::serve(move |_, asked| if is_down.load(Ordering::SeqCst) { Act::status(502) } else { asked.found() })
            .await;
    let second = FaultyApi::serve(|_, asked| asked.found()).await;
    let client = client_of(&[&first.url, &second.url], FetchSettings::default());
    assert_eq!(answer(&client, &ask(&[1])).await.attempts, 2);
    assert_eq!(answer(&client, &ask(&[1])).await.attempts, 1);
    assert_eq!((first.asked().len(), second.asked().len()), (1, 2));
    down.store(false, Ordering::SeqCst);
    while first.asked().len() < 3 {
        answer(&client, &ask(&[1])).await;
    }
    let before = second.asked().len();
    answer(&client, &ask(&[1])).await;
    assert_eq!(second.asked().len(), before, "the first endpoint is preferred again");
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_costs_one_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let api = FaultyApi::serve(|_, asked| asked.found()).await;
    let client = client_of(&[&nowhere, &api.url], FetchSettings::default());
    assert_eq!(answer(&client, &ask(&[1])).await.attempts, 2);
    let alone = client_of(&[&nowhere], FetchSettings { attempts: 3, ..FetchSettings::default() });
    let (_, message, attempts) = exhausted(fetch(&alone, &ask(&[1])).await);
    assert!(message.starts_with("no connection") && attempts == 3, "{message}");
}

#[tokio::test]
async fn silence_and_dripping_end_in_a_timeout() {
    let whole = http(200, &[], found(&json!({"code": 200, "data": {"success_list": [{"message_server_id": 1}]}})));
    for slow in [Act::Later(Duration::from_secs(30), Box::new(Act::Reset)), Act::Drip(whole, Duration::from_millis(40))]
    {
        let api = once(slow).await;
        let client =
            client_of(&[&api.url], FetchSettings { timeout: Duration::from_millis(150), ..FetchSettings::default() });
        assert_eq!(answer(&client, &ask(&[1])).await.attempts, 2);
    }
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

#[tokio::test]
async fn over_the_rate_everything_pauses_and_no_attempt_is_counted() {
    for throttle in [Act::code(416), Act::status(429)] {
        // Of four requests at once two are refused, when all have come, and two are answered when the next one comes:
        // so nothing but the end of the pause lets it be sent.
        let (four, next) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let refused_at = Arc::new(std::sync::Mutex::new(None::<Instant>));
        let at = Arc::clone(&refused_at);
        let api = FaultyApi::serve(move |number, asked| {
            if number == 23 {
                *at.lock().unwrap() = Some(Instant::now());
                four.add_permits(2);
            } else if number == 24 {
                next.add_permits(2);
            }
            match number {
                20 | 21 => Act::Held(Arc::clone(&four), Box::new(throttle.clone())),
                22 | 23 => Act::Held(Arc::clone(&next), Box::new(asked.found())),
                _ => asked.found(),
            }
        })
        .await;
        let fetch = FetchSettings { attempts: 1, concurrency: Concurrency::Fixed(4), ..FetchSettings::default() };
        let client = Arc::new(client_of(&[&api.url], fetch));
        let mut tasks = tokio::task::JoinSet::new();
        for id in 1..=60 {
            let client = Arc::clone(&client);
            tasks.spawn(async move { answer(&client, &ask(&[id])).await.attempts });
        }
        assert!(tasks.join_all().await.into_iter().all(|attempts| attempts == 1));
        let asked = api.asked();
        assert_eq!(asked.len(), 62);
        let refused_at = refused_at.lock().unwrap().unwrap();
        assert!(asked[..24].iter().all(|one| one.at <= refused_at));
        assert!(asked[24..].iter().all(|one| one.at >= refused_at + THROTTLE_PAUSE));
        let stats = client.stats();
        assert_eq!((stats.throttled, stats.ok), (2, 60));
        assert!(stats.allowed_rate < 1000.0);
    }
}

#[tokio::test]
async fn nothing_is_sent_during_a_pause() {
    let paused_at = Arc::new(std::sync::Mutex::new(None::<Instant>));
    let at = Arc::clone(&paused_at);
    let api = FaultyApi::serve(move |number, asked| {
        if number == 3 {
            *at.lock().unwrap() = Some(Instant::now());
            return Act::code(416);
        }
        asked.found()
    })
    .await;
    let client = client(&api);
    for id in 1..=6 {
        answer(&client, &ask(&[id])).await;
    }
    let paused_at = paused_at.lock().unwrap().unwrap();
    let asked = api.asked();
    assert_eq!(asked.len(), 7);
    let during = |one: &&Asked| one.at > paused_at && one.at < paused_at + THROTTLE_PAUSE;
    assert_eq!(asked.iter().filter(during).count(), 0);
}

#[tokio::test]
async fn without_any_success_for_too_long_the_run_stops() {
    for fault in [Act::status(500), Act::code(416), Act::Reset] {
        let api = FaultyApi::serve(move |_, _| fault.clone()).await;
        let fetch_settings =
            FetchSettings { attempts: 1000, give_up_after: Duration::from_millis(100), ..FetchSettings::default() };
        let client = client_of(&[&api.url], fetch_settings);
        match fetch(&client, &ask(&[1])).await {
            Err(Stop::Unreachable { tried_for, last_error, .. }) => {
                assert!(tried_for >= Duration::from_millis(100));
                assert!(!last_error.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_cancelled_fetch_sends_nothing_more_and_finishes_what_is_under_way() {
    let cancel = CancellationToken::new();
    let api = FaultyApi::serve(|_, asked| Act::Later(Duration::from_millis(100), Box::new(asked.found()))).await;
    let one = client(&api);
    let (batch, permit) = (ask(&[1]), one.permit().await);
    let during = one.fetch(permit, &batch, &cancel);
    let cancelling = async {
        while api.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(during, cancelling);
    assert!(matches!(outcome, Ok(Outcome::Answered(_))), "{outcome:?}");
    assert_eq!(one.fetch(one.permit().await, &batch, &cancel).await.unwrap_err(), Stop::Cancelled);
    assert_eq!(api.asked().len(), 1);

    // In the middle of a pause as well.
    let cancel = CancellationToken::new();
    let api = FaultyApi::serve(|_, _| Act::Write(http(429, &[("retry-after", "600")], ""))).await;
    let mut told = settings(&[&api.url]);
    told.patience.longest_told = Duration::from_mins(10);
    let one = Client::new(App::new(told).unwrap(), FetchSettings::default());
    let permit = one.permit().await;
    let during = one.fetch(permit, &batch, &cancel);
    let cancelling = async {
        while one.stats().paused_for.is_none() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(during, cancelling);
    assert_eq!(outcome.unwrap_err(), Stop::Cancelled);
}

#[tokio::test]
async fn one_request_goes_first_and_then_as_many_as_it_takes() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (Arc::clone(&now), Arc::clone(&most));
    let api = FaultyApi::serve(move |_, asked| {
        // The server answers 100 ms after it was asked: what it was asked meanwhile is under way.
        let (now, most) = (&counted.0, &counted.1);
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let now = Arc::clone(now);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(95)).await;
            now.fetch_sub(1, Ordering::SeqCst);
        });
        Act::Later(Duration::from_millis(100), Box::new(asked.found()))
    })
    .await;
    let client = Arc::new(client(&api));
    let mut tasks = tokio::task::JoinSet::new();
    for id in 1..=200 {
        let client = Arc::clone(&client);
        tasks.spawn(async move { answer(&client, &ask(&[id])).await.latency });
    }
    tasks.join_all().await;
    let asked = api.asked();
    let first_round = asked.iter().filter(|one| one.at < asked[0].at + Duration::from_millis(95)).count();
    assert_eq!(first_round, 1);
    assert!(most.load(Ordering::SeqCst) >= 32, "{most:?}");
}

#[tokio::test]
async fn what_is_said_of_single_messages_is_kept_apart() {
    let api = FaultyApi::serve(|_, _| {
        Act::say(&json!({"code": 200, "data": {
        "success_list": [{"message_server_id": 1}, {"message_server_id": 99}, {"message_server_id": 1}],
        "failed_list": [
            {"message_server_id": 2, "error_code": 107_404, "error_msg": "gone"},
            {"message_server_id": 3, "error_code": 511, "error_msg": "busy"},
        ]}}))
    })
    .await;
    let answer = answer(&client(&api), &ask(&[1, 2, 3, 4])).await;
    assert_eq!((answer.unrequested, answer.repeated, answer.rows.len()), (1, 1, 1));
    let help: Vec<_> = answer
        .verdicts
        .iter()
        .map(|(index, verdict)| match verdict {
            Verdict::Unavailable { other_owner_may_help, retryable, .. } => (*index, *other_owner_may_help, *retryable),
            Verdict::Unanswered | Verdict::Undecodable { .. } => (*index, false, false),
        })
        .collect();
    assert_eq!(help, [(1, true, false), (2, false, true), (3, false, false)]);
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let refused = |change: fn(&mut AppSettings)| {
        let mut settings = settings(&[&Url::parse("http://127.0.0.1:1").unwrap()]);
        change(&mut settings);
        App::new(settings).unwrap_err()
    };
    assert!(matches!(refused(|s| s.endpoints.clear()), ClientError::NoEndpoint));
    assert!(matches!(refused(|s| s.endpoints[0] = Url::parse("ftp://h").unwrap()), ClientError::Endpoint(_)));
    assert!(matches!(refused(|s| s.app_key = "a\nb".into()), ClientError::AppKey));
    assert!(matches!(refused(|s| s.ca_bundle = Some(b"none".to_vec())), ClientError::CaBundle(_)));
    assert!(!format!("{:?}", settings(&[])).contains(SECRET));
}

#[tokio::test]
async fn a_ca_bundle_is_trusted_instead_of_the_platforms_roots() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://localhost:{}", listener.local_addr().unwrap().port())).unwrap();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&http(200, &[], r#"{"code":200}"#)).await;
            let _ = stream.shutdown().await;
        }
    });
    let with_bundle = |pem: String| {
        let app = App::new(AppSettings { ca_bundle: Some(pem.into_bytes()), ..settings(&[&url]) }).unwrap();
        Client::new(app, FetchSettings { attempts: 2, ..FetchSettings::default() })
    };
    assert_eq!(answer(&with_bundle(made.cert.pem()), &ask(&[1])).await.verdicts, [(0, Verdict::Unanswered)]);
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (_, message, _) = exhausted(fetch(&with_bundle(stranger.cert.pem()), &ask(&[1])).await);
    assert!(message.contains("certificate"), "{message}");
    server.abort();
}
