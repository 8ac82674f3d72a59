//! Every reference ends in exactly one state, whatever the API answers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use yunxin_archiver::simulator::{DemoWorld, Echo, Fate, Message, Quirk, World, write_references};
use yunxin_archiver::simulator::{ReferenceShape, Settings};

use crate::support::parquet::read;
use crate::support::site::{HASTY, Ref, Site, csv, id, ids_of, message, reference, time};

/// A world in which everything happens, and what must become of each reference: nothing, or class and code.
struct Fates {
    world: World,
    refs: Vec<Ref>,
    failed: BTreeMap<i64, (String, Option<i64>)>,
}

impl Fates {
    fn found(&mut self, conversation_id: &str, n: i64, message: Message) {
        self.world.insert(message);
        self.refs.push(reference(conversation_id, n));
    }

    fn fails(&mut self, conversation_id: &str, n: i64, message: Message, class: &str, code: Option<i64>) {
        self.failed.insert(id(n), (class.to_owned(), code));
        self.found(conversation_id, n, message);
    }

    fn archived(&self) -> Vec<i64> {
        ids_of(&self.refs).into_iter().filter(|id| !self.failed.contains_key(id)).collect()
    }
}

fn everything() -> Fates {
    let mut fates = Fates { world: World::explicit(), refs: Vec::new(), failed: BTreeMap::new() };
    for (n, quirk) in (0..).zip(Quirk::ALL) {
        let odd = message("alice|1|bob", n).quirk(quirk);
        match quirk {
            Quirk::Undecodable => fates.fails("alice|1|bob", n, odd, "undecodable", None),
            _ => fates.found("alice|1|bob", n, odd),
        }
    }
    for (n, echo) in [(100, Echo::Twice), (102, Echo::Stranger), (104, Echo::BothLists)] {
        fates.found("carol|1|dave", n, message("carol|1|dave", n).echo(echo));
    }
    let team = "speaker|2|4001";
    fates.found(team, 200, message(team, 200));
    fates.fails(team, 201, message(team, 201).fate(Fate::Missing), "unavailable", Some(107_404));
    fates.fails(team, 202, message(team, 202).fate(Fate::Failed(398)), "unavailable", Some(398));
    fates.fails(team, 203, message(team, 203).fate(Fate::Failed(109_404)), "unavailable", Some(109_404));
    fates.fails(team, 204, message(team, 204).fate(Fate::Failed(777)), "unavailable", Some(777));
    fates.fails(team, 205, message(team, 205).fate(Fate::Unanswered), "unanswered", None);
    // One that no request may hold, among sixteen.
    for n in 300..316 {
        match n {
            307 => fates.fails("eve|1|frank", n, message("eve|1|frank", n).fate(Fate::Poison), "refused", Some(414)),
            _ => fates.found("eve|1|frank", n, message("eve|1|frank", n)),
        }
    }
    // One that is over the limit whoever else is asked with it.
    for n in 320..324 {
        match n {
            321 => fates.fails("ivy|1|jan", n, message("ivy|1|jan", n).fate(Fate::Refused(405)), "refused", Some(405)),
            _ => fates.found("ivy|1|jan", n, message("ivy|1|jan", n)),
        }
    }
    // A code that nobody knows is final for all that was asked with it.
    for n in 330..333 {
        let odd = message("ken|1|lea", n);
        let odd = if n == 331 { odd.fate(Fate::Refused(12_345)) } else { odd };
        fates.fails("ken|1|lea", n, odd, "refused", Some(12_345));
    }
    // What only the other side sees, as missing and as unanswered.
    for n in 400..410 {
        let hidden = if n % 2 == 0 { Fate::Missing } else { Fate::Unanswered };
        fates.found("gina|1|hugo", n, message("gina|1|hugo", n).seen_by(["hugo"], hidden));
    }
    // A team that one of its speakers has left, and one that its only speaker has left.
    for n in 500..507 {
        let speaker = if n < 505 { "lead|2|4002" } else { "leaver|2|4002" };
        fates.found(speaker, n, message(speaker, n));
    }
    fates.world.refuse("leaver|2|4002", 109_404);
    for n in 510..513 {
        fates.fails("gone|3|4003", n, message("gone|3|4003", n), "unavailable", Some(109_404));
    }
    fates.world.refuse("gone|3|4003", 109_404);
    // Asked with another time than its own, a message does not exist.
    fates.world.insert(message("alice|1|bob", 600));
    fates.refs.push(("alice|1|bob".to_owned(), id(600), time(600) + 1));
    fates.failed.insert(id(600), ("unavailable".to_owned(), Some(107_404)));
    fates
}

#[test]
fn every_quirk_fate_and_echo_ends_in_the_state_it_must() {
    let fates = everything();
    let site = Site::new(fates.world.clone());
    site.jobs(HASTY);
    let mut text = csv(&fates.refs);
    text.push_str(&csv(&fates.refs[..9])["conversation_id,message_server_id,create_time\n".len()..]);
    text.push_str("alice|1|bob,1.5e17,1790899200000\nalice|9|bob,5,1790899200000\n");
    site.write("refs.csv", text);

    let ended = site.night().exits(3);
    let (all, failed) = (fates.refs.len() as u64, fates.failed.len() as u64);
    assert_eq!(ended.refs("read"), all + 9 + 2);
    assert_eq!((ended.refs("duplicate"), ended.refs("invalid"), ended.refs("accepted")), (9, 2, all));
    assert_eq!((ended.refs("archived"), ended.refs("failed"), ended.refs("pending")), (all - failed, failed, 0));
    assert_eq!(site.failures("nightly"), fates.failed);
    let mut classes = BTreeMap::<&str, u64>::from([("invalid", 2)]);
    let mut codes = BTreeMap::<String, u64>::new();
    for (class, code) in fates.failed.values() {
        *classes.entry(class).or_default() += 1;
        if let Some(code) = code {
            *codes.entry(code.to_string()).or_default() += 1;
        }
    }
    assert_eq!(ended.job()["failures"], json!(classes));
    assert_eq!(ended.job()["codes"], json!(codes));
    let stats = site.api.stats();
    assert_eq!((stats.repeated_in_request, stats.repeated_traces, stats.older_version), (0, 0, 0));
    assert_eq!((stats.requests, ended.requests("retried")), (ended.requests("sent"), 1), "398 once more");
    // Nothing of it is asked again in the same night, and nothing new has failed.
    let again = site.night().exits(0);
    assert_eq!((again.requests("sent"), again.refs("duplicate")), (0, all + 9));

    let seen = read(&site.path("archive"), "rows");
    for reader in ["duckdb", "pyarrow"] {
        let rows = seen[reader]["rows"].as_array().unwrap();
        let ids: Vec<i64> = rows.iter().map(|row| row["message_server_id"].as_i64().unwrap()).collect();
        assert_eq!(ids, fates.archived(), "{reader}");
        fields_are_right(rows);
    }
}

/// Of the messages with a quirk, the columns that the quirk is about.
fn fields_are_right(rows: &[Value]) {
    let of = |quirk: Quirk| {
        let n = Quirk::ALL.iter().position(|other| *other == quirk).unwrap() as i64;
        rows.iter().find(|row| row["message_server_id"] == id(n)).unwrap_or_else(|| panic!("no {quirk:?}"))
    };
    let json = |value: &Value| -> Value { serde_json::from_str(value.as_str().unwrap()).unwrap() };
    for row in rows {
        assert_eq!(row["app_key"], "simulated-app-key");
        assert_eq!((&row["revision"], &row["requested"]), (&json!(0), &json!(true)));
    }
    let plain = of(Quirk::StringIds);
    assert_eq!(plain["conversation_key"], "1|alice|bob");
    assert_eq!((&plain["sender_id"], &plain["receiver_id"]), (&json!("alice"), &json!("bob")));
    assert_eq!((&plain["text"], &plain["create_time"]), (&json!("text 0"), &json!(time(0))));
    assert_eq!(of(Quirk::StringClientType)["sender_client_type"], 16);
    assert_eq!(of(Quirk::NamedClientType)["sender_client_type"], Value::Null);
    assert_eq!(json(&of(Quirk::NamedClientType)["extra"])["sender_client_type"], "Web");
    assert_eq!(json(&of(Quirk::AttachmentString)["attachment"])["md5"], "00ff");
    assert_eq!(of(Quirk::EmptyAttachment)["attachment"], Value::Null);
    assert_eq!(of(Quirk::Sparse)["create_time"], json!(time(10)));
    assert_eq!(of(Quirk::NulText)["text"], "before\u{0}after");
    assert_eq!(of(Quirk::LoneSurrogate)["text"], "cut \u{fffd}");
    assert_eq!(of(Quirk::LoneSurrogate)["substituted"], true);
    assert_eq!(of(Quirk::NulText)["substituted"], false);
    assert_eq!(of(Quirk::LongText)["text"].as_str().unwrap().len(), "长文 long ".len() * 8_534);
    assert_eq!(of(Quirk::UnknownType)["message_type"], 9999);
    let edited = Quirk::ALL.iter().position(|quirk| *quirk == Quirk::Edited).unwrap() as i64;
    assert_eq!(of(Quirk::Edited)["modify_time"], json!(time(edited) + 60_000));
    assert_eq!(of(Quirk::NeverEdited)["modify_time"], Value::Null);
    assert_eq!(of(Quirk::Targeted)["receiver_account_ids"], json!(["u1", "U2", "用户三"]));
    let thread = Quirk::ALL.iter().position(|quirk| *quirk == Quirk::Thread).unwrap() as i64;
    assert_eq!(of(Quirk::Thread)["thread_root_message_server_id"], json!(id(thread - 2)));
    assert_eq!(of(Quirk::Thread)["thread_reply_create_time"], json!(time(thread) - 1_000));
}

#[test]
fn the_demo_world_is_archived_exactly_and_in_as_few_requests_as_there_can_be() {
    let demo = DemoWorld::new(7, 1_793_491_200_000);
    let expected = demo.expected();
    let site = Site::new(demo.world());
    let mut text = Vec::new();
    demo.write_references(&mut text).unwrap();
    site.write("refs.csv", &text);
    let ended = site.night().exits(3);
    for (name, count) in [
        ("read", expected.read),
        ("invalid", expected.invalid),
        ("duplicate", expected.duplicate),
        ("accepted", expected.accepted),
        ("archived", expected.archived),
        ("failed", expected.failed),
        ("pending", 0),
    ] {
        assert_eq!(ended.refs(name), count, "{name}");
    }
    let mut codes = BTreeMap::new();
    let mut unanswered = 0;
    for (class, code) in site.failures("nightly").into_values() {
        match code {
            Some(code) => *codes.entry(code).or_insert(0) += 1,
            None => unanswered += u64::from(class == "unanswered"),
        }
    }
    assert_eq!((&codes, unanswered), (&expected.codes, expected.unanswered));
    // First asks are the fewest that there can be; what is beyond them asks another owner, and nothing was sent twice.
    let stats = site.api.stats();
    assert_eq!(ended.requests("minimum"), expected.minimum_requests);
    assert_eq!((ended.requests("retried"), ended.requests("split")), (0, 0));
    assert_eq!(stats.requests, ended.requests("sent"));
    assert!(stats.asks.values().all(|asks| *asks <= 3));
    let more: u64 = stats.asks.values().map(|asks| u64::from(*asks - 1)).sum();
    assert!(stats.requests <= expected.minimum_requests + more);
    assert_eq!(ended.requests("other_owner"), stats.requests - expected.minimum_requests);

    let referenced: BTreeSet<i64> = String::from_utf8(text)
        .unwrap()
        .lines()
        .filter_map(|line| line.split(',').nth(1)?.parse().ok())
        .filter(|id| stats.asks.contains_key(id))
        .collect();
    assert_eq!(referenced.len() as u64, expected.accepted);
    let failed = site.failures("nightly");
    let archived: Vec<i64> = referenced.into_iter().filter(|id| !failed.contains_key(id)).collect();
    let files = read(&site.path("archive"), "files");
    let mut found: Vec<i64> = files
        .as_object()
        .unwrap()
        .values()
        .flat_map(|file| file["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, archived);
    assert_eq!(found.len() as u64, expected.archived);
    assert_eq!(site.night().exits(0).requests("sent"), 0);
}

#[test]
fn every_field_of_every_message_arrives() {
    let shape = ReferenceShape { seed: 0, count: 600, conversations: 9, ..ReferenceShape::default() };
    let mut text = Vec::new();
    write_references(&mut text, &shape).unwrap();
    let site = Site::with(Settings { seed: 0, ..Site::settings() }, World::generated(0));
    site.write("refs.csv", &text);
    assert_eq!(site.night().exits(0).refs("archived"), 600);
    let seen = read(&site.path("archive"), "rows");
    let rows: BTreeMap<i64, &Value> = seen["duckdb"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["message_server_id"].as_i64().unwrap(), row))
        .collect();
    assert_eq!(rows.len(), 600);
    for line in String::from_utf8(text).unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let (id, time): (i64, i64) = (fields[1].parse().unwrap(), fields[2].parse().unwrap());
        let item: Value = serde_json::from_str(&Message::generated(fields[0], id, time).item()).unwrap();
        let row = rows[&id];
        for name in [
            "message_client_id",
            "conversation_type",
            "sender_id",
            "receiver_id",
            "message_type",
            "sub_type",
            "sender_client_type",
            "create_time",
            "text",
            "extension",
            "modify_account_id",
            "receiver_account_ids",
            "inclusive",
            "new_member_visible",
        ] {
            assert_eq!(row[name], item[name], "{name} of {item}");
        }
        let attachment = row["attachment"].as_str().map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(attachment.unwrap_or_default(), item["attachment"], "{item}");
        for link in ["thread_root", "thread_reply"] {
            for name in ["sender_id", "receiver_id", "create_time", "message_client_id"] {
                assert_eq!(row[format!("{link}_{name}")], item["thread_config"][link][name], "{link} {name} of {item}");
            }
        }
    }
}
