//! A nats-server of our own, with JetStream.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::server::{Home, Keeper, find_program, free_port};

/// A nats-server that is running.
pub(crate) struct Nats {
    port: u16,
    /// More arguments of the server.
    more: String,
    running: Option<(Home, Keeper)>,
}

impl Nats {
    /// A fresh one.
    pub(crate) fn start() -> Self {
        Self::with(String::new())
    }

    /// A fresh one with these arguments.
    pub(crate) fn with(more: impl Into<String>) -> Self {
        let mut nats = Self { port: free_port(), more: more.into(), running: None };
        nats.begin();
        nats
    }

    /// The server's address.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Begins with nothing in its store.
    fn begin(&mut self) {
        self.begin_in(Home::new("nobody"));
    }

    fn begin_in(&mut self, home: Home) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/nats/bin/nats-server");
        let program = if path.is_file() { path } else { find_program("nats-server", &[]) };
        let words =
            format!("-a 127.0.0.1 -p {} -js -sd {} {}", self.port, home.path.join("store").display(), self.more);
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let keeper = home.serve("KILL", &program, &words);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < Duration::from_mins(1), "nats-server does not start:\n{}", home.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.running = Some((home, keeper));
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        if let Some((_, keeper)) = self.running.take() {
            keeper.stop();
        }
    }

    /// Kills it, and begins again with what its store has.
    pub(crate) fn restart(&mut self) {
        if let Some((home, keeper)) = self.running.take() {
            keeper.stop();
            self.begin_in(home);
        }
    }

    /// Kills it, and begins again with nothing in its store.
    pub(crate) fn wipe(&mut self) {
        self.kill();
        self.begin();
    }

    /// The key `fleet` of a configuration, for a fleet of its own.
    pub(crate) fn fleet(&self) -> String {
        static FLEETS: AtomicU32 = AtomicU32::new(0);
        let number = FLEETS.fetch_add(1, Ordering::Relaxed);
        let address = self.address();
        format!("fleet: {{ nats: \"nats://{address}\", prefix: fleet-{number}, redeliver_after: 6s }}")
    }
}

/// The nats-server that all tests of this process share.
pub(crate) fn nats() -> &'static Nats {
    static SHARED: OnceLock<Nats> = OnceLock::new();
    SHARED.get_or_init(Nats::start)
}
