//! A ledger that begins: a job's first one, or that of a job whose identity changed. If the job had this identity before,
//! it is the ledger that was kept then.
//!
//! It is beside its place, and takes the place only when its archive has accepted it. Until then the former ledger is the
//! job's, and stays as it is.

use std::io;
use std::path::{Path, PathBuf};

use sqlx::Connection as _;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::connection::{Reader, begin, connect};
use super::database::Ledger;
use super::disk::{BEGINNING, beside, create, kept_ledgers, kept_path, put_into_place, remove_database};
use super::error::{Fault, LedgerError};
use super::identity::{self, Identity};
use super::schema;
use crate::failpoint::reach;
use crate::panics::unended;

/// A ledger that is not in its place yet.
#[derive(Debug)]
pub struct Beginning {
    place: PathBuf,
    ledger: Ledger,
    former: Option<FormerLedger>,
    returns: bool,
}

/// The ledger that a job had before its identity changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerLedger {
    /// Its ID.
    pub id: Uuid,
    /// What changed since, each part with its old and its new value.
    pub changes: String,
    /// References and rows that are open failures.
    pub open_failures: u64,
    /// References and rows whose failures were dismissed.
    pub dismissed_failures: u64,
}

impl Beginning {
    /// Prepares a ledger for a job that has none with this identity. If an earlier run prepared one, its archive may know
    /// it already, and it is used.
    ///
    /// The caller holds the job's lock, and [`Ledger::open`] returned `None`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Refused`] while the former ledger has something that its own settings must bring to an end.
    pub async fn prepare(place: &Path, identity: &Identity) -> Result<Self, LedgerError> {
        let former = former(place, identity).await?;
        let path = beside(place, BEGINNING);
        let prepared = Ledger::read(&path).await.ok().flatten().filter(|prepared| prepared.identity() == identity);
        let made = async {
            let id = if let Some(prepared) = prepared {
                prepared.id()
            } else {
                set_aside(place).await?;
                create(&path)?;
                Uuid::now_v7()
            };
            let mut conn = connect(&path).await?;
            schema::migrate(&mut conn).await?;
            let mut tx = begin(&mut conn).await?;
            identity::store(&mut tx, id, identity).await?;
            tx.commit().await?;
            let reader = Reader::connect(&path).await?;
            Ok::<_, Fault>(Ledger::new(&path, (id, identity.clone()), Some(conn), reader))
        };
        let ledger = made.await.map_err(|fault| fault.at(&path, "making a ledger"))?;
        reach("beginning.prepared");
        Ok(Self { place: place.to_owned(), ledger, former, returns: false })
    }

    /// Opens a ledger of this identity that was [`kept`], to take its place again.
    ///
    /// The caller holds the job's lock, and [`Ledger::open`] returned `None`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Refused`] while the former ledger has something that its own settings must bring to an end.
    pub async fn again(place: &Path, kept: &Path, identity: &Identity) -> Result<Self, LedgerError> {
        let former = former(place, identity).await?;
        let ledger = Ledger::open(kept, identity).await?.ok_or_else(|| replaced(kept))?;
        Ok(Self { place: place.to_owned(), ledger, former, returns: true })
    }

    /// The ID that the archive is to know the ledger by.
    pub fn id(&self) -> Uuid {
        self.ledger.id()
    }

    /// The ledger, where it is now.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The ledger that it takes the place of.
    pub fn former(&self) -> Option<&FormerLedger> {
        self.former.as_ref()
    }

    /// Whether the job had this ledger before.
    pub fn returns(&self) -> bool {
        self.returns
    }

    /// Gives up. The ledger stays where it is.
    pub async fn close(self) -> Result<(), LedgerError> {
        self.ledger.close().await
    }

    /// Keeps a ledger that an earlier run prepared with other settings, now that the job's own ledger is in use: its
    /// archive may have accepted it.
    pub async fn set_aside(place: &Path) -> Result<(), LedgerError> {
        set_aside(place).await.map_err(|fault| fault.at(place, "keeping an unfinished ledger"))
    }

    /// Puts the ledger into its place and opens it. Also returns under which name the former ledger is kept.
    pub async fn take_place(self) -> Result<(Ledger, Option<PathBuf>), LedgerError> {
        let Self { place, ledger, former, .. } = self;
        let (path, identity) = (ledger.path().to_owned(), ledger.identity().clone());
        ledger.close().await?;
        let moved = async {
            let kept = if let Some(former) = &former {
                make_one_file(&place).await?;
                kept_path(&place, former.id)
            } else {
                place.with_extension("empty.sqlite")
            };
            let place = place.clone();
            let moved = spawn_blocking(move || put_into_place(&path, &place, &kept)).await;
            Ok(moved.unwrap_or_else(|error| Err(io::Error::other(unended(error))))?)
        };
        let kept = moved.await.map_err(|fault: Fault| fault.at(&place, "putting the ledger into place"))?;
        reach("beginning.placed");
        let ledger = Ledger::open(&place, &identity).await?.ok_or_else(|| replaced(&place))?;
        Ok((ledger, kept))
    }
}

/// The ledgers with exactly this identity that were kept when the job changed, the latest first.
pub async fn kept(place: &Path, identity: &Identity) -> Result<Vec<PathBuf>, LedgerError> {
    let ledgers = kept_ledgers(place).map_err(|error| Fault::Io(error).at(place, "looking for kept ledgers"))?;
    let mut found = Vec::new();
    for path in ledgers {
        match Ledger::read(&path).await {
            Ok(Some(ledger)) if ledger.identity() == identity => found.push(path),
            Ok(_) => {}
            Err(error) => tracing::warn!(file = %path.display(), "a kept ledger cannot be read: {error}"),
        }
    }
    Ok(found)
}

pub(super) async fn set_aside(place: &Path) -> Result<(), Fault> {
    let path = beside(place, BEGINNING);
    if let Some(prepared) = Ledger::read(&path).await.ok().flatten() {
        let kept = kept_path(place, prepared.id());
        drop(prepared);
        make_one_file(&path).await?;
        std::fs::rename(&path, kept)?;
    }
    Ok(remove_database(&path)?)
}

/// Puts the log of a ledger that is closed into the ledger itself, so that it can be moved as one file.
pub(super) async fn make_one_file(path: &Path) -> Result<(), Fault> {
    let mut conn = connect(path).await?;
    sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut conn).await?;
    Ok(conn.close().await?)
}

fn replaced(path: &Path) -> LedgerError {
    Fault::Damaged("another process replaced it".to_owned()).at(path, "opening the ledger")
}

/// The ledger in this place, which is of another identity, if there is one.
async fn former(place: &Path, identity: &Identity) -> Result<Option<FormerLedger>, LedgerError> {
    let Some(former) = Ledger::read(place).await? else { return Ok(None) };
    let changes = former.identity().changes(identity);
    let unfinished = former.query("reading the former ledger", async |conn| identity::unfinished(conn).await).await?;
    if let Some(unfinished) = unfinished {
        let job = &identity.job;
        return Err(LedgerError::Refused(format!(
            "job {job:?} changed its {changes}, but {unfinished}: change it back and run the job to its end first; or, \
             if the archive itself was moved, take it over there with `yunxin-archiver adopt {job}`"
        )));
    }
    let totals = former.totals().await?;
    let found = FormerLedger {
        id: former.id(),
        changes,
        open_failures: totals.open_failures.values().sum(),
        dismissed_failures: totals.dismissed,
    };
    former.close().await?;
    Ok(Some(found))
}
