//! How the coordinator and the workers of a fleet meet.

use std::path::PathBuf;
use std::time::Duration;

use super::scalar::Whole;
use super::secret::{Kind, Lookup, Secret};
use super::setting::Text;

settings! {
    /// How the coordinator and the workers of a [fleet](fleet.md) meet.
    pub Fleet {
        /// The URL of the NATS server, `nats://host:4222` or `tls://host:4222`; several servers of a cluster with commas. A
        /// URL with a user, password or token must be `env:` or `file:`.
        nats: Secret as Lookup<NatsUrl>, sample "env:NATS_URL";
        /// The credentials file (`.creds`) of a NATS user, as `file:PATH` or `env:NAME`.
        credentials: Option<Secret> as Option<Lookup<NatsCredentials>>, default "null";
        /// CA certificates (PEM) to trust instead of the platform's.
        ca_file: Option<PathBuf>, default "null";
        /// What the names of streams and subjects begin with. Fleets that share a server need different ones.
        prefix: String as Prefix, default "yunxin";
        /// How many servers of a cluster keep a batch that waits for a worker.
        replicas: usize as Whole<usize, 1, 5>, default "1";
        /// The batches of a worker that was not heard of for this long are given to others.
        redeliver_after: Duration, default "30s";
    }
}

/// The URL of NATS servers.
struct NatsUrl;

impl Kind for NatsUrl {
    const FORM: &'static str = "URL";

    fn literal(text: &str) -> Result<(), String> {
        if text.contains('@') {
            return Err(
                "a URL with a user, password or token never stands in this file: write env:NAME or file:PATH, \
                        and if this was the real one, change it"
                    .to_owned(),
            );
        }
        Self::check(text)
    }

    fn check(text: &str) -> Result<(), String> {
        let is_right = |text: &str| {
            url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "nats" | "tls") && url.has_host())
        };
        if text.split(',').all(is_right) {
            Ok(())
        } else {
            Err("is no URL of a NATS server, such as nats://nats.example:4222".to_owned())
        }
    }
}

/// A credentials file of NATS.
struct NatsCredentials;

impl Kind for NatsCredentials {
    const MAY_BE_LITERAL: bool = false;

    const FORM: &'static str = "`file:PATH` or `env:NAME`";

    fn literal(_: &str) -> Result<(), String> {
        Err("credentials never stand in this file: write file:PATH or env:NAME".to_owned())
    }
}

/// The beginning of the name of a stream.
struct Prefix;

impl Text for Prefix {
    const FORM: &'static str = "name";

    fn parse(text: &str) -> Result<&str, &'static str> {
        let is_right = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if is_right { Ok(text) } else { Err("is no name: write at most 64 letters, digits, _ and -") }
    }
}
