//! Where and how an archive is written.

use std::time::Duration;

use secrecy::SecretString;

/// Where and how an archive is written.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `postgres://user:password@host:port/database?sslmode=…`
    pub url: SecretString,
    /// The schema, created if it is missing. Any name.
    pub schema: String,
    /// The table of messages, created if it is missing. Any name of at most 50 bytes.
    pub table: String,
    /// Whether to store the JSON text of every item in a column `raw`.
    pub raw: bool,
    /// How long to keep trying to reach a server that is starting, failing over or full.
    pub patience: Duration,
}

impl Settings {
    /// `public.messages` without `raw`, and a patience of 30 seconds.
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            schema: "public".to_owned(),
            table: "messages".to_owned(),
            raw: false,
            patience: Duration::from_secs(30),
        }
    }
}
