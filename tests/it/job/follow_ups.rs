//! Follow-up asks: for a team under other members, and once more for what is refused for now.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::json;
use yunxin_archiver::simulator::{Fate, Fault, World};

use crate::support::site::{HASTY, Ref, Site, csv, id, ids_of, message, reference};
use crate::support::threads::{self, Night};

/// Steps of waves. A test dies at each.
pub(crate) const STEPS: [&str; 2] = ["wave.waiting", "wave.cut"];

const TEAM: &str = "2|4001";

/// References to messages of a team by these members, so many each, numbered from `first`; and a world that holds them.
fn team(first: i64, members: &[(&str, i64)]) -> (Vec<Ref>, World) {
    let names = members.iter().flat_map(|(member, count)| (0..*count).map(move |_| format!("{member}|{TEAM}")));
    let refs: Vec<Ref> = names.zip(first..).map(|(name, n)| reference(&name, n)).collect();
    let mut world = World::explicit();
    world.extend(refs.iter().zip(first..).map(|((name, ..), n)| message(name, n)));
    (refs, world)
}

/// Who was asked, in order, and for how many.
fn asked(site: &Site) -> Vec<(String, usize)> {
    let log = site.api.stats().log;
    log.into_iter().map(|(name, count)| (name.split('|').next().unwrap().to_owned(), count)).collect()
}

/// What was asked, in waves of so many requests each. Requests of one wave leave at once, and arrive in any order.
fn asked_in_waves(site: &Site, waves: &[usize]) -> Vec<(String, usize)> {
    let (mut asked, mut start) = (asked(site), 0);
    for wave in waves {
        let end = asked.len().min(start + wave);
        asked[start..end].sort_by_key(|(_, refs)| std::cmp::Reverse(*refs));
        start = end;
    }
    asked
}

fn expected(asked: &[(&str, usize)]) -> Vec<(String, usize)> {
    asked.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// A job that commits often and asks one request at a time, with these keys of `fetch`.
fn one_by_one(site: &Site, fetch: &str) {
    site.jobs(&format!(
        "nightly: {{ app: main, source: {{ csv: {{ path: refs.csv }} }}, fetch: {{ concurrency: 1, {fetch} }}, \
         sink: {{ parquet: {{ path: archive }} }} }}"
    ));
}

#[test]
fn a_team_whose_most_named_member_left_is_archived_in_full_under_another_member() {
    for code in [102_404, 102_422, 404, 108_404, 109_404, 110_302, 110_404] {
        let (refs, mut world) = team(0, &[("left", 60), ("ann", 30), ("ben", 10)]);
        world.refuse(&format!("left|{TEAM}"), code);
        let site = Site::nightly((refs.clone(), world));
        let ended = site.night().exits(0);
        assert_eq!((ended.refs("archived"), ended.requests("other_owner")), (100, 1), "{code}");
        assert_eq!(asked(&site), expected(&[("left", 100), ("ann", 100)]), "{code}");
        assert_eq!(site.ids("archive"), ids_of(&refs));
    }
}

#[test]
fn the_next_night_begins_with_the_owner_that_was_answered() {
    let (mut refs, mut world) = team(0, &[("left", 60), ("ann", 30)]);
    let (more, later) = team(200, &[("left", 50), ("ben", 20)]);
    world.refuse(&format!("left|{TEAM}"), 109_404);
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    site.api.reset_stats();
    site.api.world(|world| {
        *world = later;
        world.refuse(&format!("left|{TEAM}"), 109_404);
    });
    refs.extend(more);
    site.write("refs.csv", csv(&refs));
    let ended = site.night().exits(0);
    assert_eq!(asked(&site), expected(&[("ann", 70)]), "she speaks for the team though nobody names her");
    assert_eq!(ended.requests("sent"), ended.requests("minimum"));

    // She leaves as well: the others speak, and one of them from then on.
    for (night, first) in [(300, &["ann"][..]), (400, &["ben", "cleo"])] {
        let (more, mut later) = team(night, &[("left", 50), ("ben", 20), ("cleo", 10)]);
        later.refuse(&format!("left|{TEAM}"), 109_404);
        later.refuse(&format!("ann|{TEAM}"), 109_404);
        site.api.reset_stats();
        site.api.world(|world| *world = later);
        refs.extend(more);
        site.write("refs.csv", csv(&refs));
        site.night().exits(0);
        let (owner, all) = asked(&site)[0].clone();
        assert!(first.contains(&owner.as_str()) && all == 80, "{:?}", asked(&site));
        assert!(asked(&site).len() <= 4, "{:?}", asked(&site));
    }
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn who_asks_is_as_the_job_says_it_whoever_was_answered_before() {
    for (owner, first) in [("own", "ben"), ("auditor", "auditor")] {
        let (mut refs, mut world) = team(0, &[("ann", 5)]);
        let (more, later) = team(10, &[("ben", 5)]);
        world.extend((10..15).map(|n| message(&format!("ben|{TEAM}"), n)));
        drop(later);
        let site = Site::nightly((refs.clone(), world));
        site.night().exits(0);
        site.api.world(|world| world.refuse(&format!("{first}|{TEAM}"), 109_404));
        refs.extend(more);
        site.write("refs.csv", csv(&refs));
        one_by_one(&site, &format!("team_owner: {owner}"));
        site.api.reset_stats();
        site.night().exits(0);
        assert_eq!(asked(&site), expected(&[(first, 5), ("ann", 5)]), "and then who was answered");
        assert_eq!(site.ids("archive"), ids_of(&refs));
    }
}

#[test]
fn no_reference_is_asked_under_more_than_three_owners_in_a_run() {
    let members = [("ann", 30), ("ben", 25), ("cleo", 20), ("dan", 15), ("eve", 10)];
    for code in [107_404, 109_404] {
        let (refs, mut world) = team(0, &members);
        for (member, _) in members {
            if code == 107_404 {
                world.extend(refs.iter().zip(0..).map(|((name, ..), n)| message(name, n).fate(Fate::Missing)));
            } else {
                world.refuse(&format!("{member}|{TEAM}"), code);
            }
        }
        let site = Site::nightly((refs, world));
        let ended = site.night().exits(3);
        assert_eq!((ended.refs("failed"), ended.refs("archived")), (100, 0));
        assert_eq!(ended.job()["codes"], json!({ code.to_string(): 100 }));
        assert!(site.api.stats().asks.values().all(|asks| *asks == 3), "{:?}", asked(&site));
        let full = expected(&[("ann", 100), ("ben", 100)]);
        assert_eq!(asked(&site)[..2], full);
        // The last one asked is whoever a reference names, or else the next.
        let last: BTreeSet<(String, usize)> = asked(&site)[2..].iter().cloned().collect();
        let owners = [("cleo", 75), ("dan", 15), ("eve", 10)];
        assert_eq!(last, expected(&owners).into_iter().collect());
        let lines = site.failure_lines("nightly");
        assert!(lines.iter().all(|line| line["attempts"] == 3), "{:?}", lines[0]);
    }
}

#[test]
fn a_member_who_stayed_is_found_though_those_who_are_named_most_left() {
    let members = [("ann", 30), ("ben", 25), ("cleo", 20), ("dan", 15), ("eve", 10)];
    let (refs, mut world) = team(0, &members);
    for (left, _) in &members[..4] {
        world.refuse(&format!("{left}|{TEAM}"), 109_404);
    }
    let site = Site::nightly((refs.clone(), world));
    let ended = site.night().exits(3);
    assert_eq!((ended.refs("archived"), ended.refs("failed")), (10, 90), "eve's own");
    // And is remembered: for the next night, and for what failed.
    let retried = site.run(&["retry", "nightly", "--code", "109404", "--json"]).exits(0);
    assert_eq!((retried.refs("archived"), retried.requests("sent")), (90, 1));
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn an_owner_that_was_refused_for_the_team_is_not_asked_again() {
    let (refs, mut world) = team(0, &[("left", 30), ("ann", 12), ("gone", 8)]);
    world.refuse(&format!("left|{TEAM}"), 109_404);
    world.refuse(&format!("gone|{TEAM}"), 109_404);
    let site = Site::nightly((refs.clone(), world));
    one_by_one(&site, "batch_size: 5");
    let ended = site.night().exits(0);
    let count = |name: &str| asked(&site).iter().filter(|(owner, _)| owner == name).count();
    // A second request may have left before the first one's answer was looked at.
    assert!((1..=2).contains(&count("left")) && count("gone") <= 2, "{:?}", asked(&site));
    assert_eq!((count("ann"), ended.refs("archived"), ended.requests("minimum")), (10, 50, 10));
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn one_bad_message_does_not_speak_for_its_team() {
    // A code that may be said because of a message: the owner's other batches are asked all the same.
    let (refs, mut world) = team(0, &[("ann", 20)]);
    world.insert(message(&format!("ann|{TEAM}"), 3).fate(Fate::Refused(404)));
    let site = Site::nightly((refs, world));
    one_by_one(&site, "batch_size: 5");
    let ended = site.night().exits(3);
    assert_eq!((ended.refs("archived"), ended.refs("failed")), (15, 5));
}

#[test]
fn what_most_members_do_not_see_is_asked_for_in_the_name_of_its_own_speaker() {
    let (refs, mut world) = team(0, &[("ann", 40), ("ben", 30), ("cleo", 20), ("dan", 10)]);
    for n in [5, 95] {
        let own = if n == 5 { "ann" } else { "dan" };
        world.insert(message(&format!("{own}|{TEAM}"), n).seen_by(["dan"], Fate::Missing));
    }
    let site = Site::nightly((refs.clone(), world));
    let ended = site.night().exits(3);
    // What only dan sees of ann's is asked for under three others.
    let mut asked = asked(&site);
    // These two leave at once.
    asked[2..].sort();
    assert_eq!(asked, expected(&[("ann", 100), ("ben", 2), ("cleo", 1), ("dan", 1)]));
    assert_eq!(site.failures("nightly").into_keys().collect::<Vec<_>>(), [id(5)]);
    assert_eq!((ended.refs("archived"), ended.requests("other_owner")), (99, 3));
}

#[test]
fn a_member_that_sees_nothing_is_not_asked_first_the_next_night() {
    // This service answers a former member, and says that nothing exists.
    let (mut refs, mut world) = team(0, &[("left", 20), ("ann", 10)]);
    let all: Vec<Ref> = team(0, &[("left", 50)]).0;
    world.extend((0..50).map(|n| {
        let name = refs.get(n as usize).map_or(format!("left|{TEAM}"), |reference| reference.0.clone());
        message(&name, n).seen_by(["ann", "ben"], Fate::Missing)
    }));
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    assert_eq!(asked(&site), expected(&[("left", 30), ("ann", 30)]));
    refs.extend(all[30..].iter().cloned());
    site.write("refs.csv", csv(&refs));
    site.api.reset_stats();
    site.night().exits(0);
    assert_eq!(asked(&site), expected(&[("ann", 20)]));
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn a_failure_of_a_team_is_retried_under_the_owner_that_was_answered_since() {
    let (mut refs, mut world) = team(0, &[("left", 10)]);
    world.refuse(&format!("left|{TEAM}"), 109_404);
    let site = Site::nightly((refs.clone(), world));
    assert_eq!(site.night().exits(3).job()["codes"], json!({ "109404": 10 }));
    let (more, _) = team(20, &[("ann", 5)]);
    refs.extend(more);
    site.api.world(|world| world.extend((20..25).map(|n| message(&format!("ann|{TEAM}"), n))));
    site.write("refs.csv", csv(&refs));
    site.night().exits(0);
    site.api.reset_stats();
    let ended = site.run(&["retry", "nightly", "--code", "109404", "--json"]).exits(0);
    assert_eq!((ended.refs("archived"), asked(&site)), (10, expected(&[("ann", 10)])));
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

/// A row for each member and message, as a table with a row for each recipient has them, the rows of each member together;
/// and a world in which only `seen_by` sees the messages.
fn recipients(members: &[&str], seen_by: &[&str]) -> (Vec<Ref>, World) {
    let rows = members.iter().flat_map(|member| (0..20).map(move |n| reference(&format!("{member}|{TEAM}"), n)));
    let mut world = World::explicit();
    let hidden = |n| message(&format!("ann|{TEAM}"), n).seen_by(seen_by.iter().copied(), Fate::Missing);
    world.extend((0..20).map(hidden));
    (rows.collect(), world)
}

#[test]
fn owners_that_only_duplicate_rows_name_are_asked_as_well() {
    let (rows, world) = recipients(&["ann", "ben", "cleo"], &["cleo"]);
    let site = Site::nightly((rows, world));
    let ended = site.night().exits(0);
    assert_eq!(["read", "accepted", "duplicate", "archived"].map(|name| ended.refs(name)), [60, 20, 40, 20]);
    assert_eq!(asked(&site), expected(&[("ann", 20), ("ben", 20), ("cleo", 20)]));
}

#[test]
fn rows_that_repeat_what_an_earlier_run_left_pending_name_owners_too() {
    let (rows, world) = recipients(&["ann", "cleo"], &["cleo"]);
    let site = Site::nightly((rows[..20].to_vec(), world));
    one_by_one(&site, "batch_size: 5, give_up_after: 300ms");
    site.answers(0, Fault::Reset);
    assert_eq!(site.night().exits(1).refs("pending"), 20);
    site.answers_all();
    site.write("refs.csv", csv(&rows));
    let ended = site.night().exits(0);
    assert_eq!(["resumed", "duplicate", "archived"].map(|name| ended.refs(name)), [20, 40, 20]);
}

#[test]
fn a_failure_of_a_team_is_asked_once_under_each_owner_that_later_rows_name() {
    let (rows, world) = recipients(&["ann", "ben", "cleo"], &["cleo"]);
    let site = Site::nightly((rows[..20].to_vec(), world));
    assert_eq!(site.night().exits(3).refs("failed"), 20);
    // The next night brings ben, who cannot see them either. They failed before, so nobody is woken.
    for (rows, night) in [(&rows[..40], 1), (&rows[..40], 2), (&rows[..20], 3)] {
        site.write("refs.csv", csv(rows));
        site.api.reset_stats();
        let ended = site.night().exits(0);
        let counts = ["duplicate", "retried", "failed"].map(|name| ended.refs(name));
        if night == 1 {
            assert_eq!(counts, [40, 20, 20]);
            assert!(asked(&site).contains(&("ben".to_owned(), 20)), "{:?}", asked(&site));
        } else {
            assert_eq!((counts, asked(&site)), ([rows.len() as u64, 0, 0], vec![]), "the same rows cost nothing");
        }
    }
    site.write("refs.csv", csv(&rows));
    let ended = site.night().exits(0);
    assert_eq!(["duplicate", "retried", "archived"].map(|name| ended.refs(name)), [60, 20, 20]);
    assert_eq!(site.failures("nightly"), std::collections::BTreeMap::new());
}

#[test]
fn a_retry_asks_every_owner_under_whom_a_failure_was_asked() {
    let (rows, world) = recipients(&["ann"], &[]);
    let site = Site::nightly((rows, world));
    site.night().exits(3);
    let (rows, _) = recipients(&["ann", "ben"], &[]);
    site.write("refs.csv", csv(&rows));
    assert_eq!(site.night().exits(0).refs("retried"), 20);
    // The failure is now of the owner who was asked last, and only the first one sees the messages.
    let (_, world) = recipients(&[], &["ann"]);
    site.api.world(|now| *now = world);
    site.api.reset_stats();
    let ended = site.run(&["retry", "nightly", "--all", "--json"]).exits(0);
    assert_eq!((ended.refs("archived"), asked(&site)), (20, expected(&[("ben", 20), ("ann", 20)])));
}

#[test]
fn what_was_dismissed_is_not_asked_again_whoever_names_it() {
    let (rows, world) = recipients(&["ann", "cleo"], &["cleo"]);
    let site = Site::nightly((rows[..20].to_vec(), world));
    site.night().exits(3);
    site.run(&["failures", "nightly", "--dismiss", "--class", "unavailable"]).exits(0);
    site.write("refs.csv", csv(&rows));
    assert_eq!(site.night().exits(0).refs("retried"), 0);
}

#[test]
fn what_is_archived_of_a_team_is_asked_again_under_who_stayed() {
    let (refs, world) = team(0, &[("ann", 12), ("ben", 6)]);
    let site = Site::nightly((refs, world));
    site.night().exits(0);
    site.api.world(|world| {
        world.refuse(&format!("ann|{TEAM}"), 109_404);
        world.recall(id(3));
    });
    // Nobody but ann is known to have got them, and she can say nothing now.
    let ended = site.run(&["run", "--json", "--refetch", "7d"]).exits(0);
    assert_eq!(ended.job()["refetched"]["failed"], 18);
    // A reference that ben gets makes him speak for the team.
    let (more, _) = team(40, &[("ben", 2)]);
    site.api.world(|world| world.extend((40..42).map(|n| message(&format!("ben|{TEAM}"), n))));
    site.write("refs.csv", csv(&more));
    site.night().exits(0);
    site.api.world(|world| world.recall(id(40)));
    site.api.reset_stats();
    let ended = site.run(&["run", "--json", "--refetch", "7d"]).exits(0);
    let refetched = &ended.job()["refetched"];
    // One message that ann got and one that ben got are gone; she is the one to say so of hers, and was refused.
    let counts = ["unchanged", "vanished", "failed"].map(|name| refetched[name].as_u64().unwrap());
    assert_eq!((counts, asked(&site)), ([18, 1, 1], expected(&[("ben", 20), ("ann", 2)])));
}

#[test]
fn nothing_of_a_team_has_vanished_because_who_got_it_left_and_is_told_that_nothing_exists() {
    let (refs, world) = team(0, &[("ann", 12), ("ben", 6)]);
    let site = Site::nightly((refs, world));
    site.night().exits(0);
    site.api.world(|world| {
        world.extend((0..18).map(|n| message(&format!("ann|{TEAM}"), n).seen_by(["ben"], Fate::Missing)));
    });
    let ended = site.run(&["run", "--json", "--refetch", "7d"]).exits(0);
    let refetched = &ended.job()["refetched"];
    assert_eq!((&refetched["vanished"], &refetched["failed"]), (&json!(0), &json!(18)));
    // Of a message that is gone while others are there, she can say so.
    site.api.world(|world| world.extend((0..17).map(|n| message(&format!("ann|{TEAM}"), n))));
    let ended = site.run(&["run", "--json", "--refetch", "7d"]).exits(0);
    let refetched = &ended.job()["refetched"];
    assert_eq!((&refetched["unchanged"], &refetched["vanished"]), (&json!(17), &json!(1)));
}

#[test]
fn an_item_that_is_refused_for_now_is_asked_for_again_in_the_same_run() {
    let codes = [408, 500, 503, 514, 398, 399, 511, 107_323, 108_449, 109_449, 416, 431];
    let mut world = World::explicit();
    let mut refs: Vec<Ref> = Vec::new();
    for (code, n) in codes.into_iter().zip(0..) {
        world.insert(message("alice|1|bob", n).at_first(Fate::Failed(code), 1));
        refs.push(reference("alice|1|bob", n));
    }
    // Among many others: what is refused of three batches is asked for again in one.
    for n in 20..250 {
        let plain = message("alice|1|bob", n);
        world.insert(if n % 50 == 0 { plain.at_first(Fate::Failed(503), 2) } else { plain });
        refs.push(reference("alice|1|bob", n));
    }
    let site = Site::nightly((refs.clone(), world));
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("archived"), ended.refs("failed")), (242, 0));
    let all = expected(&[("alice", 100), ("alice", 100), ("alice", 42), ("alice", 16), ("alice", 4)]);
    assert_eq!(asked_in_waves(&site, &[3, 1, 1]), all);
    assert_eq!((ended.requests("minimum"), ended.requests("retried"), ended.requests("other_owner")), (3, 2, 0));
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn an_item_that_stays_refused_is_a_failure_that_is_due_later_only_after_all_attempts() {
    let mut world = World::explicit();
    world.insert(message("alice|1|bob", 0).fate(Fate::Failed(503)));
    world.insert(message("alice|1|bob", 1));
    let refs: Vec<Ref> = (0..2).map(|n| reference("alice|1|bob", n)).collect();
    let site = Site::nightly((refs, world));
    one_by_one(&site, "attempts: 3");
    let ended = site.night().exits(3);
    assert_eq!(asked(&site), expected(&[("alice", 2), ("alice", 1), ("alice", 1)]));
    assert_eq!((ended.refs("archived"), ended.job()["codes"].clone()), (1, json!({ "503": 1 })));
    let line = &site.failure_lines("nightly")[0];
    assert_eq!(
        (&line["class"], &line["attempts"], &line["retryable"]),
        (&json!("unavailable"), &json!(3), &json!(true))
    );
    // Once is all that one attempt allows.
    site.jobs(&HASTY.replace("attempts: 2", "attempts: 1"));
    site.api.reset_stats();
    site.run(&["retry", "nightly", "--code", "503", "--json"]).exits(0);
    assert_eq!(asked(&site), expected(&[("alice", 1)]));
}

#[test]
fn who_was_refused_for_now_may_still_have_to_give_way_to_another_owner() {
    let mut world = World::explicit();
    let hidden = message("alice|1|bob", 0).seen_by(["bob"], Fate::Missing).at_first(Fate::Failed(398), 1);
    world.insert(hidden);
    let site = Site::nightly((vec![reference("alice|1|bob", 0)], world));
    site.night().exits(0);
    assert_eq!(asked(&site), expected(&[("alice", 1), ("alice", 1), ("bob", 1)]));
}

#[test]
fn a_run_that_is_told_to_stop_while_a_wave_waits_leaves_it_to_the_next() {
    let mut world = World::explicit();
    world.extend((0..10).map(|n| {
        let plain = message("alice|1|bob", n);
        if n % 2 == 0 { plain.at_first(Fate::Failed(503), 1_000) } else { plain }
    }));
    let refs: Vec<Ref> = (0..10).map(|n| reference("alice|1|bob", n)).collect();
    let site = Site::nightly((refs.clone(), world));
    let running = site.start(&["run", "--json"]);
    // The next wave is seconds away.
    site.wait_for_requests(4);
    running.signal(Signal::TERM);
    let ended = running.end().exits(5);
    assert_eq!((ended.refs("archived"), ended.refs("failed"), ended.refs("pending")), (5, 0, 5));
    site.api.world(|world| world.extend((0..10).map(|n| message("alice|1|bob", n))));
    site.api.reset_stats();
    let ended = site.night().exits(0);
    assert_eq!((ended.refs("resumed"), ended.refs("archived")), (5, 5));
    assert_eq!(asked(&site), expected(&[("alice", 5)]));
    assert_eq!(site.ids("archive"), ids_of(&refs));
}

#[test]
fn threads_wait_for_what_was_refused_for_now_and_so_take_fewer_requests() {
    let mut world = World::explicit();
    let link = |id, to| threads::message("a|1|b", id, None, Some(to));
    world.extend([link(10, 1), link(11, 2).at_first(Fate::Failed(503), 1)]);
    world.extend((1..=2).map(|id| threads::message("a|1|b", id, None, None)));
    let night = Night::new(world, "batch_size: 5, threads: complete");
    night.references([("a|1|b", 10), ("a|1|b", 11)]);
    let (code, job) = night.run(&["run"]);
    assert_eq!((code, &job["thread_extras"]["archived"]), (0, &json!(2)), "{job}");
    assert_eq!(night.service.stats().log.iter().map(|(_, asked)| *asked).collect::<Vec<_>>(), [2, 1, 2]);
}

/// A night of a team whose most named member left, and in which every third message is refused for now.
fn troubled() -> (Night, BTreeSet<i64>) {
    let mut world = World::explicit();
    let name = |id: i64| if id % 4 == 0 { "ann|2|77" } else { "left|2|77" };
    world.extend((1..=40).map(|id| {
        let plain = threads::message(name(id), id, None, None);
        if id % 3 == 0 { plain.at_first(Fate::Failed(503), 1) } else { plain }
    }));
    world.refuse("left|2|77", 109_404);
    let night = Night::new(world, "batch_size: 7, threads: complete");
    night.references((1..=40).map(|id| (name(id), id)));
    (night, (1..=40).collect())
}

#[test]
fn a_run_that_dies_at_any_step_of_its_follow_up_asks_is_mended_by_the_next() {
    let steps =
        ["aside.after", "cut.before", "cut.before#2", "cut.after", "cut.after#2", "record.before#2", "record.after"];
    for step in STEPS.into_iter().chain(steps) {
        let (night, all) = troubled();
        assert!(night.dies_at(step, &["run"]), "{step}");
        let (code, job) = night.run(&["run"]);
        assert_eq!(
            (code, &job["references"]["pending"], &job["references"]["failed"]),
            (0, &json!(0), &json!(0)),
            "{step}"
        );
        assert_eq!(night.ids(), (all, BTreeSet::new()), "{step}");
    }
}

#[test]
fn what_is_refused_for_now_when_it_is_asked_again_is_no_failure_and_waits_for_its_wave() {
    let (night, _) = troubled();
    assert_eq!(night.run(&["run"]).0, 0);
    night.service.world(|world| {
        world.insert(threads::message("ann|2|77", 4, None, None).at_first(Fate::Failed(398), 1));
        world.edit(4, "edited", threads::time(1_000_000));
    });
    let before = night.service.stats().requests;
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    let refetched = &job["refetched"];
    assert_eq!(
        (code, &refetched["unchanged"], &refetched["edited"], &refetched["failed"]),
        (0, &json!(39), &json!(1), &json!(0))
    );
    assert_eq!(night.service.stats().requests - before, 7, "six of the forty, and one more");
}
