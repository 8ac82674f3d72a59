//! Which messages are not archived and why, all at one moment.

use std::ops::ControlFlow;

use futures_util::TryStreamExt as _;
use sqlx::{Connection as _, Row as _};

use super::error::Fault;
use super::failures::class;
use super::files::{COLUMNS, staged_file};
use super::{Ledger, LedgerError, blob};
use crate::model::failure::Class;
use crate::model::manifest::StagedFile;

/// Why a message is not archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its failure is open.
    Failed {
        /// The kind.
        class: Class,
        /// The API's code.
        code: Option<i64>,
    },
    /// Its failure was dismissed.
    Dismissed,
    /// It is still to be asked for.
    Pending,
}

impl Ledger {
    /// Hands over the ID of every message that is failed or pending, in any order and perhaps more than once. Returns
    /// the committed files that no manifest names yet. All of it is read as it was at one moment.
    pub async fn standings<B>(
        &self,
        mut take: impl FnMut(i64, Standing) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, Vec<StagedFile>>, LedgerError> {
        let read = async {
            let mut reader = self.reader().await?;
            let mut snapshot = reader.conn.begin().await?;
            let mut failures = sqlx::query(
                "select message_server_id, class, code, state from failures
                 where state < 2 and class <> 'invalid' and message_server_id is not null",
            )
            .fetch(&mut *snapshot);
            while let Some(row) = failures.try_next().await? {
                let standing = match row.try_get::<i64, _>(3)? {
                    -1 => Standing::Dismissed,
                    0 => Standing::Failed { class: class(row.try_get(1)?)?, code: row.try_get(2)? },
                    _ => Standing::Pending,
                };
                if let ControlFlow::Break(why) = take(row.try_get(0)?, standing) {
                    return Ok(ControlFlow::Break(why));
                }
            }
            drop(failures);
            let mut batches = sqlx::query(
                "select body from pending union all select body from carried
                 union all select body from linked where planned",
            )
            .fetch(&mut *snapshot);
            while let Some(row) = batches.try_next().await? {
                let (_, refs) = blob::decode(row.try_get(0)?).map_err(Fault::damaged("a pending batch"))?;
                for reference in refs {
                    if let ControlFlow::Break(why) = take(reference.message_server_id, Standing::Pending) {
                        return Ok(ControlFlow::Break(why));
                    }
                }
            }
            drop(batches);
            let files = format!(
                "select {COLUMNS} from files where run_id not in (select run_id from manifests)
                 and path not like 'vanished:%' order by commit_seq, id"
            );
            let files = sqlx::query(sqlx::AssertSqlSafe(files)).fetch_all(&mut *snapshot).await?;
            snapshot.rollback().await?;
            let files = files.iter().map(staged_file).collect::<Result<Vec<_>, Fault>>()?;
            Ok::<_, Fault>(ControlFlow::Continue(files))
        };
        read.await.map_err(self.explain("reading what is not archived"))
    }
}
