//! As few requests as arithmetic allows: common batches, the other side of a dialogue, splitting.

use yunxin_archiver::simulator::{Fate, Settings, World};

use crate::support::site::{Ref, Site, csv, dialogue, id, ids_of, message, reference};

fn sorted(mut log: Vec<(String, usize)>) -> Vec<(String, usize)> {
    log.sort();
    log
}

#[test]
fn two_spellings_of_a_dialogue_and_a_team_under_ten_owners_form_common_batches() {
    let mut world = World::explicit();
    let mut refs: Vec<Ref> = Vec::new();
    for n in 0..60 {
        let spelling = if n % 3 == 0 { "Bob|1|alice" } else { "alice|1|bob" };
        world.insert(message(spelling, n));
        refs.push(reference(spelling, n));
    }
    for n in 100..200 {
        let member = format!("member{}|2|4001", if n < 111 { 0 } else { n % 10 });
        world.insert(message(&member, n));
        refs.push(reference(&member, n));
    }
    let site = Site::nightly((refs.clone(), world));
    let ended = site.night().exits(0);
    assert_eq!((ended.requests("sent"), ended.requests("minimum")), (2, 2));
    assert_eq!(
        sorted(site.api.stats().log),
        [("alice|1|bob".to_owned(), 60), ("member0|2|4001".to_owned(), 100)],
        "each in the name of the owner that most references name"
    );
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn a_team_may_be_asked_under_each_own_owner_or_under_one_account() {
    let mut world = World::explicit();
    let refs: Vec<Ref> = (0..30).map(|n| reference(&format!("member{}|2|4001", n % 3), n)).collect();
    world.extend((0..30).map(|n| message("member0|2|4001", n)));
    let site = Site::nightly((refs, world));
    for (owner, expected) in [
        ("own", vec![("member0|2|4001", 10), ("member1|2|4001", 10), ("member2|2|4001", 10)]),
        ("auditor", vec![("auditor|2|4001", 30)]),
    ] {
        site.api.reset_stats();
        site.jobs(&format!(
            "{owner}: {{ app: main, source: {{ csv: {{ path: refs.csv }} }}, fetch: {{ team_owner: {owner} }}, \
             sink: {{ parquet: {{ path: archive-{owner} }} }} }}"
        ));
        let ended = site.night().exits(0);
        assert_eq!(ended.requests("sent"), ended.requests("minimum"));
        let expected: Vec<(String, usize)> =
            expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(sorted(site.api.stats().log), expected);
    }
}

#[test]
fn what_one_owner_does_not_get_is_asked_under_another_in_full_batches() {
    let mut world = World::explicit();
    let refs: Vec<Ref> = (0..250).map(|n| reference("alice|1|bob", n)).collect();
    for n in 0..250 {
        let plain = message("alice|1|bob", n);
        world.insert(match n % 5 {
            0 => plain.seen_by(["bob"], Fate::Missing),
            1 => plain.seen_by(["bob"], Fate::Unanswered),
            2 if n < 50 => plain.fate(Fate::Missing),
            _ => plain,
        });
    }
    let site = Site::nightly((refs, world));
    let ended = site.night().exits(3);
    // 110 of three batches are asked again, in two requests.
    assert_eq!((ended.requests("minimum"), ended.requests("sent"), ended.requests("other_owner")), (3, 5, 2));
    assert_eq!((ended.refs("archived"), ended.refs("failed")), (240, 10));
    let asked: Vec<(String, usize)> = sorted(site.api.stats().log);
    let counts: Vec<(&str, usize)> = asked.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(
        counts,
        [("alice|1|bob", 50), ("alice|1|bob", 100), ("alice|1|bob", 100), ("bob|1|alice", 10), ("bob|1|alice", 100)]
    );
}

#[test]
fn splitting_isolates_the_one_reference_that_no_request_may_hold() {
    let (mut refs, mut world) = dialogue("alice|1|bob", 0..100);
    let poison = message("carol|1|dave", 237).fate(Fate::Poison);
    for n in 200..264 {
        world.insert(if n == 237 { poison.clone() } else { message("carol|1|dave", n) });
        refs.push(reference("carol|1|dave", n));
    }
    let site = Site::nightly((refs.clone(), world));
    let ended = site.night().exits(3);
    assert_eq!((ended.refs("archived"), ended.refs("failed")), (163, 1));
    let failures = site.failures("nightly");
    assert_eq!(failures[&id(237)], ("refused".to_owned(), Some(414)));
    // Once something has succeeded, halves: 64, and twice each of 32, 16, 8, 4, 2, 1; before that, one alone as well.
    assert!(ended.requests("sent") <= 1 + 1 + 12 + 12, "{}", ended.requests("sent"));
    assert_eq!(site.ids("archive").len(), 163);
}

#[test]
fn what_the_parts_of_a_split_batch_leave_is_asked_under_another_owner_in_common() {
    let mut world = World::explicit();
    let refs: Vec<Ref> = (0..100).map(|n| reference("alice|1|bob", n)).collect();
    world.extend((0..100).map(|n| match n {
        63 => message("alice|1|bob", n).fate(Fate::Poison),
        _ => message("alice|1|bob", n).seen_by(["bob"], Fate::Missing),
    }));
    let site = Site::nightly((refs, world));
    let ended = site.night().exits(3);
    assert_eq!((ended.refs("archived"), ended.refs("failed"), ended.requests("other_owner")), (99, 1, 1));
    assert!(site.api.stats().log.contains(&("bob|1|alice".to_owned(), 99)), "{:?}", site.api.stats().log);
}

#[test]
fn a_server_that_takes_fewer_references_at_a_time_gets_them_in_halves() {
    for code in [419, 414] {
        let (refs, world) = dialogue("alice|1|bob", 0..400);
        let settings = Settings { batch_limit: 30, batch_limit_code: code, ..Site::settings() };
        let site = Site::with(settings, world);
        site.write("refs.csv", csv(&refs));
        let ended = site.night().exits(0);
        assert_eq!(ended.refs("archived"), 400);
        assert_eq!(site.ids("archive"), ids_of(&refs));
        assert_eq!(ended.requests("minimum"), 4);
        // Each hundred: itself, two of fifty, four of twenty-five; and what tells the credentials from the limit.
        let probes = if code == 414 { 9 } else { 0 };
        assert!(ended.requests("sent") <= 4 * 7 + probes, "{code}: {}", ended.requests("sent"));
    }
}

#[test]
fn a_smaller_batch_size_makes_smaller_requests() {
    let (refs, world) = dialogue("alice|1|bob", 0..95);
    let site = Site::nightly((refs, world));
    site.jobs(
        "nightly: { app: main, source: { csv: { path: refs.csv } }, fetch: { batch_size: 10 }, \
         sink: { parquet: { path: archive } } }",
    );
    let ended = site.night().exits(0);
    assert_eq!((ended.requests("sent"), ended.requests("minimum")), (10, 10));
    assert_eq!(site.api.stats().largest_batch, 10);
}
