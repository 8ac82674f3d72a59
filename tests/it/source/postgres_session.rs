//! A query on Postgres means what it means in the server's own client.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use yunxin_archiver::source::{Checkpoint, CursorValue, Query, Settings, SourceError, sample};

use super::{TIME, of_postgres, query, with_cursor};
use crate::support::postgres::{self, Cluster, Fsync, PASSWORD, PgUrl, USER};
use crate::support::refs::{read, read_from, unusable};

fn source(url: &PgUrl, query: Query) -> Settings {
    of_postgres(url.url(), query)
}

async fn cluster() -> Cluster {
    tokio::task::spawn_blocking(|| Cluster::start(Fsync::Off)).await.unwrap()
}

/// The settings of a session as a query sees them. They are hashed because a sample shows only part of a long value.
const SETTINGS: &str = "select name || '=' || left(md5(setting), 8) as conversation_id, 1 as message_server_id, 1 as create_time \
                        from pg_settings order by 1";

fn settings(lines: impl Iterator<Item = String>) -> BTreeMap<String, String> {
    let pairs = lines.map(|line| {
        let (name, value) = line.trim_matches('"').split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    pairs.filter(|(name, _)| !["application_name", "transaction_read_only"].contains(&name.as_str())).collect()
}

#[tokio::test]
async fn the_session_is_that_of_the_servers_own_client() {
    let cluster = cluster().await;
    let url = cluster.database().await;
    url.execute("alter system set timezone = 'Asia/Shanghai'").await;
    url.execute("alter system set datestyle = 'SQL, DMY'").await;
    let database = url.database();
    url.execute(&format!(
        "select pg_reload_conf(); create role clerk login password 'clerk'; create role other login password 'other';
         alter role clerk set timezone = 'Europe/Berlin'; alter role clerk set standard_conforming_strings = off;
         alter role clerk set datestyle = 'German'; alter role clerk set intervalstyle = 'sql_standard';
         alter role clerk set search_path = nowhere, public; alter role clerk set extra_float_digits = 0;
         alter role clerk set bytea_output = 'escape'; alter role clerk set default_transaction_read_only = on;
         alter role clerk set lc_numeric = 'C'; alter role clerk set default_transaction_isolation = 'serializable';
         alter database {database} set statement_timeout = '10min'; alter role other set timezone = 'America/Lima'"
    ))
    .await;
    // The server reloads some time after it is asked to.
    let mut tries = 0..1000;
    while url.client(USER, PASSWORD, "show datestyle") != "SQL, DMY\n" {
        tries.next().expect("the server takes over its settings");
    }
    for (user, password) in [(USER, PASSWORD), ("clerk", "clerk"), ("other", "other")] {
        let ours = of_postgres(url.url_as(user, password), query(SETTINGS));
        let ours = sample(ours, 5000).await.unwrap();
        let mut ours = settings(ours.iter().map(|row| row.raw[0].1.clone()));
        let printed = url.client(user, password, SETTINGS);
        let mut theirs = settings(printed.lines().map(|line| line.split('|').next().unwrap().to_owned()));
        if user == "clerk" {
            // Transactions have the isolation that the role sets, here and there.
            assert_eq!(ours.remove("transaction_isolation"), theirs.remove("transaction_isolation"));
        }
        assert!(theirs.contains_key("TimeZone") && theirs.len() > 300);
        let differing: Vec<&String> = theirs.keys().filter(|name| ours.get(*name) != theirs.get(*name)).collect();
        assert!(differing.is_empty() && ours.len() == theirs.len(), "{user}: {differing:?}");
    }
}

#[tokio::test]
async fn functions_of_local_time_mean_what_they_mean_in_the_client() {
    let url = postgres::database().await;
    url.execute(&format!("alter database {} set timezone = 'Asia/Shanghai'", url.database())).await;
    url.execute(
        "create table refs (id int, created timestamp(3)); insert into refs values (5, '2025-07-31 16:50:05.248')",
    )
    .await;
    let sql = "select 'a|1|b' as conversation_id, id as message_server_id,
               (extract(epoch from created::timestamptz) * 1000)::bigint as create_time from refs";
    assert_eq!(read(&source(&url, query(sql))).await.clean(), [format!("a|1|b 5 {TIME}")]);
    let asked = format!("{}?options=-c%20timezone%3DUTC&application_name=x", url.url());
    let settings = of_postgres(asked, query(sql));
    assert_eq!(read(&settings).await.clean(), [format!("a|1|b 5 {}", TIME + 8 * 3_600_000)]);
    // A cursor of instants does not depend on the zone.
    url.execute("alter table refs add at timestamptz default '2025-07-31 08:50:05.248Z'").await;
    let sql = format!(
        "select 'a|1|b' as conversation_id, id as message_server_id, {TIME} as create_time, at from refs where at > :after"
    );
    let settings = source(
        &url,
        with_cursor(&sql, "at", Some(yunxin_archiver::source::Overlap::Duration(std::time::Duration::ZERO))),
    );
    for (micros, ids) in [(TIME * 1000, &[][..]), (TIME * 1000 - 1, &[5])] {
        let reached = Checkpoint::Value(CursorValue::Timestamp { micros, zoned: true });
        assert_eq!(read_from(&settings, Some(reached)).await.ids(), ids);
    }
}

#[tokio::test]
async fn quotes_are_read_as_the_server_reads_them() {
    let url = postgres::database().await;
    url.execute(
        "create table refs (id int, \":after\" int, j jsonb, a int[]); insert into refs values (5, 0, '{\"k\": 1}', '{5}')",
    )
    .await;
    let old = postgres::database().await;
    old.execute(&format!("alter database {} set standard_conforming_strings = off", old.database())).await;
    old.execute("create table refs (id int); insert into refs values (5)").await;
    for (url, condition) in [
        (&url, "'\\' <> ':after' and \":after\" = 0 and id > :after::int and 5::text <> E'a''\\' :after'"),
        (&url, "E'a'\n '\\' :after' <> '' and $x$ ' :after $x$ <> '' /* /* ' */ :after */ and id > :after"),
        (&url, "j ? 'k' and j ?| array['k'] and j #>> '{k}' = '1' and a[1:5] = '{5}' and id > :after -- it's :after"),
        (&old, "'\\' :after' <> '' and id > :after"),
    ] {
        let sql = format!(
            "select 'a|1|b' as conversation_id, id as message_server_id, {TIME} as create_time, id from refs where {condition}"
        );
        assert_eq!(read(&source(url, with_cursor(&sql, "id", None))).await.ids(), [5], "{condition}");
    }
}

#[tokio::test]
async fn text_and_whatever_else_has_an_order_of_its_own_is_no_cursor() {
    let url = postgres::database().await;
    url.execute("create type label as enum ('b', 'a')").await;
    for kind in
        ["text", "varchar(9)", "char(9)", "name", "label", "uuid", "bytea", "jsonb", "float8", "interval", "inet"]
    {
        url.execute(&format!("drop table if exists keyed; create table keyed (k {kind})")).await;
        let sql = format!(
            "select 'a|1|b' as conversation_id, 5 as message_server_id, {TIME} as create_time, k from keyed where k > :after"
        );
        let settings = source(&url, with_cursor(&sql, "k", None));
        let message = unusable(&settings).await;
        assert!(message.contains("the cursor's column \"k\" is of type"), "{message}");
        assert!(message.contains("whose order is the database's own"), "{message}");
        // With such a cursor in the ledger, the error says how to go on.
        let before = Some(Checkpoint::Value(CursorValue::Text("AbQ01I".to_owned())));
        let Err(SourceError::Unusable(message)) = read_from(&settings, before).await.ended else { panic!() };
        assert!(message.contains("--from start"), "{message}");
    }
}

/// Puts a certificate for `127.0.0.1` where the server finds it, and returns it.
fn certificate(data: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let owner = std::fs::metadata(data).unwrap();
    for (name, pem) in [("server.crt", made.cert.pem()), ("server.key", made.signing_key.serialize_pem())] {
        let path = data.join(name);
        std::fs::write(&path, pem).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    made.cert.pem()
}

#[tokio::test]
async fn tls_is_spoken_as_sslmode_says_and_a_socket_is_a_way_as_well() {
    let cluster = cluster().await;
    let url = cluster.database().await;
    let sql = format!(
        "select 'a|1|b' as conversation_id, case when ssl then 1 else 2 end as message_server_id, {TIME} as create_time
         from pg_stat_ssl where pid = pg_backend_pid()"
    );
    let with = |text: String| of_postgres(text, query(&sql));
    let ids = async |parameters: &str| read(&with(format!("{}?{parameters}", url.url()))).await.ids();
    assert_eq!(ids("sslmode=prefer").await, [2]);
    assert!(unusable(&with(format!("{}?sslmode=require", url.url()))).await.contains("speaks no TLS"));
    let directory = tempfile::tempdir().unwrap();
    let (roots, others) = (directory.path().join("roots.pem"), directory.path().join("others.pem"));
    std::fs::write(&roots, certificate(&cluster.data())).unwrap();
    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&others, stranger.cert.pem()).unwrap();
    url.execute("alter system set ssl = on").await;
    url.execute("select pg_reload_conf()").await;
    let (roots, others) = (roots.display(), others.display());
    // The server reloads some time after it is asked to.
    let mut tries = 0..1000;
    while ids("sslmode=prefer").await != [1] {
        tries.next().expect("the server speaks TLS");
    }
    assert_eq!(ids("sslmode=disable").await, [2]);
    assert_eq!(ids("sslmode=require").await, [1]);
    assert_eq!(ids(&format!("sslmode=verify-ca&sslrootcert={roots}")).await, [1]);
    assert_eq!(ids(&format!("sslmode=verify-full&sslrootcert={roots}")).await, [1]);
    let by_name = url.url().replace("127.0.0.1", "localhost");
    assert_eq!(read(&with(format!("{by_name}?sslmode=verify-ca&sslrootcert={roots}"))).await.ids(), [1]);
    for refused in [
        format!("{}?sslmode=verify-full", url.url()),
        format!("{}?sslmode=verify-ca&sslrootcert={others}", url.url()),
        format!("{by_name}?sslmode=verify-full&sslrootcert={roots}"),
    ] {
        let Err(SourceError::Failed { source, .. }) = read(&with(refused.clone())).await.ended else {
            panic!("{refused}")
        };
        assert!(source.to_string().contains("certificate"), "{source}");
    }
    assert!(unusable(&with(format!("{}?sslmode=verify-ca&sslrootcert=/none", url.url()))).await.contains("/none"));
    let port = url.url().rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let socket = cluster.data().parent().unwrap().display().to_string();
    let by_socket = format!("postgres:///{}?host={socket}&port={port}&user={USER}&password={PASSWORD}", url.database());
    assert_eq!(read(&with(by_socket)).await.ids(), [2]);
}
