//! A private Postgres: one cluster for the whole test process, a fresh database for each test.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use super::server::{Home, Keeper, find_program, free_port};

/// The superuser's name.
pub(crate) const USER: &str = "postgres";
/// The superuser's password.
pub(crate) const PASSWORD: &str = "hunter2-postgres";

/// Whether a cluster survives the loss of its machine's power. Tests of durability want it; it is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fsync {
    On,
    Off,
}

/// A database on a private cluster.
#[derive(Debug, Clone)]
pub(crate) struct PgUrl {
    port: u16,
    database: String,
}

impl PgUrl {
    /// The whole URL, password included.
    pub(crate) fn url(&self) -> String {
        self.url_as(USER, PASSWORD)
    }

    /// The same database as another user.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{}", self.port, self.database)
    }

    /// What the server's own client prints of a query.
    pub(crate) fn client(&self, user: &str, password: &str, sql: &str) -> String {
        let output = std::process::Command::new(program("psql"))
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", sql, &self.url_as(user, password)])
            .env("PGCLIENTENCODING", "UTF8")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same database behind another port.
    pub(crate) fn at(&self, port: u16) -> Self {
        Self { port, database: self.database.clone() }
    }

    /// The database's name.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// The database of the same cluster from which others are made and dropped.
    pub(crate) fn administration(&self) -> Self {
        Self { port: self.port, database: "postgres".to_owned() }
    }

    /// The port of whoever answers for it.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection.
    pub(crate) async fn connect(&self) -> PgConnection {
        let options: PgConnectOptions = self.url().parse().unwrap();
        // A pooler does not know this parameter.
        options.extra_float_digits(None).connect().await.unwrap()
    }

    /// Runs statements, separated by semicolons.
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// A cluster in a directory of its own, on a loopback port and a socket, with scram-sha-256 authentication.
pub(crate) struct Cluster {
    home: Home,
    port: u16,
    fsync: Fsync,
    next: AtomicU32,
    keeper: Option<Keeper>,
}

impl Cluster {
    /// A new cluster, accepting connections.
    pub(crate) fn start(fsync: Fsync) -> Self {
        let home = Home::new("postgres");
        let password = home.path.join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let data = home.path.join("data");
        home.run(
            &program("initdb"),
            &[
                "--no-sync",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                &format!("--username={USER}"),
                &format!("--pwfile={}", password.display()),
                &format!("--pgdata={}", data.display()),
            ],
        );
        let mut cluster = Self { home, port: 0, fsync, next: AtomicU32::new(0), keeper: None };
        // Another process may take the free port before the server does.
        for _ in 0..5 {
            cluster.port = free_port();
            if cluster.resume() {
                return cluster;
            }
        }
        panic!("Postgres does not start:\n{}", cluster.home.log());
    }

    /// Ends the server as a crash would.
    pub(crate) fn crash(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
    }

    /// Starts the server on what it left behind; returns whether it accepts connections.
    pub(crate) fn resume(&mut self) -> bool {
        let socket = self.home.path.display().to_string();
        let mut arguments = vec!["-D".to_owned(), self.home.path.join("data").display().to_string()];
        let fsync = if self.fsync == Fsync::On { "on" } else { "off" };
        for setting in [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={socket}"),
            format!("fsync={fsync}"),
            format!("full_page_writes={fsync}"),
            "max_connections=200".to_owned(),
            "shared_buffers=64MB".to_owned(),
            "max_wal_senders=0".to_owned(),
            "wal_level=minimal".to_owned(),
            "autovacuum=off".to_owned(),
            "jit=off".to_owned(),
        ] {
            arguments.push("-c".to_owned());
            arguments.push(setting);
        }
        let pid = self.home.path.join("data/postmaster.pid");
        self.keeper = Some(self.home.serve("QUIT", &program("postgres"), &arguments));
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            // The last line of the file says what the server does; the server writes it when that changes.
            if std::fs::read_to_string(&pid).is_ok_and(|text| text.lines().any(|line| line.trim() == "ready")) {
                return true;
            }
            if self.home.log().contains("could not create any TCP/IP sockets") {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.crash();
        false
    }

    /// The directory of its data, to be copied and replaced while it is stopped.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.path.join("data")
    }

    /// A fresh, empty database.
    pub(crate) async fn database(&self) -> PgUrl {
        let database = format!("test_{}", self.next.fetch_add(1, Ordering::Relaxed));
        let administration = PgUrl { port: self.port, database: "postgres".to_owned() };
        administration.execute(&format!("create database {database}")).await;
        PgUrl { port: self.port, database }
    }
}

/// A fresh, empty database on the cluster that all tests of this process share.
pub(crate) async fn database() -> PgUrl {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    let cluster = tokio::task::spawn_blocking(|| SHARED.get_or_init(|| Cluster::start(Fsync::Off))).await.unwrap();
    cluster.database().await
}

fn program(name: &str) -> PathBuf {
    let mut versions: Vec<PathBuf> = glob::glob("/usr/lib/postgresql/*/bin").unwrap().filter_map(Result::ok).collect();
    versions.sort_by_key(|place| {
        let version = place.parent().and_then(|place| place.file_name()).and_then(|name| name.to_str());
        std::cmp::Reverse(version.and_then(|version| version.parse::<u32>().ok()))
    });
    find_program(name, &versions)
}
