//! What is done about each code that an answer gives for a whole request or for a single message.

use std::path::Path;

use yunxin_archiver::yunxin::{CODES, Meaning, Verdict};

use super::*;

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

/// docs/failures.md has the table of codes; with `UPDATE_DOCS=1` the test rewrites it.
#[test]
fn the_documentation_has_the_table_of_codes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/failures.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let head =
        "| code | meaning | said of a whole request | said of one message, in `failed_list` |\n|---|---|---|---|\n";
    let (before, rest) = page.split_once(head).unwrap();
    let (table, after) = rest.split_once("\n\n").unwrap();
    let rows = CODES.iter().map(|row| {
        let codes: Vec<String> = row.codes.iter().map(i64::to_string).collect();
        let codes = if codes.is_empty() { "any other".to_owned() } else { codes.join(", ") };
        format!("| {codes} | {} |", row.documentation.join(" | "))
    });
    let right = rows.collect::<Vec<_>>().join("\n");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{head}{right}\n\n{after}")).unwrap();
    } else {
        assert_eq!(table, right, "docs/failures.md is not what UPDATE_DOCS=1 makes of it");
    }
}

#[test]
fn what_other_rooms_ask_of_a_code_follows_from_its_meaning() {
    let meaning = |code| (Meaning::of(code), Meaning::of(code).is_absence());
    assert_eq!(meaning(107_404), (Meaning::DoesNotExist, true));
    assert_eq!(meaning(404), (Meaning::NotFound, true));
    for code in [102_404, 102_422, 108_404, 109_404, 110_302, 110_404] {
        assert_eq!(meaning(code), (Meaning::OwnerRefused, true), "{code}");
    }
    assert_eq!(meaning(414), (Meaning::BadParameter, false));
    assert_eq!(meaning(416), (Meaning::OverRate, false));
    assert_eq!(meaning(123_456), (Meaning::Other, false));
}
