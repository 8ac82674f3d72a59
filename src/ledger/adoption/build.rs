//! The new ledger while the archive's IDs come into it: sorted in memory a million at a time, and merged on disk.

use sqlx::QueryBuilder;

use crate::ledger::connection::begin;
use crate::ledger::database::Ledger;
use crate::ledger::error::Fault;
use crate::ledger::values::{ROWS, count};

/// How many IDs are sorted in memory at once.
const RUN: usize = 1 << 20;
/// How many later versions are read at once.
const PAGE: i64 = 65_536;

/// What an archive holds, as it was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchivedCounts {
    /// Messages, every version of one counted.
    pub messages: u64,
    /// Different IDs.
    pub ids: u64,
    /// Messages that are there already in the same version.
    pub twice: u64,
}

#[derive(Debug)]
pub(super) struct Build {
    pub(super) ledger: Ledger,
    /// IDs that are not stored yet.
    buffer: Vec<i64>,
    archived: ArchivedCounts,
}

impl Build {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger, buffer: Vec::new(), archived: ArchivedCounts::default() }
    }

    /// Takes IDs of archived messages: `first` of first versions, `later` with revisions.
    pub(super) async fn add(&mut self, first: Vec<i64>, later: &[(i64, i32)]) -> Result<(), Fault> {
        self.archived.messages += (first.len() + later.len()) as u64;
        self.make_known(first).await?;
        if later.is_empty() {
            return Ok(());
        }
        let mut conn = self.ledger.writer().await?;
        let mut tx = begin(&mut conn).await?;
        for some in later.chunks(ROWS) {
            let mut sql = QueryBuilder::new("insert or ignore into later (id, revision) ");
            sql.push_values(some, |mut row, (id, revision)| {
                row.push_bind(id).push_bind(revision);
            });
            self.archived.twice += some.len() as u64 - sql.build().execute(&mut *tx).await?.rows_affected();
        }
        Ok(tx.commit().await?)
    }

    /// Makes IDs known, in any order, with the next of [`flush`](Self::flush) at the latest.
    pub(super) async fn make_known(&mut self, ids: impl IntoIterator<Item = i64>) -> Result<(), Fault> {
        self.buffer.extend(ids);
        if self.buffer.len() < RUN { Ok(()) } else { self.flush().await }
    }

    /// Stores the buffered IDs as a layer.
    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        self.buffer.sort_unstable();
        self.buffer.dedup();
        {
            let mut conn = self.ledger.writer().await?;
            let mut tx = begin(&mut conn).await?;
            let new_blocks = self.ledger.insert_known(&mut tx, &self.buffer).await?;
            tx.commit().await?;
            new_blocks.committed();
        }
        self.buffer.clear();
        self.ledger.merge_crowded(u64::MAX).await
    }

    /// After the last ID: counts first versions, then adds the messages of which only later versions are there.
    pub(super) async fn count(&mut self) -> Result<ArchivedCounts, Fault> {
        self.flush().await?;
        self.archived.ids = self.ledger.merge_all().await?;
        let later = sqlx::query_scalar("select count(*) from later");
        let later = count(later.fetch_one(&mut *self.ledger.writer().await?).await?) + self.archived.twice;
        self.archived.twice += self.archived.messages - later - self.archived.ids;
        let mut after = None;
        loop {
            let page: Vec<i64> =
                sqlx::query_scalar("select distinct id from later where ?1 is null or id > ?1 order by id limit ?2")
                    .bind(after)
                    .bind(PAGE)
                    .fetch_all(&mut *self.ledger.writer().await?)
                    .await?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            let known = self.ledger.look_up(&page).await?;
            let new = page.iter().copied().filter(|id| known.binary_search(id).is_err());
            self.archived.ids += (page.len() - known.len()) as u64;
            self.make_known(new).await?;
        }
        self.flush().await?;
        Ok(self.archived)
    }
}
