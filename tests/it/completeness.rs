//! `verify --against`: every reference is archived, failed, pending or absent, and the certificate says so.

mod certificate;
mod sources;

use serde_json::{Value, json};
use yunxin_archiver::simulator::{APP_KEY, Fate, Message, World};

use crate::support::page::{Read, is_self_contained};
use crate::support::site::{Ended, NIGHTLY, Ref, Site, csv, dialogue, id, ids_of, jsonl, message, reference, time};
use crate::support::{mariadb, postgres};

/// Midnight of 2026-10-02 in UTC.
const MIDNIGHT: i64 = 1_790_899_200_000;
const HOUR: i64 = 3_600_000;

/// Runs `verify … --json` and returns what it found.
#[track_caller]
fn verify(site: &Site, arguments: &[&str], code: i32) -> Value {
    let ended = site.run(&[&["verify"], arguments, &["--json"]].concat()).exits(code);
    assert_eq!(ended.summary["version"], 1);
    let found = ended.summary["completeness"].clone();
    assert_eq!(found["complete"], code == 0, "{found}");
    found
}

/// Counts as `[referenced, archived, failed, pending, absent]`.
fn counts(of: &Value) -> [u64; 5] {
    ["referenced", "archived", "failed", "pending", "absent"].map(|name| of[name].as_u64().unwrap())
}

/// The row of a table with this name.
fn row<'a>(found: &'a Value, table: &str, name: &str, value: &str) -> &'a Value {
    let rows = found[table].as_array().unwrap();
    rows.iter().find(|row| row[name] == value).unwrap_or_else(|| panic!("{value} is not in {found}"))
}

/// Twenty messages on two days, of three accounts. Number 3 is recalled, 4 does not exist, 5 is in no list.
fn world() -> (Vec<Ref>, World) {
    let mut world = World::explicit();
    let mut refs = Vec::new();
    for n in 0..20 {
        let conversation = ["Alice|1|bob", "bob|1|carol", "carol|2|77"][(n % 3) as usize];
        let at = MIDNIGHT + (n + 6) * HOUR;
        let fate = match n {
            3 => Fate::Failed(777),
            4 => Fate::Failed(404),
            5 => Fate::Unanswered,
            _ => Fate::Found,
        };
        world.insert(Message::text(conversation, id(n), at, "hello").fate(fate));
        refs.push((conversation.to_owned(), id(n), at));
    }
    (refs, world)
}

fn sane() -> (Vec<Ref>, World) {
    dialogue("alice|1|bob", 0..30)
}

#[test]
fn an_archive_that_holds_everything_is_complete() {
    let (refs, world) = sane();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    let before = site.everything();
    let found = verify(&site, &["nightly", "--against", "nightly"], 0);
    assert_eq!(counts(&found["messages"]), [30, 30, 0, 0, 0]);
    assert_eq!(found["result"], "All 30 messages that the references name are in the archive.");
    assert_eq!(counts(row(&found, "days", "day", "2026-10-02")), [30, 30, 0, 0, 0]);
    assert_eq!(counts(row(&found, "accounts", "account", "alice")), [30, 30, 0, 0, 0]);
    assert_eq!((&found["app_key"], &found["failures_known"]), (&json!(APP_KEY), &json!("ledger")));
    // The same by path, against a file.
    for against in ["nightly", "refs.csv", "./refs.csv"] {
        let found = verify(&site, &["archive", "--against", against], 0);
        assert_eq!((counts(&found["messages"]), &found["failures_known"]), ([30, 30, 0, 0, 0], &json!("no")));
    }
    site.write("refs.jsonl", jsonl(&refs));
    let other = verify(&site, &["nightly", "--against", "refs.jsonl"], 0);
    assert_eq!(other["references"]["sha256"], found["references"]["sha256"], "the same references in another form");
    let text = site.run(&["verify", "nightly", "--against", "nightly"]).exits(0).stdout;
    assert!(text.ends_with("All 30 messages that the references name are in the archive.\n"), "{text}");
    site.run(&["verify", "nightly"]).exits(0);
    std::fs::remove_file(site.path("refs.jsonl")).unwrap();
    assert_eq!(site.everything(), before, "nothing is written");
}

#[test]
fn what_failed_is_told_by_class_and_code_and_is_not_absent() {
    let site = Site::nightly(world());
    site.night().exits(3);
    let found = verify(&site, &["nightly", "--against", "nightly"], 0);
    assert_eq!(counts(&found["messages"]), [20, 17, 3, 0, 0]);
    let failures = found["failures"].as_array().unwrap();
    assert_eq!(failures.iter().map(|failure| failure["messages"].as_u64().unwrap()).sum::<u64>(), 3);
    let of = |code: Value| failures.iter().find(|failure| failure["code"] == code).unwrap()["class"].clone();
    assert_eq!(
        (of(json!(777)), of(json!(404)), of(Value::Null)),
        (json!("unavailable"), json!("unavailable"), json!("unanswered"))
    );
    // 18 messages are of one day, 2 of the next.
    assert_eq!(counts(row(&found, "days", "day", "2026-10-02")), [18, 15, 3, 0, 0]);
    assert_eq!(counts(row(&found, "days", "day", "2026-10-03")), [2, 2, 0, 0, 0]);
    for (account, expected) in [("alice", [7, 6, 1, 0, 0]), ("bob", [7, 6, 1, 0, 0]), ("carol", [6, 5, 1, 0, 0])] {
        assert_eq!(counts(row(&found, "accounts", "account", account)), expected, "{account}");
    }
    // An archive alone does not show which messages failed and which are absent, and the result says so.
    let found = verify(&site, &["archive", "--against", "refs.csv"], 1);
    assert_eq!((counts(&found["messages"]), &found["failures_known"]), ([20, 17, 0, 0, 3], &json!("no")));
    let text = site.run(&["verify", "archive", "--against", "refs.csv"]).exits(1).stdout;
    assert!(text.contains("what failed counts as absent") && text.contains("absent or failed"), "{text}");
    let failures = ["--failures", "state/failures-nightly.jsonl"];
    let found = verify(&site, &[&["archive", "--against", "refs.csv"], &failures[..]].concat(), 0);
    assert_eq!((counts(&found["messages"]), &found["failures_known"]), ([20, 17, 3, 0, 0], &json!("file")));
    let refused = site.run(&[&["verify", "nightly", "--against", "refs.csv"], &failures[..]].concat()).exits(2);
    assert!(refused.stderr.contains("a job's failures are in its ledger"), "{}", refused.stderr);
    site.write("broken.jsonl", "{\"class\":\"unavailable\",\"message_server_id\":7}\n{\"class\":\"lost\"}\n");
    let broken = ["verify", "archive", "--against", "refs.csv", "--failures", "broken.jsonl"];
    assert!(site.run(&broken).exits(2).stderr.contains("broken.jsonl:2: has no failure's class"));
}

#[test]
fn an_absent_reference_is_named_with_its_day_and_account_and_can_be_fetched() {
    let (mut refs, mut world) = world();
    let site = Site::nightly((refs.clone(), world.clone()));
    site.night().exits(3);
    // A message that nobody knew of, late in the evening in UTC.
    let late = ("Dave|1|erin".to_owned(), id(500), MIDNIGHT + 23 * HOUR);
    world.insert(Message::text(&late.0, late.1, late.2, "late"));
    site.api.world(|served| *served = world);
    refs.push(late.clone());
    site.write("refs.csv", csv(&refs));
    let found = verify(&site, &["nightly", "--against", "nightly", "--absent", "absent.jsonl"], 1);
    assert_eq!(counts(&found["messages"]), [21, 17, 3, 0, 1]);
    assert_eq!(
        found["absent"],
        json!([{ "conversation_id": late.0, "message_server_id": late.1.to_string(), "create_time": late.2, "day": "2026-10-02", "account": "dave" }])
    );
    assert_eq!(counts(row(&found, "accounts", "account", "dave")), [1, 0, 0, 0, 1]);
    assert_eq!(found["accounts"][0]["account"], "dave", "those with absent messages come first");
    let text = site.run(&["verify", "nightly", "--against", "nightly"]).exits(1).stdout;
    let line = text.lines().find(|line| line.starts_with(&id(500).to_string())).unwrap();
    for part in ["Dave|1|erin", "2026-10-02", "dave"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(text.contains("One of the 21 messages that the references name is absent"), "{text}");
    let zoned = verify(&site, &["nightly", "--against", "nightly", "--timezone", "Asia/Shanghai"], 1);
    assert_eq!(zoned["absent"][0]["day"], "2026-10-03");
    // The list is a source. A run of the job finds the message as well.
    let listed = site.read("absent.jsonl");
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap().as_object().unwrap().len(), 3);
    site.jobs(&NIGHTLY.replace("csv: { path: refs.csv }", "jsonl: { path: absent.jsonl }"));
    let fetched = site.night();
    assert_eq!(fetched.refs("archived"), 1);
    site.jobs(NIGHTLY);
    assert_eq!(
        counts(&verify(&site, &["nightly", "--against", "nightly", "--absent", "absent.jsonl"], 0)["messages"])[4],
        0
    );
    assert_eq!(site.read("absent.jsonl"), "");
}

#[test]
fn what_is_pending_has_a_column_of_its_own() {
    let (mut refs, world) = sane();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    refs.extend(dialogue("bob|1|carol", 100..110).0);
    site.write("refs.csv", csv(&refs));
    site.write_secret("secret", "wrong");
    assert_eq!(site.night().exits(4).refs("pending"), 10);
    let found = verify(&site, &["nightly", "--against", "nightly"], 0);
    assert_eq!(counts(&found["messages"]), [40, 30, 0, 10, 0]);
    assert_eq!(
        found["result"],
        "Nothing is absent: of 40 messages that the references name, 30 are in the archive, 10 are still to be fetched."
    );
}

#[test]
fn files_that_await_their_manifest_are_pending_and_a_removed_file_is_absent() {
    let (refs, world) = sane();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    let all: Vec<Ref> = (0..40).map(|n| reference("alice|1|bob", n)).collect();
    site.api.world(|world| world.extend((30..40).map(|n| message("alice|1|bob", n))));
    site.write("refs.csv", csv(&all));
    site.night().exits(0);
    let manifest = |n: usize| {
        site.files("archive/_manifests")
            .into_iter()
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .nth(n)
            .unwrap()
    };
    // This is what a run leaves that dies before it writes its manifest.
    let last = manifest(1);
    std::fs::remove_file(&last).unwrap();
    change_ledger(&site, "delete from manifests where sequence = 2");
    // Until the next run writes the manifest, the archive is not what its manifests say.
    let ended = site.run(&["verify", "nightly", "--against", "nightly", "--json"]).exits(1);
    let found = &ended.summary;
    assert_eq!((&found["ok"], &found["completeness"]["complete"]), (&json!(false), &json!(true)));
    assert_eq!(counts(&found["completeness"]["messages"]), [40, 30, 0, 10, 0]);
    // For `verify PATH`, such a file is no data.
    assert_eq!(counts(&verify(&site, &["archive", "--against", "refs.csv"], 1)["messages"]), [40, 30, 0, 0, 10]);
    // A file that a manifest names and that is gone is reported, and its messages are absent.
    let manifest: Value = serde_json::from_slice(&std::fs::read(manifest(0)).unwrap()).unwrap();
    let file = manifest["files"][0]["path"].as_str().unwrap();
    std::fs::remove_file(site.path("archive").join(file)).unwrap();
    let found = verify(&site, &["nightly", "--against", "nightly"], 1);
    assert_eq!(counts(&found["messages"]), [40, 0, 0, 10, 30]);
    assert!(found["unreadable"][0].as_str().unwrap().starts_with(file), "{found}");
}

/// Changes a ledger that is not in use.
fn change_ledger(site: &Site, sql: &str) {
    let path = site.path("state/nightly.sqlite");
    let sql = sql.to_owned();
    let change = async move {
        use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let changed = connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap().rows_affected();
        connection.close().await.unwrap();
        assert!(changed > 0);
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(change);
}

#[test]
fn duplicates_count_once_and_invalid_rows_are_named() {
    let (refs, world) = sane();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    let mut text = csv(&refs);
    text += &csv(&refs[..7]).split_once('\n').unwrap().1.replace("alice|1|bob", "bob|1|alice");
    text += "nonsense,12,13\nalice|1|bob,,1790899200007\n";
    site.write("refs.csv", text);
    let found = verify(&site, &["nightly", "--against", "nightly"], 0);
    let references = &found["references"];
    let read = ["rows", "duplicates", "invalid", "outside", "skipped"].map(|name| references[name].as_u64().unwrap());
    assert_eq!(read, [39, 7, 2, 0, 0]);
    assert_eq!(counts(&found["messages"]), [30, 30, 0, 0, 0]);
    assert_eq!(
        counts(row(&found, "accounts", "account", "alice")),
        [30, 30, 0, 0, 0],
        "whatever the order of the rows"
    );
    let invalid = found["invalid"].as_array().unwrap();
    assert!(invalid[0]["position"].as_str().unwrap().ends_with("refs.csv:39"), "{invalid:?}");
    let text = site.run(&["verify", "nightly", "--against", "nightly"]).exits(0).stdout;
    assert!(text.contains("39 read, 7 repeat a reference, 2 are not references"), "{text}");
    assert!(text.contains("refs.csv:40: message_server_id is empty"), "{text}");
}

#[test]
fn a_range_of_time_bounds_the_references() {
    let (mut refs, world) = world();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(3);
    refs.push(("dave|1|erin".to_owned(), id(500), MIDNIGHT - 1));
    site.write("refs.csv", csv(&refs));
    let in_range = |options: &[&str], code| {
        let found = verify(&site, &[&["nightly", "--against", "nightly"], options].concat(), code);
        (found["messages"]["referenced"].as_u64().unwrap(), found["references"]["outside"].as_u64().unwrap())
    };
    assert_eq!(in_range(&[], 1), (21, 0));
    assert_eq!(in_range(&["--from", "2026-10-02"], 0), (20, 1));
    assert_eq!(in_range(&["--to", "2026-10-01"], 1), (1, 20));
    assert_eq!(in_range(&["--from", "2026-10-02", "--to", "2026-10-02"], 0), (18, 3));
    assert_eq!(in_range(&["--from", "2026-10-02T06:00:00Z", "--to", "2026-10-02T15:00:00+08:00"], 0), (1, 20));
    assert_eq!(in_range(&["--from", "2026-10-03", "--timezone", "Asia/Shanghai"], 0), (10, 11));
    assert_eq!(in_range(&["--from", "2030-01-01"], 0), (0, 21));
    let run = |options: &[&str]| {
        site.run(&[&["verify", "nightly", "--against", "nightly"], options].concat()).exits(2).stderr
    };
    assert!(
        run(&["--from", "yesterday"]).contains("--from: \"yesterday\" is not a time: give a date such as 2026-11-22")
    );
    assert!(run(&["--from", "2026-10-03", "--to", "2026-10-02"]).contains("--from is not before --to"));
    assert!(run(&["--timezone", "Mars"]).contains("--timezone \"Mars\" is not a time zone"));
    assert!(site.run(&["verify", "archive", "--from", "2026-10-02"]).exits(2).stderr.contains("--against"));
}
