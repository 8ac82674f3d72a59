//! Messages on their way into the table before their commit is due.

use super::*;
use crate::support::postgres::database;

/// Waits until this many messages are on their way into the table.
async fn copied(connection: &mut PgConnection, count: i64) {
    let sql = "select coalesce((select tuples_processed from pg_stat_progress_copy \
         where relid = 'messages'::regclass), 0)";
    while scalar::<i64>(connection, sql).await < count {
        tokio::task::yield_now().await;
    }
}

async fn count(connection: &mut PgConnection) -> i64 {
    scalar(connection, "select count(*) from messages").await
}

#[tokio::test]
async fn messages_are_on_their_way_before_their_commit_is_due_and_seen_after_it() {
    let database = database().await;
    let mut sink = open(&database).await;
    let mut watcher = database.connect().await;
    for commit in 0..3 {
        let start = commit * 20;
        sink.write(messages(start..start + 10)).await.unwrap();
        copied(&mut watcher, 10).await;
        sink.write(messages(start + 10..start + 20)).await.unwrap();
        copied(&mut watcher, 20).await;
        assert_eq!(count(&mut watcher).await, start);
        assert_eq!(sink.prepare(commit as u64 + 1).await.unwrap().rows, 20);
        assert_eq!(count(&mut watcher).await, start + 20);
    }
}

#[tokio::test]
async fn what_no_commit_came_for_is_not_written() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages(0..10)).await;
    let mut watcher = database.connect().await;
    sink.write(messages(10..20)).await.unwrap();
    copied(&mut watcher, 10).await;
    drop(sink);
    // Who takes the archive next has waited until the former session is gone.
    let mut next = super::sink(&database.url());
    opened(1, &next.open(&claim(1, None)).await.unwrap());
    assert_eq!(count(&mut watcher).await, 10);
    committed(&mut next, 2, messages(10..20)).await;
    assert_eq!(count(&mut watcher).await, 20);
}

#[tokio::test]
async fn a_connection_that_breaks_before_a_commit_is_due_is_made_good() {
    let database = database().await;
    let mut sink = open(&database).await;
    let mut watcher = database.connect().await;
    committed(&mut sink, 1, messages(0..10)).await;
    sink.write(messages(10..20)).await.unwrap();
    copied(&mut watcher, 10).await;
    assert_eq!(disconnect(&mut watcher).await, 1);
    sink.write(messages(20..30)).await.unwrap();
    assert_eq!(sink.prepare(2).await.unwrap().rows, 20);
    committed(&mut sink, 3, messages(30..40)).await;
    assert_eq!(count(&mut watcher).await, 40);
}

#[tokio::test]
async fn a_message_that_is_there_already_is_met_on_the_way() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages(0..10)).await;
    let mut watcher = database.connect().await;
    sink.write(messages(10..20)).await.unwrap();
    copied(&mut watcher, 10).await;
    // A known one, a new version of another, and one twice within the commit.
    sink.write(messages([3, 15])).await.unwrap();
    sink.write(version(4, Some(NOON + 1), "edited")).await.unwrap();
    sink.prepare(2).await.unwrap();
    assert_eq!(count(&mut watcher).await, 20);
    let found = texts(&mut watcher, "messages").await;
    assert_eq!(found[4], (4, 1, "edited".to_owned()));
    assert_eq!(texts(&mut watcher, "message_revisions").await, [(4, 0, "message 4".to_owned())]);
    let counts: (i64, i64, i64) =
        sqlx::query_as("select messages, inserted, revised from messages_commits where sequence = 2")
            .fetch_one(&mut watcher)
            .await
            .unwrap();
    assert_eq!(counts, (13, 10, 1));
}

#[tokio::test]
async fn an_app_key_of_any_characters_is_met_again() {
    let database = database().await;
    let app_key = r"it's \' a key; --";
    let stamp = RunStamp { app_key: app_key.to_owned(), ..stamp() };
    let mut sink = PostgresSink::new(&settings(&database.url()), stamp).unwrap();
    sink.open(&claim(0, None)).await.unwrap();
    committed(&mut sink, 1, messages(0..10)).await;
    committed(&mut sink, 2, messages(5..15)).await;
    let mut connection = database.connect().await;
    assert_eq!(count(&mut connection).await, 15);
    assert_eq!(scalar::<String>(&mut connection, "select distinct app_key from messages").await, app_key);
    let sql = "select inserted from messages_commits where sequence = 2";
    assert_eq!(scalar::<i64>(&mut connection, sql).await, 5);
}
