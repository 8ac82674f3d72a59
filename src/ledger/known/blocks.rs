//! Blocks of known IDs: the rows of their table, and the directory of them that is kept in memory.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::ledger::encoding::ids;
use crate::ledger::error::Fault;
use crate::ledger::values::Columns as _;

/// How many layers of like size are merged.
const MERGE: usize = 8;
/// How many layers are merged at once, each with one block in memory.
const AT_ONCE: usize = 64;

/// Which blocks hold which IDs: some forty bytes in memory for every 4,096 IDs.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Directory {
    pub(super) blocks: Vec<Block>,
    /// The number of IDs in each layer.
    layers: BTreeMap<i64, u64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) id: i64,
    pub(super) layer: i64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) n: u64,
}

impl Directory {
    pub(super) async fn load(conn: &mut SqliteConnection) -> Result<Self, Fault> {
        let mut directory = Self::default();
        for row in sqlx::query("select id, layer, first, last, n from known").fetch_all(conn).await? {
            let (first, last) = (row.value("first")?, row.value("last")?);
            directory.add(&[Block {
                id: row.value("id")?,
                layer: row.value("layer")?,
                first,
                last,
                n: row.count("n")?,
            }]);
        }
        Ok(directory)
    }

    pub(super) fn add(&mut self, blocks: &[Block]) {
        for block in blocks {
            *self.layers.entry(block.layer).or_default() += block.n;
        }
        self.blocks.extend_from_slice(blocks);
    }

    /// Removes the blocks of these numbers, which are sorted.
    pub(super) fn remove(&mut self, ids: &[i64]) {
        for block in self.blocks.extract_if(.., |block| ids.binary_search(&block.id).is_ok()) {
            if let Some(n) = self.layers.get_mut(&block.layer) {
                *n -= block.n;
            }
        }
        self.layers.retain(|_, n| *n > 0);
    }

    /// How many IDs there are; one in two blocks counts twice.
    pub(super) fn ids(&self) -> u64 {
        self.layers.values().sum()
    }

    /// The numbers of the blocks that may hold one of these IDs, which are sorted.
    pub(super) fn that_may_hold(&self, ids: &[i64]) -> Vec<i64> {
        let may_hold = |block: &&Block| {
            let at = ids.partition_point(|id| *id < block.first);
            ids.get(at).is_some_and(|id| *id <= block.last)
        };
        let mut found: Vec<i64> = self.blocks.iter().filter(may_hold).map(|block| block.id).collect();
        found.sort_unstable();
        found
    }

    /// Layers of like size that are too many, and hold no more than `most` IDs together.
    pub(super) fn crowded(&self, most: u64) -> Option<Vec<i64>> {
        let mut sizes: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for (layer, n) in &self.layers {
            sizes.entry(n.ilog2() / 3).or_default().push(*layer);
        }
        sizes.into_values().filter(|layers| layers.len() >= MERGE).find_map(|mut layers| {
            layers.truncate(AT_ONCE);
            let ids: u64 = layers.iter().map(|layer| self.layers[layer]).sum();
            (ids <= most).then_some(layers)
        })
    }

    /// The first layers, if there is more than one.
    pub(super) fn several(&self) -> Option<Vec<i64>> {
        (self.layers.len() > 1).then(|| self.layers.keys().take(AT_ONCE).copied().collect())
    }
}

/// The layer after all others.
pub(super) async fn next_layer(conn: &mut SqliteConnection) -> Result<i64, Fault> {
    Ok(sqlx::query_scalar("select coalesce(max(layer), 0) + 1 from known").fetch_one(conn).await?)
}

/// Stores sorted IDs, at least one, as a block.
pub(super) async fn write(conn: &mut SqliteConnection, layer: i64, ids: &[i64]) -> Result<Block, Fault> {
    let (Some(&first), Some(&last)) = (ids.first(), ids.last()) else {
        return Err(Fault::Inconsistent("a block of known IDs is empty".to_owned()));
    };
    let inserted = sqlx::query("insert into known (layer, first, last, n, ids) values (?, ?, ?, ?, ?)")
        .bind(layer)
        .bind(first)
        .bind(last)
        .bind(ids.len() as i64)
        .bind(ids::encode(ids))
        .execute(conn)
        .await?;
    Ok(Block { id: inserted.last_insert_rowid(), layer, first, last, n: ids.len() as u64 })
}

/// The IDs of a block.
pub(super) fn decode(row: &SqliteRow) -> Result<Vec<i64>, Fault> {
    let id: i64 = row.value("id")?;
    ids::decode(row.value("ids")?).map_err(Fault::damaged(format_args!("block {id} of known IDs")))
}
