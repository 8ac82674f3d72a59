//! A ledger made anew from its archive, beside the one that it replaces.
//!
//! It begins as a copy of the former ledger, as far as that can be read: history, failures, pending batches and the
//! cursor stay. What was known is put away, and what the archive holds becomes known instead; then whatever the
//! archive holds already leaves the pending batches and the open failures. Nothing of it counts before
//! [`Adoption::install`] renames it into place, so an adoption that dies is simply begun again.

mod build;
mod carry;
mod contents;
mod former;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use uuid::Uuid;

pub use build::ArchivedCounts;
pub use carry::{CarriedCursor, CarriedOver};
pub use contents::{AdoptedManifest, AdoptedRun, ArchiveContents};
pub use former::ReplacedLedger;

use self::build::Build;
use super::connection::{Reader, connect};
use super::database::Ledger;
use super::disk::{BESIDE, beside, remove, remove_database, sync_parent};
use super::error::{Fault, LedgerError};
use super::identity::Identity;
use crate::panics::unended;

/// A ledger that is being made from its archive.
#[derive(Debug)]
pub struct Adoption {
    /// Where it will be.
    place: PathBuf,
    former: ReplacedLedger,
    build: Build,
}

impl Adoption {
    /// Begins: copies what can be read of the former ledger at `place`. Leaves that as it is.
    ///
    /// The caller holds the job's lock.
    pub async fn begin(place: &Path, identity: &Identity, id: Uuid) -> Result<Self, LedgerError> {
        let path = beside(place, ".adopting");
        let former = former::copy(place, &path, identity);
        let former = former.await.map_err(|fault| fault.at(place, "reading the former ledger"))?;
        let made = async {
            let mut conn = connect(&path).await?;
            former::bind(&mut conn, identity, id).await?;
            let reader = Reader::connect(&path).await?;
            Ok::<_, Fault>(Ledger::new(&path, (id, identity.clone()), Some(conn), reader))
        };
        let ledger = made.await.map_err(|fault| fault.at(&path, "making a ledger"))?;
        Ok(Self { place: place.to_owned(), former, build: Build::new(ledger) })
    }

    /// What became of the former ledger.
    pub fn former(&self) -> &ReplacedLedger {
        &self.former
    }

    /// Gives up, and leaves nothing behind.
    pub async fn abandon(self) -> Result<(), LedgerError> {
        let path = self.build.ledger.path().to_owned();
        self.build.ledger.close().await?;
        remove_database(&path).map_err(|error| Fault::Io(error).at(&path, "removing an unfinished ledger"))
    }

    /// Takes IDs of archived messages: `first` of first versions, `later` with revisions, both in any order.
    pub async fn archived(&mut self, first: Vec<i64>, later: &[(i64, i32)]) -> Result<(), LedgerError> {
        let stored = self.build.add(first, later).await;
        stored.map_err(|fault| fault.at(self.build.ledger.path(), "storing archived IDs"))
    }

    /// After the last ID: sorts, counts, carries over from the former ledger what the archive does not hold, and
    /// stores files and manifests. The adoption counts as a run of its own.
    pub async fn fill(
        &mut self,
        held: &ArchiveContents,
        run: Uuid,
        now: Timestamp,
    ) -> Result<(ArchivedCounts, CarriedOver), LedgerError> {
        let filled = async {
            let archived = self.build.count().await?;
            let carried = carry::carry(&mut self.build, now).await?;
            Ok((archived, carried))
        };
        let filled = filled.await.map_err(|fault: Fault| fault.at(self.build.ledger.path(), "filling the ledger"))?;
        self.build.ledger.store_contents(held, run, now).await?;
        self.build.ledger.compact().await?;
        Ok(filled)
    }

    /// Puts the ledger into its place. The former one stays beside it, under the name that is returned.
    pub async fn install(self, now: Timestamp) -> Result<Option<PathBuf>, LedgerError> {
        let Self { place, build, .. } = self;
        let path = build.ledger.path().to_owned();
        build.ledger.close().await?;
        let installed = tokio::task::spawn_blocking({
            let place = place.clone();
            move || install(&path, &place, now)
        });
        let installed = installed.await.unwrap_or_else(|error| Err(io::Error::other(unended(error))));
        installed.map_err(|error| Fault::Io(error).at(&place, "putting the ledger into place"))
    }
}

/// Links the former ledger under another name before the new one takes its name, so that there is one at any time.
fn install(path: &Path, place: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    let has_content = |path: &Path| fs::metadata(path).is_ok_and(|found| found.len() > 0);
    if has_content(&beside(path, "-wal")) {
        return Err(io::Error::other("the new ledger is still open somewhere"));
    }
    let mut kept = None;
    if has_content(place) {
        let name = free_name(place, now)?;
        let log = beside(place, "-wal");
        if has_content(&log) {
            // Only a ledger that could not be read still has one.
            fs::rename(&log, beside(&name, "-wal"))?;
        }
        if fs::hard_link(place, &name).is_err() {
            fs::copy(place, &name)?;
            File::open(&name)?.sync_all()?;
        }
        kept = Some(name);
    }
    BESIDE.into_iter().try_for_each(|suffix| remove(&beside(place, suffix)))?;
    fs::rename(path, place)?;
    BESIDE.into_iter().try_for_each(|suffix| remove(&beside(path, suffix)))?;
    sync_parent(place)?;
    Ok(kept)
}

fn free_name(place: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    for n in 0..1_000 {
        let again = if n == 0 { String::new() } else { format!("-{n}") };
        let kept = beside(place, &format!(".before-adopt-{time}{again}"));
        if !kept.try_exists()? {
            return Ok(kept);
        }
    }
    Err(io::Error::other("too many ledgers were replaced in this second"))
}
