//! A Postgres source behind PgBouncer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use yunxin_archiver::source::Overlap;

use super::{TIME, of_postgres, with_cursor};
use crate::support::postgres::{self, PASSWORD, PgUrl, USER};
use crate::support::refs::read;
use crate::support::server::{Home, Keeper, find_program, free_port};
use crate::support::site::{Site, csv, dialogue};

struct Pooler {
    _keeper: Keeper,
    port: u16,
}

impl Pooler {
    /// A pooler with a single connection to the server, so that each client gets what the one before left.
    fn start(database: &PgUrl, mode: &str) -> Self {
        let home = Home::new("postgres");
        let server = database.url().rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
        let directory = home.path.display().to_string();
        std::fs::write(home.path.join("users.txt"), format!("\"{USER}\" \"{PASSWORD}\"\n")).unwrap();
        for _ in 0..5 {
            let port = free_port();
            let settings = format!(
                "[databases]\n* = host=127.0.0.1 port={server} user={USER} password={PASSWORD}\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n\
                 auth_file = {directory}/users.txt\npool_mode = {mode}\ndefault_pool_size = 1\n"
            );
            let file = home.path.join("pgbouncer.ini");
            std::fs::write(&file, settings).unwrap();
            let program = find_program("pgbouncer", &[PathBuf::from("/usr/sbin")]);
            let keeper = home.serve("KILL", &program, &[file.display().to_string()]);
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(30) {
                let log = home.log();
                if log.contains("process up") {
                    return Self { _keeper: keeper, port };
                }
                if log.contains("cannot listen") || log.contains("FATAL") {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            keeper.stop();
        }
        panic!("PgBouncer does not start:\n{}", home.log());
    }

    fn of(&self, database: &PgUrl) -> PgUrl {
        database.at(self.port)
    }
}

/// What another client of the pool sees: the settings, and the prepared statements of its connection.
const LEFT: &str = "select current_setting('search_path'), current_setting('timezone'), current_setting('statement_timeout'), \
                    current_setting('datestyle'), current_setting('default_transaction_read_only'), \
                    (select count(*) from pg_prepared_statements), \
                    (select count(*) from pg_locks where locktype = 'advisory')";

#[tokio::test]
async fn nothing_is_left_in_a_pool_and_nothing_that_others_left_stands_in_the_way() {
    for mode in ["transaction", "session"] {
        let database = postgres::database().await;
        database
            .execute(
                "create type label as enum ('5'); create table refs (id int, at timestamptz, label label);
                 insert into refs select n, '2025-07-31 08:50:05.248Z', '5' from generate_series(1, 50) n",
            )
            .await;
        let pooler = Pooler::start(&database, mode);
        let url = pooler.of(&database);
        let left = url.client(USER, PASSWORD, LEFT);
        assert!(left.ends_with("|0|0\n"), "{left}");
        let sql = "select 'a|1|b' as conversation_id, id as message_server_id, at as create_time, id, label from refs where id > :after order by id";
        let query = with_cursor(sql, "id", Some(Overlap::Number(0)));
        let settings = of_postgres(url.url(), query);
        for _ in 0..3 {
            let expected: Vec<String> = (1..=50).map(|id| format!("a|1|b {id} {TIME}")).collect();
            assert_eq!(read(&settings).await.clean(), expected, "{mode}");
            assert_eq!(url.client(USER, PASSWORD, LEFT), left, "{mode}");
        }
    }
}

#[tokio::test]
async fn a_job_reads_through_a_pool_in_which_statements_of_other_clients_lie() {
    let (refs, world) = dialogue("alice|1|bob", 0..20);
    let database = postgres::database().await;
    let rows: Vec<String> = refs.iter().map(|(c, id, time)| format!("('{c}', {id}, {time})")).collect();
    let create = "create table refs (conversation_id text, message_server_id bigint, create_time bigint)";
    database.execute(&format!("{create}; insert into refs values {}", rows.join(", "))).await;
    let pooler = Pooler::start(&database, "transaction");
    let url = pooler.of(&database);
    let statements: Vec<String> = (0..9).map(|n| format!("prepare s{n} as select {n}")).collect();
    url.client(USER, PASSWORD, &statements.join("; "));
    let site = Site::new(world);
    site.write_secret("url", &url.url());
    site.jobs("nightly: { app: main, source: { postgres: { url: 'file:url', query: select * from refs } }, sink: { parquet: { path: archive } } }");
    site.run(&["check", "--connect"]).exits(0);
    assert_eq!(site.night().exits(0).refs("archived"), csv(&refs).lines().count() as u64 - 1);
    assert_eq!(site.night().exits(0).refs("duplicate"), 20);
}
