//! Failures: recorded, asked again, corrected, fed back.

use yunxin_archiver::simulator::{Fate, World};

use crate::support::site::{HASTY, NIGHTLY, Ref, Site, csv, id, jsonl, message, reference, time};

/// Ten messages, of which each of the even ones fails in another way.
fn site() -> Site {
    let mut world = World::explicit();
    let refs: Vec<Ref> = (0..10).map(|n| reference("alice|1|bob", n)).collect();
    for n in 0..10 {
        let fate = match n {
            0 => Fate::Missing,
            2 => Fate::Failed(404),
            4 => Fate::Failed(398),
            6 => Fate::Unanswered,
            8 => Fate::Failed(777),
            _ => Fate::Found,
        };
        world.insert(message("alice|1|bob", n).fate(fate));
    }
    let site = Site::nightly((refs, world));
    site.jobs(HASTY);
    site
}

/// Lets every message be there.
fn repair(site: &Site) {
    site.api.world(|world| world.extend((0..10).map(|n| message("alice|1|bob", n))));
}

fn open(site: &Site) -> Vec<i64> {
    site.failures("nightly").into_keys().map(|message| message - id(0)).collect()
}

#[test]
fn retry_asks_what_was_chosen_and_nothing_else() {
    let site = site();
    assert_eq!(site.night().exits(3).refs("failed"), 5);
    assert_eq!(open(&site), [0, 2, 4, 6, 8]);
    repair(&site);
    let retry = |options: &[&str], left: &[i64]| {
        let ended = site.run(&[&["retry", "nightly", "--json"], options].concat()).exits(0);
        assert_eq!((ended.refs("read"), ended.refs("retried")), (0, ended.refs("archived")), "{options:?}");
        assert_eq!(open(&site), left, "{options:?}");
    };
    retry(&["--class", "transport"], &[0, 2, 4, 6, 8]);
    retry(&["--class", "unavailable", "--code", "404"], &[0, 4, 6, 8]);
    retry(&["--class", "unanswered"], &[0, 4, 8]);
    retry(&["--code", "398", "--code", "777"], &[0]);
    retry(&["--all"], &[]);
    assert_eq!(site.ids("archive").len(), 10);
    let nothing = site.run(&["retry", "nightly"]).exits(2);
    assert!(nothing.stderr.contains("--class CLASS, --code CODE, or --all"), "{}", nothing.stderr);
    assert!(site.run(&["retry", "nightly", "--class", "lost"]).exits(2).stderr.contains("one of unavailable"));
    assert!(site.run(&["retry", "nightly", "--all", "--code", "1"]).exits(2).stderr.contains("cannot be used with"));
    let status = site.run(&["status", "--json"]).exits(0);
    assert_eq!(status.summary["jobs"][0]["open_failures"], serde_json::json!({}));
}

#[test]
fn a_failure_that_stays_is_nothing_new() {
    let site = site();
    site.night().exits(3);
    let ended = site.run(&["retry", "nightly", "--all", "--json"]).exits(0);
    assert_eq!((ended.refs("retried"), ended.refs("failed")), (5, 5));
    assert_eq!(ended.job()["failures"], serde_json::json!({}));
    let lines = site.failure_lines("nightly");
    // Each night under both sides, or twice, but for the code that is final.
    for line in &lines {
        let each_night = if line["code"] == 777 { 1 } else { 2 };
        assert_eq!(line["attempts"], 2 * each_night, "{line}");
    }
    assert!(lines.iter().all(|line| line["first_seen"].as_str() < line["last_seen"].as_str()), "{lines:?}");
    let retryable: Vec<bool> = lines.iter().map(|line| line["retryable"].as_bool().unwrap()).collect();
    assert_eq!(retryable.iter().filter(|retryable| **retryable).count(), 2, "398 and unanswered");
    // One that fails in another way is.
    site.api.world(|world| world.insert(message("alice|1|bob", 0).fate(Fate::Unanswered)));
    let ended = site.run(&["retry", "nightly", "--code", "107404", "--json"]).exits(3);
    assert_eq!(ended.job()["failures"], serde_json::json!({ "unanswered": 1 }));
}

#[test]
fn a_reference_with_another_time_or_conversation_is_a_correction() {
    let mut world = World::explicit();
    world.extend((0..3).map(|n| message("alice|1|bob", n)));
    let site = Site::new(world);
    let wrong = [
        reference("alice|1|bob", 0),
        ("alice|1|bob".to_owned(), id(1), time(1) / 1000 * 1000),
        ("alice|1|carol".to_owned(), id(2), time(2)),
    ];
    site.write("refs.csv", csv(&wrong));
    assert_eq!(site.night().exits(3).refs("failed"), 2);
    // The same rows are duplicates, in whatever spelling.
    site.write("refs.csv", csv(&wrong).replace("alice|1|carol", "Carol|1|ALICE"));
    let again = site.night().exits(0);
    assert_eq!((again.refs("duplicate"), again.requests("sent")), (3, 0));
    let right: Vec<Ref> = (0..3).map(|n| reference("alice|1|bob", n)).collect();
    site.write("refs.csv", csv(&right));
    let corrected = site.night().exits(0);
    assert_eq!((corrected.refs("duplicate"), corrected.refs("accepted"), corrected.refs("archived")), (1, 2, 2));
    assert!(site.failures("nightly").is_empty());
    assert_eq!(site.ids("archive"), [id(0), id(1), id(2)]);
}

#[test]
fn failures_as_csv_name_every_account_as_it_is_when_they_are_a_source() {
    let accounts = ["=a", "'=a", "''+b", "'c", "@d", "-e"];
    let refs: Vec<Ref> = (0..).zip(accounts).map(|(n, who)| reference(&format!("{who}|1|bob"), n)).collect();
    let site = Site::new(World::explicit());
    site.write("refs.jsonl", jsonl(&refs));
    site.jobs(&NIGHTLY.replace("csv: { path: refs.csv }", "jsonl: { path: refs.jsonl }"));
    site.night().exits(3);
    let named = || -> Vec<String> {
        let lines = site.run(&["failures", "nightly", "--format", "jsonl"]).exits(0).stdout;
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["conversation_id"].clone();
        let mut named: Vec<_> = lines.lines().map(|text| line(text).as_str().unwrap().to_owned()).collect();
        named.sort_unstable();
        named
    };
    let mut expected: Vec<String> = refs.iter().map(|(conversation, ..)| conversation.clone()).collect();
    expected.sort_unstable();
    assert_eq!(named(), expected);
    site.write("refs.csv", site.run(&["failures", "nightly", "--format", "csv"]).exits(0).stdout);
    site.jobs(&NIGHTLY.replace("path: archive }", "path: archive-2 }"));
    site.night().exits(3);
    assert_eq!(named(), expected);
}

#[test]
fn the_file_of_failures_is_itself_a_source() {
    let site = site();
    let mut text = site.read("refs.csv");
    text.push_str("alice|1|bob,no-number,1\n");
    site.write("refs.csv", text);
    site.night().exits(3);
    assert_eq!(
        site.read("state/failures-nightly.jsonl"),
        site.run(&["failures", "nightly", "--format", "jsonl"]).stdout
    );
    // To another job: asked anew.
    repair(&site);
    site.write("again.jsonl", site.read("state/failures-nightly.jsonl"));
    site.jobs(
        &NIGHTLY
            .replace("nightly", "again")
            .replace("csv: { path: refs.csv }", "jsonl: { path: again.jsonl }")
            .replace("archive }", "archive-again }"),
    );
    let ended = site.night().exits(3);
    assert_eq!((ended.refs("read"), ended.refs("invalid"), ended.refs("archived")), (6, 1, 5));
    // To the same job: duplicates as they are, corrections when corrected.
    let same = NIGHTLY.replace("csv: { path: refs.csv }", "jsonl: { path: again.jsonl }");
    site.config("corrections.yaml", "", &same);
    let ended = site.run(&["-c", "corrections.yaml", "run", "--json"]).exits(3);
    assert_eq!((ended.refs("duplicate"), ended.requests("sent")), (5, 0));
    site.api.world(|world| {
        world.extend(
            (0..10).map(|n| yunxin_archiver::simulator::Message::text("alice|1|bob", id(n), time(n) + 1, "moved")),
        );
    });
    let corrected: String = (0..10).fold(site.read("again.jsonl"), |text, n| {
        text.replace(&format!("\"create_time\":{},", time(n)), &format!("\"create_time\":{},", time(n) + 1))
    });
    site.write("again.jsonl", corrected);
    let ended = site.run(&["-c", "corrections.yaml", "run", "--json"]).exits(0);
    assert_eq!((ended.refs("accepted"), ended.refs("archived")), (5, 5));
    assert!(site.failures("nightly").is_empty());
}

#[test]
fn an_archived_message_is_never_asked_for_again_whatever_the_reference_says() {
    let site = Site::nightly(crate::support::site::dialogue("alice|1|bob", 0..3));
    site.night().exits(0);
    site.write("refs.csv", csv(&[("carol|1|dave".to_owned(), id(1), time(5))]));
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("duplicate"), ended.requests("sent")), (1, 0));
}
