//! Commits: what is in them, and messages that are there already.

use sqlx::{Connection, Executor};

use super::*;
use crate::support::postgres::database;

#[tokio::test]
async fn a_commit_is_recorded_with_its_counts() {
    let database = database().await;
    let mut sink = open(&database).await;
    let first = committed(&mut sink, 1, messages(0..10)).await;
    assert_eq!((first.rows, first.files.len()), (10, 0));
    assert!(first.bytes > 1000);
    sink.write(messages(5..15)).await.unwrap();
    sink.write(version(3, Some(NOON), "edited")).await.unwrap();
    sink.prepare(4).await.unwrap();
    // A run in which every message failed commits as well.
    assert_eq!(sink.prepare(5).await.unwrap().rows, 0);
    let mut connection = database.connect().await;
    let commits: Vec<(String, i64, String, i64, i64, i64)> = sqlx::query_as(
        "select ledger_id, sequence, run_id, messages, inserted, revised from messages_commits order by sequence",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let commit = |sequence, messages, inserted, revised| {
        (LEDGER.to_string(), sequence, RUN.to_string(), messages, inserted, revised)
    };
    assert_eq!(commits, [commit(1, 10, 10, 0), commit(4, 11, 5, 1), commit(5, 0, 0, 0)]);
    assert_eq!(scalar::<i64>(&mut connection, "select sequence from messages_archive").await, 5);
}

#[tokio::test]
async fn a_message_already_there_is_met_wherever_it_is() {
    let database = database().await;
    let mut sink = open(&database).await;
    // Too few for the sample to meet one: copying fails in the middle, and is made good.
    committed(&mut sink, 1, messages([501])).await;
    committed(&mut sink, 2, messages(0..1000)).await;
    committed(&mut sink, 3, messages(1000..1100)).await;
    let mut connection = database.connect().await;
    let found: i64 = scalar(&mut connection, "select count(distinct message_server_id) from messages").await;
    assert_eq!(found, 1100);
    let inserted: Vec<i64> = sqlx::query_scalar("select inserted from messages_commits order by sequence")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(inserted, [1, 999, 100]);
}

#[tokio::test]
async fn a_second_run_over_the_same_messages_leaves_the_table_as_it_is() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages(0..2000)).await;
    let mut connection = database.connect().await;
    let size = "select pg_relation_size('messages') + pg_relation_size('messages_pkey')";
    let before: i64 = scalar(&mut connection, size).await;
    let digest = "select md5(string_agg(m::text || ctid::text, ',' order by message_server_id)) from messages m";
    let content: String = scalar(&mut connection, digest).await;
    committed(&mut sink, 2, messages(0..1000)).await;
    committed(&mut sink, 3, messages(1000..2000)).await;
    assert_eq!(scalar::<i64>(&mut connection, size).await, before);
    assert_eq!(scalar::<String>(&mut connection, digest).await, content);
    assert_eq!(scalar::<i64>(&mut connection, "select count(*) from message_revisions").await, 0);
}

#[tokio::test]
async fn an_edited_message_keeps_its_earlier_revisions() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, version(7, None, "first")).await;
    committed(&mut sink, 2, version(7, Some(NOON + 10), "second")).await;
    committed(&mut sink, 3, version(7, Some(NOON + 10), "second, again")).await;
    committed(&mut sink, 4, version(7, Some(NOON + 5), "between, too late")).await;
    committed(&mut sink, 5, version(7, None, "first, again")).await;
    committed(&mut sink, 6, version(7, Some(NOON + 20), "third")).await;
    let mut connection = database.connect().await;
    assert_eq!(texts(&mut connection, "messages").await, [(7, 2, "third".to_owned())]);
    assert_eq!(
        texts(&mut connection, "message_revisions").await,
        [(7, 0, "first".to_owned()), (7, 1, "second".to_owned())]
    );
}

#[tokio::test]
async fn versions_of_one_commit_become_revisions() {
    let database = database().await;
    let mut sink = open(&database).await;
    sink.write(version(1, Some(NOON + 2), "third")).await.unwrap();
    sink.write(version(1, None, "first")).await.unwrap();
    sink.write(version(2, None, "other")).await.unwrap();
    sink.write(version(1, Some(NOON + 1), "second")).await.unwrap();
    sink.write(version(1, Some(NOON + 2), "third")).await.unwrap();
    assert_eq!(sink.prepare(1).await.unwrap().rows, 5);
    sink.write(version(2, Some(NOON + 2), "other, third")).await.unwrap();
    sink.write(version(2, Some(NOON + 1), "other, second")).await.unwrap();
    sink.prepare(2).await.unwrap();
    let mut connection = database.connect().await;
    let expected = [(1, 2, "third".to_owned()), (2, 2, "other, third".to_owned())];
    assert_eq!(texts(&mut connection, "messages").await, expected);
    let expected = [(1, 0, "first"), (1, 1, "second"), (2, 0, "other"), (2, 1, "other, second")];
    assert_eq!(
        texts(&mut connection, "message_revisions").await,
        expected.map(|(id, revision, text)| (id, revision, text.to_owned()))
    );
}

#[tokio::test]
async fn raw_comes_when_asked_for_and_stays_with_its_version() {
    let database = database().await;
    let with_raw = |text: &str, modify_time| {
        let mut rows = MessageRows::default();
        push(&mut rows, Row { modify_time, ..Row::new(1, NOON, 1, NOON) }, text);
        let raw = rows.intern(&format!("{{\"raw\":\"{text}\"}}"));
        rows.rows_mut()[0].text[TextColumn::Raw as usize] = raw;
        Arc::new(rows)
    };
    let mut plain = open(&database).await;
    committed(&mut plain, 1, with_raw("first", None)).await;
    drop(plain);
    let mut settings = settings(&database.url());
    settings.sink.raw = true;
    let mut raw = writer(settings, stamp());
    raw.open(&claim(1, None)).await.unwrap();
    committed(&mut raw, 2, with_raw("second", Some(NOON + 1))).await;
    committed(&mut raw, 3, messages(10..20)).await;
    drop(raw);
    let mut plain = sink(&database.url());
    plain.open(&claim(3, None)).await.unwrap();
    committed(&mut plain, 4, with_raw("third", Some(NOON + 2))).await;
    let mut connection = database.connect().await;
    let raws = "select text, raw from message_revisions union all \
         select text, raw from messages where message_server_id = 1";
    let raws: Vec<(String, Option<String>)> = sqlx::query_as(raws).fetch_all(&mut connection).await.unwrap();
    let second = Some("{\"raw\":\"second\"}".to_owned());
    assert_eq!(raws, [("first".to_owned(), None), ("second".to_owned(), second), ("third".to_owned(), None)]);
}

#[tokio::test]
async fn new_edited_and_unchanged_messages_come_together() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages((0..100).step_by(2))).await;
    committed(&mut sink, 2, version(10, Some(NOON + 1), "edited")).await;
    sink.write(messages(0..100)).await.unwrap();
    for id in [4, 5, 10] {
        sink.write(version(id, Some(NOON + 2), "edited again")).await.unwrap();
    }
    sink.prepare(3).await.unwrap();
    let mut connection = database.connect().await;
    let found = texts(&mut connection, "messages").await;
    let edited = [(4, 1), (5, 1), (10, 2)];
    for (id, (message_server_id, revision, text)) in found.into_iter().enumerate() {
        let edit = edited.iter().find(|(edited, _)| *edited == id as i64);
        assert_eq!(message_server_id, id as i64);
        assert_eq!(revision, edit.map_or(0, |(_, revision)| *revision));
        assert_eq!(text, edit.map_or(format!("message {id}"), |_| "edited again".to_owned()));
    }
    let earlier: Vec<(i64, i32)> =
        texts(&mut connection, "message_revisions").await.into_iter().map(|(id, revision, _)| (id, revision)).collect();
    assert_eq!(earlier, [(4, 0), (5, 0), (10, 0), (10, 1)]);
    let counts: (i64, i64) = sqlx::query_as("select inserted, revised from messages_commits where sequence = 3")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(counts, (50, 3));
}

#[tokio::test]
async fn another_writer_of_the_same_message_is_survived() {
    let database = database().await;
    let mut sink = open(&database).await;
    let mut other = database.connect().await;
    // Once where nothing is there already, and once where something is.
    for (commit, start, known) in [(1, 0, None), (2, 100, Some(0))] {
        other
            .execute(AssertSqlSafe(format!(
                "begin; insert into messages (app_key, conversation_key, conversation_id, conversation_type, \
                 message_server_id, revision, create_time, text, substituted, requested, run_id, fetched_at) \
                 values ('app', '1|a|b', 'a|1|b', 1, {start} + 50, 0, now(), 'theirs', false, true, 'other', now())"
            )))
            .await
            .unwrap();
        sink.write(messages((start..start + 100).chain(known))).await.unwrap();
        let committing = tokio::spawn(async move { sink.prepare(commit).await.map(|_| sink) });
        blocked(&mut database.connect().await).await;
        other.execute("commit").await.unwrap();
        sink = committing.await.unwrap().unwrap();
        let found = texts(&mut other, "messages").await;
        assert_eq!(found.len() as i64, start + 100);
        assert!(found.contains(&(start + 50, 0, "theirs".to_owned())));
    }
    committed(&mut sink, 3, messages(200..210)).await;
}

/// Waits until somebody waits for another's transaction.
pub(super) async fn blocked(connection: &mut PgConnection) {
    while !scalar::<bool>(
        connection,
        "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')",
    )
    .await
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_of_a_commit_is_made_good() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages(0..10)).await;
    let mut other = database.connect().await;
    for (commit, table) in [(2, "messages"), (3, "messages_commits")] {
        let mut transaction = other.begin().await.unwrap();
        transaction.execute(AssertSqlSafe(format!("lock table {table} in exclusive mode"))).await.unwrap();
        sink.write(messages(commit * 10..commit * 10 + 10)).await.unwrap();
        let committing = tokio::spawn(async move { sink.prepare(commit as u64).await.map(|_| sink) });
        let mut administrator = database.connect().await;
        blocked(&mut administrator).await;
        assert_eq!(disconnect(&mut administrator).await, 1);
        transaction.rollback().await.unwrap();
        sink = committing.await.unwrap().unwrap();
    }
    assert_eq!(scalar::<i64>(&mut other, "select count(*) from messages").await, 30);
    assert_eq!(scalar::<i64>(&mut other, "select count(*) from messages_commits").await, 3);
}

#[tokio::test]
async fn an_interrupted_commit_can_be_made_again() {
    let database = database().await;
    let mut sink = open(&database).await;
    let mut other = database.connect().await;
    let mut transaction = other.begin().await.unwrap();
    transaction.execute("lock table messages in exclusive mode").await.unwrap();
    sink.write(messages(0..10)).await.unwrap();
    let mut watcher = database.connect().await;
    tokio::select! {
        _ = sink.prepare(1) => panic!("the table is locked"),
        () = blocked(&mut watcher) => {}
    }
    let prepared = tokio::spawn(async move { sink.prepare(1).await });
    blocked(&mut watcher).await;
    transaction.rollback().await.unwrap();
    assert_eq!(prepared.await.unwrap().unwrap().rows, 10);
    assert_eq!(scalar::<i64>(&mut other, "select count(*) from messages").await, 10);
}

#[tokio::test]
async fn a_permission_lost_in_the_middle_loses_no_message() {
    let database = database().await;
    let role = format!("loser_{}", database.database());
    database
        .execute(&format!("create role {role} login password 'hunter2'; grant create on schema public to {role}"))
        .await;
    let mut sink = sink(&database.url_as(&role, "hunter2"));
    sink.open(&claim(0, None)).await.unwrap();
    committed(&mut sink, 1, messages(0..10)).await;
    database.execute(&format!("revoke insert on messages_commits from {role}")).await;
    sink.write(messages(10..20)).await.unwrap();
    let error = sink.prepare(2).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Denied(text) if text.contains("messages_commits")), "{error}");
    let mut connection = database.connect().await;
    assert_eq!(scalar::<i64>(&mut connection, "select count(*) from messages").await, 10);
    database.execute(&format!("grant insert on messages_commits to {role}")).await;
    assert_eq!(sink.prepare(2).await.unwrap().rows, 10);
    assert_eq!(scalar::<i64>(&mut connection, "select count(*) from messages").await, 20);
}

#[tokio::test]
async fn commits_wait_for_the_disk_whatever_the_database_has_as_its_default() {
    let database = database().await;
    for (default, expected) in [("off", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")] {
        let name = database.database();
        database
            .execute(&format!(
                "alter database {name} set synchronous_commit = {default}; \
                 alter database {name} set default_transaction_isolation = 'serializable'"
            ))
            .await;
        let mut sink = sink(&database.url());
        let recorded = u64::from(default != "off");
        let opened = sink.open(&claim(recorded, Some(100))).await.unwrap();
        database
            .execute(
                "create or replace function note() returns trigger language plpgsql as $$ begin \
                 execute format('create table if not exists public.noted (setting text)'); \
                 insert into public.noted values (current_setting('synchronous_commit')); return new; end $$; \
                 create or replace trigger note after insert on messages_commits execute function note()",
            )
            .await;
        let commit = opened.commit + 1;
        committed(&mut sink, commit, messages([commit as i64])).await;
        let mut connection = database.connect().await;
        let noted: String = scalar(&mut connection, "select setting from noted").await;
        assert_eq!(noted, expected);
        database.execute("drop table noted").await;
    }
}

#[tokio::test]
async fn a_commit_is_due_by_rows_or_by_bytes() {
    let database = database().await;
    let mut sink = open(&database).await;
    assert!(sink.needs_intent());
    sink.write(messages(0..74_999)).await.unwrap();
    assert!(!sink.is_due());
    sink.write(messages([74_999])).await.unwrap();
    assert!(sink.is_due());
    assert_eq!(sink.prepare(1).await.unwrap().rows, 75_000);
    assert!(!sink.is_due());
    sink.write(version(-1, None, &"long ".repeat(7_000_000))).await.unwrap();
    assert!(sink.is_due());
    sink.prepare(2).await.unwrap();
    let mut connection = database.connect().await;
    let length: i32 = scalar(&mut connection, "select length(text) from messages where message_server_id = -1").await;
    assert_eq!(length, 35_000_000);
}

async fn count(connection: &mut PgConnection) -> i64 {
    scalar(connection, "select count(*) from messages").await
}

#[tokio::test]
async fn what_was_accepted_and_not_committed_is_not_written() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages(0..10)).await;
    let mut watcher = database.connect().await;
    sink.write(messages(10..20)).await.unwrap();
    drop(sink);
    // Who takes the archive next has waited until the former session is gone.
    let mut next = super::sink(&database.url());
    opened(1, &next.open(&claim(1, None)).await.unwrap());
    assert_eq!(count(&mut watcher).await, 10);
    committed(&mut next, 2, messages(10..20)).await;
    assert_eq!(count(&mut watcher).await, 20);
}

#[tokio::test]
async fn a_connection_that_breaks_before_a_commit_is_due_is_replaced() {
    let database = database().await;
    let mut sink = open(&database).await;
    let mut watcher = database.connect().await;
    committed(&mut sink, 1, messages(0..10)).await;
    sink.write(messages(10..20)).await.unwrap();
    assert_eq!(disconnect(&mut watcher).await, 1);
    sink.write(messages(20..30)).await.unwrap();
    assert_eq!(sink.prepare(2).await.unwrap().rows, 20);
    committed(&mut sink, 3, messages(30..40)).await;
    assert_eq!(count(&mut watcher).await, 40);
}

#[tokio::test]
async fn known_edited_and_repeated_messages_of_one_commit_are_told_apart() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages(0..10)).await;
    let mut watcher = database.connect().await;
    sink.write(messages(10..20)).await.unwrap();
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
async fn an_app_key_of_any_characters_is_found_again() {
    let database = database().await;
    let app_key = r"it's \' a key; --";
    let stamp = RunStamp { app_key: app_key.to_owned(), ..stamp() };
    let mut sink = writer(settings(&database.url()), stamp);
    sink.open(&claim(0, None)).await.unwrap();
    committed(&mut sink, 1, messages(0..10)).await;
    committed(&mut sink, 2, messages(5..15)).await;
    let mut connection = database.connect().await;
    assert_eq!(count(&mut connection).await, 15);
    assert_eq!(scalar::<String>(&mut connection, "select distinct app_key from messages").await, app_key);
    let sql = "select inserted from messages_commits where sequence = 2";
    assert_eq!(scalar::<i64>(&mut connection, sql).await, 5);
}
