//! A commit counts what the database holds, not what it was sent: triggers, rules and policies of others may drop rows.

use super::*;
use crate::support::nights::{NIGHT, Nights, Place};
use crate::support::postgres::database;

/// A trigger function of this body.
fn function(body: &str) -> String {
    format!("create or replace function meddle() returns trigger language plpgsql as $$ begin {body} end $$")
}

/// A commit that must fail because of what stands in `table`.
async fn fails(sink: &mut Box<dyn ArchiveWriter>, commit: u64, table: &str) -> String {
    let error = sink.prepare(commit).await.unwrap_err();
    let ArchiveError::Failed { source, .. } = &error else { panic!("{error:?}") };
    let said = source.to_string();
    assert!(said.contains(&format!("public.{table} ")) && said.contains("trigger, a rule or a policy"), "{said}");
    said
}

const EVEN: &str = "if new.message_server_id % 2 = 0 then return null; end if; return new;";
const INSTEAD: &str = "if new.message_server_id % 2 = 0 then return null; end if; \
     insert into public.stored select new.*; return new;";
const WHENEVER: &str = "delete from public.messages where message_server_id % 2 = 0; return null;";

#[tokio::test]
async fn whatever_drops_messages_fails_the_commit_and_the_next_one_completes_it() {
    let drop = "drop trigger meddle on messages";
    // Those that delete also lose what was there before.
    let (some, all) = ("5 of the 15 messages (such as 20)", "7 of the 15 messages (such as 16)");
    for (body, lost, make, undo) in [
        (EVEN, some, "create trigger meddle before insert on messages for each row execute function meddle()", drop),
        (WHENEVER, all, "create trigger meddle after insert on messages for each row execute function meddle()", drop),
        (
            WHENEVER,
            all,
            "create trigger meddle after insert on messages for each statement execute function meddle()",
            drop,
        ),
        (
            WHENEVER,
            all,
            "create constraint trigger meddle after insert on messages deferrable initially deferred \
             for each row execute function meddle()",
            drop,
        ),
        (
            WHENEVER,
            all,
            "create trigger meddle after insert on messages_commits for each row execute function meddle()",
            "drop trigger meddle on messages_commits",
        ),
        (
            INSTEAD,
            some,
            "alter table messages rename to stored; create view messages as select * from stored; \
             create trigger meddle instead of insert on messages for each row execute function meddle()",
            "drop view messages; alter table stored rename to messages",
        ),
    ] {
        let database = database().await;
        let mut sink = open(&database).await;
        committed(&mut sink, 1, messages([1])).await;
        database.execute(&format!("{}; {make}", function(body))).await;
        let mut connection = database.connect().await;
        // Once where all are new, and once where some are there.
        for (commit, ids) in [(2, 10..20), (3, 15..30)] {
            sink.write(messages(ids)).await.unwrap();
            let said = fails(&mut sink, commit, "messages").await;
            let lost = if commit == 2 { "5 of the 10 messages (such as 10)" } else { lost };
            let names = make.contains("on messages_commits") || said.contains("its triggers: meddle");
            assert!(said.contains(lost) && names, "{make}: {said}");
            let sequence: i64 = scalar(&mut connection, "select sequence from messages_archive").await;
            assert_eq!(sequence, commit as i64 - 1, "{make}");
            let recorded: i64 = scalar(&mut connection, "select count(*) from messages_commits").await;
            assert_eq!(recorded, sequence);
            database.execute(undo).await;
            sink.prepare(commit).await.unwrap();
            database.execute(make).await;
        }
        let found: i64 = scalar(&mut connection, "select count(*) from messages").await;
        assert_eq!(found, 21, "{make}");
    }
}

#[tokio::test]
async fn a_night_whose_rows_are_dropped_fails_and_the_next_run_completes_it() {
    let database = database().await;
    let nights = Nights::new(Place::Postgres(database.clone()));
    nights.fall(0);
    nights.run();
    let trigger = "create trigger meddle before insert on messages for each row execute function meddle()";
    database.execute(&format!("{}; {trigger}", function(EVEN))).await;
    nights.fall(1);
    let output = nights.go(&["run", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("public.messages ") && said.contains("drops rows"), "{said}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let references = &summary["jobs"][0]["references"];
    assert_eq!((&references["archived"], &references["pending"]), (&0.into(), &NIGHT.into()), "{references}");
    nights.holds(0..1).await;
    database.execute("drop trigger meddle on messages").await;
    assert_eq!(nights.run()["references"]["archived"], NIGHT);
    nights.holds(0..2).await;
    nights.well(&["verify", "nightly"]);
}

#[tokio::test]
async fn edits_that_are_dropped_fail_the_commit() {
    for (meddle, undo) in [
        (
            format!(
                "{}; create trigger meddle before update on messages for each row execute function meddle()",
                function("return null;")
            ),
            "drop trigger meddle on messages",
        ),
        (
            format!(
                "{}; create trigger meddle before update on messages for each row execute function meddle()",
                function("return old;")
            ),
            "drop trigger meddle on messages",
        ),
        (
            format!(
                "{}; create constraint trigger meddle after update on messages deferrable initially deferred \
                 for each row when (pg_trigger_depth() = 0) execute function meddle()",
                function(
                    "update public.messages set text = old.text, modify_time = old.modify_time, revision = old.revision \
                     where message_server_id = old.message_server_id; return null;"
                )
            ),
            "drop trigger meddle on messages",
        ),
        ("create rule meddle as on update to messages do instead nothing".to_owned(), "drop rule meddle on messages"),
    ] {
        let database = database().await;
        let mut sink = open(&database).await;
        committed(&mut sink, 1, messages(0..10)).await;
        database.execute(&meddle).await;
        sink.write(version(7, Some(NOON + 1), "edited")).await.unwrap();
        let said = fails(&mut sink, 2, "messages").await;
        assert!(said.contains("1 new versions of messages (such as 7)"), "{said}");
        database.execute(undo).await;
        sink.prepare(2).await.unwrap();
        let mut connection = database.connect().await;
        assert_eq!(texts(&mut connection, "messages").await[7], (7, 1, "edited".to_owned()));
        assert_eq!(texts(&mut connection, "message_revisions").await, [(7, 0, "message 7".to_owned())]);
    }
}

#[tokio::test]
async fn every_other_table_confirms_too() {
    for (table, event, body) in [
        ("message_revisions", "before insert", "return null;"),
        ("message_revisions", "after insert", "delete from public.message_revisions; return null;"),
        ("message_revisions", "put off", "delete from public.message_revisions; return null;"),
        ("messages_vanished", "before insert", "return null;"),
        ("messages_vanished", "after insert", "delete from public.messages_vanished; return null;"),
        ("messages_commits", "before insert", "return null;"),
        ("messages_commits", "after insert", "delete from public.messages_commits; return null;"),
        ("messages_archive", "before update", "return null;"),
        ("messages_archive", "before update", "return old;"),
    ] {
        let database = database().await;
        let mut sink = open(&database).await;
        committed(&mut sink, 1, messages(0..10)).await;
        let (constraint, deferred) =
            if event == "put off" { ("constraint", "deferrable initially deferred") } else { ("", "") };
        let event = if event == "put off" { "after insert" } else { event };
        let trigger = format!(
            "create {constraint} trigger meddle {event} on {table} {deferred} for each row execute function meddle()"
        );
        database.execute(&format!("{}; {trigger}", function(body))).await;
        sink.write(version(7, Some(NOON + 1), "edited")).await.unwrap();
        sink.write_vanished(vec![vanished(8), vanished(9)]).await.unwrap();
        fails(&mut sink, 2, table).await;
        database.execute(&format!("drop trigger meddle on {table}")).await;
        sink.prepare(2).await.unwrap();
        let mut connection = database.connect().await;
        let counts = "select array[(select count(*) from message_revisions), (select count(*) from messages_vanished), \
             (select count(*) from messages_commits), (select max(sequence) from messages_archive)]";
        assert_eq!(scalar::<Vec<i64>>(&mut connection, counts).await, [1, 2, 2, 2], "{trigger}");
    }
}

#[tokio::test]
async fn a_manifest_or_an_owner_that_is_dropped_is_not_taken_to_be_there() {
    let database = database().await;
    let nights = Nights::new(Place::Postgres(database.clone()));
    nights.fall(0);
    nights.run();
    database
        .execute(&format!(
            "{}; create trigger meddle before insert on messages_manifests for each row execute function meddle()",
            function("return null;")
        ))
        .await;
    nights.fall(1);
    let output = nights.go(&["run"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("lacks manifest 2"), "{said}");
    database.execute("drop trigger meddle on messages_manifests").await;
    nights.run();
    nights.well(&["verify", "nightly"]);

    database
        .execute("create trigger meddle before update on messages_archive for each row execute function meddle()")
        .await;
    let output = nights.go(&["adopt", "nightly"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("public.messages_archive lacks the row"), "{said}");
    database.execute("drop trigger meddle on messages_archive").await;
    nights.adopt();
    nights.fall(2);
    nights.run();
    nights.holds(0..3).await;
}

#[tokio::test]
async fn a_redirect_within_the_table_s_inheritance_keeps_everything() {
    for (key, place) in [(", primary key (app_key, message_server_id)", "pt_child"), ("", "public.pt_child")] {
        let database = database().await;
        let mut sink = open(&database).await;
        let body = format!("insert into {place} values (new.*); return null;");
        database
            .execute(&format!(
                "create table pt_child (like messages including defaults{key}) inherits (messages); {}; \
                 create trigger meddle before insert on messages for each row execute function meddle()",
                function(&body)
            ))
            .await;
        committed(&mut sink, 1, messages(0..100)).await;
        committed(&mut sink, 2, messages(50..150)).await;
        drop(sink);
        // A new process, whose first messages are known ones.
        let mut sink = super::sink(&database.url());
        sink.open(&claim(2, None)).await.unwrap();
        committed(&mut sink, 3, messages(100..200)).await;
        sink.write(version(7, Some(NOON + 1), "edited")).await.unwrap();
        sink.write(version(300, None, "first")).await.unwrap();
        sink.write(version(300, Some(NOON + 1), "second")).await.unwrap();
        sink.prepare(4).await.unwrap();
        let mut connection = database.connect().await;
        assert_eq!(scalar::<i64>(&mut connection, "select count(*) from only messages").await, 0);
        let found = texts(&mut connection, "pt_child").await;
        assert_eq!((found.len(), &found[7], &found[200]), (201, &(7, 1, "edited".into()), &(300, 1, "second".into())));
        let counts: Vec<(i64, i64, i64)> =
            sqlx::query_as("select messages, inserted, revised from messages_commits order by sequence")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        assert_eq!(counts, [(100, 100, 0), (100, 50, 0), (100, 50, 0), (3, 1, 2)]);
    }
}

#[tokio::test]
async fn triggers_that_drop_nothing_do_no_harm() {
    let database = database().await;
    let mut sink = open(&database).await;
    // What they change is theirs to change.
    database
        .execute(&format!(
            "create table noted (id bigint); {}; \
             create trigger meddle before insert or update on messages for each row execute function meddle()",
            function(
                "insert into noted values (new.message_server_id); new.extension = 'seen'; \
                 if tg_op = 'INSERT' then new.modify_time = date_trunc('hour', new.modify_time); end if; return new;"
            )
        ))
        .await;
    committed(&mut sink, 1, messages(0..100)).await;
    committed(&mut sink, 2, messages(50..150)).await;
    sink.write(version(7, Some(NOON + 1), "edited")).await.unwrap();
    sink.write(version(300, Some(NOON + 1), "new")).await.unwrap();
    sink.prepare(3).await.unwrap();
    let mut connection = database.connect().await;
    let found = texts(&mut connection, "messages").await;
    assert_eq!((found.len(), &found[7]), (151, &(7, 1, "edited".to_owned())));
    assert_eq!(scalar::<i64>(&mut connection, "select count(*) from messages where extension = 'seen'").await, 151);
    assert_eq!(scalar::<i64>(&mut connection, "select count(*) from noted").await, 152);
}

#[tokio::test]
async fn policies_that_hide_or_refuse_rows_fail_the_commit() {
    let database = database().await;
    let role = format!("policed_{}", database.database());
    database
        .execute(&format!("create role {role} login password 'hunter2'; grant create on schema public to {role}"))
        .await;
    let mut sink = sink(&database.url_as(&role, "hunter2"));
    sink.open(&claim(0, None)).await.unwrap();
    committed(&mut sink, 1, messages(0..10)).await;
    for table in ["messages", "message_revisions", "messages_vanished", "messages_commits"] {
        database
            .execute(&format!(
                "alter table {table} enable row level security; alter table {table} force row level security; \
                 create policy visible on {table} for select using (false); \
                 create policy writable on {table} for insert with check (true)"
            ))
            .await;
        sink.write(messages(10..12)).await.unwrap();
        sink.write(version(7, Some(NOON + 1), "edited")).await.unwrap();
        sink.write_vanished(vec![vanished(8)]).await.unwrap();
        let error = sink.prepare(2).await.unwrap_err();
        assert!(!matches!(error, ArchiveError::NotOurs(_) | ArchiveError::Busy(_)), "{table}: {error:?}");
        database.execute(&format!("alter table {table} disable row level security")).await;
        let mut connection = database.connect().await;
        assert_eq!(scalar::<i64>(&mut connection, "select count(*) from messages").await, 10);
        assert_eq!(scalar::<i64>(&mut connection, "select sequence from messages_archive").await, 1);
    }
    sink.prepare(2).await.unwrap();
}
