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

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use uuid::Uuid;

pub use build::ArchivedCounts;
pub use carry::{CarriedCursor, CarriedOver};
pub use contents::{AdoptedManifest, AdoptedRun, ArchiveContents};
pub use former::ReplacedLedger;

use self::build::Build;
use super::beginning::{make_one_file, set_aside};
use super::connection::{Reader, connect};
use super::database::Ledger;
use super::disk::{beside, free_name, kept_path, put_into_place, remove_database, sync_parent};
use super::error::{Fault, LedgerError};
use super::identity::Identity;
use crate::panics::unended;

/// A ledger that is being made from its archive.
#[derive(Debug)]
pub struct Adoption {
    /// Where it will be.
    place: PathBuf,
    /// The ledger that is read, where it is not the one in the place.
    kept: Option<PathBuf>,
    former: ReplacedLedger,
    build: Build,
}

impl Adoption {
    /// Begins: copies what can be read of the former ledger, and leaves that as it is. The former ledger is the one at
    /// `place`, unless the archive's `owner` is another one that was kept when the job changed.
    ///
    /// The caller holds the job's lock.
    pub async fn begin(place: &Path, identity: &Identity, id: Uuid, owner: Option<Uuid>) -> Result<Self, LedgerError> {
        let path = beside(place, ".adopting");
        let mut kept = owner.map(|owner| kept_path(place, owner)).filter(|kept| kept.exists());
        if kept.is_some() && id_at(place).await == owner {
            kept = None;
        }
        let from = kept.as_deref().unwrap_or(place);
        let former = former::copy(from, &path, identity);
        let former = former.await.map_err(|fault| fault.at(from, "reading the former ledger"))?;
        let made = async {
            let mut conn = connect(&path).await?;
            former::bind(&mut conn, identity, id).await?;
            let reader = Reader::connect(&path).await?;
            Ok::<_, Fault>(Ledger::new(&path, (id, identity.clone()), Some(conn), reader))
        };
        let ledger = made.await.map_err(|fault| fault.at(&path, "making a ledger"))?;
        Ok(Self { place: place.to_owned(), kept, former, build: Build::new(ledger) })
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

    /// Puts the ledger into its place. The former one stays beside it, under the name that is returned. If the former one
    /// was kept, the ledger in the place is that of other settings, and is kept for them.
    pub async fn install(self, now: Timestamp) -> Result<Option<PathBuf>, LedgerError> {
        let Self { place, kept, build, .. } = self;
        let path = build.ledger.path().to_owned();
        build.ledger.close().await?;
        let former = beside(&place, &now.strftime(".before-adopt-%Y%m%dT%H%M%SZ").to_string());
        let of_other_settings = if kept.is_some() { id_at(&place).await } else { None };
        let installed = async {
            if of_other_settings.is_some() {
                make_one_file(&place).await?;
            }
            set_aside(&place).await?;
            let place = place.clone();
            let moved = tokio::task::spawn_blocking(move || {
                let name = of_other_settings.map_or_else(|| former.clone(), |id| kept_path(&place, id));
                let replaced = put_into_place(&path, &place, &name)?;
                let Some(kept) = kept else { return Ok((replaced, None)) };
                let former = free_name(&former)?;
                std::fs::rename(&kept, &former)?;
                sync_parent(&place)?;
                Ok((Some(former), replaced))
            });
            Ok(moved.await.unwrap_or_else(|error| Err(io::Error::other(unended(error))))?)
        };
        let (former, other) =
            installed.await.map_err(|fault: Fault| fault.at(&place, "putting the ledger into place"))?;
        if let Some(other) = other {
            tracing::warn!(
                kept = %other.display(),
                "the archive belongs to a ledger that was kept when the job changed. The ledger that the job had until now \
                 is kept in turn"
            );
        }
        Ok(former)
    }
}

/// The ID of the ledger in this place, if it can be read.
async fn id_at(place: &Path) -> Option<Uuid> {
    Ledger::read(place).await.ok().flatten().map(|ledger| ledger.id())
}
