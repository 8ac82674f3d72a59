//! Sessions with the server, and what its errors mean.

use std::io;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use crate::sink::SinkError;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a new process waits for one that holds the archive: the server may not yet know that it died.
const HANDOVER: Duration = Duration::from_secs(3);
/// The parameters of a URL that the driver knows.
const PARAMETERS: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[",
];

/// Makes the session independent of what database and role have as defaults. `synchronous_commit` is only ever raised:
/// a commit must be on disk before the ledger hears of it.
const GREETING: &str = "
    select pg_backend_pid() as pid,
        (select backend_start::text from pg_stat_activity where pid = pg_backend_pid()) as started,
        pg_is_in_recovery() as standby,
        current_setting('server_encoding') as encoding,
        current_setting('fsync') as fsync,
        set_config('synchronous_commit', case when current_setting('synchronous_commit') = 'remote_apply'
            then 'remote_apply' else 'on' end, false),
        set_config('statement_timeout', '300s', false),
        set_config('lock_timeout', '60s', false),
        set_config('search_path', '', false)";

/// What an error of the database means for who meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Credentials or permission.
    Denied,
    /// Something that only another configuration or another table helps against.
    Unusable,
    /// A unique index has the key already.
    Conflict,
    /// Another try, over a new connection, may succeed.
    Transient,
    /// Nothing that is known to pass.
    Other,
}

/// The one place that says what an error means.
pub(super) fn trouble(error: &sqlx::Error) -> Trouble {
    let code = match error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        // What the certificate or its check has against the connection comes as invalid data.
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => return Trouble::Unusable,
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => return Trouble::Transient,
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => return Trouble::Unusable,
        _ => return Trouble::Other,
    };
    match (code.get(..2).unwrap_or_default(), code.as_str()) {
        (_, "42501") | ("28" | "0L" | "0P", _) => Trouble::Denied,
        (_, "23505") => Trouble::Conflict,
        // Timeouts of a statement and of a lock, a server that became read-only, a lost race to create something; then
        // connections, resources, shutdown, the server's own I/O, rollbacks for the sake of others.
        (_, "57014" | "55P03" | "25006" | "42P07" | "42P06" | "42710") | ("08" | "53" | "57" | "58" | "40", _) => {
            Trouble::Transient
        }
        ("3D" | "3F" | "42" | "0A", _) => Trouble::Unusable,
        _ => Trouble::Other,
    }
}

/// Why something was not done: a refusal, or an error of the database that another try may pass.
pub(super) enum Refusal {
    Sink(SinkError),
    Database(sqlx::Error),
}

impl From<SinkError> for Refusal {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// A server and how to reach it. Holds a password, and so has no `Debug`.
#[derive(Clone)]
pub(super) struct Server {
    options: PgConnectOptions,
    /// Where it is, without credentials.
    place: String,
    patience: Duration,
    /// What an operator should know about the URL.
    pub(super) warnings: Vec<String>,
}

/// A backend of the server: process and start, which together are never used again.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    pid: i32,
    started: Option<String>,
}

/// A connection that holds the archive's lock.
pub(super) struct Session {
    pub(super) connection: PgConnection,
    pub(super) backend: Backend,
    /// Whether the staging table is known to be there.
    pub(super) staged: bool,
    /// Whether the server writes to disk when it says so.
    pub(super) durable: bool,
}

impl Server {
    /// Reads the URL.
    pub(super) fn new(url: &SecretString, patience: Duration) -> Result<Self, SinkError> {
        let unusable = |what: &str| {
            SinkError::Unusable(format!(
                "the URL of the Postgres sink {what}; right would be postgres://USER:PASSWORD@HOST:PORT/DATABASE, \
                 with characters such as @ : / ? # in the password percent-encoded"
            ))
        };
        let mut url =
            Url::parse(url.expose_secret()).map_err(|error| unusable(&format!("cannot be read ({error})")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(unusable("does not begin with postgres://"));
        }
        // A password that is not encoded spills into what follows it, and would be printed as the place.
        let path = url.path().trim_start_matches('/');
        if url.fragment().is_some() || path.contains(['/', '@']) || url.query_pairs().any(|(key, _)| key.contains('@'))
        {
            return Err(unusable("has a part too many"));
        }
        let mut warnings = Vec::new();
        let known = |key: &str| PARAMETERS.contains(&key) || key.starts_with("options[");
        let (kept, unknown): (Vec<_>, Vec<_>) = url.query_pairs().into_owned().partition(|(key, _)| known(key));
        if !unknown.is_empty() {
            warnings.extend(
                unknown.iter().map(|(key, _)| format!("The sink's URL has a parameter that is not known: {key:?}.")),
            );
            url.query_pairs_mut().clear().extend_pairs(kept);
        }
        let mut options = PgConnectOptions::from_url(&url).map_err(|error| unusable(&format!("is wrong: {error}")))?;
        if options.get_application_name().is_none() {
            options = options.application_name("yunxin-archiver");
        }
        let options = options.disable_statement_logging();
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let place = format!("{host}/{}", options.get_database().unwrap_or(options.get_username()));
        Ok(Self { options, place, patience, warnings })
    }

    /// Where it is, without credentials.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// What an error means to the caller of the sink.
    pub(super) fn report(&self, doing: &str, error: sqlx::Error) -> SinkError {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .map(|code| format!(" (SQLSTATE {code})"));
        let what = match &error {
            sqlx::Error::Database(error) => error.message().to_owned(),
            error => error.to_string(),
        };
        let sentence = format!("{doing} at {}: {what}{}", self.place, code.unwrap_or_default());
        match trouble(&error) {
            Trouble::Denied => SinkError::Denied(sentence),
            Trouble::Unusable => SinkError::Unusable(sentence),
            Trouble::Conflict | Trouble::Transient | Trouble::Other => {
                SinkError::Failed { context: sentence, source: Box::new(error) }
            }
        }
    }

    /// Connects without taking the archive's lock, going on for a while when the server is starting, full, a standby,
    /// or not there.
    pub(super) async fn connect(&self) -> Result<Session, SinkError> {
        self.reach(None, None).await
    }

    /// Connects as [`Self::connect`] does, and takes the archive's lock. `former` is the backend of a session that
    /// broke: it is ended if the server has not noticed yet, so that who holds the lock also knows what became of that
    /// session's transaction.
    pub(super) async fn session(&self, lock: i64, former: Option<&Backend>) -> Result<Session, SinkError> {
        self.reach(Some(lock), former).await
    }

    async fn reach(&self, lock: Option<i64>, former: Option<&Backend>) -> Result<Session, SinkError> {
        let began = Instant::now();
        let mut delays = delays();
        loop {
            let error = match self.greet().await {
                Ok(Greeted::Primary(mut session)) => {
                    let Some(lock) = lock else { return Ok(session) };
                    match self.lock(&mut session, lock, former).await {
                        Ok(()) => return Ok(session),
                        Err(Refusal::Sink(error)) => return Err(error),
                        Err(Refusal::Database(error)) => error,
                    }
                }
                Ok(Greeted::Encoding(encoding)) => {
                    return Err(SinkError::Unusable(format!(
                        "the database {} has the encoding {encoding}, which cannot hold every message: UTF8 is needed",
                        self.place
                    )));
                }
                Ok(Greeted::Standby) => io::Error::other("the server is a read-only standby; name the primary").into(),
                Err(error) => error,
            };
            let delay = delays.next().unwrap_or_default();
            let hopeless = trouble(&error) != Trouble::Transient || matches!(error, sqlx::Error::Protocol(_));
            if hopeless || began.elapsed() + delay > self.patience {
                return Err(self.report("cannot connect to the archive", error));
            }
            tracing::debug!(place = self.place, %error, "connecting again");
            sleep(delay).await;
        }
    }

    async fn greet(&self) -> Result<Greeted, sqlx::Error> {
        let greeting = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            let row: PgRow = sqlx::query(GREETING).fetch_one(&mut connection).await?;
            let encoding: String = row.try_get("encoding")?;
            if encoding != "UTF8" {
                return Ok(Greeted::Encoding(encoding));
            }
            if row.try_get("standby")? {
                return Ok(Greeted::Standby);
            }
            let backend = Backend { pid: row.try_get("pid")?, started: row.try_get("started")? };
            let durable = row.try_get::<String, _>("fsync")? == "on";
            Ok(Greeted::Primary(Session { connection, backend, staged: false, durable }))
        };
        match timeout(CONNECT, greeting).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the server did not answer in time").into()),
        }
    }

    async fn lock(&self, session: &mut Session, lock: i64, former: Option<&Backend>) -> Result<(), Refusal> {
        let began = Instant::now();
        let patience = if former.is_some() { self.patience } else { HANDOVER.min(self.patience) };
        loop {
            let locked: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
                .bind(lock)
                .fetch_one(&mut session.connection)
                .await?;
            if locked {
                return Ok(());
            }
            if let Some(former) = former {
                sqlx::query(
                    "select pg_terminate_backend(pid) from pg_stat_activity \
                     where pid = $1 and backend_start::text = $2",
                )
                .bind(former.pid)
                .bind(&former.started)
                .execute(&mut session.connection)
                .await?;
            }
            if began.elapsed() > patience {
                return Err(Refusal::Sink(SinkError::Busy(format!(
                    "the archive at {} is being written by another process",
                    self.place
                ))));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

enum Greeted {
    Primary(Session),
    Standby,
    Encoding(String),
}

/// How long to wait between tries.
pub(super) fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(3))
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn server(url: &str) -> Result<Server, SinkError> {
        Server::new(&SecretString::from(url), Duration::ZERO)
    }

    #[test]
    fn the_place_has_no_credentials() {
        let place = |url| server(url).unwrap().place;
        assert_eq!(place("postgres://me:hunter2@db.example:5433/archive?sslmode=require"), "db.example:5433/archive");
        assert_eq!(place("postgresql://me:hunter2@db.example/archive?password=x"), "db.example:5432/archive");
        assert_eq!(place("postgres://me:hunter2@%2Frun%2Fpostgresql/archive"), "/run/postgresql/archive");
    }

    #[test]
    fn a_wrong_url_is_refused_and_never_quoted() {
        for url in [
            "hunter2",
            "mysql://me:hunter2@db/archive",
            "postgres://me:hunter2@db:port/archive",
            "postgres://me:12#hunter2@db/archive",
            "postgres://me:12/hunter2@db/archive",
            "postgres://me:12?hunter2@db/archive",
        ] {
            let error = server(url).err().unwrap();
            assert!(matches!(error, SinkError::Unusable(_)), "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn unknown_parameters_are_dropped_with_a_warning() {
        let server = server("postgres://me@db/archive?channel_binding=require&sslmode=require").unwrap();
        assert_eq!(server.warnings, ["The sink's URL has a parameter that is not known: \"channel_binding\"."]);
        assert!(matches!(server.options.get_ssl_mode(), sqlx::postgres::PgSslMode::Require));
    }
}
