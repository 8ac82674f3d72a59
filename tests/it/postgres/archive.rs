//! Setting up, and taking possession.

use super::*;
use crate::support::postgres::{Cluster, Fsync, database};

fn named(url: &str, schema: &str, table: &str) -> Box<dyn ArchiveWriter> {
    let mut settings = settings(url);
    (settings.sink.schema, settings.sink.table) = (schema.to_owned(), table.to_owned());
    writer(settings, stamp())
}

#[tokio::test]
async fn names_may_hold_anything() {
    let database = database().await;
    for (schema, table) in [("审计 \"A\"", "聊天 'Messages'; --"), ("select", "Order {{messages}}"), ("public", "x")]
    {
        let mut sink = named(&database.url(), schema, table);
        opened(0, &sink.open(&claim(0, None)).await.unwrap());
        committed(&mut sink, 1, messages(1..10)).await;
        committed(&mut sink, 2, version(1, Some(NOON), "edited")).await;
        drop(sink);
        let mut again = named(&database.url(), schema, table);
        opened(2, &again.open(&claim(2, None)).await.unwrap());
        committed(&mut again, 3, messages(10..20)).await;
    }
    let mut connection = database.connect().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select schemaname || '.' || tablename from pg_tables \
         where schemaname not in ('pg_catalog', 'information_schema') and schemaname !~ '^pg_temp' order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut expected = Vec::new();
    for place in ["审计 \"A\".聊天 'Messages'; --", "select.Order {{messages}}", "public.x"] {
        for suffix in ["", "_archive", "_commits", "_manifests", "_migrations", "_revisions", "_vanished"] {
            expected.push(format!("{place}{suffix}"));
        }
    }
    expected.sort();
    assert_eq!(tables, expected);
}

#[tokio::test]
async fn conversations_are_indexed_by_time_and_messages_are_unique() {
    let database = database().await;
    open(&database).await;
    let mut connection = database.connect().await;
    let indexes: Vec<String> =
        sqlx::query_scalar("select indexdef from pg_indexes where tablename = 'messages' order by indexname")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(
        indexes,
        [
            "CREATE INDEX messages_conversation ON public.messages USING btree (conversation_key, create_time)",
            "CREATE UNIQUE INDEX messages_pkey ON public.messages USING btree (app_key, message_server_id)",
        ]
    );
}

#[tokio::test]
async fn an_archive_is_opened_where_it_stands() {
    let database = database().await;
    let mut first = open(&database).await;
    for commit in 1..=3 {
        committed(&mut first, commit, messages([commit as i64])).await;
    }
    drop(first);
    let mut sink = sink(&database.url());
    opened(3, &sink.open(&claim(3, None)).await.unwrap());
    // Announced and made: the process died before the ledger recorded it.
    opened(3, &sink.open(&claim(2, Some(3))).await.unwrap());
    // Announced and never made.
    opened(3, &sink.open(&claim(3, Some(4))).await.unwrap());
    // Recorded and lost, by a failover or a restored backup.
    opened(3, &sink.open(&claim(5, None)).await.unwrap());
    committed(&mut sink, 6, messages([6])).await;
    opened(6, &sink.open(&claim(6, None)).await.unwrap());
}

#[tokio::test]
async fn an_archive_of_another_ledger_or_ahead_of_this_one_is_refused() {
    let database = database().await;
    let mut sink = open(&database).await;
    committed(&mut sink, 1, messages([1])).await;
    committed(&mut sink, 2, messages([2])).await;

    let error = refused(&mut sink, &claim(1, None)).await;
    assert!(
        matches!(&error, ArchiveError::NotOurs(text) if text.contains("has commit 2")
        && text.contains("none after 1") && text.contains("`adopt nightly`")),
        "{error}"
    );

    let error = refused(&mut sink, &Claim { ledger_id: Uuid::from_u128(9), ..claim(2, None) }).await;
    assert!(
        matches!(&error, ArchiveError::NotOurs(text) if text.contains("another ledger")
        && text.contains(&LEDGER.to_string()) && text.contains("`adopt nightly`")),
        "{error}"
    );

    database.execute("delete from messages_archive").await;
    let error = refused(&mut sink, &claim(0, None)).await;
    assert!(matches!(&error, ArchiveError::NotOurs(text) if text.contains("no ledger owns it")), "{error}");
}

#[tokio::test]
async fn an_archive_that_is_gone_is_not_begun_anew() {
    let database = database().await;
    let error = refused(&mut sink(&database.url()), &claim(7, None)).await;
    assert!(
        matches!(&error, ArchiveError::NotOurs(text) if text.contains("is gone: the ledger recorded 7")),
        "{error}"
    );
    let mut connection = database.connect().await;
    assert_eq!(scalar::<i64>(&mut connection, "select count(*) from pg_tables where schemaname = 'public'").await, 0);
}

#[tokio::test]
async fn a_table_of_another_shape_is_refused_and_left_alone() {
    let database = database().await;
    let mut sink = sink(&database.url());
    for (setup, expected) in [
        ("create table messages (id integer)", r#"column "app_key" is missing, expected text not null"#),
        ("create view messages as select 1", "is no table"),
    ] {
        database.execute(setup).await;
        let error = refused(&mut sink, &claim(0, None)).await;
        assert!(matches!(&error, ArchiveError::Unusable(text) if text.contains(expected)), "{error}");
        let mut connection = database.connect().await;
        let left: i64 = scalar(&mut connection, "select count(*) from pg_class where relname like 'message%'").await;
        assert_eq!(left, 1, "{setup}");
        database.execute(if setup.contains("view") { "drop view messages" } else { "drop table messages" }).await;
    }
    sink.open(&claim(0, None)).await.unwrap();
    for (change, undo, expected) in [
        (
            "alter table messages alter text type varchar(50)",
            "alter table messages alter text type text",
            r#"column "text" is character varying(50), expected text"#,
        ),
        (
            "alter table messages alter sender_id set not null",
            "alter table messages alter sender_id drop not null",
            r#"column "sender_id" is text not null, expected text"#,
        ),
        (
            "alter table messages add tenant integer not null",
            "alter table messages drop tenant",
            r#"column "tenant" is integer not null, expected nullable, or to have a default"#,
        ),
        (
            "alter table message_revisions alter team_id type integer",
            "alter table message_revisions alter team_id type bigint",
            r#"public.message_revisions is a table of another shape: column "team_id" is integer, expected bigint"#,
        ),
        (
            "alter table messages drop constraint messages_pkey",
            "alter table messages add primary key (app_key, message_server_id)",
            "no unique index on (app_key, message_server_id)",
        ),
    ] {
        database.execute(change).await;
        let error = refused(&mut sink, &claim(0, None)).await;
        assert!(matches!(&error, ArchiveError::Unusable(text) if text.contains(expected)), "{error}");
        database.execute(undo).await;
        sink.open(&claim(0, None)).await.unwrap();
    }
    // Columns of the customer's own do no harm.
    database.execute("alter table messages add note text, add seen timestamptz not null default now()").await;
    sink.open(&claim(0, None)).await.unwrap();
    committed(&mut sink, 1, messages(0..5)).await;
    committed(&mut sink, 2, version(1, Some(NOON), "edited")).await;
}

#[tokio::test]
async fn an_archive_of_a_newer_version_is_refused() {
    let database = database().await;
    open(&database).await;
    database
        .execute(
            "insert into messages_migrations select 999, 'later', now(), true, checksum, 0 from messages_migrations limit 1",
        )
        .await;
    let error = refused(&mut sink(&database.url()), &claim(0, None)).await;
    assert!(matches!(&error, ArchiveError::Unusable(text) if text.contains("newer version")), "{error}");
}

#[tokio::test]
async fn a_role_that_may_not_create_tables_is_told_so_and_helped_by_the_script() {
    let database = database().await;
    let role = format!("writer_{}", database.database());
    database.execute(&format!("create role {role} login password 'hunter2'")).await;
    let mut sink = sink(&database.url_as(&role, "hunter2"));
    let error = refused(&mut sink, &claim(0, None)).await;
    assert!(
        matches!(&error, ArchiveError::Denied(text) if text.contains("permission denied for schema public")
        && text.contains("SQLSTATE 42501") && text.contains("`schema postgres`")),
        "{error}"
    );

    database.execute(&yunxin_archiver::archive::postgres::script("public", "messages", true).unwrap()).await;
    // Running it twice does nothing.
    database.execute(&yunxin_archiver::archive::postgres::script("public", "messages", true).unwrap()).await;
    database.execute(&format!("grant select, insert on all tables in schema public to {role}")).await;
    let error = refused(&mut sink, &claim(0, None)).await;
    assert!(
        matches!(&error, ArchiveError::Denied(text) if text.contains("lacks UPDATE on public.messages")),
        "{error}"
    );

    database.execute(&format!("grant update on messages, messages_archive to {role}")).await;
    opened(0, &sink.open(&claim(0, None)).await.unwrap());
    committed(&mut sink, 1, messages(0..5)).await;
    committed(&mut sink, 2, version(3, Some(NOON), "edited")).await;
}

#[tokio::test]
async fn tables_that_a_crash_empties_are_warned_of_by_a_run_and_by_a_check() {
    let database = database().await;
    opened(0, &sink(&database.url()).open(&claim(0, None)).await.unwrap());
    let said = async || {
        let warnings = sink(&database.url()).open(&claim(0, None)).await.unwrap().warnings.join("\n");
        (warnings, PostgresArchive::new(settings(&database.url())).probe().await.unwrap())
    };
    let (run, check) = said().await;
    assert!(!run.contains("UNLOGGED") && !check.contains("UNLOGGED"), "{run} {check}");
    database.execute("alter table messages set unlogged").await;
    for said in <[String; 2]>::from(said().await) {
        assert!(said.contains("public.messages is UNLOGGED") && said.contains("set logged"), "{said}");
    }
    // A partition is enough.
    database
        .execute(
            "drop table messages; create table messages (like message_revisions, primary key (app_key, message_server_id))
                 partition by list (app_key);
             create unlogged table part partition of messages default",
        )
        .await;
    for said in <[String; 2]>::from(said().await) {
        assert!(said.contains("public.part is UNLOGGED"), "{said}");
    }
}

#[tokio::test]
async fn what_is_refused_at_the_door_is_told_apart() {
    let database = database().await;
    let wrong = database.url_as("postgres", "hunter2-wrong");
    let error = refused(&mut sink(&wrong), &claim(0, None)).await;
    assert!(matches!(&error, ArchiveError::Denied(text) if text.contains("28P01")), "{error}");

    let missing = database.url().replace(database.database(), "nowhere");
    let error = refused(&mut sink(&missing), &claim(0, None)).await;
    assert!(matches!(&error, ArchiveError::Unusable(text) if text.contains("\"nowhere\" does not exist")), "{error}");

    let settings = Settings { patience: Duration::ZERO, ..settings("postgres://me:hunter2@127.0.0.1:1/archive") };
    let error = refused(&mut writer(settings, stamp()), &claim(0, None)).await;
    assert!(
        matches!(&error, ArchiveError::Failed { context, .. } if context.contains("127.0.0.1:1/archive")),
        "{error}"
    );

    let error = refused(&mut named(&database.url(), "pg_mine", "messages"), &claim(0, None)).await;
    assert!(matches!(&error, ArchiveError::Unusable(text) if text.contains("pg_mine")), "{error}");

    let latin = format!("{}_latin", database.database());
    database.execute(&format!("create database {latin} encoding 'LATIN1' template template0")).await;
    let url = database.url().replace(database.database(), &latin);
    let error = refused(&mut sink(&url), &claim(0, None)).await;
    assert!(matches!(&error, ArchiveError::Unusable(text) if text.contains("encoding LATIN1")), "{error}");
}

#[tokio::test]
async fn one_process_at_a_time_holds_an_archive() {
    let database = database().await;
    let holder = open(&database).await;
    let impatient = Settings { patience: Duration::from_millis(100), ..settings(&database.url()) };
    let mut second = writer(impatient, stamp());
    let error = refused(&mut second, &claim(0, None)).await;
    assert!(matches!(&error, ArchiveError::Busy(text) if text.contains("another process")), "{error}");
    drop(holder);
    sink(&database.url()).open(&claim(0, None)).await.unwrap();
}

#[tokio::test]
async fn many_archives_of_one_schema_are_set_up_at_once() {
    let database = database().await;
    let mut opening = tokio::task::JoinSet::new();
    for number in 0..6 {
        let mut sink = named(&database.url(), "fresh", &format!("table_{}", number / 2));
        opening.spawn(async move {
            let opened = sink.open(&claim(0, None)).await;
            if opened.is_ok() {
                committed(&mut sink, 1, messages(0..5)).await;
            }
            drop(sink);
            opened
        });
    }
    let mut done = 0;
    while let Some(result) = opening.join_next().await {
        match result.unwrap() {
            Ok(opened) => {
                assert_eq!(opened.commit, 0);
                done += 1;
            }
            // The second of a pair waits for the first, and finds that its own ledger is older.
            Err(ArchiveError::NotOurs(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(done, 3);
}

#[tokio::test]
async fn a_server_that_may_forget_is_warned_of() {
    let database = database().await;
    let opened = sink(&database.url()).open(&claim(0, None)).await.unwrap();
    assert_eq!(opened.warnings.len(), 1);
    assert!(opened.warnings[0].contains("fsync=off"), "{:?}", opened.warnings);
}

#[tokio::test]
async fn a_crash_of_the_server_loses_no_commit() {
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::start(Fsync::On)).await.unwrap();
    let database = cluster.database().await;
    let mut sink = sink(&database.url());
    assert_eq!(sink.open(&claim(0, None)).await.unwrap().warnings, [""; 0]);
    committed(&mut sink, 1, messages(0..100)).await;
    let restarted = tokio::task::spawn_blocking(move || {
        cluster.crash();
        assert!(cluster.resume());
        cluster
    });
    sink.write(messages(50..150)).await.unwrap();
    assert_eq!(sink.prepare(2).await.unwrap().rows, 100);
    let _cluster = restarted.await.unwrap();
    let mut connection = database.connect().await;
    assert_eq!(scalar::<i64>(&mut connection, "select count(*) from messages").await, 150);
    assert_eq!(scalar::<i64>(&mut connection, "select sequence from messages_archive").await, 2);
}
