//! Answers that are broken, packed, too large, too slow, or lead elsewhere.

use std::io::Write as _;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
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
async fn silence_and_dripping_end_in_a_timeout() {
    let whole = http(200, &[], found(&json!({"code": 200, "data": {"success_list": [{"message_server_id": 1}]}})));
    for slow in [Act::Later(Duration::from_secs(30), Box::new(Act::Reset)), Act::Drip(whole, Duration::from_millis(40))]
    {
        let api = once(slow).await;
        let timeout = Duration::from_millis(150);
        let client = client_of(&[&api.url], FetchSettings { timeout, attempts: 1000, ..FetchSettings::default() });
        // On a busy machine more of them may time out.
        assert!(answer(&client, &ask(&[1])).await.attempts >= 2);
    }
}
