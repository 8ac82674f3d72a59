//! A session in which the user's SQL means what it means in any other client.
//!
//! `sqlx` reads the URL, the environment and the password file, but it does not connect: it would set the session's time
//! zone and date style, which cannot be undone because their former values are then unknown.

use std::path::PathBuf;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::error::PgError;
use super::tls::{Certificates, Tls, Wire};

/// Where a server is, and as which user to connect.
pub(super) struct Server {
    host: String,
    port: u16,
    socket: Option<PathBuf>,
    tls: Option<Tls>,
    config: Config,
}

impl Server {
    pub(super) fn new(secret: &SecretString) -> Result<Self, String> {
        // The driver's own errors quote values.
        let wrong = || "check its host, port and parameters".to_owned();
        let options = PgConnectOptions::from_str(secret.expose_secret()).map_err(|_| wrong())?;
        let url = Url::parse(secret.expose_secret()).map_err(|_| wrong())?;
        let (host, port) = (options.get_host().trim_matches(['[', ']']).to_owned(), options.get_port());
        let directory = options.get_socket().cloned().or_else(|| host.starts_with('/').then(|| PathBuf::from(&host)));
        let written = |names: &[&str], variable: &str| {
            let named = url.query_pairs().filter(|(name, _)| names.contains(&&**name)).last();
            named.map(|(_, value)| value.into_owned()).or_else(|| std::env::var(variable).ok())
        };
        let files = Certificates {
            roots: written(&["sslrootcert", "ssl-root-cert", "ssl-ca"], "PGSSLROOTCERT"),
            certificate: written(&["sslcert", "ssl-cert"], "PGSSLCERT"),
            key: written(&["sslkey", "ssl-key"], "PGSSLKEY"),
        };
        let mut config = Config::new();
        config
            .ssl_mode(SslMode::Disable)
            .user(options.get_username())
            .password(password(&options))
            .application_name(options.get_application_name().unwrap_or("yunxin-archiver"));
        if let Some(database) = options.get_database() {
            config.dbname(database);
        }
        if let Some(options) = options.get_options() {
            config.options(options);
        }
        Ok(Self {
            tls: Tls::new(options.get_ssl_mode(), &host, &files)?,
            socket: directory.map(|directory| directory.join(format!(".s.PGSQL.{port}"))),
            host,
            port,
            config,
        })
    }

    /// The server as messages name it.
    pub(super) fn name(&self) -> String {
        format!("postgres at {}:{}", self.host, self.port)
    }

    pub(super) async fn connect(&self) -> Result<Session, PgError> {
        let wire = if let Some(socket) = &self.socket {
            self.over(UnixStream::connect(socket).await?).await?
        } else {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            self.over(stream).await?
        };
        let (client, connection) = self.config.connect_raw(wire, NoTls).await?;
        let backslashes = connection.parameter("standard_conforming_strings") == Some("off");
        let driver = tokio::spawn(async move {
            // The client is told what ended it.
            let _ = connection.await;
        });
        Ok(Session { client, backslashes, driver: AbortOnDropHandle::new(driver) })
    }

    async fn over<S>(&self, stream: S) -> Result<Box<dyn Wire>, PgError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match &self.tls {
            Some(tls) => tls.connect(stream).await,
            None => Ok(Box::new(stream)),
        }
    }
}

/// The password of the URL, the environment or the password file; empty if there is none.
fn password(options: &PgConnectOptions) -> String {
    let url = options.clone().username("u").host("h").database("d").to_url_lossy();
    // The URL spells it in letters, digits and escapes.
    let pair = format!("password={}", url.password().unwrap_or_default());
    url::form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

/// A session of one transaction, which is never committed: a pooler closes a connection that is left within a transaction,
/// and whatever was prepared in it is gone. Dropping the session closes the connection.
pub(super) struct Session {
    pub(super) client: Client,
    /// Whether `\` escapes in every literal.
    pub(super) backslashes: bool,
    driver: AbortOnDropHandle<()>,
}

impl Session {
    /// Closes the connection in an orderly way.
    pub(super) async fn end(self) {
        drop(self.client);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), self.driver).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_what_the_url_says() {
        for (url, expected) in [
            ("postgres://u:p%40s%3As+%25%2F%C3%BC@h/d", "p@s:s+%/ü"),
            ("postgres://a%2Fb@h/d?password=x%26y", "x&y"),
            ("postgres:///d?host=/run/postgresql&password=p", "p"),
        ] {
            assert_eq!(password(&PgConnectOptions::from_str(url).unwrap()), expected);
        }
    }
}
