//! Opening a ledger, to write or only to read.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{Mutex, RwLock};

use super::error::{Fault, from_io, sqlite_code};
use super::schema::{self, FORM, Found};
use super::{Identity, Ledger, LedgerError, Writer, identity, millis};

/// Rows that SQLite's thread may be ahead: more than are read at once of the large ones, for which it would go to sleep and
/// be woken time and again.
const ROWS_AHEAD: usize = 512;
/// How long a statement waits for another process: a checkpoint at most, as only one process writes.
const PATIENCE: Duration = Duration::from_secs(10);

impl Ledger {
    /// Opens a job's ledger to write, and makes it when there is none: the file readable by its owner alone, whatever
    /// the umask.
    ///
    /// A job that changed its app, its sink's place or its partitioning begins anew (another ledger ID, no ID known,
    /// commits from 1, no checkpoint; runs and closed failures stay), and is refused while that would lose something.
    /// The caller holds the job's lock.
    pub async fn open(path: &Path, identity: &Identity) -> Result<Self, LedgerError> {
        let opening = "opening the ledger";
        let created = create(path).map_err(|error| from_io(path, "creating the ledger", error))?;
        let opened = async {
            if !created {
                // Examined before any setting is made: another program's database is not to be changed.
                let mut conn = options(path).connect().await?;
                let found = schema::examine(&mut conn).await?;
                conn.close().await?;
                if let Err(error) = accept(path, found, true) {
                    return Ok(Err(error));
                }
            }
            let mut conn = connect(path).await?;
            schema::migrate(&mut conn).await?;
            let id = identity::bind(&mut conn, identity, millis(Timestamp::now())).await?;
            let reader = Reader::connect(path, false).await?;
            Ok::<_, Fault>(Ok((conn, id, reader)))
        };
        let (conn, id, reader) = opened.await.map_err(|fault| fault.at(path, opening))??;
        Ok(Self {
            path: path.to_owned(),
            id,
            identity: identity.clone(),
            writer: Some(Mutex::new(Writer::new(conn))),
            reader: Mutex::new(reader),
            directory: RwLock::new(None),
        })
    }

    /// Opens a ledger to read, as it is: creates, locks and changes nothing, and works while another process writes.
    /// `None` when there is no ledger yet.
    pub async fn read(path: &Path) -> Result<Option<Self>, LedgerError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(from_io(path, "opening the ledger", error)),
            Ok(found) if found.len() == 0 && !has_log(path) => return Ok(None),
            Ok(_) => {}
        }
        let opened = async {
            let mut reader = Reader::connect(path, !has_log(path)).await?;
            let found = schema::examine(&mut reader.conn).await?;
            if matches!(found, Found::Empty) {
                return Ok(Ok(None));
            }
            if let Err(error) = accept(path, found, false) {
                return Ok(Err(error));
            }
            Ok::<_, Fault>(Ok(identity::load(&mut reader.conn).await?.map(|bound| (bound, reader))))
        };
        let opened = opened.await.map_err(|fault| fault.at(path, "reading the ledger"))??;
        Ok(opened.map(|((id, identity), reader)| Self {
            path: path.to_owned(),
            id,
            identity,
            writer: None,
            reader: Mutex::new(reader),
            directory: RwLock::new(None),
        }))
    }
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(PATIENCE)
        .row_buffer_size(ROWS_AHEAD)
        .disable_statement_logging()
}

/// A connection that writes, durably with every transaction.
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

/// Creates what is missing, for the owner alone; returns whether the file is new.
pub(super) fn create(path: &Path) -> io::Result<bool> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        create_dir(dir)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.sync_all()?;
            if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                fs::File::open(dir)?.sync_all()?;
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Never opened here: closing a file gives up every lock that this process has on it, SQLite's as well.
            let mode = fs::metadata(path)?.permissions().mode();
            if mode & 0o077 != 0 {
                fs::set_permissions(path, Permissions::from_mode(mode & 0o700))?;
            }
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Creates a directory for the owner alone, whatever the umask. One that exists stays as it is.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o700)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn accept(path: &Path, found: Found, to_write: bool) -> Result<(), LedgerError> {
    let version = |found, advice| LedgerError::Version { path: path.to_owned(), found, known: FORM, advice };
    match found {
        Found::Foreign(why) => Err(LedgerError::Foreign { path: path.to_owned(), why }),
        Found::Ledger(form) if form > FORM => Err(version(form, "use the newer version that made it")),
        Found::Ledger(form) if form < FORM && !to_write => {
            Err(version(form, "run the job once to bring it up to date"))
        }
        Found::Ledger(_) | Found::Empty => Ok(()),
    }
}

/// Whether there is a write-ahead log beside the ledger, as there is whenever a process writes.
fn has_log(path: &Path) -> bool {
    beside(path, "-wal").exists()
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A connection that only reads.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) conn: SqliteConnection,
    /// Opened as a file that nobody changes, because nobody was writing: SQLite then creates no files of its own.
    immutable: bool,
}

impl Reader {
    pub(super) async fn connect(path: &Path, immutable: bool) -> Result<Self, sqlx::Error> {
        let options = options(path).read_only(true).immutable(immutable).pragma("cache_size", "-4096");
        match options.connect().await {
            // The log was there a moment ago, and its writer closed.
            Err(error) if !immutable && sqlite_code(&error) == Some(14) && !has_log(path) => {
                Ok(Self { conn: options.immutable(true).connect().await?, immutable: true })
            }
            connected => Ok(Self { conn: connected?, immutable }),
        }
    }

    /// Connects anew when a process began to write since.
    pub(super) async fn follow(&mut self, path: &Path) -> Result<(), sqlx::Error> {
        if self.immutable && has_log(path) {
            *self = Self::connect(path, false).await?;
        }
        Ok(())
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.conn.close().await
    }
}
