//! A ledger made anew from its archive, beside the one that it replaces.
//!
//! It begins as a copy of the former ledger, as far as that can be read: history, failures, pending batches and the
//! cursor stay. What was known is set aside, and what the archive holds becomes known instead; then whatever the
//! archive holds already leaves the pending batches and the open failures. Nothing of it counts before
//! [`Adoption::install`] renames it into place, so an adoption that dies is simply begun again.

mod carry;
mod former;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::{Mutex, RwLock};
use uuid::Uuid;

pub use carry::{Carried, Cursor};
pub use former::Former;

use super::error::{Fault, from_io};
use super::files::insert_file;
use super::known::Directory;
use super::open::{self, Reader, beside};
use super::statement::runs;
use super::{Identity, Ledger, LedgerError, Writer, count, known, millis};
use crate::model::manifest::DataFile;
use crate::panics::unended;

/// IDs that are sorted in memory at once.
const RUN: usize = 1 << 20;
/// Later versions read at once.
const PAGE: i64 = 65_536;

/// A ledger that is being made from its archive.
#[derive(Debug)]
pub struct Adoption {
    /// Where it will be.
    place: PathBuf,
    ledger: Ledger,
    former: Former,
    buffer: Vec<i64>,
    archived: Archived,
}

/// What an archive holds, as it was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Archived {
    /// Messages, every version of one counted.
    pub messages: u64,
    /// Different IDs.
    pub ids: u64,
    /// Messages that are there already in the same version.
    pub twice: u64,
}

/// The rest of what an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The last commit.
    pub commit: u64,
    /// Manifests in order. `None` where the archive keeps none, so that the former ledger's count.
    pub manifests: Option<Vec<HeldManifest>>,
    /// Files that no manifest names yet: they will be in that of the adoption.
    pub unnamed: Vec<DataFile>,
    /// Runs of a database that no manifest names yet: each will have one.
    pub unsealed: Vec<HeldRun>,
}

/// A run whose commits an archive holds, and no manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRun {
    /// The run.
    pub run_id: Uuid,
    /// When it began, as far as the archive knows.
    pub began: Timestamp,
    /// Messages that its commits hold.
    pub rows: u64,
    /// Bytes sent for them.
    pub bytes: u64,
}

/// A manifest in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldManifest {
    /// Its number.
    pub sequence: u64,
    /// The run.
    pub run_id: Uuid,
    /// SHA-256 of its exact bytes.
    pub sha256: String,
    /// Its files that are there.
    pub files: Vec<DataFile>,
}

impl Adoption {
    /// Begins: copies what can be read of the former ledger at `place`. Leaves that as it is.
    ///
    /// The caller holds the job's lock.
    pub async fn begin(place: &Path, identity: &Identity, id: Uuid) -> Result<Self, LedgerError> {
        let path = beside(place, ".adopting");
        let former = former::copy(place, &path, identity).await?;
        let made = async {
            let mut conn = open::connect(&path).await?;
            former::bind(&mut conn, identity, id).await?;
            let reader = Reader::connect(&path, false).await?;
            Ok::<_, Fault>((conn, reader))
        };
        let (conn, reader) = made.await.map_err(|fault| fault.at(&path, "making a ledger"))?;
        let ledger = Ledger {
            path,
            id,
            identity: identity.clone(),
            writer: Some(Mutex::new(Writer::new(conn))),
            reader: Mutex::new(reader),
            directory: RwLock::new(Some(Directory::default())),
        };
        let archived = Archived::default();
        Ok(Self { place: place.to_owned(), ledger, former, buffer: Vec::new(), archived })
    }

    /// What became of the former ledger.
    pub fn former(&self) -> &Former {
        &self.former
    }

    /// Gives up, and leaves nothing behind.
    pub async fn abandon(self) -> Result<(), LedgerError> {
        let path = self.ledger.path.clone();
        self.ledger.close().await?;
        former::remove(&path)
    }

    /// Takes IDs of archived messages: `first` of first versions, `later` with revisions, both in any order.
    pub async fn archived(&mut self, first: Vec<i64>, later: &[(i64, i32)]) -> Result<(), LedgerError> {
        let stored = async {
            self.archived.messages += (first.len() + later.len()) as u64;
            self.buffer.extend(first);
            if self.buffer.len() >= RUN {
                self.store_run().await?;
            }
            self.store_later(later).await
        };
        let stored = stored.await;
        stored.map_err(self.ledger.explain("storing archived IDs"))
    }

    /// After the last ID: sorts, counts, carries over from the former ledger what the archive does not hold, and
    /// stores files and manifests. The adoption counts as a run of its own.
    pub async fn fill(&mut self, held: &Held, run: Uuid, now: Timestamp) -> Result<(Archived, Carried), LedgerError> {
        let filled = async {
            self.store_run().await?;
            self.count().await?;
            let carried = carry::carry(self, now).await?;
            self.store_held(held, run, now).await?;
            Ok::<_, Fault>(carried)
        };
        let filled = filled.await;
        let carried = filled.map_err(self.ledger.explain("filling the ledger"))?;
        self.ledger.compact().await?;
        Ok((self.archived, carried))
    }

    /// Puts the ledger into its place. The former one stays beside it, under the name that is returned.
    pub async fn install(self, now: Timestamp) -> Result<Option<PathBuf>, LedgerError> {
        let Self { place, ledger, .. } = self;
        let path = ledger.path.clone();
        ledger.close().await?;
        let installed = tokio::task::spawn_blocking({
            let place = place.clone();
            move || install(&path, &place, now)
        });
        let installed = installed.await.unwrap_or_else(|error| Err(io::Error::other(unended(error))));
        installed.map_err(|error| from_io(&place, "putting the ledger into place", error))
    }

    /// Stores the buffered IDs as a layer.
    async fn store_run(&mut self) -> Result<(), Fault> {
        self.buffer.sort_unstable();
        self.buffer.dedup();
        let mut writer = self.ledger.writer().await?;
        let mut directory = self.ledger.directory.write().await;
        let mut tx = writer.begin().await?;
        let blocks = known::insert(&mut tx, &self.buffer).await?;
        tx.commit().await?;
        if let Some(directory) = directory.as_mut() {
            directory.add(&blocks);
        }
        known::compact(&mut writer, &mut directory, u64::MAX).await?;
        self.buffer.clear();
        Ok(())
    }

    async fn store_later(&mut self, later: &[(i64, i32)]) -> Result<(), Fault> {
        if later.is_empty() {
            return Ok(());
        }
        let mut writer = self.ledger.writer().await?;
        let mut tx = writer.begin().await?;
        for some in runs(later) {
            let sql = super::statement::values("insert or ignore into later (id, revision) values", 2, some.len(), "");
            let mut query = sqlx::query(sql);
            for (id, revision) in some {
                query = query.bind(id).bind(revision);
            }
            let stored = query.execute(&mut *tx).await?.rows_affected();
            self.archived.twice += some.len() as u64 - stored;
        }
        Ok(tx.commit().await?)
    }

    /// Counts first versions, then adds those messages of which only later versions are there.
    async fn count(&mut self) -> Result<(), Fault> {
        let later_rows = {
            let mut writer = self.ledger.writer().await?;
            let mut directory = self.ledger.directory.write().await;
            self.archived.ids = known::merge_all(&mut writer, &mut directory).await?;
            let later: i64 = sqlx::query_scalar("select count(*) from later").fetch_one(&mut writer.conn).await?;
            count(later) + self.archived.twice
        };
        self.archived.twice += self.archived.messages - later_rows - self.archived.ids;
        let mut after = None;
        loop {
            let page: Vec<i64> =
                sqlx::query_scalar("select distinct id from later where ?1 is null or id > ?1 order by id limit ?2")
                    .bind(after)
                    .bind(PAGE)
                    .fetch_all(&mut self.ledger.writer().await?.conn)
                    .await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            let there = self.ledger.probe(&page).await?;
            self.buffer.extend(page.iter().filter(|id| there.binary_search(id).is_err()));
            self.archived.ids += self.buffer.len() as u64;
            self.store_run().await?;
        }
    }

    async fn store_held(&self, held: &Held, run: Uuid, now: Timestamp) -> Result<(), Fault> {
        let mut writer = self.ledger.writer().await?;
        let mut tx = writer.begin().await?;
        if let Some(manifests) = &held.manifests {
            sqlx::query("delete from manifests").execute(&mut *tx).await?;
            for HeldManifest { sequence, run_id, sha256, files } in manifests {
                let stored = sqlx::query("insert or ignore into manifests (sequence, run_id, sha256) values (?, ?, ?)")
                    .bind(*sequence as i64)
                    .bind(run_id.to_string())
                    .bind(sha256)
                    .execute(&mut *tx)
                    .await?;
                if stored.rows_affected() == 0 {
                    return Err(Fault::Refused(format!("run {run_id} has two manifests: move the wrong one away")));
                }
                store_files(&mut tx, *run_id, files).await?;
            }
        }
        store_files(&mut tx, run, &held.unnamed).await?;
        sqlx::query("update runs set outcome = 'died' where outcome is null").execute(&mut *tx).await?;
        for HeldRun { run_id, began, rows, bytes } in &held.unsealed {
            // Where the former ledger lacks a commit, what it says of the run's references is not all.
            sqlx::query(
                "insert into runs (run_id, ledger_id, command, started_at, outcome, rows, bytes)
                 values (?, ?, 'run', ?, 'died', ?, ?)
                 on conflict (run_id) do update set ledger_id = excluded.ledger_id, rows = excluded.rows,
                     bytes = excluded.bytes, note = case when rows = excluded.rows then note end",
            )
            .bind(run_id.to_string())
            .bind(self.ledger.id.to_string())
            .bind(millis(*began))
            .bind(*rows as i64)
            .bind(*bytes as i64)
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "insert into runs (run_id, ledger_id, command, started_at, finished_at, ended_at, outcome, exit_code, rows, bytes)
             values (?1, ?2, 'adopt', ?3, ?3, ?3, 'complete', 0, ?4, ?5)",
        )
        .bind(run.to_string())
        .bind(self.ledger.id.to_string())
        .bind(millis(now))
        .bind(held.unnamed.iter().map(|file| file.rows).sum::<u64>() as i64)
        .bind(held.unnamed.iter().map(|file| file.bytes).sum::<u64>() as i64)
        .execute(&mut *tx)
        .await?;
        sqlx::query("update ledger set last_commit = ?").bind(held.commit as i64).execute(&mut *tx).await?;
        for sql in ["drop table later", "drop table former"] {
            sqlx::query(sql).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Stores published files. They are of no commit that the ledger could take back.
async fn store_files(conn: &mut sqlx::SqliteConnection, run: Uuid, files: &[DataFile]) -> Result<(), Fault> {
    for file in files {
        insert_file(conn, 0, run, file, None).await?;
    }
    Ok(())
}

/// Links the former ledger under another name before the new one takes its name, so that there is one at any time.
fn install(path: &Path, place: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    if fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(io::Error::other("the new ledger is still open somewhere"));
    }
    let kept = match fs::metadata(place) {
        Ok(found) if found.len() > 0 => {
            let kept = free_name(place, now)?;
            let log = beside(place, "-wal");
            if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
                // Only of a ledger that could not be read: another's log is empty by now.
                fs::rename(&log, beside(&kept, "-wal"))?;
            }
            if fs::hard_link(place, &kept).is_err() {
                fs::copy(place, &kept)?;
                fs::File::open(&kept)?.sync_all()?;
            }
            Some(kept)
        }
        _ => None,
    };
    for suffix in ["-wal", "-shm", "-journal"] {
        former::remove_file(&beside(place, suffix))?;
    }
    fs::rename(path, place)?;
    former::remove_file(&beside(path, "-wal"))?;
    former::remove_file(&beside(path, "-shm"))?;
    if let Some(dir) = place.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::File::open(dir)?.sync_all()?;
    }
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
    Err(io::Error::other("too many ledgers were set aside in this second"))
}
