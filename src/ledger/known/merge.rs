//! Merging layers of known IDs, block by block.

use std::collections::VecDeque;

use sqlx::SqliteConnection;

use super::blocks::{Block, Directory, decode, next_layer, write};
use crate::ledger::connection::begin;
use crate::ledger::encoding::ids::BLOCK;
use crate::ledger::error::Fault;
use crate::ledger::values::json;

/// How many blocks one transaction writes.
const WRITE: usize = 512;

/// A layer that is being read.
struct Layer {
    blocks: VecDeque<Block>,
    /// The block that was read last, and what is left of it.
    current: i64,
    rest: VecDeque<i64>,
}

impl Layer {
    fn of(directory: &Directory, layer: i64) -> Self {
        let mut blocks: Vec<Block> = directory.blocks.iter().filter(|block| block.layer == layer).copied().collect();
        blocks.sort_unstable_by_key(|block| block.first);
        Self { blocks: blocks.into(), current: 0, rest: VecDeque::new() }
    }

    /// Reads the next block if nothing is left of the last one.
    async fn fill(&mut self, conn: &mut SqliteConnection) -> Result<(), Fault> {
        while self.rest.is_empty() {
            let Some(block) = self.blocks.pop_front() else { return Ok(()) };
            let row =
                sqlx::query("select id, ids from known where id = ?").bind(block.id).fetch_one(&mut *conn).await?;
            self.rest = decode(&row)?.into();
            self.current = block.id;
        }
        Ok(())
    }
}

/// Merges some layers into a new one.
pub(super) async fn merge(conn: &mut SqliteConnection, directory: &mut Directory, layers: &[i64]) -> Result<(), Fault> {
    let mut layers: Vec<Layer> = layers.iter().map(|layer| Layer::of(directory, *layer)).collect();
    let target = next_layer(conn).await?;
    let mut merged = Vec::with_capacity(BLOCK * 2);
    let mut finished = false;
    while !finished {
        let mut tx = begin(conn).await?;
        let (mut added, mut spent) = (Vec::new(), Vec::new());
        while added.len() < WRITE {
            for layer in &mut layers {
                layer.fill(&mut tx).await?;
            }
            // Up to this ID every layer has shown what it holds.
            let Some(bound) = layers.iter().filter_map(|layer| layer.rest.back()).min().copied() else {
                finished = true;
                break;
            };
            let before = merged.len();
            for layer in layers.iter_mut().filter(|layer| !layer.rest.is_empty()) {
                let up_to = layer.rest.partition_point(|id| *id <= bound);
                merged.extend(layer.rest.drain(..up_to));
                if layer.rest.is_empty() {
                    spent.push(layer.current);
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
        // A block may go only with the transaction that stores the last of its IDs.
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
