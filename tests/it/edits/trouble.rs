//! Asking again when something goes wrong: each edit and each note once, and all of them.

use serde_json::json;
use yunxin_archiver::simulator::{Fault, Hook, World};

use super::{FETCH, STEPS, again, archived, edited_at, first, vanished_ids, version};
use crate::support::threads::{Archived, Night, message};

/// Sixty messages, of which some will be edited and some recalled.
struct Change {
    edited: Vec<i64>,
    recalled: Vec<i64>,
}

impl Change {
    const COUNT: i64 = 60;

    fn to(night: &Night) -> Self {
        let of = |rest| (1..=Self::COUNT).filter(|id| id % 4 == rest).collect::<Vec<i64>>();
        let change = Self { edited: of(1), recalled: of(2) };
        night.service.world(|world| {
            change.edited.iter().for_each(|id| world.edit(*id, &format!("edited {id}"), edited_at(*id)));
            change.recalled.iter().for_each(|id| world.recall(*id));
        });
        change
    }

    /// What the archive holds when all of it was noticed.
    fn archived(&self) -> Vec<Archived> {
        let mut rows = first(1..=Self::COUNT);
        rows.extend(self.edited.iter().map(|id| version(*id, 1, &format!("edited {id}"))));
        rows.sort();
        rows
    }
}

/// Twelve dialogues of five messages each, archived.
fn dialogues() -> Night {
    let mut world = World::explicit();
    let conversation = |id: i64| format!("a{0}|1|b", id % 12);
    world.extend((1..=Change::COUNT).map(|id| message(&conversation(id), id, None, None)));
    let night = Night::new(world, FETCH);
    let config = std::fs::read_to_string(night.path("jobs.yaml")).unwrap();
    std::fs::write(night.path("jobs.yaml"), config.replace("plan_window: 8", "plan_window: 1000")).unwrap();
    let names: Vec<String> = (1..=Change::COUNT).map(conversation).collect();
    night.references(names.iter().map(String::as_str).zip(1..));
    assert_eq!(night.run(&["run"]).0, 0);
    night
}

#[test]
fn nothing_is_recorded_twice_or_missed_however_often_the_process_is_killed() {
    for wait in [0, 1, 3, 6] {
        let night = dialogues();
        let change = Change::to(&night);
        assert!(night.kill_after(&["run", "--refetch", "7d"], wait));
        for more in [1, 2, 0, 3] {
            night.kill_after(&["run"], more);
        }
        let (code, job) = night.run(&["run"]);
        assert_eq!((code, again(&job)[5]), (0, 0), "{job}");
        assert_eq!((night.archived(), vanished_ids(&night)), (change.archived(), change.recalled.clone()));
        let (_, job) = night.run(&["run", "--refetch", "7d"]);
        assert_eq!(again(&job), [45, 45, 0, 0, 0, 0]);
        // Three of the dialogues vanished as a whole.
        assert_eq!((&job["requests"]["sent"], &job["requests"]["minimum"]), (&json!(9), &json!(9)));
    }
}

#[test]
fn what_was_planned_again_is_not_planned_twice_by_another_order_to_ask_again() {
    let night = dialogues();
    let change = Change::to(&night);
    for wait in [2, 5, 1, 4] {
        night.kill_after(&["run", "--refetch", "7d"], wait);
    }
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!(code, 0, "{job}");
    assert_eq!((night.archived(), vanished_ids(&night)), (change.archived(), change.recalled));
}

#[test]
fn a_service_of_which_every_third_answer_fails_is_asked_until_it_answers() {
    let night = dialogues();
    let change = Change::to(&night);
    let met = std::sync::atomic::AtomicU64::new(0);
    let hook = Hook::new(move |_| {
        let met = met.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        [Some(Fault::Code(500)), None, None, Some(Fault::Reset), None, None, Some(Fault::Truncate), None, None, None]
            [met as usize % 10]
            .clone()
    });
    night.service.faults(|faults| faults.hook = Some(hook));
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    night.service.faults(|faults| faults.hook = None);
    assert_eq!((code, again(&job)), (0, [60, 30, 15, 15, 0, 0]), "{job}");
    assert!(job["requests"]["retried"].as_u64().unwrap() > 0, "{job}");
    assert_eq!((night.archived(), vanished_ids(&night)), (change.archived(), change.recalled));
}

#[test]
fn a_service_that_never_answers_makes_no_failure_and_no_exit_3() {
    let night = archived("a|1|b", 3);
    night.configure("batch_size: 5, attempts: 1");
    night.service.world(|world| world.recall(1));
    let hook = Hook::new(|_| Some(Fault::Code(503)));
    night.service.faults(|faults| faults.hook = Some(hook));
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    night.service.faults(|faults| faults.hook = None);
    assert_eq!((code, again(&job)), (0, [3, 0, 0, 0, 3, 0]), "{job}");
    assert!(night.output(&["failures", "night", "--format", "jsonl"]).stdout.is_empty());
    assert_eq!(again(&night.run(&["run", "--refetch", "7d"]).1), [3, 2, 0, 1, 0, 0]);
}

#[test]
fn refused_batches_are_split_until_all_is_answered() {
    let night = archived("a|1|b", 10);
    night.configure("batch_size: 10");
    night.service.world(|world| {
        world.edit(4, "edited", edited_at(1));
        world.recall(9);
    });
    let refused = std::sync::atomic::AtomicU64::new(0);
    let hook = Hook::new(move |_| {
        (refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 1).then_some(Fault::Code(419))
    });
    night.service.faults(|faults| faults.hook = Some(hook));
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    night.service.faults(|faults| faults.hook = None);
    assert_eq!((code, again(&job), &job["requests"]["split"]), (0, [10, 8, 1, 1, 0, 0], &json!(1)), "{job}");
    assert_eq!(vanished_ids(&night), [9]);
}

#[test]
fn new_references_come_before_what_is_asked_again_also_when_that_was_left_over() {
    let night = archived("a|1|b", 20);
    assert!(night.kill_after(&["run", "--refetch", "7d"], 1));
    night.service.world(|world| world.extend((21..=30).map(|id| message("c|1|d", id, None, None))));
    night.references((1..=20).map(|id| ("a|1|b", id)).chain((21..=30).map(|id| ("c|1|d", id))));
    let before = night.service.stats().log.len();
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!((code, &job["references"]["archived"]), (0, &json!(10)));
    let asked: Vec<String> =
        night.service.stats().log[before..].iter().map(|(conversation, _)| conversation.clone()).collect();
    assert!(asked.len() > 2 && asked[..2] == ["c|1|d", "c|1|d"], "{asked:?}");
    assert!(asked[2..].iter().all(|conversation| conversation == "a|1|b"), "{asked:?}");
    assert_eq!(night.archived(), first(1..=30));
}

#[test]
fn a_run_that_dies_at_any_step_while_it_asks_again_is_mended_by_the_next() {
    let commit = [
        "commit.before",
        "names.fsync",
        "prepare.after",
        "record.before",
        "record.after",
        "rename.before",
        "rename.after",
        "rename.after#2",
        "renames.fsync",
        "deed.rename",
        "publish.after",
        "published.after",
        "manifest.rename",
        "manifest.noted",
        "cut.after#2",
    ];
    for step in STEPS.into_iter().chain(commit) {
        let night = dialogues();
        let change = Change::to(&night);
        assert!(night.dies_at(step, &["run", "--refetch", "7d"]), "{step}");
        assert_eq!(night.run(&["run"]).0, 0, "{step}");
        let (code, job) = night.run(&["run", "--refetch", "7d"]);
        assert_eq!((code, again(&job)[4..].iter().sum::<u64>()), (0, 0), "{step}: {job}");
        assert_eq!((night.archived(), vanished_ids(&night)), (change.archived(), change.recalled), "{step}");
        assert!(night.output(&["verify", "night"]).status.success(), "{step}");
    }
}

#[test]
fn a_recorded_note_that_is_lost_after_all_is_made_again() {
    let night = archived("a|1|b", 5);
    night.service.world(|world| {
        world.edit(1, "edited", edited_at(1));
        world.recall(2);
    });
    assert!(night.dies_at("record.after#2", &["run", "--refetch", "7d"]));
    let temporary = night.path("archive-vanished/_tmp");
    let left = std::fs::read_dir(&temporary).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_dir_all(left).unwrap();
    let (code, job) = night.run(&["run"]);
    assert_eq!((code, again(&job)), (0, [1, 0, 0, 1, 0, 0]), "{job}");
    assert_eq!(vanished_ids(&night), [2]);
    assert_eq!(night.archived().iter().filter(|row| row.revision > 0).count(), 1);
}
