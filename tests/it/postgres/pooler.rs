//! Behind a pooler, whose sessions others have before and after: nothing is left in them, and every commit is made once.

use std::collections::BTreeSet;

use sqlx::{Connection as _, Executor as _, Row as _};

use super::*;
use crate::support::nights::{Nights, Place};
use crate::support::pgbouncer::Pooler;
use crate::support::postgres::database;

const OTHER_RUN: Uuid = Uuid::from_u128(0x4002);

/// What a session is like for whoever has it, and which one it is.
async fn state(other: &mut PgConnection) -> (i32, String) {
    let sql = "select pg_backend_pid() as pid, concat_ws(' | ', (select count(*) from app_orders), \
         current_setting('search_path'), current_setting('statement_timeout'), current_setting('lock_timeout'), \
         current_setting('synchronous_commit'), current_setting('idle_in_transaction_session_timeout'), \
         current_setting('yunxin_archiver.session', true), \
         (select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'), \
         (select string_agg(name, ',') from pg_prepared_statements), \
         (select string_agg(relname, ',') from pg_class where relnamespace = pg_my_temp_schema())) as state";
    let row = sqlx::raw_sql(sql).fetch_one(other).await.unwrap();
    (row.get("pid"), row.get("state"))
}

/// What both sessions of a pool are like.
async fn states(other: &mut PgConnection) -> BTreeSet<String> {
    let (mut sessions, mut states) = (BTreeSet::new(), BTreeSet::new());
    while sessions.len() < 2 {
        let (session, state) = state(other).await;
        sessions.insert(session);
        states.insert(state);
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_through_a_pooler_and_other_clients_of_it_notice_nothing() {
    let database = database().await;
    database.execute("create table app_orders (id int)").await;
    let pooler = Pooler::start(&database, "transaction");
    let through = pooler.of(&database);
    let mut other = through.connect().await;
    let before = states(&mut other).await;
    assert_eq!(before.len(), 1, "{before:?}");

    let nights = Nights::new(Place::Postgres(database.clone()));
    let archive = through.url();
    let work = std::thread::spawn(move || {
        for (night, arguments) in [
            (Some(0), &["check", "--connect"][..]),
            (None, &["run"]),
            (Some(1), &["run"]),
            (None, &["run", "--refetch", "all"]),
            (None, &["verify", "nightly"]),
            (None, &["verify", "nightly", "--against", "nightly"]),
            (None, &["export", "nightly", "--all", "--format", "jsonl", "-o", "exported"]),
            (None, &["adopt", "nightly"]),
            (Some(2), &["run"]),
        ] {
            if let Some(night) = night {
                nights.fall(night);
            }
            let output = nights.command(arguments).env("ARCHIVE_URL", &archive).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        }
        nights
    });
    while !work.is_finished() {
        let (_, now) = state(&mut other).await;
        assert!(before.contains(&now), "{now}");
    }
    work.join().unwrap().holds(0..3).await;
    assert_eq!(states(&mut other).await, before);
}

#[tokio::test]
async fn edits_and_what_vanished_leave_nothing_behind_either() {
    let database = database().await;
    database.execute("create table app_orders (id int)").await;
    let pooler = Pooler::start(&database, "transaction");
    let through = pooler.of(&database);
    let mut other = through.connect().await;
    let before = states(&mut other).await;
    let mut sink = sink(&through.url());
    opened(0, &sink.open(&claim(0, None)).await.unwrap());
    committed(&mut sink, 1, messages(0..100)).await;
    assert_eq!(states(&mut other).await, before);
    sink.write(messages(50..150)).await.unwrap();
    for edit in 1..4 {
        sink.write(version(7, Some(NOON + edit), "edited")).await.unwrap();
    }
    sink.write_vanished(vec![vanished(8)]).await.unwrap();
    sink.prepare(2).await.unwrap();
    assert_eq!(states(&mut other).await, before);
    // What was under way when a process dies goes with its connection.
    sink.write(messages(200..300)).await.unwrap();
    drop(sink);
    let mut next = super::sink(&through.url());
    opened(2, &next.open(&claim(2, None)).await.unwrap());
    committed(&mut next, 3, messages(200..300)).await;
    assert_eq!(states(&mut other).await, before);
    let mut connection = database.connect().await;
    let counts = "select array[(select count(*) from messages), (select count(*) from message_revisions), \
         (select count(*) from messages_vanished)]";
    assert_eq!(scalar::<Vec<i64>>(&mut connection, counts).await, [250, 3, 1]);
}

#[tokio::test]
async fn a_pooler_that_keeps_sessions_to_their_clients_works_as_before() {
    let database = database().await;
    let pooler = Pooler::start(&database, "session");
    let mut sink = sink(&pooler.of(&database).url());
    opened(0, &sink.open(&claim(0, None)).await.unwrap());
    committed(&mut sink, 1, messages(0..100)).await;
    committed(&mut sink, 2, version(7, Some(NOON + 1), "edited")).await;
    drop(sink);
    let mut next = super::sink(&pooler.of(&database).url());
    opened(2, &next.open(&claim(2, None)).await.unwrap());
    committed(&mut next, 3, messages(100..200)).await;
}

#[tokio::test]
async fn a_pooler_without_transactions_is_refused_with_what_to_set() {
    let database = database().await;
    let pooler = Pooler::start(&database, "statement");
    let error = refused(&mut sink(&pooler.of(&database).url()), &claim(0, None)).await;
    assert!(
        matches!(&error, ArchiveError::Unusable(text) if text.contains("pool_mode = transaction or session")),
        "{error:?}"
    );
}

#[tokio::test]
async fn of_two_processes_that_write_at_once_only_one_commits() {
    let database = database().await;
    let pooler = Pooler::start(&database, "transaction");
    let url = pooler.of(&database).url();
    let mut first = sink(&url);
    first.open(&claim(0, None)).await.unwrap();
    let stamp = RunStamp { run_id: OTHER_RUN, ..stamp() };
    let mut second = writer(settings(&url), stamp.clone());
    second.open(&claim(0, None)).await.unwrap();
    // A commit that is under way keeps a third one out.
    first.write(messages(0..10)).await.unwrap();
    let mut connection = database.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    transaction.execute("lock table messages in exclusive mode").await.unwrap();
    let committing = tokio::spawn(async move { first.prepare(1).await.map(|_| first) });
    commit::blocked(&mut database.connect().await).await;
    let impatient = Settings { patience: Duration::from_millis(100), ..settings(&url) };
    let error = refused(&mut writer(impatient, stamp.clone()), &claim(0, None)).await;
    assert!(matches!(&error, ArchiveError::Busy(text) if text.contains("holds its lock")), "{error:?}");
    transaction.rollback().await.unwrap();
    let mut first = committing.await.unwrap().unwrap();

    second.write(messages(10..20)).await.unwrap();
    let error = second.prepare(1).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::NotOurs(text) if text.contains("an old copy")), "{error:?}");
    assert_eq!(scalar::<i64>(&mut connection, "select count(*) from messages").await, 10);
    // Its ledger announced a commit of the same number, which is not the one that is there.
    let announced = Claim { runs: vec![(1, OTHER_RUN)], ..claim(0, Some(1)) };
    let error = refused(&mut writer(settings(&url), stamp), &announced).await;
    assert!(matches!(&error, ArchiveError::NotOurs(text) if text.contains("two copies of the ledger")), "{error:?}");
    committed(&mut first, 2, messages(20..30)).await;
}

#[tokio::test]
async fn another_process_s_commit_of_the_same_number_is_not_taken_for_one_that_broke() {
    let database = database().await;
    let pooler = Pooler::start(&database, "transaction");
    let mut sink = sink(&pooler.of(&database).url());
    sink.open(&claim(0, None)).await.unwrap();
    let mut other = database.connect().await;
    other.execute("begin; lock table messages_commits in exclusive mode").await.unwrap();
    sink.write(messages(0..10)).await.unwrap();
    let committing = tokio::spawn(async move { sink.prepare(1).await });
    let mut administrator = database.connect().await;
    commit::blocked(&mut administrator).await;
    assert!(disconnect(&mut administrator).await >= 1);
    let theirs = format!(
        "lock table messages_archive in access exclusive mode; update messages_archive set sequence = 1; \
         insert into messages_commits values ('{LEDGER}', 1, '{OTHER_RUN}', 0, 0, 0, 0); commit"
    );
    other.execute(sqlx::raw_sql(AssertSqlSafe(theirs))).await.unwrap();
    let error = committing.await.unwrap().unwrap_err();
    assert!(matches!(&error, ArchiveError::NotOurs(_)), "{error:?}");
}

#[tokio::test]
async fn a_failover_that_only_the_pooler_notices_loses_nothing() {
    let database = database().await;
    let pooler = Pooler::start(&database, "transaction");
    let mut sink = sink(&pooler.of(&database).url());
    sink.open(&claim(0, None)).await.unwrap();
    committed(&mut sink, 1, messages([1])).await;
    committed(&mut sink, 2, messages([2])).await;
    // What a standby that was promoted too early would look like. The sink's connection stays.
    database
        .execute(
            "delete from messages where message_server_id = 2; delete from messages_commits where sequence = 2; \
             update messages_archive set sequence = 1",
        )
        .await;
    sink.write(messages([3])).await.unwrap();
    let error = sink.prepare(3).await.unwrap_err();
    let ArchiveError::Failed { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("lost commits up to 2"), "{source}");
    opened(1, &sink.open(&claim(2, Some(3))).await.unwrap());
}
