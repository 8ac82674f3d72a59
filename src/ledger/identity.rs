//! What a ledger is bound to.

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::error::Fault;
use super::schema::{FIRST_SEQ, FIRST_URGENT};
use super::values::Columns as _;

/// What a ledger is bound to. None of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The job's name.
    pub job: String,
    /// The `AppKey`.
    pub app_key: String,
    /// The archive's place, without a password.
    pub sink: String,
    /// How the archive is partitioned.
    pub partitioning: String,
}

impl Identity {
    /// What differs in `new`: each part with its old and its new value.
    pub fn changes(&self, new: &Self) -> String {
        let parts = [
            ("app_key", &self.app_key, &new.app_key),
            ("sink", &self.sink, &new.sink),
            ("partitioning", &self.partitioning, &new.partitioning),
        ];
        let differs = parts.into_iter().filter(|(_, old, new)| old != new);
        let changes: Vec<String> = differs.map(|(name, old, new)| format!("{name} from {old:?} to {new:?}")).collect();
        changes.join(", and ")
    }
}

/// Whose ledger it is; `None` while it is nobody's.
pub(super) async fn load(conn: &mut SqliteConnection) -> Result<Option<(Uuid, Identity)>, Fault> {
    let row =
        sqlx::query("select ledger_id, job, app_key, sink, partitioning from ledger").fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(None) };
    let id: &str = row.value("ledger_id")?;
    let id = Uuid::try_parse(id).map_err(|_| Fault::Damaged(format!("{id:?} is not a ledger ID")))?;
    let identity = Identity {
        job: row.value("job")?,
        app_key: row.value("app_key")?,
        sink: row.value("sink")?,
        partitioning: row.value("partitioning")?,
    };
    Ok(Some((id, identity)))
}

/// Stores whose ledger it is from now on. Its next commit is the first.
pub(super) async fn store(conn: &mut SqliteConnection, id: Uuid, identity: &Identity) -> Result<(), Fault> {
    sqlx::query(
        "insert into ledger (one, ledger_id, job, app_key, sink, partitioning, last_commit, next_seq, next_urgent)
         values (1, ?, ?, ?, ?, ?, 0, ?, ?)
         on conflict (one) do update set ledger_id = excluded.ledger_id, app_key = excluded.app_key,
             sink = excluded.sink, partitioning = excluded.partitioning, last_commit = 0",
    )
    .bind(id.to_string())
    .bind(&identity.job)
    .bind(&identity.app_key)
    .bind(&identity.sink)
    .bind(&identity.partitioning)
    .bind(FIRST_SEQ)
    .bind(FIRST_URGENT)
    .execute(conn)
    .await?;
    Ok(())
}

/// What only the ledger's own settings can bring to an end.
pub(super) async fn unfinished(conn: &mut SqliteConnection) -> Result<Option<String>, Fault> {
    let sql = "select case
             when exists (select 1 from pending) or exists (select 1 from carried) or exists (select 1 from linked)
                 then 'batches of the old one are pending'
             when exists (select 1 from intent)
                 then 'a commit to the old one is not finished'
             when exists (select 1 from files where published = 0)
                 then 'files of the old one are not published'
             when exists (select 1 from files where run_id not in (select run_id from manifests))
                 then 'files of the old one have no manifest'
         end";
    Ok(sqlx::query_scalar(sql).fetch_one(conn).await?)
}
