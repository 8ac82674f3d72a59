//! How a simulated service is set up.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::faults::Faults;
use super::world::{Kind, World};

/// How a simulated service is set up. Read from JSON, every key is optional and unknown keys are mistakes.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The port on loopback; 0 takes any that is free.
    pub port: u16,
    /// A path that every URL begins with, such as `/nimserver`; empty for none.
    pub prefix: String,
    /// The apps that the service knows.
    pub apps: Vec<App>,
    /// Requests of one app that are served in any second; 0 for no limit.
    pub rate_limit: u32,
    /// Milliseconds for which an app is answered 416 once it exceeded its limit.
    pub block_ms: u64,
    /// References that one request may hold.
    pub batch_limit: usize,
    /// The code that a request with more is answered: 414 or 419.
    pub batch_limit_code: i64,
    /// Which messages exist beside those of `messages`.
    pub world: Kind,
    /// What generated messages, their IDs, and faults by chance derive from.
    pub seed: u64,
    /// Milliseconds after which a message no longer exists; 0 for never.
    pub retention_ms: u64,
    /// Share of the generated messages, 0 to 1, that are listed as failed with 107404.
    pub missing: f64,
    /// Share of the generated messages, 0 to 1, that are in neither list.
    pub unanswered: f64,
    /// Share of the generated messages, 0 to 1, that have odd types, characters or fields.
    pub odd: f64,
    /// A file of messages and refusals, see [`World::extend_from_json_lines`].
    pub messages: Option<PathBuf>,
    /// Whether to count how often each message is asked for, and to log requests; takes memory.
    pub count_asks: bool,
    /// What goes wrong.
    pub faults: Faults,
}

/// An app that the service knows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Its `AppKey`.
    pub key: String,
    /// Its secret. Nothing real: a simulated service has no secrets.
    pub secret: String,
}

/// The `AppKey` of the app that a service knows unless told otherwise.
pub const APP_KEY: &str = "simulated-app-key";
/// The secret of the app that a service knows unless told otherwise.
pub const APP_SECRET: &str = "simulated-app-secret";

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 0,
            prefix: String::new(),
            apps: vec![App { key: APP_KEY.to_owned(), secret: APP_SECRET.to_owned() }],
            rate_limit: 100,
            block_ms: 10_000,
            batch_limit: 100,
            batch_limit_code: 414,
            world: Kind::default(),
            seed: 1,
            retention_ms: 0,
            missing: 0.0,
            unanswered: 0.0,
            odd: 0.0,
            messages: None,
            count_asks: false,
            faults: Faults::default(),
        }
    }
}

impl Settings {
    /// The world that these settings describe.
    ///
    /// # Errors
    ///
    /// The file of messages cannot be read, or a line of it is wrong.
    pub fn world(&self) -> std::io::Result<World> {
        let mut world = match self.world {
            Kind::Generated => World::generated(self.seed),
            Kind::Any => World::any(),
            Kind::Explicit => World::explicit(),
        };
        (world.missing, world.unanswered, world.odd) = (self.missing, self.unanswered, self.odd);
        (world.seed, world.retention_ms) = (self.seed, self.retention_ms);
        if let Some(path) = &self.messages {
            let named = |error: String| std::io::Error::other(format!("{}: {error}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
            world.extend_from_json_lines(&text).map_err(named)?;
        }
        Ok(world)
    }

    pub(super) fn block(&self) -> Duration {
        Duration::from_millis(self.block_ms)
    }
}
