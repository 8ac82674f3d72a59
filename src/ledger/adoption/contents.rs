//! What an archive holds beside messages: commits, manifests, files, runs without a manifest.

use jiff::Timestamp;
use uuid::Uuid;

use crate::ledger::database::Ledger;
use crate::ledger::error::{Fault, LedgerError};
use crate::ledger::files;
use crate::ledger::values::millis;
use crate::model::manifest::DataFile;

/// The rest of what an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveContents {
    /// The last commit.
    pub commit: u64,
    /// Manifests in order. `None` where the archive keeps none, so that the former ledger's count.
    pub manifests: Option<Vec<AdoptedManifest>>,
    /// Files that no manifest names yet: they will be in that of the adoption.
    pub unnamed: Vec<DataFile>,
    /// Runs that no manifest names yet, and that will have one of their own.
    pub unsealed: Vec<AdoptedRun>,
}

/// A run whose commits an archive holds, and no manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedRun {
    /// The run.
    pub run_id: Uuid,
    /// When it began, as far as the archive knows.
    pub began: Timestamp,
    /// Messages that its commits hold.
    pub rows: u64,
    /// Bytes sent for them.
    pub bytes: u64,
    /// Its files.
    pub files: Vec<DataFile>,
}

/// A manifest in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedManifest {
    /// Its number.
    pub sequence: u64,
    /// The run.
    pub run_id: Uuid,
    /// SHA-256 of its exact bytes.
    pub sha256: String,
    /// Its files that are there.
    pub files: Vec<DataFile>,
}

impl Ledger {
    /// Stores what the archive holds. The adoption, which is a run of its own, is complete.
    pub(super) async fn store_contents(
        &self,
        held: &ArchiveContents,
        run: Uuid,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.transaction("filling the ledger", async |tx| {
            if let Some(manifests) = &held.manifests {
                sqlx::query("delete from manifests").execute(&mut *tx).await?;
                for AdoptedManifest { sequence, run_id, sha256, files } in manifests {
                    let sql = "insert or ignore into manifests (sequence, run_id, sha256) values (?, ?, ?)";
                    let stored = sqlx::query(sql).bind(*sequence as i64).bind(run_id.to_string()).bind(sha256);
                    if stored.execute(&mut *tx).await?.rows_affected() == 0 {
                        return Err(Fault::Refused(format!("run {run_id} has two manifests: move the wrong one away")));
                    }
                    for file in files {
                        files::insert(tx, 0, *run_id, file, None).await?;
                    }
                }
            }
            for file in &held.unnamed {
                files::insert(tx, 0, run, file, None).await?;
            }
            sqlx::query("update runs set outcome = 'died' where outcome is null").execute(&mut *tx).await?;
            for AdoptedRun { run_id, began, rows, bytes, files } in &held.unsealed {
                for file in files {
                    files::insert(tx, 0, *run_id, file, None).await?;
                }
                // Where the former ledger lacks a commit, what it says of the run's references is not all.
                sqlx::query(
                    "insert into runs (run_id, ledger_id, command, started_at, outcome, rows, bytes)
                     values (?, ?, 'run', ?, 'died', ?, ?)
                     on conflict (run_id) do update set ledger_id = excluded.ledger_id, rows = excluded.rows,
                         bytes = excluded.bytes, note = case when rows = excluded.rows then note end",
                )
                .bind(run_id.to_string())
                .bind(self.id.to_string())
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
            .bind(self.id.to_string())
            .bind(millis(now))
            .bind(held.unnamed.iter().map(|file| file.rows).sum::<u64>() as i64)
            .bind(held.unnamed.iter().map(|file| file.bytes).sum::<u64>() as i64)
            .execute(&mut *tx)
            .await?;
            sqlx::query("update ledger set last_commit = ?").bind(held.commit as i64).execute(&mut *tx).await?;
            sqlx::query("drop table later").execute(&mut *tx).await?;
            sqlx::query("drop table former").execute(tx).await?;
            Ok(())
        })
        .await
    }
}
