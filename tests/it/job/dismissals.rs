//! Failures about which nothing is to be done: dismissed, told as such, opened again; and rows of another kind, bounded.

use std::fmt::Write as _;

use serde_json::{Value, json};
use yunxin_archiver::simulator::{Fate, World};

use crate::support::page::Read;
use crate::support::site::{NIGHTLY, Ref, Site, csv, id, message, reference, time};

/// Six messages of which four failed: two are missing, one refused, one was not named; and two rows that are none.
fn site() -> Site {
    let mut world = World::explicit();
    let refs: Vec<Ref> = (0..6).map(|n| reference("alice|1|bob", n)).collect();
    for n in 0..6 {
        let fate = match n {
            0 | 1 => Fate::Missing,
            2 => Fate::Failed(777),
            3 => Fate::Unanswered,
            _ => Fate::Found,
        };
        world.insert(message("alice|1|bob", n).fate(fate));
    }
    let site = Site::new(world);
    site.write("refs.csv", csv(&refs) + "alice|1|bob,no-number,1\nalice|1|bob,,\n");
    site.night().exits(3);
    site
}

fn open(site: &Site) -> Vec<i64> {
    site.failures("nightly").into_keys().map(|message| message - id(0)).collect()
}

/// The lines of the dismissed failures.
fn dismissed(site: &Site) -> Vec<Value> {
    let listed = site.run(&["failures", "nightly", "--dismissed", "--format", "jsonl"]).exits(0).stdout;
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_chosen_is_dismissed_with_who_and_why_and_nothing_else_is() {
    let site = site();
    let dismiss = |options: &[&str], said: &str| {
        let ended = site.run(&[&["failures", "nightly", "--dismiss"], options].concat()).exits(0);
        assert_eq!(ended.stdout.trim(), said, "{options:?}");
        ended.stderr
    };
    let missed = "no open failure matches; 6 others are open";
    assert_eq!(site.run(&["failures", "nightly", "--source", "refs.csv"]).exits(0).stdout.trim(), missed);
    let nothing = site.run(&["failures", "nightly", "--dismiss"]).exits(2);
    assert!(nothing.stderr.contains("--dismiss what? --class CLASS"), "{}", nothing.stderr);
    let said = dismiss(&["--class", "invalid", "--source", "other.csv"], "dismissed: 0 references, 0 invalid rows");
    assert_eq!(said.trim(), missed);
    dismiss(&["--older-than", "1d"], "dismissed: 0 references, 0 invalid rows");
    dismiss(
        &["--code", "777", "--operator", "compliance desk", "--reason", "test account"],
        "dismissed: 1 reference, 0 invalid rows",
    );
    assert_eq!(open(&site), [0, 1, 3]);
    let lines = dismissed(&site);
    assert_eq!((&lines[0]["message_server_id"], &lines[0]["code"]), (&json!(id(2).to_string()), &json!(777)));
    assert_eq!((&lines[0]["dismissed_by"], &lines[0]["reason"]), (&json!("compliance desk"), &json!("test account")));
    assert!(lines[0]["dismissed_at"].as_str().unwrap().starts_with("20"));
    dismiss(&["--source", "*refs.csv"], "dismissed: 0 references, 2 invalid rows");
    assert_eq!(site.failure_lines("nightly").len(), 3);
    dismiss(&["--all"], "dismissed: 3 references, 0 invalid rows");
    assert_eq!(site.read("state/failures-nightly.jsonl"), "");
    assert_eq!(dismissed(&site).len(), 6);
    let table = site.run(&["failures", "nightly"]).exits(0).stdout;
    assert_eq!(table, "no open failures\n\n6 dismissed: --dismissed lists them\n");
    let table = site.run(&["failures", "nightly", "--dismissed"]).exits(0).stdout;
    assert!(table.contains("compliance desk") && table.contains("test account"), "{table}");
    let csv = site.run(&["failures", "nightly", "--dismissed", "--format", "csv"]).exits(0).stdout;
    assert!(csv.lines().next().unwrap().ends_with(",rows,dismissed_at,dismissed_by,reason"), "{csv}");
    let status = site.run(&["status", "--json"]).exits(0);
    let job = &status.summary["jobs"][0];
    assert_eq!((&job["open_failures"], &job["dismissed_failures"]), (&json!({}), &json!(6)));
    // A dismissal counts the rest of the night: it is no new failure that it is still there.
    let again = site.night().exits(0);
    assert_eq!((again.refs("duplicate"), again.refs("invalid"), again.requests("sent")), (6, 2, 0));
    assert_eq!(dismissed(&site).len(), 6);
}

#[test]
fn a_dismissed_reference_is_asked_again_when_it_is_corrected_or_reopened_and_not_before() {
    let site = site();
    site.run(&["failures", "nightly", "--dismiss", "--all"]).exits(0);
    site.api.world(|world| world.extend((0..6).map(|n| message("alice|1|bob", n))));
    let retried = site.run(&["retry", "nightly", "--all", "--json"]).exits(0);
    assert_eq!((retried.refs("retried"), retried.requests("sent")), (0, 0));
    // Another time makes it a correction.
    site.api.world(|world| {
        world.insert(yunxin_archiver::simulator::Message::text("alice|1|bob", id(0), time(0) + 1, "moved"));
    });
    site.write("refs.csv", csv(&[("alice|1|bob".to_owned(), id(0), time(0) + 1)]));
    let corrected = site.night().exits(0);
    assert_eq!((corrected.refs("accepted"), corrected.refs("archived")), (1, 1));
    let ended = site.run(&["failures", "nightly", "--reopen", "--class", "unavailable", "--code", "107404"]).exits(0);
    assert_eq!(ended.stdout.trim(), "reopened: 1 reference, 0 invalid rows");
    assert_eq!(open(&site), [1]);
    let retried = site.run(&["retry", "nightly", "--all", "--json"]).exits(0);
    assert_eq!((retried.refs("retried"), retried.refs("archived")), (1, 1));
    assert_eq!(site.ids("archive"), [0, 1, 4, 5].map(id));
}

#[test]
fn completeness_tells_what_was_dismissed_as_dismissed() {
    let site = site();
    site.run(&["failures", "nightly", "--dismiss", "--code", "107404", "--reason", "recalled"]).exits(0);
    let verify = |arguments: &[&str], code| {
        let ended = site.run(&[&["verify"], arguments, &["--json"]].concat()).exits(code);
        ended.summary["completeness"].clone()
    };
    let counts = |found: &Value| {
        let of = &found["messages"];
        ["referenced", "archived", "failed", "dismissed", "pending", "absent"].map(|name| of[name].as_u64().unwrap())
    };
    let found = verify(&["nightly", "--against", "nightly", "-o", "certificate.html"], 0);
    assert_eq!(counts(&found), [6, 2, 2, 2, 0, 0]);
    let sentence = found["result"].as_str().unwrap();
    assert!(sentence.contains("2 are recorded as failed and dismissed by an operator"), "{sentence}");
    let page = site.read("certificate.html");
    let read = Read::of(&page);
    assert!(read.text().contains("dismissed by an operator") && read.text().contains("6 = 2 + 2 + 2 + 0 + 0"));
    assert!(read.list("tiles")[3].starts_with("dismissed2"), "{:?}", read.list("tiles"));
    let page = site.run(&["report", "nightly", "-o", "-"]).exits(0).stdout;
    assert_eq!(page.matches("<td>dismissed</td>").count(), 2, "{page}");
    // An archive without its ledger: the file of open failures, and that of dismissed ones.
    let mut failures = site.read("state/failures-nightly.jsonl");
    failures.push_str(&site.run(&["failures", "nightly", "--dismissed", "--format", "jsonl"]).stdout);
    site.write("failures.jsonl", failures);
    let found = verify(&["./archive", "--against", "refs.csv", "--failures", "failures.jsonl"], 0);
    assert_eq!(counts(&found), [6, 2, 2, 2, 0, 0]);
}

#[test]
fn a_job_that_runs_or_never_ran_is_not_touched() {
    let site = Site::nightly(crate::support::site::dialogue("alice|1|bob", 0..3));
    let never = site.run(&["failures", "nightly", "--dismiss", "--all"]).exits(2);
    assert!(never.stderr.contains("has not run yet"), "{}", never.stderr);
    assert!(!site.path("state").exists());
    site.night().exits(0);
    let lock = std::fs::File::open(site.path("state/nightly.job.lock")).unwrap();
    lock.lock().unwrap();
    let busy = site.run(&["failures", "nightly", "--dismiss", "--all"]).exits(75);
    assert!(busy.stderr.contains("job nightly is running"), "{}", busy.stderr);
}

/// So many rows of another kind, each with an ID of its own.
fn orders(n: i64) -> String {
    let mut text = String::from("conversation_id,message_server_id,create_time\n");
    for n in 0..n {
        writeln!(text, "order,{},yesterday", id(n)).unwrap();
    }
    text
}

#[test]
fn a_file_of_another_kind_costs_a_bounded_state_and_its_rows_close_as_they_are_corrected() {
    let rows = 60_000;
    let site = Site::new(World::any());
    site.write("refs.csv", orders(rows));
    let first = site.night();
    assert_eq!((first.code, first.refs("invalid")), (Some(3), rows as u64));
    assert_eq!(first.job()["failures"]["invalid"], rows);
    let lines = site.failure_lines("nightly");
    let counted: i64 = lines.iter().map(|line| line["rows"].as_i64().unwrap_or(1)).sum();
    assert_eq!(counted, rows, "every row is accounted for");
    assert!(lines.len() < 10_020, "{} lines", lines.len());
    let together = lines.last().unwrap();
    assert!(together["source"].as_str().unwrap().ends_with(&format!("-{}", rows + 1)), "{together}");
    assert!(together["message"].as_str().unwrap().contains("rows that are no reference, the first: "), "{together}");
    let status = || site.run(&["status", "--json"]).exits(0).summary["jobs"][0]["open_failures"]["invalid"].clone();
    assert_eq!(status(), rows);

    // The same file again is nothing new, and a file of failures that says the same is not written again.
    let again = site.night();
    assert_eq!(again.refs("invalid"), rows as u64);
    assert_eq!(again.job()["failures"], json!({}));
    let bytes: u64 = site.files("state").iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes < 16_000_000, "a state of {bytes} bytes");

    // Rows that are corrected under their ID close, whichever way they were told.
    let right: Vec<Ref> = [5, 50_000, 59_999].map(|n| reference("alice|1|bob", n)).to_vec();
    site.write("refs.csv", csv(&right));
    assert_eq!(site.night().exits(0).refs("archived"), 3);
    assert_eq!(status(), rows - 3);
    // The rest is gone from the source, and dismissed.
    let ended = site.run(&["failures", "nightly", "--dismiss", "--class", "invalid"]).exits(0);
    assert_eq!(ended.stdout.trim(), "dismissed: 0 references, 59,997 invalid rows");
    assert_eq!(site.read("state/failures-nightly.jsonl"), "");

    // One other row among those that are told together is new.
    let mut other = orders(rows);
    other = other.replace(&format!("order,{},", id(55_000)), "order,none,");
    site.write("refs.csv", other);
    let changed = site.night().exits(3);
    assert!(changed.job()["failures"]["invalid"].as_i64().unwrap() > 0);
}

#[test]
fn the_file_of_failures_is_written_only_when_it_says_something_else() {
    let site = site();
    site.jobs(&NIGHTLY.replace("path: refs.csv", "path: refs.csv, cursor: files"));
    site.night();
    let inode =
        || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(site.path("state/failures-nightly.jsonl")).unwrap());
    let before = inode();
    site.night().exits(0);
    assert_eq!(inode(), before, "nothing changed");
    site.run(&["failures", "nightly", "--dismiss", "--code", "777"]).exits(0);
    assert_ne!(inode(), before);
    // One that was tampered with is put right.
    site.write("state/failures-nightly.jsonl", "{}\n");
    site.night().exits(0);
    assert_eq!(open(&site), [0, 1, 3]);
}
