//! The known IDs: looking them up, adding to them, and merging their blocks so that there are few.
//!
//! Every addition is a layer of blocks that do not overlap. Eight layers of like size are merged into one, so an ID is
//! rewritten about once per factor of eight, and a look-up meets a few dozen layers at most.

pub(super) mod blocks;
mod merge;

use sqlx::SqliteConnection;
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

use self::blocks::{Block, Directory, decode, next_layer, write};
use super::database::Ledger;
use super::encoding::ids::BLOCK;
use super::error::{Fault, LedgerError};
use super::values::json;

/// Blocks that one statement reads.
const READ: usize = 32;
/// How many IDs planning merges at once: a longer merge would keep commits waiting.
const BY_THE_WAY: u64 = 1_000_000;

/// Blocks that are in a transaction. Nobody can load the directory before it is committed: they would count twice.
pub(super) struct NewBlocks<'a> {
    directory: RwLockWriteGuard<'a, Option<Directory>>,
    blocks: Vec<Block>,
}

impl NewBlocks<'_> {
    /// Enters the blocks in the directory, now that they are stored.
    pub(super) fn committed(mut self) {
        if let Some(directory) = self.directory.as_mut() {
            directory.add(&self.blocks);
        }
    }
}

impl Ledger {
    /// Those of `ids` (sorted, each once) that are known: archived, pending or failed. Sorted.
    ///
    /// Reads each block whose range holds one of them once, so look up as many IDs at once as memory allows.
    pub async fn known(&self, ids: &[i64]) -> Result<Vec<i64>, LedgerError> {
        debug_assert!(ids.is_sorted(), "IDs to look up are sorted");
        self.look_up(ids).await.map_err(|fault| fault.at(&self.path, "looking up known IDs"))
    }

    pub(super) async fn look_up(&self, ids: &[i64]) -> Result<Vec<i64>, Fault> {
        // Another process may merge blocks that this directory still names.
        for _ in 0..10 {
            if let Some(known) = self.look_up_in_blocks(ids).await? {
                return Ok(known);
            }
            *self.directory.write().await = None;
        }
        Err(Fault::Damaged("blocks of known IDs are missing".to_owned()))
    }

    /// `None` when a block is gone.
    async fn look_up_in_blocks(&self, ids: &[i64]) -> Result<Option<Vec<i64>>, Fault> {
        let directory = self.directory().await?;
        let mut known = Vec::new();
        for some in directory.that_may_hold(ids).chunks(READ) {
            let rows = sqlx::query("select id, ids from known where id in (select value from json_each(?))")
                .bind(json(some))
                .fetch_all(&mut self.reader().await?.conn)
                .await?;
            if rows.len() < some.len() {
                return Ok(None);
            }
            for row in rows {
                add_common(ids, &decode(&row)?, &mut known);
            }
        }
        known.sort_unstable();
        known.dedup();
        Ok(Some(known))
    }

    async fn directory(&self) -> Result<RwLockReadGuard<'_, Directory>, Fault> {
        loop {
            if let Ok(loaded) = RwLockReadGuard::try_map(self.directory.read().await, Option::as_ref) {
                return Ok(loaded);
            }
            let mut directory = self.directory.write().await;
            if directory.is_none() {
                *directory = Some(Directory::load(&mut self.reader().await?.conn).await?);
            }
        }
    }

    /// Adds sorted IDs as a layer of their own. To be called last in a transaction.
    pub(super) async fn insert_known(&self, tx: &mut SqliteConnection, ids: &[i64]) -> Result<NewBlocks<'_>, Fault> {
        if !ids.is_sorted() {
            return Err(Fault::Inconsistent("IDs that are to be known are not sorted".to_owned()));
        }
        let layer = next_layer(tx).await?;
        let mut blocks = Vec::with_capacity(ids.len().div_ceil(BLOCK));
        for some in ids.chunks(BLOCK) {
            blocks.push(write(tx, layer, some).await?);
        }
        Ok(NewBlocks { directory: self.directory.write().await, blocks })
    }

    /// Merges blocks of known IDs until there are few layers, in bounded memory. Whatever was known stays known, even if
    /// merging is cut off.
    pub async fn compact(&self) -> Result<(), LedgerError> {
        self.merge_crowded(u64::MAX).await.map_err(|fault| fault.at(&self.path, "merging known IDs"))
    }

    /// The same, but only of layers that are merged quickly.
    pub(super) async fn compact_by_the_way(&self) -> Result<(), LedgerError> {
        self.merge_crowded(BY_THE_WAY).await.map_err(|fault| fault.at(&self.path, "merging known IDs"))
    }

    /// Merges layers of like size that are too many, and hold no more than `most` IDs together.
    pub(super) async fn merge_crowded(&self, most: u64) -> Result<(), Fault> {
        self.merge_layers(|directory| directory.crowded(most)).await.map(|_| ())
    }

    /// Merges all layers into one. Returns how many IDs there are.
    pub(super) async fn merge_all(&self) -> Result<u64, Fault> {
        self.merge_layers(Directory::several).await
    }

    /// Merges the layers that `next` names, as long as it names any. Returns how many IDs there are.
    async fn merge_layers(&self, next: impl Fn(&Directory) -> Option<Vec<i64>>) -> Result<u64, Fault> {
        let mut conn = self.writer().await?;
        let mut slot = self.directory.write().await;
        // After a merge that fails half-way it is loaded anew.
        let mut directory = match slot.take() {
            Some(directory) => directory,
            None => Directory::load(&mut conn).await?,
        };
        while let Some(layers) = next(&directory) {
            merge::merge(&mut conn, &mut directory, &layers).await?;
        }
        let ids = directory.ids();
        *slot = Some(directory);
        Ok(ids)
    }
}

/// Adds the IDs that are in both lists; both are sorted.
fn add_common(ids: &[i64], block: &[i64], common: &mut Vec<i64>) {
    let Some(first) = block.first() else { return };
    let mut stored = block.iter().peekable();
    for id in &ids[ids.partition_point(|id| id < first)..] {
        while stored.next_if(|stored| *stored < id).is_some() {}
        match stored.peek() {
            Some(stored) if *stored == id => common.push(*id),
            Some(_) => {}
            None => return,
        }
    }
}
