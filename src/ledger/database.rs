//! A ledger that is open: one connection that writes, one that reads, and what memory keeps of the tables.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard, RwLock};
use uuid::Uuid;

use super::bloom::Bloom;
use super::connection::{Reader, begin, connect, options, recover};
use super::disk::{has_log, keep_private};
use super::error::{Fault, LedgerError};
use super::failures::grouping::Grouping;
use super::identity::{self, Identity};
use super::known::blocks::Directory;
use super::schema;

/// One job's ledger.
///
/// Whoever needs several of its locks takes the writing connection first.
#[derive(Debug)]
pub struct Ledger {
    pub(super) path: PathBuf,
    pub(super) id: Uuid,
    pub(super) identity: Identity,
    /// `None` when the ledger is open for reading.
    writer: Option<Mutex<SqliteConnection>>,
    reader: Mutex<Reader>,
    /// Which blocks hold which known IDs; `None` until it is needed.
    pub(super) directory: RwLock<Option<Directory>>,
    /// The IDs that may have a failure which is not closed; `None` until it is needed.
    pub(super) failed_ids: Mutex<Option<Bloom>>,
    pub(super) grouping: Mutex<Grouping>,
}

impl Ledger {
    pub(super) fn new(
        path: &Path,
        (id, identity): (Uuid, Identity),
        writer: Option<SqliteConnection>,
        reader: Reader,
    ) -> Self {
        Self {
            path: path.to_owned(),
            id,
            identity,
            writer: writer.map(Mutex::new),
            reader: Mutex::new(reader),
            directory: RwLock::default(),
            failed_ids: Mutex::default(),
            grouping: Mutex::default(),
        }
    }

    /// Opens a job's ledger to write. `None` if the job has none with this identity: [`Beginning`](super::Beginning)
    /// makes one. What the job had before is then left as it is.
    ///
    /// The caller holds the job's lock.
    pub async fn open(path: &Path, identity: &Identity) -> Result<Option<Self>, LedgerError> {
        let opened = async {
            if !path.try_exists()? {
                return Ok(None);
            }
            keep_private(path)?;
            // The file is examined before any setting is made: another program's database is not to be changed.
            let mut conn = options(path).connect().await?;
            let format = schema::format(&mut conn).await?;
            conn.close().await?;
            let Some(format) = format else { return Ok(None) };
            schema::check(format, true)?;
            let mut conn = connect(path).await?;
            schema::migrate(&mut conn).await?;
            let bound = identity::load(&mut conn).await?;
            let reader = Reader::connect(path).await?;
            Ok(bound.map(|bound| Self::new(path, bound, Some(conn), reader)))
        };
        let opened = opened.await.map_err(|fault: Fault| fault.at(path, "opening the ledger"))?;
        let Some(ledger) = opened else { return Ok(None) };
        let bound = &ledger.identity;
        if bound.job != identity.job {
            return Err(LedgerError::Refused(format!(
                "the ledger belongs to job {:?}, not to {:?}: a ledger cannot be copied or renamed. Move it away; or, \
                 if the archive is to be this job's, take it over with `yunxin-archiver adopt {}`",
                bound.job, identity.job, identity.job
            )));
        }
        if bound != identity {
            ledger.close().await?;
            return Ok(None);
        }
        Ok(Some(ledger))
    }

    /// Opens a ledger to read, as it is: creates, locks and changes nothing, and works while another process writes.
    /// `None` when there is no ledger yet.
    pub async fn read(path: &Path) -> Result<Option<Self>, LedgerError> {
        let opened = async {
            match fs::metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Fault::Io(error)),
                Ok(found) if found.len() == 0 && !has_log(path) => return Ok(None),
                Ok(_) => {}
            }
            let mut reader = Reader::connect(path).await?;
            let Some(format) = schema::format(&mut reader.conn).await? else { return Ok(None) };
            schema::check(format, false)?;
            let bound = identity::load(&mut reader.conn).await?;
            Ok(bound.map(|bound| Self::new(path, bound, None, reader)))
        };
        opened.await.map_err(|fault| fault.at(path, "reading the ledger"))
    }

    /// The ledger's own ID, which its archive remembers. A new identity is a new ID.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Where the ledger is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the ledger is bound to.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What SQLite finds wrong with the file, at most ten lines. Reads all of it.
    pub async fn problems(&self) -> Result<Vec<String>, LedgerError> {
        self.query("checking the ledger", async |conn| {
            let found: Vec<String> = sqlx::query_scalar("pragma integrity_check(10)").fetch_all(conn).await?;
            Ok(found.into_iter().filter(|line| line != "ok").collect())
        })
        .await
    }

    /// The size of the file and of its log, in bytes.
    pub fn size(&self) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        size(&self.path) + size(Path::new(&log))
    }

    /// Closes the file, after which only the ledger itself is left of it on disk. Dropping a ledger is as safe.
    pub async fn close(self) -> Result<(), LedgerError> {
        let closed = async {
            self.reader.into_inner().conn.close().await?;
            if let Some(writer) = self.writer {
                writer.into_inner().close().await?;
            }
            Ok::<_, Fault>(())
        };
        closed.await.map_err(|fault| fault.at(&self.path, "closing the ledger"))
    }

    /// Does work that only reads. An error says what was being done.
    pub(super) async fn query<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault>,
    ) -> Result<T, LedgerError> {
        let done = async { work(&mut self.reader().await?.conn).await };
        done.await.map_err(|fault| fault.at(&self.path, doing))
    }

    /// Does work in one transaction, which is durable when this returns. After an error nothing of it was done.
    pub(super) async fn transaction<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault>,
    ) -> Result<T, LedgerError> {
        let done = async {
            let mut conn = self.writer().await?;
            let mut tx = begin(&mut conn).await?;
            let done = work(&mut tx).await?;
            tx.commit().await?;
            Ok(done)
        };
        done.await.map_err(|fault: Fault| fault.at(&self.path, doing))
    }

    /// The connection that writes.
    pub(super) async fn writer(&self) -> Result<MutexGuard<'_, SqliteConnection>, Fault> {
        let mut conn = self.writer.as_ref().ok_or(Fault::ReadOnly)?.lock().await;
        recover(&mut conn, &self.path).await?;
        Ok(conn)
    }

    /// The connection that reads.
    pub(super) async fn reader(&self) -> Result<MutexGuard<'_, Reader>, Fault> {
        let mut reader = self.reader.lock().await;
        reader.follow(&self.path).await?;
        Ok(reader)
    }
}
