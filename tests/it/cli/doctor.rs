//! `doctor`: every line says what is wrong with what it looks at, hides none of the others, and changes nothing.

use std::collections::BTreeMap;
use std::io::{Seek as _, SeekFrom, Write as _};

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use yunxin_archiver::simulator::{APP_SECRET, Fate, Fault, World};

use crate::support::bucket::bucket;
use crate::support::faulty_store::Fault::Refused;
use crate::support::faulty_store::FaultyStore;
use crate::support::postgres;
use crate::support::site::{Ended, NIGHTLY, Site, csv, dialogue, dialogues, id, message, reference};

const CHECKS: [&str; 11] = [
    "clock",
    "credentials",
    "quota",
    "source",
    "cursor",
    "archive",
    "space",
    "ledger",
    "lock",
    "lifecycle",
    "retention",
];

/// The lines of the only job: how grave each is, and all that it says.
fn lines(ended: &Ended) -> BTreeMap<String, (String, String)> {
    let lines = ended.job()["lines"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks: Vec<_> = lines.iter().map(|line| text(&line["check"])).collect();
    assert_eq!(checks, CHECKS, "no line hides another");
    for line in lines {
        assert_eq!(
            line["state"] == "ok",
            line["advice"].is_null(),
            "there is one thing to do exactly if something is wrong: {line}"
        );
    }
    let said = |line: &Value| text(&line["found"]) + " → " + &text(&line["advice"]);
    lines.iter().map(|line| (text(&line["check"]), (text(&line["state"]), said(line)))).collect()
}

/// Insists that `doctor` finds these lines not in order, with these words, and all others in order.
#[track_caller]
fn finds(site: &Site, expected: &[(&str, &str, &str)]) -> Ended {
    let ended = site.run(&["doctor", "--json"]);
    let mut lines = lines(&ended);
    for (check, state, words) in expected {
        let (found, said) = lines.remove(*check).unwrap();
        assert_eq!(found, *state, "{check}: {said}");
        assert!(said.contains(words), "{check}: {said}");
    }
    for (check, (state, said)) in lines {
        assert_eq!(state, "ok", "{check}: {said}");
    }
    let is = |grade: &str| expected.iter().any(|(_, state, _)| *state == grade);
    ended.exits(if is("wrong") {
        2
    } else if is("look") {
        3
    } else {
        0
    })
}

/// A site whose job has run well.
fn sound() -> Site {
    let site = Site::nightly(dialogues(2, 5));
    site.night().exits(0);
    site
}

async fn change(file: &std::path::Path, sql: String) {
    let mut connection = SqliteConnectOptions::new().filename(file).create_if_missing(true).connect().await.unwrap();
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn a_job_in_order_is_ok_in_every_line_costs_one_request_and_is_not_changed() {
    let site = sound();
    let (before, requests) = (site.everything(), site.api.stats().requests);
    finds(&site, &[]);
    assert_eq!(site.api.stats().requests, requests + 1);
    let text = site.run(&["doctor"]).exits(0).stdout;
    for line in [
        "job nightly\n",
        "  ok     clock        ",
        "  ok     ledger       sound, ",
        "accepted (1 request)",
        "not watched",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("hello"), "no message is shown: {text}");
    assert!(site.everything() == before, "it changes nothing");
}

#[test]
fn before_the_first_run_there_is_nothing_and_nothing_is_made() {
    let site = Site::nightly(dialogues(2, 5));
    finds(&site, &[]);
    assert!(!site.path("state").exists() && !site.path("archive").exists());
}

#[test]
fn a_clock_that_differs_is_said() {
    let site = sound();
    site.api.faults(|faults| faults.clock_skew_s = 120);
    finds(&site, &[("clock", "look", "behind the service's")]);
    site.api.faults(|faults| faults.clock_skew_s = -1200);
    let requests = site.api.stats().requests;
    finds(&site, &[("clock", "wrong", "ahead of the service's")]);
    assert!(site.api.stats().requests <= requests + 3);
}

#[test]
fn wrong_credentials_and_an_api_that_is_away_are_said_after_three_requests_at_most() {
    let mut site = sound();
    let requests = site.api.stats().requests;
    site.write_secret("secret", "not-the-secret");
    let ended = finds(&site, &[("credentials", "wrong", "414")]);
    assert!(!ended.stdout.contains("not-the-secret"));
    assert_eq!(site.api.stats().requests, requests + 3);
    let jobs = site.read("jobs.yaml");
    site.write("jobs.yaml", jobs.replace("file:secret", "file:nowhere"));
    let not_asked = |check| (check, "look", "not asked");
    finds(&site, &[("credentials", "wrong", "nowhere"), not_asked("clock"), not_asked("quota")]);
    site.write("jobs.yaml", &jobs);
    site.write_secret("secret", APP_SECRET);
    site.api.faults(|faults| faults.rules.push("http 503".parse().map(always).unwrap()));
    finds(&site, &[("credentials", "wrong", "no endpoint answers"), ("clock", "look", "not known")]);
    assert!(site.api.stats().requests <= requests + 6);
    // Nobody listens.
    let other = Site::new(World::explicit());
    std::mem::swap(&mut site.api, &mut { other }.api);
    finds(&site, &[("credentials", "wrong", "no connection"), ("clock", "look", "not known")]);
}

fn always(fault: Fault) -> yunxin_archiver::simulator::Rule {
    yunxin_archiver::simulator::Rule { fault, probability: 1.0, first: None, every: None, tried: 0 }
}

#[test]
fn messages_that_do_not_exist_are_said_only_before_anything_was_archived() {
    let refs: Vec<_> = (0..5).map(|n| reference("alice|1|bob", n)).collect();
    let site = Site::new(World::explicit());
    site.write("refs.csv", csv(&refs));
    finds(&site, &[("credentials", "look", "none of 3 messages exists")]);
    assert_eq!(site.api.stats().requests, 3);
    let site = sound();
    site.api.world(|world| *world = World::explicit());
    finds(&site, &[]);
}

#[test]
fn a_quota_that_is_used_up_is_said_also_of_the_last_run() {
    let site = sound();
    site.api.faults(|faults| faults.script.push_back(Fault::Block));
    finds(&site, &[("quota", "look", "416"), ("credentials", "look", "quota is used up"), ("clock", "ok", "")]);
    site.write("refs.csv", csv(&dialogues(1, 7).0) + &csv(&[reference("owner0|1|other0", 50)])[46..]);
    site.api.faults(|faults| faults.script.push_back(Fault::Code(416)));
    site.api.world(|world| world.insert(message("owner0|1|other0", 50)));
    site.night();
    finds(&site, &[("quota", "look", "1 request of the last run")]);
}

#[test]
fn a_source_that_is_not_there_or_odd_is_said() {
    let site = sound();
    let text = site.read("refs.csv");
    std::fs::remove_file(site.path("refs.csv")).unwrap();
    let nothing = |check| (check, "look", "neither the source nor the ledger has a reference");
    finds(&site, &[("source", "wrong", "refs.csv"), nothing("clock"), nothing("credentials"), nothing("quota")]);
    site.write("refs.csv", text.clone() + "alice|1|bob,x,1\n");
    finds(&site, &[("source", "look", "1 are invalid")]);
    site.write("refs.csv", "conversation_id,message_server_id,create_time\nalice,x,1\n");
    finds(
        &site,
        &[("source", "wrong", "0 of the first 1 rows"), nothing("clock"), nothing("credentials"), nothing("quota")],
    );
    let whole: Vec<_> = (0..6).map(|n| ("alice|1|bob".to_owned(), id(n), 1_790_899_200_000 + n * 1000)).collect();
    site.write("refs.csv", csv(&whole));
    finds(&site, &[("source", "look", "whole seconds")]);
}

#[tokio::test]
async fn a_cursor_that_is_stale_ahead_foreign_or_damaged_is_said() {
    let (refs, world) = dialogue("alice|1|bob", 0..3);
    let site = Site::new(world);
    let mut rows =
        "create table refs (n integer primary key, conversation_id, message_server_id, create_time);".to_owned();
    for (conversation, id, time) in refs {
        rows += &format!(
            "insert into refs (conversation_id, message_server_id, create_time) values ('{conversation}', {id}, {time});"
        );
    }
    change(&site.path("refs.sqlite"), rows).await;
    let source =
        "sqlite: { path: refs.sqlite, query: 'select * from refs where n > :after order by n', cursor: { column: n } }";
    site.jobs(&NIGHTLY.replace("csv: { path: refs.csv }", source));
    finds(&site, &[]);
    site.night().exits(0);
    let text = site.run(&["doctor"]).exits(0).stdout;
    assert!(text.contains("  ok     cursor       3\n"), "{text}");
    let ledger = site.path("state/nightly.sqlite");
    let at = |days: i64| Timestamp::now().as_microsecond() + days * 86_400_000_000;
    let value = |days| format!(r#"{{"value":{{"timestamp":{{"micros":{},"zoned":true}}}}}}"#, at(days));
    for (checkpoint, state, words) in [
        (value(0), "ok", ""),
        (value(-3), "look", "still being filled"),
        (value(3), "wrong", "rows before it are passed over"),
        ("{}".to_owned(), "wrong", "damaged"),
    ] {
        change(&ledger, format!("update ledger set checkpoint = '{checkpoint}'")).await;
        finds(&site, &[("cursor", state, words)]);
    }
    change(&ledger, "update ledger set checkpoint_source = 'another'".to_owned()).await;
    finds(&site, &[("cursor", "look", "another kind of source")]);
}

#[test]
fn an_archive_that_is_not_this_ledgers_is_said() {
    let site = sound();
    let record = site.read("archive/_archive.json");
    let changed = |from: &str, to: &str| {
        assert!(record.contains(from), "{record}");
        site.write("archive/_archive.json", record.replace(from, to));
    };
    let owner = serde_json::from_str::<Value>(&record).unwrap()["ledger_id"].as_str().unwrap().to_owned();
    changed(&owner, "01900000-0000-7000-8000-000000000000");
    finds(&site, &[("archive", "wrong", "belongs to ledger 01900000")]);
    changed("\"commit\": 1", "\"commit\": 2");
    finds(&site, &[("archive", "wrong", "ahead of the ledger")]);
    changed("\"commit\": 1", "\"commit\": 0");
    finds(&site, &[("archive", "look", "behind the ledger")]);
    site.write("archive/_archive.json", "{");
    finds(&site, &[("archive", "wrong", "cannot be read")]);
    site.write("archive/_archive.json", &record);
    std::fs::rename(site.path("archive"), site.path("elsewhere")).unwrap();
    finds(&site, &[("archive", "wrong", "empty or gone")]);
    std::fs::rename(site.path("elsewhere"), site.path("archive")).unwrap();
    std::fs::rename(site.path("state"), site.path("lost")).unwrap();
    finds(&site, &[("archive", "look", "--adopt-if-missing")]);
    std::fs::remove_dir_all(site.path("archive")).unwrap();
    site.write("archive", "a file");
    finds(&site, &[("archive", "wrong", "archive"), ("lifecycle", "wrong", "no directory")]);
}

#[tokio::test]
async fn the_same_is_said_of_an_archive_in_postgres() {
    let site = Site::nightly(dialogues(2, 5));
    let database = postgres::database().await;
    site.write_secret("url", &database.url());
    site.jobs(&NIGHTLY.replace("parquet: { path: archive }", "postgres: { url: 'file:url' }"));
    finds(&site, &[]);
    site.night().exits(0);
    finds(&site, &[]);
    database.execute("update messages_archive set sequence = sequence + 1").await;
    finds(&site, &[("archive", "wrong", "ahead of the ledger")]);
    database.execute("update messages_archive set sequence = sequence - 1, ledger_id = 'another'").await;
    finds(&site, &[("archive", "wrong", "belongs to ledger another")]);
    std::fs::remove_dir_all(site.path("state")).unwrap();
    finds(&site, &[("archive", "look", "this job has no ledger")]);
    database.execute("drop table messages_archive").await;
    finds(&site, &[]);
    site.write_secret("url", "postgres://nobody@127.0.0.1:1/none");
    finds(&site, &[("archive", "wrong", "127.0.0.1:1")]);
}

#[test]
fn a_place_without_room_or_permission_is_said() {
    let site = sound();
    let mut command = site.command(&["doctor", "--json"]);
    let output = command.env("TMPDIR", "/proc").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let pages: Value = serde_json::from_str(&text).unwrap();
    let space =
        pages["jobs"][0]["lines"].as_array().unwrap().iter().find(|line| line["check"] == "space").unwrap().clone();
    assert_eq!((output.status.code(), &space["state"]), (Some(2), &Value::from("wrong")), "{space}");
    assert!(text.contains("temporary files"), "{space}");
}

#[tokio::test]
async fn a_ledger_that_is_damaged_foreign_old_or_another_jobs_is_said() {
    let site = sound();
    let ledger = site.path("state/nightly.sqlite");
    let sound = std::fs::read(&ledger).unwrap();
    // A setting that makes it another job.
    let jobs = site.read("jobs.yaml");
    site.write("jobs.yaml", jobs.replace("path: archive }", "path: archive, partition_by: [month] }"));
    finds(&site, &[("ledger", "look", "partitioning")]);
    site.write("jobs.yaml", &jobs);
    let unsaid = ("archive", "look", "mend the ledger first");
    let mut file = std::fs::File::options().write(true).open(&ledger).unwrap();
    for page in 2..sound.len() as u64 / 4096 {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0xff; 64]).unwrap();
    }
    finds(&site, &[("ledger", "wrong", ""), unsaid]);
    std::fs::write(&ledger, "no database at all, whatever its name is").unwrap();
    finds(&site, &[("ledger", "wrong", "is not a ledger"), unsaid]);
    std::fs::write(&ledger, &sound).unwrap();
    change(&ledger, "delete from migrations where version = (select max(version) from migrations)".to_owned()).await;
    finds(&site, &[("ledger", "look", "an earlier version made it"), unsaid]);
}

#[test]
fn a_run_under_way_is_said_and_its_quota_is_left_alone() {
    let site = Site::nightly(dialogues(20, 1));
    site.answers(5, Fault::Stall);
    let running = site.start(&["run"]);
    site.wait_for_requests(6);
    let unasked = |check| (check, "look", "uses the quota");
    finds(
        &site,
        &[("lock", "look", "the job is running: process"), unasked("clock"), unasked("credentials"), unasked("quota")],
    );
    running.signal(Signal::KILL);
    running.end();
}

#[test]
fn what_a_bucket_does_by_itself_is_said() {
    let site = Site::nightly(dialogues(2, 5));
    let bucket = bucket();
    let store = FaultyStore::before(&bucket.endpoint());
    site.write_secret("bucket-secret", bucket.secret());
    let jobs = |sink: &str| site.jobs(&NIGHTLY.replace("parquet: { path: archive }", sink));
    jobs(&bucket.by(store.address()).sink("", ""));
    finds(&site, &[("lifecycle", "look", "no rule ends unfinished uploads")]);
    site.night().exits(0);
    let set = |rules: &str| {
        let text = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        let set = bucket.curl(&["-X", "PUT", "-d", &text], "?lifecycle");
        assert!(set.ends_with("200"), "{set}");
    };
    let rule = |id: &str, what: &str| {
        format!("<Rule><ID>{id}</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>{what}</Rule>")
    };
    let abort = rule(
        "uploads",
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>14</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
    );
    set(&abort);
    finds(&site, &[]);
    set(&(abort + &rule("tidy", "<Expiration><Days>30</Days></Expiration>")));
    finds(&site, &[("lifecycle", "wrong", "rule tidy removes objects")]);
    // Stores that do not tell.
    for (status, code, why) in [(403, "AccessDenied", "s3:GetLifecycleConfiguration"), (501, "NotImplemented", "501")] {
        store.fails(move |asked| asked.path.contains("lifecycle").then_some(Refused(status, code)));
        let text = site.run(&["doctor"]).exits(0).stdout;
        let line = text.lines().find(|line| line.contains("lifecycle")).unwrap();
        assert!(line.contains("cannot be asked: ") && line.contains(why), "{line}");
    }
    // A store that is away.
    std::fs::remove_dir_all(site.path("state")).unwrap();
    jobs(&bucket.by("http://127.0.0.1:1").sink("", ""));
    finds(&site, &[("archive", "wrong", "127.0.0.1:1"), ("lifecycle", "wrong", "127.0.0.1:1")]);
}

#[test]
fn what_other_ledgers_left_in_an_archive_is_said() {
    let site = sound();
    site.write("archive/_tmp/01900000-0000-7000-8000-000000000000/part-1.inprogress", "x");
    finds(&site, &[("lifecycle", "look", "1 temporary files are of other ledgers")]);
}

#[test]
fn what_leaves_the_retention_is_said() {
    let now = Timestamp::now().as_millisecond();
    let week = 7 * 86_400_000;
    let leaving = |n: i64, hours: i64| (format!("a{n:04}|1|b"), id(n), now - week + hours * 3_600_000);
    for (count, hours, rate, state, words) in [
        (3, 100, 100, "ok", "leaves it in 4 d"),
        (3, 5, 100, "look", "`run nightly` now"),
        (3, -5, 100, "look", "3 gone already"),
        (4_000, 1, 1, "wrong", "will be gone before the job gets to them"),
    ] {
        let site = Site::new(World::any());
        site.write("refs.csv", csv(&(0..count).map(|n| leaving(n, hours)).collect::<Vec<_>>()));
        let jobs = site.read("jobs.yaml").replace("rate_limit: 2000", &format!("rate_limit: {rate}, retention: 7d"));
        site.write("jobs.yaml", jobs);
        site.write_secret("secret", "not-the-secret");
        site.night().exits(4);
        site.write_secret("secret", APP_SECRET);
        let page = site.run(&["doctor", "--json"]);
        let found = lines(&page)["retention"].clone();
        assert!(found.0 == state && found.1.contains(words), "{found:?}");
    }
}

#[test]
fn jobs_of_one_app_are_asked_for_once() {
    let (refs, mut world) = dialogues(2, 5);
    world.insert(message("x|1|y", 900).fate(Fate::Found));
    let site = Site::nightly((refs, world));
    let other =
        NIGHTLY.replace("nightly:", "other:").replace("path: archive", "path: other").replace("refs.csv", "refs*.csv");
    site.jobs(&format!("{NIGHTLY}\n{other}"));
    let ended = site.run(&["doctor", "--json"]).exits(0);
    assert_eq!(ended.summary["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(site.api.stats().requests, 1);
}
