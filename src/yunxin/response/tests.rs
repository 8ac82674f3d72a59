mod properties;

use serde_json::Value as Json;

use super::*;
use crate::model::message::{Row, TextColumn};

const ASKED: [(i64, i64); 4] =
    [(158_844_553_334_358_018, 1000), (158_844_553_334_358_017, 2000), (30, 3000), (40, 3000)];

fn question(refs: &[(i64, i64)]) -> Question<'_> {
    Question { key: "1|a|b", conversation: "B|1|a", conversation_type: 1, refs, fetched_at: 77, raw: false }
}

fn decoded_with(body: impl AsRef<[u8]>, question: &Question<'_>) -> Decoded {
    match decode(body.as_ref(), question) {
        Ok(Reply::Answer(decoded)) => decoded,
        other => panic!("{other:?}"),
    }
}

fn decoded(body: impl AsRef<[u8]>) -> Decoded {
    decoded_with(body, &question(&ASKED))
}

/// The only message of an answer that holds this item for the third reference.
fn item(fields: &str) -> (MessageRows, Row) {
    let body = format!(r#"{{"code":200,"data":{{"success_list":[{{"message_server_id":30,{fields}}}]}}}}"#);
    let decoded = decoded(body);
    let row = decoded.rows.rows()[0];
    (decoded.rows, row)
}

fn column(fields: &str, column: TextColumn) -> Option<String> {
    let (rows, row) = item(fields);
    rows.get(&row, column).map(str::to_owned)
}

#[test]
fn lists_are_read_wherever_they_stand() {
    for body in [
        r#"{"code":200,"msg":"success","data":{"failed_list":[{"message_server_id":40,"error_code":107404,"error_msg":"gone"}],"success_list":[{"message_server_id":30}]}}"#,
        r#" { "data" : { "success_list" : [ { "message_server_id" : "30" } ] , "x" : [ 1 ] , "failed_list" : [ { "error_msg" : "gone" , "error_code" : "107404" , "message_server_id" : "40" } ] } , "code" : "200" } "#,
    ] {
        let decoded = decoded(body);
        assert_eq!(decoded.archived, [2]);
        let row = decoded.rows.rows()[0];
        assert_eq!((row.message_server_id, row.create_time, row.fetched_at), (30, 3000, 77));
        assert_eq!(decoded.rows.get(&row, TextColumn::ConversationKey), Some("1|a|b"));
        assert_eq!(decoded.rows.get(&row, TextColumn::ConversationId), Some("B|1|a"));
        let gone = Verdict::Unavailable {
            code: Some(107_404),
            message: "gone".into(),
            other_owner_may_help: true,
            retryable: false,
        };
        assert_eq!(decoded.verdicts, [(0, Verdict::Unanswered), (1, Verdict::Unanswered), (3, gone)]);
    }
}

#[test]
fn absent_null_and_empty_lists_answer_nothing() {
    for body in [
        r#"{"code":200}"#,
        r#"{"code":200,"data":null}"#,
        r#"{"code":200,"data":{}}"#,
        r#"{"code":200,"data":{"success_list":null,"failed_list":[]}}"#,
    ] {
        assert_eq!(decoded(body).verdicts.len(), 4, "{body}");
    }
}

#[test]
fn other_codes_are_handed_on_with_their_text() {
    for data in [
        "",
        r#","data":{}"#,
        r#","data":null"#,
        r#","data":"x""#,
        r#","data":{"success_list":[{"message_server_id":30}]}"#,
    ] {
        let body = format!(r#"{{"msg":"no\u0020such","code":102404{data}}}"#);
        let Ok(Reply::Code(102_404, message)) = decode(body.as_bytes(), &question(&ASKED)) else { panic!("{body}") };
        assert_eq!(message, "no such");
    }
}

#[test]
fn what_is_no_answer_is_refused_whole() {
    for body in [
        "",
        "null",
        "[]",
        "<html>",
        "{}",
        r#"{"code":null}"#,
        r#"{"code":200.5}"#,
        r#"{"code":200"#,
        r#"{"code":200}}"#,
        r#"{"code":200,"data":[]}"#,
        r#"{"code":200,"data":{"success_list":{}}}"#,
        r#"{"code":200,"data":{"failed_list":"x"}}"#,
        r#"{"code":200,"data":{"success_list":[{"message_server_id":30}"#,
        r#"{"code":200,"data":{"success_list":[{"message_server_id":30},]}}"#,
    ] {
        assert!(decode(body.as_bytes(), &question(&ASKED)).is_err(), "{body}");
    }
}

/// Until they are committed messages are held by the thousand, and what bounds them counts what they need.
#[test]
fn messages_take_no_more_memory_than_is_counted() {
    let refs: Vec<(i64, i64)> = (1..=100).map(|id| (id, 1000)).collect();
    let items: Vec<String> = refs[..60]
        .iter()
        .map(|(id, _)| {
            format!(r#"{{"message_server_id":{id},"conversation_type":1,"message_type":0,"create_time":1000,"text":"你好"}}"#)
        })
        .collect();
    let body = format!(r#"{{"code":200,"data":{{"success_list":[{}]}}}}"#, items.join(","));
    let rows = decoded_with(body, &question(&refs)).rows;
    let counted = rows.size();
    let (text, rows) = rows.into_parts();
    assert_eq!(text.capacity() + rows.capacity() * size_of::<Row>(), counted);
}

/// Every place where fields follow each other as expected, and every byte that could stand there instead.
#[test]
fn no_single_byte_makes_an_answer_of_what_is_no_json() {
    let link = r#"{"sender_id":"a","receiver_id":"b","create_time":9,"message_server_id":"7","message_client_id":"c"}"#;
    let item = |id: u8| {
        format!(
            r#"{{"message_server_id":{id},"message_client_id":"c","conversation_type":1,"sender_id":"a\n","receiver_id":"b","message_type":0,"create_time":1753951805248,"text":"你好","thread_config":{{"thread_root":{link},"thread_reply":{link}}}}}"#
        )
    };
    let body = format!(r#"{{"code":200,"data":{{"success_list":[{},{}]}}}}"#, item(30), item(40));
    assert_eq!(decoded(&body).rows.len(), 2);
    for at in 0..body.len() {
        for byte in *b"{}[],:\"\\0-1.eEtn u" {
            let mut damaged = body.clone().into_bytes();
            damaged[at] = byte;
            let Ok(damaged) = String::from_utf8(damaged) else { continue };
            if serde_json::from_str::<&serde_json::value::RawValue>(&damaged).is_err() {
                assert!(decode(damaged.as_bytes(), &question(&ASKED)).is_err(), "{damaged}");
            }
        }
    }
}

#[test]
fn neighbouring_ids_beyond_double_precision_stay_apart() {
    let decoded = decoded(
        r#"{"code":200,"data":{"success_list":[{"message_server_id":158844553334358017},{"message_server_id":158844553334358018}]}}"#,
    );
    assert_eq!(decoded.archived, [1, 0]);
}

#[test]
fn what_was_not_asked_for_and_what_is_repeated_is_dropped_and_counted() {
    let decoded = decoded(
        r#"{"code":200,"data":{"failed_list":[{"message_server_id":30,"error_code":1},{"message_server_id":31,"error_code":1}],"success_list":[
           {"message_server_id":31},{"message_server_id":30,"text":"first"},{"message_server_id":30,"text":"second"}]}}"#,
    );
    assert_eq!((decoded.unrequested, decoded.repeated), (1, 1));
    assert_eq!(decoded.rows.get(&decoded.rows.rows()[0], TextColumn::Text), Some("first"));
    assert_eq!(decoded.verdicts.len(), 3, "an ID in both lists is archived");
}

#[test]
fn an_item_without_a_usable_id_goes_to_the_reference_it_must_be_of() {
    let body = |items: &str| format!(r#"{{"code":200,"data":{{"success_list":[{items}]}}}}"#);
    let float = r#"{"message_server_id":1.58844553334358e17,"create_time":1000,"text":"kept"}"#;
    let by_time = decoded(body(float));
    let Verdict::Undecodable { text, .. } = &by_time.verdicts[0].1 else { panic!() };
    assert_eq!(text, float);
    // Two references have this time: which one it is cannot be known.
    let ambiguous = decoded(body(r#"{"create_time":3000}"#));
    assert!(ambiguous.verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Unanswered));
    let ids = r#"{"message_server_id":158844553334358017},{"message_server_id":30},{"message_server_id":40}"#;
    for stray in ["{}", "null", "[1]", r#"{"message_server_id":0}"#, r#"{"message_server_id":9223372036854775808}"#] {
        let last = decoded(body(&format!("{ids},{stray}")));
        assert!(matches!(&last.verdicts[..], [(0, Verdict::Undecodable { .. })]), "{stray}");
    }
    let long = decoded(body(&format!(r#"{{"create_time":1000,"text":"{}"}}"#, "你".repeat(5000))));
    let Verdict::Undecodable { text, .. } = &long.verdicts[0].1 else { panic!() };
    assert!((2040..=2048).contains(&text.len()));
    let failed = decoded(r#"{"code":200,"data":{"failed_list":[{"create_time":2000,"error_code":107404}]}}"#);
    assert!(matches!(failed.verdicts[1].1, Verdict::Unavailable { code: Some(107_404), .. }));
}

#[test]
fn of_equal_keys_the_last_counts() {
    let (rows, row) = item(
        r#""text":"a","text":5,"te\u0078t":"b","message_type":"x","message_type":1,"thread_config":{"y":1,"thread_root":{"sender_id":"s"}},"thread_config":{"thread_root":{"message_client_id":"m"},"thread_root":null},"sub_type":7,"sub_type":[]"#,
    );
    assert_eq!(rows.get(&row, TextColumn::Text), Some("b"));
    assert_eq!((row.message_type, row.sub_type), (Some(1), None));
    assert_eq!(rows.get(&row, TextColumn::ThreadRootSenderId), None);
    assert_eq!(rows.get(&row, TextColumn::ThreadRootMessageClientId), None);
    assert_eq!(rows.get(&row, TextColumn::Extra), Some(r#"{"sub_type":[]}"#));
    let twice = decoded(
        r#"{"code":1,"data":{"success_list":[{"message_server_id":40}]},"code":200,"data":{"success_list":[{"message_server_id":40}],"success_list":[{"message_server_id":30}]}}"#,
    );
    assert_eq!(twice.archived, [2]);
    assert_eq!(twice.rows.len(), 1);
}

#[test]
fn attachments_are_json_however_they_came() {
    let attachment = |json: &str| column(&format!(r#""attachment":{json}"#), TextColumn::Attachment);
    assert_eq!(attachment(r#"{ "w" : 1e2,"b":[ ] }"#).unwrap(), r#"{ "w" : 1e2,"b":[ ] }"#);
    assert_eq!(attachment(r#""{\"a\":\"\\u4f60\"}""#).unwrap(), r#"{"a":"\u4f60"}"#);
    assert_eq!(attachment(r#""not \"json\"\n""#).unwrap(), r#""not \"json\"\n""#);
    assert_eq!(attachment(r#""""#).unwrap(), r#""""#);
    for nothing in ["{}", "{ \n}", "null", r#""{}""#, r#"" {} ""#, r#""null""#] {
        assert_eq!(attachment(nothing), None, "{nothing}");
    }
    let (rows, row) = item(r#""attachment":[1]"#);
    assert_eq!(rows.get(&row, TextColumn::Attachment), None);
    assert_eq!(rows.get(&row, TextColumn::Extra), Some(r#"{"attachment":[1]}"#));
    // Deeper than readers of JSON go: kept as text.
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(serde_json::from_str::<String>(&attachment(&deep).unwrap()).unwrap(), deep);
}

#[test]
fn text_that_holds_json_stays_text() {
    assert_eq!(column(r#""text":"{\"a\":1}\u0000""#, TextColumn::Text).unwrap(), "{\"a\":1}\0");
    assert_eq!(column(r#""extension":{"a":1}"#, TextColumn::Extra).unwrap(), r#"{"extension":{"a":1}}"#);
}

#[test]
fn what_no_store_can_hold_is_replaced_and_marked() {
    for fields in [
        r#""text":"x\ud83d""#,
        r#""attachment":{"a":"x\udc00"}"#,
        r#""attachment":"{\"a\":\"\\ud83d\"}""#,
        r#""new":{"\ud83d":1}"#,
        r#""\ud83d":1"#,
        r#""receiver_account_ids":["\ud83d"]"#,
        r#""thread_config":{"z":"\ud83d"}"#,
        r#""text":["\ud83d"]"#,
    ] {
        let (rows, row) = item(fields);
        assert!(row.substituted, "{fields}");
        for column in [TextColumn::Attachment, TextColumn::Extra, TextColumn::ReceiverAccountIds] {
            if let Some(json) = rows.get(&row, column) {
                serde_json::from_str::<Json>(json).unwrap();
            }
        }
    }
    assert!(!item(r#""text":"\ud83d\ude00""#).1.substituted);
    let body = b"{\"code\":200,\"data\":{\"success_list\":[{\"message_server_id\":30,\"text\":\"a\xffb\"},{\"message_server_id\":40}]}}";
    let decoded = decoded(body);
    let [broken, whole] = decoded.rows.rows() else { panic!() };
    assert_eq!(decoded.rows.get(broken, TextColumn::Text), Some("a\u{fffd}b"));
    assert!(broken.substituted && !whole.substituted);
}

#[test]
fn raw_is_the_items_own_text() {
    let text = r#"{ "message_server_id" : 30, "a":"\ud83d" }"#;
    let body = format!(r#"{{"code":200,"data":{{"success_list":[ {text} ]}}}}"#);
    let decoded = decoded_with(body, &Question { raw: true, ..question(&ASKED) });
    assert_eq!(decoded.rows.get(&decoded.rows.rows()[0], TextColumn::Raw), Some(text));
}

#[test]
fn times_that_no_store_holds_surprise() {
    let (rows, row) = item(
        r#""create_time":9223372036854775807,"modify_time":0,"thread_config":{"thread_reply":{"create_time":-1,"q":2},"n":3}"#,
    );
    assert_eq!((row.create_time, row.modify_time, row.thread_reply_create_time), (3000, None, None));
    assert_eq!(
        rows.get(&row, TextColumn::Extra),
        Some(r#"{"create_time":9223372036854775807,"thread_config":{"n":3,"thread_reply":{"q":2,"create_time":-1}}}"#)
    );
}

// From here on serde_json reads the same items, and says what each column should hold.
