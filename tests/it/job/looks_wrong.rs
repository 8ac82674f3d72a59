//! What looks wrong as a whole is never exit 0, whatever the job tolerates.

use std::fmt::Write as _;

use serde_json::json;
use yunxin_archiver::simulator::{Fate, Fault, Hook, World};

use crate::support::page::Read;
use crate::support::site::{Ended, NIGHTLY, Ref, Site, csv, dialogue, message, reference};

const TOLERANT: &str = "[107404, unanswered, unavailable, transport, refused, invalid]";

/// A site whose job tolerates everything, with so many references to messages of this fate, and so many to some that are
/// there.
fn site(fated: i64, fate: Fate, there: i64) -> (Site, Vec<Ref>) {
    let (mut refs, mut world) = dialogue("alice|1|bob", 0..there);
    world.extend((1000..1000 + fated).map(|n| message("alice|1|bob", n).fate(fate)));
    refs.extend((1000..1000 + fated).map(|n| reference("alice|1|bob", n)));
    let site = Site::nightly((refs.clone(), world));
    site.jobs(&NIGHTLY.replace(" sink:", &format!(" tolerate: {TOLERANT}, sink:")));
    (site, refs)
}

/// What a run says that looks wrong, everywhere the same.
#[track_caller]
fn told(site: &Site, ended: &Ended) -> String {
    let job = ended.job();
    let [found] = &job["looks_wrong"].as_array().unwrap()[..] else { panic!("{job}") };
    let found = found.as_str().unwrap().to_owned();
    assert_eq!((&job["outcome"], &job["error"]), (&json!("partial"), &json!(found)));
    assert!(ended.stderr.contains("this looks wrong: ") && ended.stderr.contains(&found), "{}", ended.stderr);
    let status = site.run(&["status", "--json"]).exits(0).summary;
    assert_eq!(status["jobs"][0]["runs"][0]["error"], json!(found));
    let page = site.run(&["report", "nightly", "-o", "-"]).exits(0).stdout;
    let read = Read::of(&page);
    assert_eq!(read.badge(), "complete, but looks wrong");
    assert!(read.text().contains(&found) && read.list("commands")[0].ends_with(" check --connect nightly"), "{page}");
    found
}

#[test]
fn a_night_in_which_nothing_exists_is_exit_3_and_says_why_that_may_be() {
    for fate in [Fate::Missing, Fate::Unanswered, Fate::Failed(108_404)] {
        let (site, refs) = site(114, fate, 6);
        let ended = site.night().exits(3);
        let found = told(&site, &ended);
        assert!(found.starts_with("114 of 120 new references do not exist"), "{found}");
        for cause in ["unit", "time zone", "spelled", "app", "account"] {
            assert!(found.contains(cause), "{cause}: {found}");
        }
        // Known failures are no news.
        site.write("refs.csv", csv(&refs));
        let again = site.night().exits(0);
        assert_eq!((again.job()["looks_wrong"].clone(), again.refs("duplicate")), (json!([]), 120));
    }
    // A dialogue that is missing as a whole.
    let (site, _) = site(120, Fate::Found, 0);
    site.api.faults(|faults| faults.hook = Some(Hook::new(|_| Some(Fault::Code(102_404)))));
    assert!(told(&site, &site.night().exits(3)).starts_with("120 of 120 new references do not exist"));
}

#[test]
fn a_night_in_which_everything_fails_is_exit_3() {
    let (site, _) = site(120, Fate::Failed(403), 0);
    assert_eq!(told(&site, &site.night().exits(3)), "120 of 120 new references failed: `failures` says why");
}

#[test]
fn where_something_exists_the_job_tolerates_what_it_says() {
    for (fated, there) in [(99, 0), (113, 7)] {
        let ended = site(fated, Fate::Missing, there).0.night().exits(0);
        assert_eq!(ended.job()["looks_wrong"], json!([]));
    }
}

#[test]
fn a_source_whose_rows_are_nearly_all_invalid_is_exit_3() {
    let (site, refs) = site(0, Fate::Found, 5);
    let rows = |invalid: usize| {
        let mut text = csv(&refs);
        for n in 0..invalid {
            writeln!(text, "alice|1|bob,no-{n},1").unwrap();
        }
        text
    };
    site.write("refs.csv", rows(94));
    site.night().exits(0);
    site.write("refs.csv", rows(95));
    let found = told(&site, &site.night().exits(3));
    assert!(found.starts_with("95 of 100 rows are no references") && found.contains("time_unit"), "{found}");
}

#[test]
fn check_ends_with_3_when_nothing_of_its_sample_is_there() {
    let (site, refs) = site(5, Fate::Missing, 0);
    let ended = site.run(&["check", "--connect"]).exits(3);
    assert_eq!(ended.stdout.matches("does not exist: message not exist (code 107404)").count(), 3, "{}", ended.stdout);
    assert!(ended.stdout.contains("wrong: none of the messages that the first 3 references name exists"));
    assert!(ended.stdout.contains("unit or time zone"), "{}", ended.stdout);
    // One that is there is enough.
    site.api.world(|world| world.insert(message("alice|1|bob", 1002)));
    let ended = site.run(&["check", "--connect"]).exits(0);
    assert!(ended.stdout.contains("API: ok") && ended.stdout.contains("from alice, type 0"), "{}", ended.stdout);
    site.api.world(|world| *world = World::explicit());
    site.api.faults(|faults| faults.hook = Some(Hook::new(|_| Some(Fault::Code(102_404)))));
    let ended = site.run(&["check", "--connect", "--sample", "1"]).exits(3);
    assert!(ended.stdout.contains("refused alice|1|bob with code 102404"), "{}", ended.stdout);
    site.write("refs.csv", csv(&refs).replace("alice|1|bob", "alice"));
    let ended = site.run(&["check", "--connect"]).exits(3);
    assert!(ended.stdout.contains("wrong: none of the first 5 rows is a reference"), "{}", ended.stdout);
}
