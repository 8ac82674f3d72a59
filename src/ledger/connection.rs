//! Connections to a ledger's file.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite, SqliteConnection, Transaction};

use super::disk::has_log;
use super::error::sqlite_code;

/// How many rows SQLite's thread may be ahead. With more than one read takes of the large ones, it need not sleep and be
/// woken for them.
const ROWS_AHEAD: usize = 512;
/// How long a statement waits for another process: for a checkpoint at most, as only one process writes.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(PATIENCE)
        .row_buffer_size(ROWS_AHEAD)
        .disable_statement_logging()
}

/// A connection that writes. Every transaction is durable when it is committed.
pub(super) async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path)
        .page_size(8192)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", "-8192")
        .pragma("journal_size_limit", "67108864")
        .connect()
        .await
}

/// A transaction that will write. It waits for nobody, as nobody else writes.
pub(super) async fn begin(conn: &mut SqliteConnection) -> Result<Transaction<'_, Sqlite>, sqlx::Error> {
    conn.begin_with("begin immediate").await
}

/// Connects anew if a transaction is open that nobody holds: SQLite ended it itself when the disk was full, and the
/// connection was not told.
pub(super) async fn recover(conn: &mut SqliteConnection, path: &Path) -> Result<(), sqlx::Error> {
    if conn.is_in_transaction() {
        // A transaction that was only dropped is rolled back before this is answered.
        conn.ping().await?;
        if conn.is_in_transaction() {
            *conn = connect(path).await?;
        }
    }
    Ok(())
}

/// A connection that only reads.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) conn: SqliteConnection,
    /// Opened as a file that nobody changes, because nobody was writing: SQLite then creates no files of its own.
    immutable: bool,
}

impl Reader {
    pub(super) async fn connect(path: &Path) -> Result<Self, sqlx::Error> {
        let immutable = !has_log(path);
        let options = options(path).read_only(true).pragma("cache_size", "-4096");
        match options.clone().immutable(immutable).connect().await {
            // The log was there a moment ago, and its writer closed.
            Err(error) if !immutable && sqlite_code(&error) == Some(14) && !has_log(path) => {
                Ok(Self { conn: options.immutable(true).connect().await?, immutable: true })
            }
            connected => Ok(Self { conn: connected?, immutable }),
        }
    }

    /// Connects anew if a process began to write since.
    pub(super) async fn follow(&mut self, path: &Path) -> Result<(), sqlx::Error> {
        if self.immutable && has_log(path) {
            *self = Self::connect(path).await?;
        }
        Ok(())
    }
}
