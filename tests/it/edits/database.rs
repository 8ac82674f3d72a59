//! The same in a database: earlier versions in their table, what vanished in its own.

use sqlx::AssertSqlSafe;

use super::{STEPS, again, archived_in_database, edited_at};
use crate::support::postgres::PgUrl;
use crate::support::threads::message;

async fn rows(database: &PgUrl, table: &str) -> Vec<(i64, i32, String)> {
    let sql = format!("select message_server_id, revision, text from {table} order by 1, 2");
    sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut database.connect().await).await.unwrap()
}

async fn vanished(database: &PgUrl) -> Vec<(i64, i32, String)> {
    let sql = "select message_server_id, code, run_id from messages_vanished \
               where app_key <> '' and conversation_key = '1|a|b' and conversation_type = 1 and noticed_at > create_time - interval '1 year' order by 1";
    sqlx::query_as(sql).fetch_all(&mut database.connect().await).await.unwrap()
}

fn row(id: i64, revision: i32, text: &str) -> (i64, i32, String) {
    (id, revision, text.to_owned())
}

#[tokio::test]
async fn an_edit_moves_the_earlier_version_and_what_vanished_is_noted_once() {
    let (night, database) = archived_in_database("a|1|b", 6).await;
    night.service.world(|world| {
        world.edit(2, "edited", edited_at(1));
        world.recall(5);
    });
    let (code, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!((code, again(&job)), (0, [6, 4, 1, 1, 0, 0]), "{job}");
    let run = job["run_id"].as_str().unwrap().to_owned();
    assert_eq!(vanished(&database).await, [(5, 107_404, run)]);
    let messages = rows(&database, "messages").await;
    assert_eq!((messages.len(), &messages[1], &messages[4]), (6, &row(2, 1, "edited"), &row(5, 0, "message 5")));
    assert_eq!(rows(&database, "message_revisions").await, [row(2, 0, "message 2")]);

    night.service.world(|world| {
        world.edit(2, "edited twice", edited_at(2));
        world.insert(message("a|1|b", 5, None, None));
    });
    let (_, job) = night.run(&["run", "--refetch", "all"]);
    assert_eq!(again(&job), [5, 4, 1, 0, 0, 0]);
    assert_eq!(vanished(&database).await.len(), 1);
    assert_eq!(rows(&database, "messages").await[1], row(2, 2, "edited twice"));
    assert_eq!(rows(&database, "message_revisions").await, [row(2, 0, "message 2"), row(2, 1, "edited")]);
}

#[tokio::test]
async fn a_window_leaves_out_what_was_archived_before_it() {
    let (night, database) = archived_in_database("a|1|b", 9).await;
    database.execute("update messages set fetched_at = now() - interval '8 days' where message_server_id <= 4").await;
    let (_, job) = night.run(&["run", "--refetch", "7d"]);
    assert_eq!(again(&job), [5, 5, 0, 0, 0, 0]);
    assert_eq!(again(&night.run(&["run", "--refetch", "9d"]).1), [9, 9, 0, 0, 0, 0]);

    // A version that was met lately is an archiving of its own.
    night.service.world(|world| world.edit(1, "edited", edited_at(1)));
    assert_eq!(again(&night.run(&["run", "--refetch", "all"]).1), [9, 8, 1, 0, 0, 0]);
    assert_eq!(again(&night.run(&["run", "--refetch", "7d"]).1), [6, 6, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_database_has_every_edit_and_note_once_however_often_the_process_is_killed() {
    let (night, database) = archived_in_database("a|1|b", 60).await;
    night.service.world(|world| {
        (1..=60).filter(|id| id % 3 == 0).for_each(|id| world.edit(id, "edited", edited_at(id)));
        (1..=60).filter(|id| id % 3 == 1).for_each(|id| world.recall(id));
    });
    assert!(night.kill_after(&["run", "--refetch", "7d"], 4));
    assert!(night.kill_after(&["run"], 3));
    assert_eq!(night.run(&["run"]).0, 0);
    let (_, job) = night.run(&["run", "--refetch", "all"]);
    assert_eq!(again(&job), [40, 40, 0, 0, 0, 0]);
    assert_eq!(vanished(&database).await.len(), 20);
    let revisions = rows(&database, "message_revisions").await;
    assert_eq!(
        revisions.iter().map(|(id, revision, _)| (*id, *revision)).collect::<Vec<_>>(),
        (1..=20).map(|n| (3 * n, 0)).collect::<Vec<_>>()
    );
    let messages = rows(&database, "messages").await;
    assert_eq!(messages.iter().filter(|(_, revision, _)| *revision == 1).count(), 20);
    assert_eq!(messages.len(), 60);
}

#[tokio::test]
async fn a_run_that_dies_at_any_step_while_it_asks_again_is_mended_by_the_next_in_a_database() {
    let commit = [
        "commit.before",
        "intent.after",
        "postgres.fenced",
        "postgres.merged",
        "postgres.commit",
        "postgres.committed",
        "record.before",
        "record.after",
        "manifest.inserted",
    ];
    let refetch = STEPS.into_iter().filter(|step| *step != "vanished.fsync");
    for step in refetch.chain(commit) {
        let (night, database) = archived_in_database("a|1|b", 12).await;
        night.service.world(|world| {
            world.edit(2, "edited", edited_at(1));
            world.recall(5);
        });
        assert!(night.dies_at(step, &["run", "--refetch", "7d"]), "{step}");
        assert_eq!(night.run(&["run"]).0, 0, "{step}");
        assert_eq!(night.run(&["run", "--refetch", "7d"]).0, 0, "{step}");
        assert_eq!((rows(&database, "messages").await.len(), vanished(&database).await.len()), (12, 1), "{step}");
        assert_eq!(rows(&database, "message_revisions").await, [row(2, 0, "message 2")], "{step}");
        let verified = night.output(&["verify", "night"]);
        assert!(verified.status.success(), "{step}: {verified:?}");
    }
}
