//! Which messages are not archived and why, all at one moment.

use std::ops::ControlFlow;

use futures_util::TryStreamExt as _;
use sqlx::Connection as _;

use super::database::Ledger;
use super::encoding::references;
use super::error::{Fault, LedgerError};
use super::files;
use super::values::Columns as _;
use crate::model::failure::Class;
use crate::model::manifest::StagedFile;

/// Why a message is not archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotArchived {
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
    pub async fn not_archived<B>(
        &self,
        mut take: impl FnMut(i64, NotArchived) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, Vec<StagedFile>>, LedgerError> {
        self.query("reading what is not archived", async |conn| {
            let mut snapshot = conn.begin().await?;
            let sql = "select message_server_id, class, code, state from failures
                       where state < 2 and class <> 'invalid' and message_server_id is not null";
            let mut failures = sqlx::query(sql).fetch(&mut *snapshot);
            while let Some(row) = failures.try_next().await? {
                let why = match row.value::<i64>("state")? {
                    -1 => NotArchived::Dismissed,
                    0 => NotArchived::Failed { class: row.class("class")?, code: row.value("code")? },
                    _ => NotArchived::Pending,
                };
                if let ControlFlow::Break(stop) = take(row.value("message_server_id")?, why) {
                    return Ok(ControlFlow::Break(stop));
                }
            }
            drop(failures);
            let sql = "select body from pending union all select body from carried
                       union all select body from linked where planned";
            let mut batches = sqlx::query(sql).fetch(&mut *snapshot);
            while let Some(row) = batches.try_next().await? {
                let (_, refs) = references::decode(row.value("body")?).map_err(Fault::damaged("a pending batch"))?;
                for reference in refs {
                    if let ControlFlow::Break(stop) = take(reference.message_server_id, NotArchived::Pending) {
                        return Ok(ControlFlow::Break(stop));
                    }
                }
            }
            drop(batches);
            let condition = "run_id not in (select run_id from manifests) and path not like 'vanished:%'";
            let files = files::staged(&mut snapshot, condition).await?;
            snapshot.rollback().await?;
            Ok(ControlFlow::Continue(files))
        })
        .await
    }
}
