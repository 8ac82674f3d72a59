//! What holds of any answer: it is read as an independent parser reads it, and no ID is lost.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;

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

const SAME: [(i64, i64); 4] = [(30, 3000), (31, 3000), (32, 3000), (33, 3000)];

/// Messages of [`SAME`] as JSON text, and themselves.
fn spelt_list(mut items: Vec<Json>, mut seed: u64, close: bool) -> (String, Vec<Json>) {
    let mut list = String::new();
    for (item, (id, _)) in items.iter_mut().zip(SAME) {
        item["message_server_id"] = json!(id);
        list.push_str(if list.is_empty() { "" } else { "," });
        spell(&mut list, item, &mut seed, close);
    }
    (list, items)
}

/// Appends a value as JSON text, the fields of objects in an order that `seed` tells, with white space unless `close`.
fn spell(out: &mut String, value: &Json, seed: &mut u64, close: bool) {
    let Json::Object(fields) = value else {
        out.push_str(&value.to_string());
        return;
    };
    let space = if close { "" } else { " " };
    let mut fields: Vec<_> = fields.iter().collect();
    out.push('{');
    while !fields.is_empty() {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (name, value) = fields.swap_remove((*seed >> 33) as usize % fields.len());
        out.push_str(&format!("{space}{}{space}:{space}", json!(name)));
        spell(out, value, seed, close);
        out.push_str(space);
        out.push_str(if fields.is_empty() { "" } else { "," });
    }
    out.push('}');
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
    fn every_field_is_what_serde_reads_in_whatever_order_and_whatever_came_before(
        items in prop::collection::vec(message(), 1..5),
        seed: u64,
        close in any::<bool>(),
    ) {
        let (list, items) = spelt_list(items, seed, close);
        let body = format!(r#"{{"code":200,"data":{{"success_list":[{list}]}}}}"#);
        let decoded = decoded_with(body, &question(&SAME));
        prop_assert_eq!(decoded.rows.len(), items.len());
        for (item, row) in items.iter().zip(decoded.rows.rows()) {
            check(item, &decoded.rows, row);
        }
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
