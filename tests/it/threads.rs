//! Threads: followed upward to their roots, in as few requests as possible, and nothing twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::json;
use yunxin_archiver::simulator::{Fate, World};

use crate::support::postgres;
use crate::support::threads::{Night, message};

const COMPLETE: &str = "batch_size: 3, threads: complete";

fn set(ids: impl IntoIterator<Item = i64>) -> BTreeSet<i64> {
    ids.into_iter().collect()
}

/// `1..=count` of one conversation, each answering the one before, all of one thread.
fn chain(conversation: &str, count: i64) -> World {
    let mut world = World::explicit();
    world.extend((1..=count).map(|id| message(conversation, id, (id > 1).then_some(1), (id > 1).then_some(id - 1))));
    world
}

#[test]
fn a_thread_is_followed_to_its_root_and_every_message_asked_for_once() {
    let night = Night::new(chain("a|1|b", 9), COMPLETE);
    night.references([("a|1|b", 9), ("b|1|a", 6)]);
    let (code, job) = night.run(&["run"]);
    assert_eq!(code, 0);
    assert_eq!(night.ids(), (set([6, 9]), set([1, 2, 3, 4, 5, 7, 8])));
    assert_eq!(job["references"]["archived"], 2);
    assert_eq!(job["thread_extras"], json!({"planned": 7, "archived": 7, "failed": 0, "pending": 0}));
    // One for the references; then {1, 5, 8}, {4, 7}, {3}, {2}.
    assert_eq!(job["requests"]["sent"], 5);
    assert_eq!(job["requests"]["minimum"], 5);
    assert!(night.asks().values().all(|asked| *asked == 1), "{:?}", night.asks());

    // What was fetched for a thread is known: a reference that names it later is a duplicate.
    night.references([("a|1|b", 3), ("a|1|b", 9)]);
    let (code, job) = night.run(&["run"]);
    assert_eq!((code, &job["references"]["duplicate"], &job["requests"]["sent"]), (0, &json!(2), &json!(0)));
    assert_eq!(job["thread_extras"]["planned"], 0);
}

#[test]
fn what_a_later_reference_of_the_run_names_is_no_extra() {
    let night = Night::new(chain("m|2|77", 40), COMPLETE);
    night.references((0..40).map(|step| ("m|2|77", 40 - step)));
    let (code, job) = night.run(&["run"]);
    assert_eq!(code, 0);
    assert_eq!(night.ids(), (set(1..=40), BTreeSet::new()));
    assert_eq!(job["thread_extras"]["planned"], 0);
    assert_eq!(job["requests"]["sent"], job["requests"]["minimum"]);
}

#[test]
fn a_thread_is_followed_no_further_than_its_depth() {
    let mut world = World::explicit();
    world.extend((1..=9).map(|id| message("a|1|b", id, None, (id > 1).then_some(id - 1))));
    let night = Night::new(world, "batch_size: 3, threads: complete, thread_depth: 3");
    night.references([("a|1|b", 9)]);
    assert_eq!(night.run(&["run"]).0, 0);
    assert_eq!(night.ids().1, set([6, 7, 8]));
}

#[test]
fn threads_that_are_off_are_not_followed() {
    let night = Night::new(chain("a|1|b", 3), "threads: off");
    night.references([("a|1|b", 3)]);
    let (code, job) = night.run(&["run"]);
    assert_eq!((code, &job["thread_extras"]["planned"]), (0, &json!(0)));
    assert_eq!(night.ids().1, BTreeSet::new());
}

#[test]
fn one_request_asks_for_what_the_messages_of_many_batches_and_owners_link_to() {
    let mut world = World::explicit();
    // Sixty speakers of one team, of whom every other answers a message that nobody references.
    let names: Vec<String> = (0..60).map(|n| format!("member{n}|2|500")).collect();
    world
        .extend(names.iter().zip(1_000..).map(|(name, id)| message(name, id, None, (id % 2 == 0).then_some(id - 999))));
    world.extend((0..60).map(|n| message("member0|2|500", n + 1, None, None)));
    let night = Night::new(world, "batch_size: 30, threads: complete");
    night.references(names.iter().zip(1_000..).map(|(name, id)| (name.as_str(), id)));
    let (code, job) = night.run(&["run"]);
    assert_eq!(code, 0);
    assert_eq!(job["thread_extras"]["archived"], 30);
    assert_eq!(night.service.stats().log.iter().map(|(_, asked)| *asked).collect::<Vec<_>>(), [30, 30, 30]);
}

#[test]
fn what_a_second_ask_brought_is_followed_in_the_name_of_the_owner_that_got_it() {
    let mut world = World::explicit();
    for id in [1, 2] {
        let reply = (id > 1).then_some(id - 1);
        world.insert(message("a|1|b", id, None, reply).seen_by(["b"], Fate::Missing));
    }
    let night = Night::new(world, COMPLETE);
    night.references([("a|1|b", 2)]);
    let (code, job) = night.run(&["run"]);
    assert_eq!(code, 0);
    assert_eq!(night.ids(), (set([2]), set([1])));
    let asked: Vec<String> = night.service.stats().log.into_iter().map(|(conversation, _)| conversation).collect();
    assert_eq!(asked, ["a|1|b", "b|1|a", "b|1|a"]);
    assert_eq!(job["requests"]["other_owner"], 1);
}

#[test]
fn what_a_thread_lacks_makes_no_exit_3_and_is_asked_again_like_other_failures() {
    let mut world = chain("a|1|b", 4);
    world.insert(message("a|1|b", 1, None, None).fate(Fate::Failed(398)));
    let night = Night::new(world, "batch_size: 3, threads: complete, attempts: 2");
    night.references([("a|1|b", 4)]);
    let (code, job) = night.run(&["run"]);
    assert_eq!(code, 0, "{job}");
    assert_eq!(job["outcome"], "complete");
    assert_eq!(job["references"]["failed"], 0);
    assert_eq!((&job["failures"], &job["codes"]), (&json!({}), &json!({})));
    assert_eq!(job["thread_extras"], json!({"planned": 3, "archived": 2, "failed": 1, "pending": 0}));

    let listed = night.output(&["failures", "night", "--format", "jsonl"]);
    let failure: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&failure["message_server_id"], &failure["requested"]), (&json!("1"), &json!(false)));
    assert_eq!(failure["code"], 398);

    let (code, job) = night.run(&["retry", "night", "--code", "398"]);
    assert_eq!(code, 0, "{job}");
    assert_eq!(job["thread_extras"], json!({"planned": 1, "archived": 0, "failed": 1, "pending": 0}));
    assert_eq!(job["references"]["retried"], 0);

    night.service.world(|world| world.insert(message("a|1|b", 1, None, None)));
    let (code, job) = night.run(&["retry", "night", "--all"]);
    assert_eq!(code, 0);
    assert_eq!(job["thread_extras"]["archived"], 1);
    assert_eq!(night.ids(), (set([4]), set([1, 2, 3])));
    assert!(night.output(&["failures", "night", "--format", "jsonl"]).stdout.is_empty());
}

#[test]
fn a_reference_that_names_what_a_thread_lacks_is_a_reference_like_any_other() {
    let mut world = chain("a|1|b", 2);
    world.insert(message("a|1|b", 1, None, None).fate(Fate::Missing));
    let night = Night::new(world, COMPLETE);
    night.references([("a|1|b", 2)]);
    assert_eq!(night.run(&["run"]).0, 0);
    night.references([("a|1|b", 1), ("a|1|b", 2)]);
    let (code, job) = night.run(&["run"]);
    assert_eq!(code, 3, "{job}");
    assert_eq!((&job["references"]["accepted"], &job["references"]["failed"]), (&json!(1), &json!(1)));
    let listed = night.output(&["failures", "night", "--format", "jsonl"]);
    let failure: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(failure["requested"], true);
}

/// Conversations with threads that no order of IDs follows, the references of some messages, and what follows.
struct Forest {
    conversations: Vec<String>,
    links: BTreeMap<i64, (usize, Option<i64>, Option<i64>)>,
    referenced: BTreeSet<i64>,
}

impl Forest {
    fn grown() -> Self {
        let conversations = ["a|1|b", "b|1|c", "m|2|900", "n|3|901"].map(str::to_owned).to_vec();
        let mut state = 20_261_123_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut links = BTreeMap::new();
        let mut roots: Vec<Vec<(i64, i64)>> = vec![Vec::new(); conversations.len()];
        for id in 1..=240_i64 {
            let place = draw(conversations.len() as u64) as usize;
            let earlier = &roots[place];
            let (root, reply) = if earlier.is_empty() || draw(4) == 0 {
                (None, None)
            } else {
                let (answered, root) = earlier[draw(earlier.len() as u64) as usize];
                (Some(root), Some(answered))
            };
            roots[place].push((id, root.unwrap_or(id)));
            links.insert(id, (place, root, reply));
        }
        let referenced = (1..=240).filter(|_| draw(5) == 0).collect();
        Self { conversations, links, referenced }
    }

    fn world(&self) -> World {
        let mut world = World::explicit();
        world.extend(
            self.links
                .iter()
                .map(|(id, (place, root, reply))| message(&self.conversations[*place], *id, *root, *reply)),
        );
        world
    }

    fn references(&self) -> Vec<(&str, i64)> {
        self.referenced.iter().map(|id| (self.conversations[self.links[id].0].as_str(), *id)).collect()
    }

    /// Everything above the references.
    fn above(&self) -> BTreeSet<i64> {
        let mut reached = self.referenced.clone();
        let mut queue: VecDeque<i64> = reached.iter().copied().collect();
        while let Some(id) = queue.pop_front() {
            let (_, root, reply) = self.links[&id];
            for next in root.into_iter().chain(reply) {
                if reached.insert(next) {
                    queue.push_back(next);
                }
            }
        }
        reached.difference(&self.referenced).copied().collect()
    }
}

#[test]
fn threads_are_whole_and_nothing_is_there_twice_however_often_the_process_is_killed() {
    let forest = Forest::grown();
    let night = Night::new(forest.world(), COMPLETE);
    night.references(forest.references());
    let mut kills = 0;
    for requests in [0, 2, 7, 1, 9, 3, 1, 2, 5, 1, 3] {
        kills += u32::from(night.run_and_kill_after(requests));
    }
    assert!(kills >= 8, "the process was killed {kills} times");
    let (code, job) = night.run(&["run"]);
    assert_eq!(code, 0, "{job}");
    assert_eq!(night.ids(), (forest.referenced.clone(), forest.above()));

    // And in as few requests as without any trouble, but for what was under way or not yet committed.
    let quiet = Night::new(forest.world(), COMPLETE);
    quiet.references(forest.references());
    let (_, job) = quiet.run(&["run"]);
    assert_eq!(quiet.ids(), (forest.referenced.clone(), forest.above()));
    assert_eq!(job["requests"]["sent"], job["requests"]["minimum"]);
    assert!(quiet.asks().values().all(|asked| *asked == 1));
}

#[tokio::test]
async fn a_database_has_whole_threads_too_when_the_process_is_killed() {
    let forest = Forest::grown();
    let database = postgres::database().await;
    let night = Night::with_sink(forest.world(), COMPLETE, "postgres: { url: \"file:url\" }");
    std::fs::write(night.path("url"), database.url()).unwrap();
    night.references(forest.references());
    for requests in [3, 12, 30] {
        assert!(night.run_and_kill_after(requests));
    }
    let (code, job) = night.run(&["run"]);
    assert_eq!(code, 0, "{job}");
    let mut connection = database.connect().await;
    let rows: Vec<(i64, bool)> =
        sqlx::query_as("select message_server_id, requested from messages").fetch_all(&mut connection).await.unwrap();
    let ids = |wanted: bool| set(rows.iter().filter(|(_, requested)| *requested == wanted).map(|(id, _)| *id));
    assert_eq!((ids(true), ids(false)), (forest.referenced.clone(), forest.above()));
}
