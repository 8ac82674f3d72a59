use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::message::{Row, TextColumn};

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

fn leaf() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (0_i64..200).prop_map(Into::into),
        (-1000_i32..1000).prop_map(|quarters| json!(f64::from(quarters) / 4.0)),
        any::<String>().prop_map(Into::into),
        "[0-9]{1,20}".prop_map(Into::into),
        Just(json!({})),
        prop::collection::vec(any::<String>(), 0..3).prop_map(|list| json!(list)),
        any::<String>().prop_map(|text| json!({"name": text, "list": [text, 1, null]})),
        any::<String>().prop_map(|text| json!(json!({"name": text}).to_string())),
    ]
}

fn object(names: &'static [&'static str]) -> impl Strategy<Value = Json> {
    let known = prop::sample::select(names).prop_map(str::to_owned);
    prop::collection::vec((prop_oneof![4 => known, 1 => any::<String>()], leaf()), 0..12)
        .prop_map(|fields| Json::Object(fields.into_iter().collect()))
}

const LINK: &[&str] = &["sender_id", "receiver_id", "create_time", "message_server_id", "message_client_id"];
const FIELDS: &[&str] = &[
    "message_client_id",
    "conversation_type",
    "sender_id",
    "receiver_id",
    "team_id",
    "message_type",
    "sub_type",
    "create_time",
    "sender_client_type",
    "text",
    "attachment",
    "extension",
    "modify_account_id",
    "modify_time",
    "receiver_account_ids",
    "inclusive",
    "new_member_visible",
];

fn message() -> impl Strategy<Value = Json> {
    let link = || prop::option::of(prop_oneof![4 => object(LINK), 1 => leaf()]);
    let config = (object(&["more"]), link(), link()).prop_map(|(mut config, root, reply)| {
        for (name, link) in [("thread_root", root), ("thread_reply", reply)] {
            if let Some(link) = link {
                config[name] = link;
            }
        }
        config
    });
    (object(FIELDS), prop::option::of(prop_oneof![4 => config, 1 => leaf()])).prop_map(|(mut item, config)| {
        if let Some(config) = config {
            item["thread_config"] = config;
        }
        item
    })
}

/// What a field is by the documentation, and whether it surprises.
struct Expected {
    extra: Map<String, Json>,
}

impl Expected {
    fn take<T>(&mut self, item: &mut Map<String, Json>, name: &str, read: impl Fn(&Json) -> Option<T>) -> Option<T> {
        let value = item.remove(name)?;
        let known = read(&value);
        if known.is_none() && !value.is_null() {
            self.extra.insert(name.to_owned(), value);
        }
        known
    }
}

fn text(value: &Json) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn digits(value: &Json) -> Option<i64> {
    let spelt = value.as_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    value.as_i64().or_else(|| spelt.and_then(|text| text.parse().ok()))
}

fn small_integer(value: &Json) -> Option<i32> {
    value.as_i64().and_then(|number| number.try_into().ok())
}

fn moment(value: &Json) -> Option<i64> {
    value.as_i64().filter(|time| (0..=253_402_300_799_999).contains(time))
}

type Linked = (Option<String>, Option<String>, Option<i64>, Option<i64>, Option<String>);

fn expected_link(config: &mut Map<String, Json>, name: &str, extra: &mut Map<String, Json>) -> Linked {
    match config.remove(name) {
        None | Some(Json::Null) => Linked::default(),
        Some(Json::Object(mut link)) => {
            let mut inner = Expected { extra: Map::new() };
            let columns = (
                inner.take(&mut link, "sender_id", text),
                inner.take(&mut link, "receiver_id", text),
                inner.take(&mut link, "create_time", moment),
                inner.take(&mut link, "message_server_id", digits),
                inner.take(&mut link, "message_client_id", text),
            );
            inner.extra.extend(link);
            if !inner.extra.is_empty() {
                extra.insert(name.to_owned(), Json::Object(inner.extra));
            }
            columns
        }
        Some(other) => {
            extra.insert(name.to_owned(), other);
            Linked::default()
        }
    }
}

fn check(item: &Json, rows: &MessageRows, row: &Row) {
    let mut item = item.as_object().unwrap().clone();
    item.remove("message_server_id");
    let get = |column| rows.get(row, column).map(str::to_owned);
    let parsed = |column| rows.get(row, column).map(|json| serde_json::from_str::<Json>(json).unwrap());
    let mut expected = Expected { extra: Map::new() };
    let e = &mut expected;
    let i = &mut item;
    assert_eq!(e.take(i, "message_client_id", text), get(TextColumn::MessageClientId));
    assert_eq!(
        e.take(i, "conversation_type", |v| small_integer(v).filter(|n| (1..=3).contains(n))).unwrap_or(1),
        row.conversation_type
    );
    assert_eq!(e.take(i, "sender_id", text), get(TextColumn::SenderId));
    assert_eq!(e.take(i, "receiver_id", text), get(TextColumn::ReceiverId));
    assert_eq!(e.take(i, "team_id", digits), row.team_id);
    assert_eq!(e.take(i, "message_type", small_integer), row.message_type);
    assert_eq!(e.take(i, "sub_type", small_integer), row.sub_type);
    assert_eq!(e.take(i, "create_time", |v| moment(v).filter(|t| *t > 0)).unwrap_or(3000), row.create_time);
    assert_eq!(
        e.take(i, "sender_client_type", |v| digits(v).and_then(|n| i32::try_from(n).ok())),
        row.sender_client_type
    );
    assert_eq!(e.take(i, "text", text), get(TextColumn::Text));
    let attachment = e.take(i, "attachment", |v| match v {
        Json::Object(_) => Some(v.clone()),
        Json::String(text) => Some(serde_json::from_str(text).unwrap_or_else(|_| v.clone())),
        _ => None,
    });
    assert_eq!(attachment.filter(|v| !v.is_null() && *v != json!({})), parsed(TextColumn::Attachment));
    assert_eq!(e.take(i, "extension", text), get(TextColumn::Extension));
    assert_eq!(e.take(i, "modify_account_id", text), get(TextColumn::ModifyAccountId));
    assert_eq!(e.take(i, "modify_time", moment).filter(|t| *t != 0), row.modify_time);
    let receivers = e.take(i, "receiver_account_ids", |v| {
        v.as_array().filter(|list| list.iter().all(Json::is_string)).map(|_| v.clone())
    });
    assert_eq!(receivers, parsed(TextColumn::ReceiverAccountIds));
    assert_eq!(e.take(i, "inclusive", Json::as_bool), row.inclusive);
    assert_eq!(e.take(i, "new_member_visible", Json::as_bool), row.new_member_visible);
    let (mut root, mut reply) = Default::default();
    match i.remove("thread_config") {
        None | Some(Json::Null) => {}
        Some(Json::Object(mut config)) => {
            let mut inner = Map::new();
            root = expected_link(&mut config, "thread_root", &mut inner);
            reply = expected_link(&mut config, "thread_reply", &mut inner);
            inner.extend(config);
            if !inner.is_empty() {
                e.extra.insert("thread_config".into(), Json::Object(inner));
            }
        }
        Some(other) => {
            e.extra.insert("thread_config".into(), other);
        }
    }
    let actual_root = (
        get(TextColumn::ThreadRootSenderId),
        get(TextColumn::ThreadRootReceiverId),
        row.thread_root_create_time,
        row.thread_root_message_server_id,
        get(TextColumn::ThreadRootMessageClientId),
    );
    let actual_reply = (
        get(TextColumn::ThreadReplySenderId),
        get(TextColumn::ThreadReplyReceiverId),
        row.thread_reply_create_time,
        row.thread_reply_message_server_id,
        get(TextColumn::ThreadReplyMessageClientId),
    );
    assert_eq!((root, reply), (actual_root, actual_reply));
    e.extra.extend(std::mem::take(i));
    let extra = Some(Json::Object(std::mem::take(&mut e.extra))).filter(|extra| *extra != json!({}));
    assert_eq!(extra, parsed(TextColumn::Extra));
    assert!(!row.substituted);
}

/// Every reference is in a row or has a verdict, exactly once, and every column can be read.
fn check_sums(decoded: &Decoded, refs: &[(i64, i64)]) {
    let mut seen = vec![0; refs.len()];
    for (row, index) in decoded.rows.rows().iter().zip(&decoded.archived) {
        assert_eq!(row.message_server_id, refs[*index as usize].0);
        seen[*index as usize] += 1;
        for span in row.text {
            let _ = decoded.rows.resolve(span);
        }
        for column in [TextColumn::Attachment, TextColumn::Extra, TextColumn::ReceiverAccountIds] {
            if let Some(json) = decoded.rows.get(row, column) {
                serde_json::from_str::<&serde_json::value::RawValue>(json).unwrap();
            }
        }
    }
    for (index, _) in &decoded.verdicts {
        seen[*index] += 1;
    }
    assert_eq!(decoded.rows.len(), decoded.archived.len());
    assert!(seen.iter().all(|times| *times == 1), "{seen:?}");
}

fn answer() -> impl Strategy<Value = Json> {
    let id = || prop_oneof![prop::sample::select(ASKED.map(|(id, _)| json!(id)).to_vec()), leaf()];
    let items = prop::collection::vec((message(), id()), 0..6);
    let failures = prop::collection::vec((leaf(), leaf(), id()), 0..4);
    (items, failures).prop_map(|(items, failures)| {
        let with_id = |(mut item, id): (Json, Json)| {
            item["message_server_id"] = id;
            item
        };
        let items: Vec<_> = items.into_iter().map(with_id).collect();
        let failures: Vec<_> = failures
            .into_iter()
            .map(|(code, message, id)| json!({"error_code": code, "error_msg": message, "message_server_id": id}))
            .collect();
        json!({"code": 200, "msg": "success", "data": {"failed_list": failures, "success_list": items}})
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_field_is_what_serde_reads(item in message(), pretty in any::<bool>()) {
        let mut item = item;
        item["message_server_id"] = json!(30);
        let answer = json!({"code": 200, "data": {"success_list": [item]}});
        let body = if pretty { serde_json::to_vec_pretty(&answer) } else { serde_json::to_vec(&answer) }.unwrap();
        let decoded = decoded(&body);
        check(&item, &decoded.rows, &decoded.rows.rows()[0]);
    }

    #[test]
    fn no_reference_is_lost_or_counted_twice(answer in answer()) {
        check_sums(&decoded(serde_json::to_vec(&answer).unwrap()), &ASKED);
    }

    #[test]
    fn no_damage_to_an_answer_panics_or_loses_a_reference(
        answer in answer(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..6),
    ) {
        let mut body = serde_json::to_vec(&answer).unwrap();
        for (at, byte, kind) in damage {
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => drop(body.remove(at)),
            }
        }
        if let Ok(Reply::Answer(decoded)) = decode(&body, &question(&ASKED)) {
            check_sums(&decoded, &ASKED);
        }
    }

    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&body, &question(&ASKED));
    }
}
