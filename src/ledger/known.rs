//! Which IDs are known: probing the blocks, adding to them, and merging them so that there are few.
//!
//! Every plan adds a layer of blocks that do not overlap. Eight layers of like size are merged into one, so an ID is
//! rewritten about once per factor of eight, and a probe meets a few dozen layers at most.

use std::collections::{BTreeMap, VecDeque};

use sqlx::{Row as _, SqliteConnection};
use tokio::sync::RwLockReadGuard;

use super::error::Fault;
use super::ids::{self, BLOCK};
use super::statement::json;
use super::{Ledger, LedgerError, Writer, begin};

/// Blocks read by one statement.
const READ: usize = 32;
/// Layers of like size that are merged.
const MERGE: usize = 8;
/// Layers merged at once, each with one block in memory.
const AT_ONCE: usize = 64;
/// Blocks written by one transaction of a merge.
const WRITE: usize = 512;
/// What planning merges by the way: more would keep commits waiting.
pub(super) const BY_THE_WAY: u64 = 1_000_000;

/// Where which IDs are: some forty bytes for every 4,096 IDs.
#[derive(Debug, Default)]
pub(super) struct Directory {
    blocks: Vec<Block>,
    /// The number of IDs in each layer.
    layers: BTreeMap<i64, u64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    id: i64,
    layer: i64,
    first: i64,
    last: i64,
    n: i64,
}

impl Directory {
    async fn load(conn: &mut SqliteConnection) -> Result<Self, Fault> {
        let mut directory = Self::default();
        for row in
            sqlx::query("select id, layer, first, last, n from known order by layer, first").fetch_all(conn).await?
        {
            directory.add(&[Block {
                id: row.try_get(0)?,
                layer: row.try_get(1)?,
                first: row.try_get(2)?,
                last: row.try_get(3)?,
                n: row.try_get(4)?,
            }]);
        }
        Ok(directory)
    }

    pub(super) fn add(&mut self, blocks: &[Block]) {
        for block in blocks {
            *self.layers.entry(block.layer).or_default() += block.n.max(0) as u64;
        }
        self.blocks.extend_from_slice(blocks);
    }

    fn remove(&mut self, ids: &[i64]) {
        let layers = &mut self.layers;
        self.blocks.retain(|block| {
            let gone = ids.binary_search(&block.id).is_ok();
            if gone && let Some(n) = layers.get_mut(&block.layer) {
                *n = n.saturating_sub(block.n.max(0) as u64);
            }
            !gone
        });
        self.layers.retain(|_, n| *n > 0);
    }

    /// The blocks that may hold one of `probes`, which are sorted.
    fn candidates(&self, probes: &[i64]) -> Vec<i64> {
        let holds = |block: &&Block| {
            let at = probes.partition_point(|probe| *probe < block.first);
            probes.get(at).is_some_and(|probe| *probe <= block.last)
        };
        let mut found: Vec<i64> = self.blocks.iter().filter(holds).map(|block| block.id).collect();
        found.sort_unstable();
        found
    }

    /// Layers of like size that are too many, and hold no more than `most` IDs together.
    fn crowd(&self, most: u64) -> Option<Vec<i64>> {
        let mut tiers: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for (layer, n) in &self.layers {
            tiers.entry((*n).max(1).ilog2() / 3).or_default().push(*layer);
        }
        tiers.into_values().filter(|layers| layers.len() >= MERGE).find_map(|mut layers| {
            layers.truncate(AT_ONCE);
            let ids: u64 = layers.iter().filter_map(|layer| self.layers.get(layer)).sum();
            (ids <= most).then_some(layers)
        })
    }
}

impl Ledger {
    /// Those of `ids` (sorted, each once) that are known: archived, pending or failed. Sorted.
    ///
    /// Reads the blocks whose range holds one of them, once each, so probe with as many IDs at once as memory allows.
    pub async fn known(&self, ids: &[i64]) -> Result<Vec<i64>, LedgerError> {
        debug_assert!(ids.is_sorted(), "probes are sorted");
        self.probe(ids).await.map_err(self.explain("looking up known IDs"))
    }

    pub(super) async fn probe(&self, probes: &[i64]) -> Result<Vec<i64>, Fault> {
        // Another process may merge blocks that a reader's directory still names.
        for _ in 0..10 {
            let found = self.probe_blocks(probes).await?;
            if let Some(found) = found {
                return Ok(probes.iter().zip(found).filter_map(|(probe, found)| found.then_some(*probe)).collect());
            }
            *self.directory.write().await = None;
        }
        Err(Fault::Damaged("blocks of known IDs are missing".to_owned()))
    }

    /// Which probes were found, or `None` when a block is gone.
    async fn probe_blocks(&self, probes: &[i64]) -> Result<Option<Vec<bool>>, Fault> {
        let directory = self.directory().await?;
        let mut found = vec![false; probes.len()];
        let mut ids = Vec::with_capacity(BLOCK);
        for some in directory.candidates(probes).chunks(READ) {
            let rows = sqlx::query("select id, ids from known where id in (select value from json_each(?))")
                .bind(json(some))
                .fetch_all(&mut self.reader().await?.conn)
                .await?;
            if rows.len() < some.len() {
                return Ok(None);
            }
            for row in rows {
                ids.clear();
                decode(row.try_get(0)?, row.try_get(1)?, &mut ids)?;
                mark(probes, &ids, &mut found);
            }
        }
        Ok(Some(found))
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

    /// Merges blocks of known IDs until there are few layers. In bounded memory; whatever was known stays known,
    /// even when it is cut off.
    pub async fn compact(&self) -> Result<(), LedgerError> {
        let compacted = async {
            let mut writer = self.writer().await?;
            let mut directory = self.directory.write().await;
            if directory.is_none() {
                *directory = Some(Directory::load(&mut writer.conn).await?);
            }
            compact(&mut writer, &mut directory, u64::MAX).await
        };
        compacted.await.map_err(self.explain("merging known IDs"))
    }
}

/// Merges while too many layers are of like size, and hold no more than `most` IDs together. Forgets the directory
/// when a merge fails half-way.
pub(super) async fn compact(writer: &mut Writer, slot: &mut Option<Directory>, most: u64) -> Result<(), Fault> {
    let Some(mut directory) = slot.take() else { return Ok(()) };
    while let Some(layers) = directory.crowd(most) {
        merge(&mut writer.conn, &mut directory, &layers).await?;
    }
    *slot = Some(directory);
    Ok(())
}

/// Adds sorted IDs as a layer of their own.
pub(super) async fn insert(conn: &mut SqliteConnection, ids: &[i64]) -> Result<Vec<Block>, Fault> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    if !ids.is_sorted() {
        return Err(Fault::Inconsistent("IDs to be known are not sorted".to_owned()));
    }
    let layer = next_layer(conn).await?;
    let mut blocks = Vec::with_capacity(ids.len().div_ceil(BLOCK));
    for some in ids.chunks(BLOCK) {
        blocks.push(write(conn, layer, some).await?);
    }
    Ok(blocks)
}

async fn next_layer(conn: &mut SqliteConnection) -> Result<i64, Fault> {
    Ok(sqlx::query_scalar("select coalesce(max(layer), 0) + 1 from known").fetch_one(conn).await?)
}

async fn write(conn: &mut SqliteConnection, layer: i64, ids: &[i64]) -> Result<Block, Fault> {
    let (Some(&first), Some(&last)) = (ids.first(), ids.last()) else {
        return Err(Fault::Inconsistent("a block of known IDs is empty".to_owned()));
    };
    let n = ids.len() as i64;
    let id = sqlx::query("insert into known (layer, first, last, n, ids) values (?, ?, ?, ?, ?)")
        .bind(layer)
        .bind(first)
        .bind(last)
        .bind(n)
        .bind(ids::encode(ids))
        .execute(conn)
        .await?
        .last_insert_rowid();
    Ok(Block { id, layer, first, last, n })
}

fn decode(id: i64, block: &[u8], ids: &mut Vec<i64>) -> Result<(), Fault> {
    ids::decode(block, ids).map_err(Fault::damaged(format_args!("block {id} of known IDs")))
}

/// Marks the probes that are among `ids`; both are sorted.
fn mark(probes: &[i64], ids: &[i64], found: &mut [bool]) {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return };
    let from = probes.partition_point(|probe| probe < first);
    let to = from + probes[from..].partition_point(|probe| probe <= last);
    let few = (to - from) * 8 < ids.len();
    let mut at = 0;
    for (probe, found) in probes[from..to].iter().zip(&mut found[from..to]) {
        if few {
            at += ids[at..].partition_point(|id| id < probe);
        } else {
            while ids[at] < *probe {
                at += 1;
            }
        }
        *found |= ids[at] == *probe;
    }
}

/// A layer as a merge reads it: block by block.
struct Source {
    blocks: VecDeque<Block>,
    current: i64,
    ids: Vec<i64>,
    at: usize,
}

impl Source {
    fn rest(&self) -> &[i64] {
        &self.ids[self.at..]
    }

    /// Has a block at hand while there is one.
    async fn fill(&mut self, conn: &mut SqliteConnection) -> Result<(), Fault> {
        while self.rest().is_empty() {
            let Some(block) = self.blocks.pop_front() else { return Ok(()) };
            let stored: Vec<u8> =
                sqlx::query_scalar("select ids from known where id = ?").bind(block.id).fetch_one(&mut *conn).await?;
            self.current = block.id;
            self.at = 0;
            self.ids.clear();
            decode(block.id, &stored, &mut self.ids)?;
        }
        Ok(())
    }
}

async fn merge(conn: &mut SqliteConnection, directory: &mut Directory, layers: &[i64]) -> Result<(), Fault> {
    let mut sources: Vec<Source> = layers
        .iter()
        .map(|layer| {
            let mut blocks: Vec<Block> =
                directory.blocks.iter().filter(|block| block.layer == *layer).copied().collect();
            blocks.sort_unstable_by_key(|block| block.first);
            Source { blocks: blocks.into(), current: 0, ids: Vec::new(), at: 0 }
        })
        .collect();
    let target = next_layer(conn).await?;
    let mut merged = Vec::with_capacity(BLOCK * 2);
    let mut finished = false;
    while !finished {
        let mut tx = begin(conn).await?;
        let (mut added, mut spent) = (Vec::new(), Vec::new());
        while added.len() < WRITE {
            for source in &mut sources {
                source.fill(&mut tx).await?;
            }
            // Up to here every layer has shown what it has.
            let Some(bound) = sources.iter().filter_map(|source| source.rest().last()).min().copied() else {
                finished = true;
                break;
            };
            let before = merged.len();
            for source in &mut sources {
                let taken = source.rest().partition_point(|id| *id <= bound);
                merged.extend_from_slice(&source.ids[source.at..source.at + taken]);
                source.at += taken;
                if taken > 0 && source.rest().is_empty() {
                    spent.push(source.current);
                }
            }
            #[expect(clippy::stable_sort_primitive, reason = "it finds the sorted runs and merges them")]
            merged[before..].sort();
            merged.dedup();
            let whole = merged.len() - merged.len() % BLOCK;
            for ids in merged[..whole].chunks(BLOCK) {
                added.push(write(&mut tx, target, ids).await?);
            }
            merged.drain(..whole);
        }
        // What was taken from a block that goes must be stored by the same transaction.
        if !merged.is_empty() {
            added.push(write(&mut tx, target, &merged).await?);
            merged.clear();
        }
        spent.sort_unstable();
        sqlx::query("delete from known where id in (select value from json_each(?))")
            .bind(json(&spent))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        directory.remove(&spent);
        directory.add(&added);
    }
    Ok(())
}
