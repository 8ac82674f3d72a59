//! The job's durable memory: one SQLite file.
//!
//! A reference is known from the moment that it is planned: as *pending* in a batch to be sent, *carried* to be asked
//! for once more, *archived*, or *failed*. Every change of state is one transaction, durable when the
//! call returns, and none happens in part.
//!
//! | table | holds |
//! |---|---|
//! | `pending` | batches to be sent |
//! | `carried` | references to be asked for once more, until they are cut into batches |
//! | `answered` | who was answered for a team |
//! | `linked` | what archived messages link to, until it is cut into batches or found to be known |
//! | `done` | what recent commits archived, in case a commit is lost |
//! | `versions` | what the archive holds of messages that are asked for again |
//! | `known` | every ID, in sorted blocks |
//! | `failures` | what did not become a message: open, dismissed and closed |
//! | `runs`, `courses`, `commits`, `files`, `manifests` | history |
//!
//! The process that writes holds the job's [`JobLock`]. Reading takes no lock, and works while another process writes.

mod adoption;
mod answered;
mod batches;
mod bits;
pub mod blob;
mod carried;
mod commits;
mod cut;
mod dismissal;
mod error;
mod failures;
mod files;
mod history;
mod identity;
pub mod ids;
mod invalid;
mod known;
mod linked;
mod lock;
mod manifests;
mod met;
mod open;
mod payload;
mod record;
mod refetch;
mod runs;
mod schema;
mod standing;
mod statement;
mod suspects;
mod timeline;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::{Connection as _, Sqlite, SqliteConnection, Transaction};
use tokio::sync::{Mutex, MutexGuard, RwLock};
use uuid::Uuid;

pub use adoption::{Adoption, Archived, Carried, Cursor, Former, Held, HeldManifest, HeldRun};
pub use batches::{PendingBatch, PlanReceipt, Planned, StoredCheckpoint, Sums, Totals};
pub use bits::Damaged;
pub use carried::Aside;
pub use commits::{Commit, FailedRef, FinishedBatch};
pub use cut::{Cut, CutOrder};
pub use dismissal::Dismissed;
pub use error::LedgerError;
pub use failures::{FailureFilter, FailureRow, FailureState, RetryFilter, RetryRef};
pub use files::CommittedFile;
pub use identity::Identity;
pub use linked::{ExtrasPlanned, Link};
pub use lock::{AppLock, JobLock};
pub use manifests::{Head, ManifestDue, RunNote};
pub use met::OpenFailure;
pub use record::Recorded;
pub use refetch::{Reviewed, ReviewedCounts};
pub use runs::{RunCounts, RunRow, Untold};
pub use standing::Standing;

use error::Fault;
use invalid::Told;
use known::Directory;
use open::Reader;
use suspects::Suspects;

/// One job's ledger.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    id: Uuid,
    identity: Identity,
    /// `None` when opened for reading.
    writer: Option<Mutex<Writer>>,
    reader: Mutex<Reader>,
    /// Where which IDs are, once they were asked for.
    directory: RwLock<Option<Directory>>,
}

#[derive(Debug)]
struct Writer {
    conn: SqliteConnection,
    suspects: Option<Suspects>,
    /// How many invalid rows were told one by one.
    told: Told,
}

impl Writer {
    fn new(conn: SqliteConnection) -> Self {
        Self { conn, suspects: None, told: Told::default() }
    }
}

impl Ledger {
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

    /// Closes the file, after which only the ledger itself is left of it on disk. Dropping a ledger is as safe.
    pub async fn close(self) -> Result<(), LedgerError> {
        let closed = async {
            self.reader.into_inner().close().await?;
            if let Some(writer) = self.writer {
                writer.into_inner().conn.close().await?;
            }
            Ok::<_, Fault>(())
        };
        closed.await.map_err(|fault| fault.at(&self.path, "closing the ledger"))
    }

    async fn writer(&self) -> Result<MutexGuard<'_, Writer>, Fault> {
        match &self.writer {
            Some(writer) => {
                let mut writer = writer.lock().await;
                writer.settle(&self.path).await?;
                Ok(writer)
            }
            None => Err(Fault::ReadOnly),
        }
    }

    async fn reader(&self) -> Result<MutexGuard<'_, Reader>, Fault> {
        let mut reader = self.reader.lock().await;
        reader.follow(&self.path).await?;
        Ok(reader)
    }

    /// Names the file in an error.
    fn explain(&self, doing: &'static str) -> impl FnOnce(Fault) -> LedgerError {
        move |fault| fault.at(&self.path, doing)
    }
}

impl Writer {
    /// Connects anew when a transaction is still open that nobody holds: SQLite itself ended it, when the disk was
    /// full, and the connection never heard.
    async fn settle(&mut self, path: &Path) -> Result<(), Fault> {
        if self.conn.is_in_transaction() {
            // A transaction that was only dropped is rolled back before this is answered.
            self.conn.ping().await?;
            if self.conn.is_in_transaction() {
                self.conn = open::connect(path).await?;
            }
        }
        Ok(())
    }

    /// A transaction that will write; it waits for nobody, as nobody else writes.
    async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, Fault> {
        Ok(begin(&mut self.conn).await?)
    }
}

async fn begin(conn: &mut SqliteConnection) -> Result<Transaction<'_, Sqlite>, sqlx::Error> {
    conn.begin_with("begin immediate").await
}

/// A time as it is stored.
fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// A time as it was stored.
fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// A run's ID as it was stored.
fn run_id(text: &str) -> Result<Uuid, Fault> {
    Uuid::try_parse(text).map_err(|_| Fault::Damaged(format!("{text:?} is no run ID")))
}

/// A count as it was stored.
fn count(value: i64) -> u64 {
    value.max(0) as u64
}
