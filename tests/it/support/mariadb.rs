//! A private MariaDB: one server for the whole test process, a fresh database for each test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use super::server::{Home, Keeper, find_program, free_port};

/// The name of a user that may do everything.
pub(crate) const USER: &str = "archivist";
/// The user's password.
pub(crate) const PASSWORD: &str = "hunter2-mariadb";

/// A database on the private server.
#[derive(Debug, Clone)]
pub(crate) struct MariaUrl {
    port: u16,
    database: String,
}

impl MariaUrl {
    /// The whole URL, password included.
    pub(crate) fn url(&self) -> String {
        self.url_as(USER, PASSWORD)
    }

    /// The same database as another user.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}/{}", self.port, self.database)
    }

    /// What the server's own client prints of a query.
    pub(crate) fn client(&self, user: &str, password: &str, sql: &str) -> String {
        let output = Command::new(find_program("mariadb", &[]))
            .args(["--no-defaults", "--default-character-set=utf8mb4", "--batch", "--skip-column-names"])
            .args(["--protocol=tcp", "--host=127.0.0.1", &format!("--port={}", self.port)])
            .args([&format!("--user={user}"), &format!("--password={password}"), &self.database, "--execute", sql])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A connection.
    pub(crate) async fn connect(&self) -> MySqlConnection {
        self.url().parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap()
    }

    /// Runs statements, separated by semicolons.
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// A private server.
pub(crate) struct Server {
    home: Home,
    environment: Vec<String>,
    settings: Vec<String>,
    port: u16,
    next: AtomicU32,
    keeper: Option<Keeper>,
}

impl Server {
    /// One with these variables in its environment (`TZ=…`) and these settings (`--sql-mode=…`).
    pub(crate) fn start(environment: &[&str], settings: &[&str]) -> Self {
        let home = Home::new("mysql");
        let data = home.path.join("data");
        // A server removes what others of its kind left in their common directory for temporary files.
        let temporary = format!("TMPDIR={}", home.path.display());
        home.run(
            &find_program("env", &[]),
            &[
                &temporary,
                &find_program("mariadb-install-db", &[]).display().to_string(),
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                &format!("--datadir={}", data.display()),
            ],
        );
        let users = home.path.join("users.sql");
        let create = format!(
            "create user {USER}@'%' identified by '{PASSWORD}'; grant all on *.* to {USER}@'%' with grant option;\n"
        );
        std::fs::write(&users, create.replace("; ", ";\n")).unwrap();
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (mut environment, settings): (Vec<String>, _) = (owned(environment), owned(settings));
        environment.push(temporary);
        let mut server = Self { home, environment, settings, port: 0, next: AtomicU32::new(0), keeper: None };
        // Another process may take the free port before the server does.
        for _ in 0..5 {
            server.port = free_port();
            if server.resume() {
                return server;
            }
        }
        panic!("MariaDB does not start:\n{}", server.home.log());
    }

    fn resume(&mut self) -> bool {
        let home = self.home.path.display();
        let program = find_program("mariadbd", &[PathBuf::from("/usr/sbin"), PathBuf::from("/usr/libexec")]);
        let mut arguments = self.environment.clone();
        arguments.extend([
            program.display().to_string(),
            "--no-defaults".to_owned(),
            format!("--datadir={home}/data"),
            format!("--socket={home}/socket"),
            format!("--pid-file={home}/pid"),
            format!("--port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--init-file={home}/users.sql"),
            "--skip-log-bin".to_owned(),
            "--innodb-flush-log-at-trx-commit=0".to_owned(),
            "--innodb-doublewrite=0".to_owned(),
            "--innodb-buffer-pool-size=32M".to_owned(),
            "--character-set-server=utf8mb4".to_owned(),
        ]);
        arguments.extend(self.settings.iter().cloned());
        self.keeper = Some(self.home.serve("KILL", &find_program("env", &[]), &arguments));
        let began = Instant::now();
        while began.elapsed() < Duration::from_mins(1) {
            let log = self.home.log();
            if log.contains("ready for connections") {
                return true;
            }
            if log.contains("Can't start server") {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
        false
    }

    /// A fresh, empty database.
    pub(crate) async fn database(&self) -> MariaUrl {
        let database = format!("test_{}", self.next.fetch_add(1, Ordering::Relaxed));
        let administration = MariaUrl { port: self.port, database: String::new() };
        administration.execute(&format!("create database {database}")).await;
        MariaUrl { port: self.port, database }
    }
}

/// A fresh, empty database on the server that all tests of this process share.
pub(crate) async fn database() -> MariaUrl {
    static SHARED: OnceLock<Server> = OnceLock::new();
    let server = tokio::task::spawn_blocking(|| SHARED.get_or_init(|| Server::start(&[], &[]))).await.unwrap();
    server.database().await
}
