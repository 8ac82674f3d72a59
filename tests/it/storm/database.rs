//! A hostile database under the archive.

use std::process::Child;

use sqlx::{Connection as _, Executor as _};

use crate::support::postgres::{Cluster, Fsync, PASSWORD, PgUrl};
use crate::support::storm::{ELSEWHERE, Ran, Site, To, block_on, database};

/// A site that has had a first, quiet run, and has more to do; and its database.
fn begun(more: i64) -> (Site, PgUrl) {
    let url = database();
    (Site::begun(To::Postgres(url.clone()), 60, more), url)
}

/// A run that has had a few of its answers.
fn under_way(site: &Site) -> Child {
    site.api.faults(|faults| faults.latency_ms = 30);
    let before = site.api.stats().answered;
    let child = site.start();
    site.until("answers", |site| site.api.stats().answered > before + 3);
    child
}

fn execute(url: &PgUrl, sql: &str) {
    block_on(url.execute(sql));
}

fn error(ran: &Ran) -> String {
    let error = ran.error();
    assert!(!error.contains(PASSWORD), "{error}");
    error
}

#[test]
fn a_server_that_crashes_and_comes_back_during_a_run_costs_no_message() {
    let mut cluster = Cluster::start(Fsync::On);
    let url = block_on(cluster.database());
    let mut site = Site::begun(To::Postgres(url), 60, 200);
    let mut child = under_way(&site);
    cluster.crash();
    assert!(cluster.resume());
    assert!(child.wait().unwrap().success());
    site.is_whole();
    // While it is away nothing is sent that could not be written, and it is said.
    site.night(40);
    cluster.crash();
    let requests = site.api.stats().requests;
    let ran = site.plain().exits(1);
    assert!(error(&ran).contains("127.0.0.1"), "{ran:?}");
    assert_eq!(site.api.stats().requests, requests);
    assert!(cluster.resume());
    site.completes();
}

#[test]
fn a_connection_that_is_killed_during_a_run_costs_no_message() {
    let (site, url) = begun(200);
    let mut child = under_way(&site);
    execute(
        &url,
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    );
    assert!(child.wait().unwrap().success());
    site.is_whole();
}

#[test]
fn what_the_role_may_no_longer_do_is_exit_4_and_the_next_run_completes() {
    let (site, url) = begun(40);
    let role = format!("archiver_{}", url.database());
    execute(&url, &format!("create role {role} login password 'pw-of-archiver'"));
    for suffix in ["s", "_revisions", "s_archive", "s_commits", "s_manifests", "s_migrations", "s_vanished"] {
        let table = format!("message{suffix}");
        execute(&url, &format!("grant select, insert, update on {table} to {role}"));
    }
    execute(&url, &format!("revoke insert on messages from {role}"));
    site.write_secret("archive-url", &url.url_as(&role, "pw-of-archiver"));
    let ran = site.plain().exits(4);
    let said = error(&ran);
    assert!(said.contains("lacks INSERT") && !said.contains("pw-of-archiver"), "{said}");
    execute(&url, &format!("grant insert on messages to {role}"));
    site.completes();
    site.write_secret("archive-url", &url.url_as(&role, "wrong"));
    let ran = site.plain().exits(4);
    assert!(error(&ran).contains("password"), "{ran:?}");
}

#[test]
fn a_database_that_became_read_only_ends_the_run_and_the_next_completes() {
    let (site, url) = begun(40);
    let name = url.database();
    execute(&url, &format!("alter database {name} set default_transaction_read_only = on"));
    let ran = site.plain();
    assert!([1, 4].contains(&ran.code()), "{ran:?}");
    assert!(error(&ran).contains("read-only"), "{ran:?}");
    block_on(async {
        let mut connection = url.connect().await;
        connection.execute("set default_transaction_read_only = off").await.unwrap();
        let reset = format!("alter database {name} reset default_transaction_read_only");
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(reset))).await.unwrap();
        connection.close().await.unwrap();
    });
    site.completes();
}

#[test]
fn a_table_of_another_shape_is_exit_2_and_left_alone() {
    let url = database();
    let site = Site::of(To::Postgres(url.clone()), 40);
    execute(&url, "create table messages (id int primary key, body text); insert into messages values (1, 'x')");
    let ran = site.plain().exits(2);
    assert!(error(&ran).contains("messages"), "{ran:?}");
    assert_eq!(site.api.stats().requests, 0);
    execute(&url, "drop table messages");
    site.completes();
}

#[test]
fn a_column_that_somebody_changed_is_said_and_the_next_run_completes() {
    let (site, url) = begun(40);
    execute(&url, "alter table messages rename column text to body");
    let ran = site.plain();
    assert!([1, 2].contains(&ran.code()), "{ran:?}");
    assert!(error(&ran).contains("text"), "{ran:?}");
    execute(&url, "alter table messages rename column body to text");
    site.completes();
}

#[test]
fn messages_that_another_writer_is_just_inserting_are_written_once() {
    let (site, url) = begun(60);
    let coming: Vec<i64> = site.found().iter().copied().rev().take(5).collect();
    // It inserts while the run copies, and commits only when the run waits for it.
    let mut writer = block_on_shared(&url);
    writer.insert(&coming);
    let mut child = site.start();
    writer.until_somebody_waits();
    writer.commit();
    assert!(child.wait().unwrap().success());
    site.is_whole();
}

#[test]
fn a_deadlock_with_another_writer_costs_no_message() {
    let (site, url) = begun(60);
    let coming: Vec<i64> = site.found().iter().copied().rev().take(5).collect();
    // Whoever looks first is the victim: the run.
    execute(&url, &format!("alter database {} set deadlock_timeout = '2s'", url.database()));
    let mut writer = block_on_shared(&url);
    writer.execute("set deadlock_timeout = '10min'".to_owned());
    writer.insert(&coming);
    let mut child = site.command(&["run", "-v"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    writer.until_somebody_waits();
    // The run waits for these rows, and holds the archive's own.
    let deadlocks = || {
        block_on(async {
            let mut connection = url.connect().await;
            let sql = "select deadlocks from pg_stat_database where datname = current_database()";
            sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await.unwrap()
        })
    };
    writer.execute("update messages_archive set sequence = sequence".to_owned());
    writer.commit();
    let status = child.wait().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(status.success(), "{said}");
    site.until("the deadlock is counted", |_| deadlocks() == 1);
    site.is_whole();
}

/// Another writer, in a transaction of its own.
struct Writer {
    runtime: tokio::runtime::Runtime,
    connection: sqlx::postgres::PgConnection,
    url: PgUrl,
}

fn block_on_shared(url: &PgUrl) -> Writer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connection = runtime.block_on(url.connect());
    Writer { runtime, connection, url: url.clone() }
}

impl Writer {
    fn execute(&mut self, sql: String) {
        self.runtime.block_on(self.connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)))).unwrap();
    }

    fn insert(&mut self, ids: &[i64]) {
        self.execute(format!("begin; create temp table t as select * from messages limit 1; update t set {ELSEWHERE}"));
        for id in ids {
            self.execute(format!("update t set message_server_id = {id}; insert into messages select * from t"));
        }
    }

    fn until_somebody_waits(&mut self) {
        for _ in 0..3_000 {
            let waits: bool = self.runtime.block_on(async {
                let mut connection = self.url.connect().await;
                sqlx::query_scalar(
                    "select exists (select from pg_stat_activity
                                    where datname = current_database() and wait_event_type = 'Lock')",
                )
                .fetch_one(&mut connection)
                .await
                .unwrap()
            });
            if waits {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("nobody waits for the other writer");
    }

    fn commit(mut self) {
        self.execute("commit".to_owned());
    }
}
