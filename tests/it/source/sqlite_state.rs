//! SQLite files in every state in which another program may leave them, and who may read them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

use crate::support::site::{Ended, Ref, Running, Site, dialogue};

async fn open(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

async fn execute(connection: &mut SqliteConnection, sql: &str) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
}

async fn site(mode: &str) -> (Site, Vec<Ref>, SqliteConnection) {
    let (refs, world) = dialogue("alice|1|bob", 0..20);
    let site = Site::new(world);
    std::fs::create_dir(site.path("db")).unwrap();
    let mut connection = open(&site.path("db/refs.db")).await;
    let rows: Vec<String> = refs.iter().map(|(c, id, time)| format!("('{c}', {id}, {time})")).collect();
    execute(
        &mut connection,
        &format!(
            "pragma journal_mode = {mode}; pragma cache_size = 2;
             create table refs (conversation_id text, message_server_id integer, create_time integer);
             insert into refs values {}",
            rows.join(", ")
        ),
    )
    .await;
    read_from(&site, "db/refs.db");
    (site, refs, connection)
}

fn read_from(site: &Site, path: &str) {
    site.jobs(&format!(
        "nightly: {{ app: main, source: {{ sqlite: {{ path: {path}, query: select * from refs }} }}, sink: {{ parquet: {{ path: archive }} }} }}"
    ));
}

/// A night run by a user to whom permissions apply: root gives up its capabilities for it.
pub(super) fn bound(site: &Site) -> Ended {
    let plain = site.command(&["run", "--json"]);
    if !rustix::process::geteuid().is_root() {
        return site.night();
    }
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps=-all", "--bounding-set=-all", "--ambient-caps=-all"]).arg(plain.get_program());
    Running::start(command.args(plain.get_args()).current_dir(plain.get_current_dir().unwrap())).end()
}

pub(super) fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn error(ended: &Ended) -> String {
    ended.job()["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_file_in_wal_mode_where_nothing_may_be_written_is_told_as_that() {
    let (site, refs, connection) = site("wal").await;
    connection.close().await.unwrap();
    let directory = site.path("db");
    mode(&directory, 0o500);
    let refused = bound(&site).exits(2);
    assert!(error(&refused).contains("it is in WAL mode") && error(&refused).contains("refs.db"), "{refused:?}");
    assert!(!error(&refused).contains("query"), "{refused:?}");
    mode(&directory, 0o700);
    assert_eq!(bound(&site).exits(0).refs("archived"), refs.len() as u64);
}

#[tokio::test]
async fn a_file_whose_log_waits_to_be_recovered_is_told_as_that() {
    let (site, refs, connection) = site("wal").await;
    std::fs::create_dir(site.path("copy")).unwrap();
    for name in ["refs.db", "refs.db-wal"] {
        std::fs::copy(site.path("db").join(name), site.path("copy").join(name)).unwrap();
    }
    connection.close().await.unwrap();
    read_from(&site, "copy/refs.db");
    mode(&site.path("copy"), 0o500);
    let refused = bound(&site).exits(2);
    assert!(error(&refused).contains("it is in WAL mode"), "{refused:?}");
    mode(&site.path("copy"), 0o700);
    assert_eq!(bound(&site).exits(0).refs("archived"), refs.len() as u64);
}

#[tokio::test]
async fn a_journal_that_waits_to_be_rolled_back_is_told_as_that() {
    let (site, refs, mut connection) = site("delete").await;
    execute(
        &mut connection,
        "begin immediate; update refs set conversation_id = conversation_id || 'x';
         insert into refs with recursive n(n) as (values (1) union all select n + 1 from n where n < 5000)
            select hex(randomblob(50)), n, n from n",
    )
    .await;
    std::fs::create_dir(site.path("copy")).unwrap();
    for name in ["refs.db", "refs.db-journal"] {
        std::fs::copy(site.path("db").join(name), site.path("copy").join(name)).unwrap();
    }
    drop(connection);
    read_from(&site, "copy/refs.db");
    let refused = site.night().exits(2);
    assert!(error(&refused).contains("waits to be rolled back"), "{refused:?}");
    assert!(!error(&refused).contains("query"), "{refused:?}");
    // A user who may write mends it.
    let mut owner = open(&site.path("copy/refs.db")).await;
    execute(&mut owner, "select count(*) from sqlite_master").await;
    owner.close().await.unwrap();
    assert_eq!(site.night().exits(0).refs("archived"), refs.len() as u64);
}

#[tokio::test]
async fn a_file_that_is_locked_or_that_may_not_be_read_is_told_as_that() {
    let (site, refs, mut connection) = site("delete").await;
    execute(&mut connection, "begin exclusive").await;
    let locked = site.night().exits(1);
    assert!(error(&locked).contains("another program holds it locked"), "{locked:?}");
    execute(&mut connection, "rollback").await;
    connection.close().await.unwrap();
    mode(&site.path("db/refs.db"), 0o000);
    let denied = bound(&site).exits(4);
    assert!(error(&denied).contains("permission denied"), "{denied:?}");
    mode(&site.path("db/refs.db"), 0o600);
    assert_eq!(site.night().exits(0).refs("archived"), refs.len() as u64);
}
