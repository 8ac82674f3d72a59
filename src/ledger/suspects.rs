//! Which archived IDs may have to close a failure.

use futures_util::TryStreamExt as _;
use sqlx::SqliteConnection;

use super::error::Fault;
use super::invalid;

/// Which IDs may have an open failure, in one mebibyte: nearly every archived ID has none, and must not cost a look-up.
#[derive(Debug)]
pub(super) struct Suspects(Box<[u64]>);

impl Suspects {
    const BITS: u32 = 23;

    pub(super) async fn load(conn: &mut SqliteConnection) -> Result<Self, Fault> {
        let mut suspects = Self(vec![0; 1 << (Self::BITS - 6)].into_boxed_slice());
        let mut ids = sqlx::query_scalar::<_, i64>(
            "select message_server_id from failures indexed by failures_ids where state < 2 and message_server_id is not null",
        )
        .fetch(&mut *conn);
        while let Some(id) = ids.try_next().await? {
            suspects.extend([id]);
        }
        drop(ids);
        for (_, ids) in invalid::together(conn).await? {
            suspects.extend(ids);
        }
        Ok(suspects)
    }

    pub(super) fn extend(&mut self, ids: impl IntoIterator<Item = i64>) {
        for id in ids {
            let (word, bit) = Self::place(id);
            self.0[word] |= bit;
        }
    }

    pub(super) fn holds(&self, id: i64) -> bool {
        let (word, bit) = Self::place(id);
        self.0[word] & bit != 0
    }

    fn place(id: i64) -> (usize, u64) {
        let hash = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::BITS);
        ((hash >> 6) as usize, 1 << (hash & 63))
    }
}
