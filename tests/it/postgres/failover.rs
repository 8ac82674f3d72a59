//! Commits whose outcome is unknown, and archives that change hands or lose commits under way.

use super::*;
use crate::support::postgres::database;
use crate::support::proxy::{Proxy, Trap};

#[tokio::test]
async fn a_commit_whose_outcome_is_unknown_is_made_once() {
    let database = database().await;
    let proxy = Proxy::to(&database.url()).await;
    let mut sink = sink(&proxy.url(&database.url()));
    sink.open(&claim(0, None)).await.unwrap();
    let mut connection = database.connect().await;
    for (commit, trap) in [(1, Trap::Before), (2, Trap::After), (3, Trap::Silence), (4, Trap::After)] {
        sink.write(messages(commit * 10..commit * 10 + 10)).await.unwrap();
        proxy.set(trap);
        let prepared = sink.prepare(commit as u64).await.unwrap();
        assert!(proxy.sprung());
        assert_eq!(prepared.rows, 10);
        assert!(prepared.bytes > 0);
        let found: i64 = scalar(&mut connection, "select count(*) from messages").await;
        assert_eq!(found, commit * 10, "{trap:?}");
        let recorded: i64 = scalar(&mut connection, "select sum(inserted)::bigint from messages_commits").await;
        assert_eq!(recorded, commit * 10, "{trap:?}");
    }
    committed(&mut sink, 5, messages(50..60)).await;
}

#[tokio::test]
async fn setting_up_survives_a_connection_that_breaks() {
    for trap in [Trap::Before, Trap::After, Trap::Silence] {
        let database = database().await;
        let proxy = Proxy::to(&database.url()).await;
        let mut sink = sink(&proxy.url(&database.url()));
        proxy.set(trap);
        opened(0, &sink.open(&claim(0, None)).await.unwrap());
        assert!(proxy.sprung());
        committed(&mut sink, 1, messages(0..10)).await;
    }
}

#[tokio::test]
async fn a_connection_lost_between_commits_is_replaced() {
    let database = database().await;
    let mut sink = open(&database).await;
    let mut connection = database.connect().await;
    for commit in 1..4 {
        committed(&mut sink, commit, messages([commit as i64])).await;
        assert_eq!(disconnect(&mut connection).await, 1);
    }
    sink.write(messages([4])).await.unwrap();
    sink.prepare(4).await.unwrap();
    assert_eq!(scalar::<i64>(&mut connection, "select count(*) from messages").await, 4);
}

#[tokio::test]
async fn an_archive_that_changes_hands_gets_no_further_commit() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages([1])).await;
    database.execute("update messages_archive set ledger_id = 'somebody else'").await;
    sink.write(messages([2])).await.unwrap();
    let error = sink.prepare(2).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::NotOurs(text) if text.contains("another ledger took it over")), "{error}");
    let mut connection = database.connect().await;
    assert_eq!(scalar::<i64>(&mut connection, "select count(*) from messages").await, 1);
}

#[tokio::test]
async fn a_commit_that_is_there_already_is_not_taken_for_this_one() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages([1])).await;
    sink.write(messages([2])).await.unwrap();
    let error = sink.prepare(1).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::NotOurs(_)), "{error}");
    assert_eq!(sink.prepare(2).await.unwrap().rows, 1);
}

#[tokio::test]
async fn a_server_that_lost_commits_is_noticed_at_once() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages([1])).await;
    committed(&mut sink, 2, messages([2])).await;
    let mut connection = database.connect().await;
    // What a standby promoted too early would look like.
    database
        .execute(
            "delete from messages where message_server_id = 2; delete from messages_commits where sequence = 2; \
             update messages_archive set sequence = 1",
        )
        .await;
    disconnect(&mut connection).await;
    sink.write(messages([3])).await.unwrap();
    let error = sink.prepare(3).await.unwrap_err();
    let ArchiveError::Failed { source, .. } = &error else { panic!("{error}") };
    assert!(source.to_string().contains("lost commits up to 2"), "{source}");
    opened(1, &sink.open(&claim(2, Some(3))).await.unwrap());
}
