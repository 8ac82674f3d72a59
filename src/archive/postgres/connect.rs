//! Connections to the server, the settings of a transaction, and what errors mean.
//!
//! A connection may be one to a pooler, which gives every transaction another session and shares the session with others.
//! So nothing outlives a transaction: no setting, no named statement, no temporary table, no lock. Only a session that is
//! known to be ours alone keeps the archive's lock, so that another process is refused when it starts.

use std::io;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::schema::Locks;
use super::settings::Settings;
use crate::archive::ArchiveError;
use crate::retry::{self, Jitter, Policy};

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a new process waits for one that has the archive: the server may not have noticed yet that it died.
const HANDOVER: Duration = Duration::from_secs(3);
/// How often a commit, a manifest or opening is tried.
const TRIES: u32 = 5;

/// What is asked of a server first.
const GREETING: &str = "
    select pg_is_in_recovery() as standby,
        current_setting('server_encoding') as encoding,
        current_setting('fsync') as fsync,
        current_setting('yunxin_archiver.session', true) as session";
/// A setting that a connection asks for with a random value. If the session has that value, the server began it for this
/// connection, and it is ours alone. A pooler refuses the setting or ignores it.
const SESSION: &str = "yunxin_archiver.session";
/// Makes a transaction independent of the defaults of database and role. `synchronous_commit` is only ever raised: a commit
/// must be on disk before the ledger hears of it. The role's search path stays in effect for triggers.
const SETTINGS: &str = "
    select pg_catalog.set_config('search_path', pg_catalog.rtrim(
            pg_catalog.concat('pg_catalog, ', pg_catalog.current_setting('search_path')), ', '), true);
    select set_config('synchronous_commit', case when current_setting('synchronous_commit') = 'remote_apply'
            then 'remote_apply' else 'on' end, true),
        set_config('lock_timeout', '60s', true),
        set_config('idle_in_transaction_session_timeout', '0', true)";
/// The locks of an advisory key that follows.
const HOLDERS: &str = "from pg_locks where locktype = 'advisory' and granted and objsubid = 1 \
    and database = (select oid from pg_database where datname = current_database()) \
    and (classid::bigint << 32 | objid::bigint) =";

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// To write; a statement may take five minutes.
    Write,
    /// To read something.
    Read,
    /// To read everything as it was when the transaction began.
    Snapshot,
}

impl Mode {
    /// The statements that begin such a transaction.
    pub(super) fn begin(self) -> String {
        let (mode, timeout) = match self {
            Self::Write => ("read committed", "300s"),
            Self::Read => ("read committed read only", "0"),
            Self::Snapshot => ("repeatable read read only", "0"),
        };
        format!("begin isolation level {mode}; {SETTINGS}, set_config('statement_timeout', '{timeout}', true)")
    }
}

/// What an error of the database means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Credentials or permission.
    Denied,
    /// Only another configuration or another table helps.
    Unusable,
    /// A unique index has the key already.
    Conflict,
    /// Another try over a new connection may succeed.
    Transient,
    /// Anything else. Another try would not help.
    Other,
}

/// What an error means. No other place decides that.
pub(super) fn trouble(error: &sqlx::Error) -> Trouble {
    let code = match error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        // A certificate that is refused is reported as invalid data.
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => return Trouble::Unusable,
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => return Trouble::Transient,
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => return Trouble::Unusable,
        _ => return Trouble::Other,
    };
    if is_statement_mode(error) {
        return Trouble::Unusable;
    }
    match (code.get(..2).unwrap_or_default(), code.as_str()) {
        (_, "42501") | ("28" | "0L" | "0P", _) => Trouble::Denied,
        (_, "23505") => Trouble::Conflict,
        // Timeouts of a statement and of a lock, a server that became read-only, a lost race to create something. Then
        // whole classes: connections, resources, shutdown, the server's own I/O, rollbacks caused by others.
        (_, "57014" | "55P03" | "25006" | "42P07" | "42P06" | "42710") | ("08" | "53" | "57" | "58" | "40", _) => {
            Trouble::Transient
        }
        ("3D" | "3F" | "42" | "0A", _) => Trouble::Unusable,
        _ => Trouble::Other,
    }
}

/// Whether a pooler says that it does not support transactions. It uses one code for everything.
fn is_statement_mode(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.message().contains("statement pooling"))
}

/// Whether a pooler refuses the setting that a connection asked for. Every pooler says so with another code. Wrong
/// credentials are not tried twice.
fn is_refused_setting(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(code.get(..2), Some("08" | "0A" | "22" | "42")))
}

/// Why something was not done: it was refused, or the database failed and another try may help.
pub(super) enum Refusal {
    Archive(ArchiveError),
    Database(sqlx::Error),
}

impl From<ArchiveError> for Refusal {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
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
}

/// A connection.
pub(super) struct Session {
    pub(super) connection: PgConnection,
    /// Whether its session is known to be ours alone.
    own: bool,
    /// Whether the server really writes to disk when it says so.
    pub(super) durable: bool,
}

impl Session {
    /// Begins a transaction that takes no lock.
    pub(super) async fn begin(&mut self, mode: Mode) -> Result<(), sqlx::Error> {
        self.connection.execute(sqlx::raw_sql(AssertSqlSafe(mode.begin()))).await.map(drop)
    }

    /// Makes the transaction final.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("commit").await.map(drop)
    }

    /// Undoes the transaction.
    pub(super) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("rollback").await.map(drop)
    }
}

impl Server {
    /// Reads the URL. It is never quoted.
    pub(super) fn new(settings: &Settings) -> Result<Self, ArchiveError> {
        let url = settings.sink.url.look_up().map_err(|error| ArchiveError::Unusable(error.to_string()))?;
        // The driver's own error quotes values.
        let wrong = |_| "the URL of the Postgres sink cannot be read: check its host, port and parameters";
        let options: PgConnectOptions = url
            .expose_secret()
            .parse()
            .map_err(|error: sqlx::Error| ArchiveError::Unusable(wrong(error).to_owned()))?;
        let name = options.get_application_name().unwrap_or("yunxin-archiver").to_owned();
        // Poolers do not know the parameter `extra_float_digits`, and no column needs it.
        let options = options
            .application_name(&name)
            .disable_statement_logging()
            .statement_cache_capacity(0)
            .extra_float_digits(None);
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let place = format!("{host}/{}", options.get_database().unwrap_or(options.get_username()));
        Ok(Self { options, place, patience: settings.patience })
    }

    /// Where it is, without credentials.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// What an error means to the user. `doing` says what failed.
    pub(super) fn report(&self, doing: &str, error: sqlx::Error) -> ArchiveError {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .map(|code| format!(" (SQLSTATE {code})"));
        let what = match &error {
            sqlx::Error::Database(error) => error.message().to_owned(),
            error => error.to_string(),
        };
        let mut sentence = format!("{doing} at {}: {what}{}", self.place, code.unwrap_or_default());
        if is_statement_mode(&error) {
            sentence.push_str("; this pooler has to be set to pool_mode = transaction or session, or left out");
        }
        match trouble(&error) {
            Trouble::Denied => ArchiveError::Denied(sentence),
            Trouble::Unusable => ArchiveError::Unusable(sentence),
            Trouble::Conflict | Trouble::Transient | Trouble::Other => {
                ArchiveError::Failed { context: sentence, source: Box::new(error) }
            }
        }
    }

    /// Connects without the archive's lock. Keeps trying for a while if the server is starting, full, a standby, or not
    /// reachable.
    pub(super) async fn connect(&self) -> Result<Session, ArchiveError> {
        self.reach(None, false).await
    }

    /// Connects as [`Self::connect`] does, and begins a transaction that holds the archive's lock: no other transaction that
    /// writes the archive is under way then. A session of our own keeps the lock. With `again`, a connection of this process
    /// may have broken: a session of it that the server still has is ended.
    pub(super) async fn session(&self, locks: Locks, again: bool) -> Result<Session, ArchiveError> {
        self.reach(Some(locks), again).await
    }

    async fn reach(&self, locks: Option<Locks>, again: bool) -> Result<Session, ArchiveError> {
        let began = Instant::now();
        let mut delays = delays();
        loop {
            let error = match self.greet(locks.is_some()).await {
                Ok(Greeted::Primary(mut session)) => {
                    let Some(locks) = locks else { return Ok(session) };
                    match self.lock(&mut session, locks, again).await {
                        Ok(()) => return Ok(session),
                        Err(Refusal::Archive(error)) => return Err(error),
                        Err(Refusal::Database(error)) => error,
                    }
                }
                Ok(Greeted::Encoding(encoding)) => {
                    return Err(ArchiveError::Unusable(format!(
                        "the database {} has the encoding {encoding}, which cannot hold every message: it needs UTF8",
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

    async fn greet(&self, to_keep: bool) -> Result<Greeted, sqlx::Error> {
        let greeting = async {
            let asked = to_keep.then(|| Uuid::now_v7().to_string());
            let connected = match &asked {
                Some(asked) => PgConnection::connect_with(&self.options.clone().options([(SESSION, asked)])).await,
                None => PgConnection::connect_with(&self.options).await,
            };
            let mut connection = match connected {
                Err(error) if asked.is_some() && is_refused_setting(&error) => {
                    PgConnection::connect_with(&self.options).await?
                }
                connected => connected?,
            };
            let row: PgRow = sqlx::raw_sql(GREETING).fetch_one(&mut connection).await?;
            let encoding: String = row.try_get("encoding")?;
            if encoding != "UTF8" {
                return Ok(Greeted::Encoding(encoding));
            }
            if row.try_get("standby")? {
                return Ok(Greeted::Standby);
            }
            let durable = row.try_get::<String, _>("fsync")? == "on";
            let own = asked.is_some() && asked == row.try_get::<Option<String>, _>("session")?;
            Ok(Greeted::Primary(Session { connection, own, durable }))
        };
        match timeout(CONNECT, greeting).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the server did not answer in time").into()),
        }
    }

    async fn lock(&self, session: &mut Session, locks: Locks, again: bool) -> Result<(), Refusal> {
        let began = Instant::now();
        let patience = if again { self.patience } else { HANDOVER.min(self.patience) };
        let Locks { archive, process } = locks;
        let lock = if session.own { "pg_try_advisory_lock" } else { "pg_try_advisory_xact_lock" };
        let attempt = format!("{}; select {lock}({archive}) and {lock}({process}) as locked", Mode::Write.begin());
        loop {
            if last_row(&mut session.connection, attempt.clone()).await?.try_get("locked")? {
                return Ok(());
            }
            session.rollback().await?;
            if again {
                let end = format!("select count(pg_terminate_backend(pid)) {HOLDERS} {process}");
                last_row(&mut session.connection, end).await?;
            }
            if began.elapsed() > patience {
                let holder = format!("select max(pid) as pid {HOLDERS} {archive}");
                let holder: Option<i32> = last_row(&mut session.connection, holder).await?.try_get("pid")?;
                let holder = holder.map(|pid| format!(": the server's process {pid} holds its lock"));
                return Err(Refusal::Archive(ArchiveError::Busy(format!(
                    "the archive at {} is being written by another process{}",
                    self.place,
                    holder.unwrap_or_default()
                ))));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The last row that statements return. They are sent as one message.
pub(super) async fn last_row(connection: &mut PgConnection, sql: String) -> Result<PgRow, sqlx::Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    rows.into_iter().next_back().ok_or(sqlx::Error::RowNotFound)
}

enum Greeted {
    Primary(Session),
    Standby,
    Encoding(String),
}

/// Connecting again while a server starts, fails over or is full.
const AGAIN: Policy = Policy {
    first: Duration::from_millis(50),
    factor: 2.0,
    longest: Duration::from_secs(3),
    jitter: Jitter::Added,
    attempts: None,
};

fn delays() -> retry::Tries {
    AGAIN.start()
}

/// The tries of something that may need a new connection.
pub(super) struct Tries(retry::Tries);

impl Tries {
    pub(super) fn new() -> Self {
        Self(Policy { attempts: Some(TRIES), ..AGAIN }.start())
    }

    /// Whether this is not the first try.
    pub(super) fn is_later(&self) -> bool {
        self.0.made() > 0
    }

    /// After a try failed with this error, waits for the next one. Returns the error if another try would not help, or if
    /// there were enough.
    pub(super) async fn wait(&mut self, error: sqlx::Error) -> Result<(), sqlx::Error> {
        if trouble(&error) != Trouble::Transient {
            return Err(error);
        }
        match self.0.next() {
            Some(wait) => sleep(wait).await,
            None => return Err(error),
        }
        Ok(())
    }
}

/// Does work that must not take longer than this. If it does, another try may help.
pub(super) async fn timed<T>(limit: Duration, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(sqlx::Error::from(io::Error::new(io::ErrorKind::TimedOut, "it took too long")).into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::config::PostgresSink;

    fn server(url: &str) -> Result<Server, ArchiveError> {
        Server::new(&Settings::new(PostgresSink::new(SecretString::from(url))))
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
        for url in ["hunter2", "postgres://me:hunter2@db:port/archive"] {
            let error = server(url).err().unwrap();
            assert!(matches!(error, ArchiveError::Unusable(_)), "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
