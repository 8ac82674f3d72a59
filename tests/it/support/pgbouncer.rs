//! A private PgBouncer in front of the private Postgres.

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::postgres::{PASSWORD, PgUrl, USER};
use super::server::{Home, Keeper, find_program, free_port};

/// A pooler with two sessions for each database, which it gives out in turn: whoever relies on having the same one again
/// gets the other.
pub(crate) struct Pooler {
    port: u16,
    _home: Home,
    _keeper: Keeper,
}

impl Pooler {
    /// A pooler of this mode, accepting connections.
    pub(crate) fn start(database: &PgUrl, mode: &str) -> Self {
        let home = Home::new("postgres");
        let configuration = home.path.join("pgbouncer.ini");
        for _ in 0..5 {
            let port = free_port();
            let text = format!(
                "[databases]\n* = host=127.0.0.1 port={} user={USER} password={PASSWORD}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
                 pool_mode = {mode}\ndefault_pool_size = 2\nmin_pool_size = 2\nserver_round_robin = 1\n",
                database.port()
            );
            std::fs::write(&configuration, text).unwrap();
            let program = find_program("pgbouncer", &[PathBuf::from("/usr/sbin")]);
            let keeper = home.serve("INT", &program, &[configuration.display().to_string()]);
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(30) && !home.log().contains("cannot bind") {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { port, _home: home, _keeper: keeper };
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            keeper.stop();
        }
        panic!("PgBouncer does not start:\n{}", home.log());
    }

    /// The same database, through this pooler.
    pub(crate) fn of(&self, database: &PgUrl) -> PgUrl {
        database.at(self.port)
    }
}
