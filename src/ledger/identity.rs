//! What a ledger is bound to, and what happens when that changes.

use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::batches::{FIRST_SEQ, FIRST_URGENT};
use super::error::Fault;

/// What a ledger is bound to. None of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The job's name.
    pub job: String,
    /// The `AppKey`.
    pub app_key: String,
    /// The sink's place, without a password.
    pub sink: String,
    /// How the sink partitions.
    pub partitioning: String,
}

impl Identity {
    /// What differs, old and new by name.
    fn changes(&self, new: &Self) -> Vec<String> {
        let parts = [
            ("app_key", &self.app_key, &new.app_key),
            ("sink", &self.sink, &new.sink),
            ("partitioning", &self.partitioning, &new.partitioning),
        ];
        let differs = parts.into_iter().filter(|(_, old, new)| old != new);
        differs.map(|(name, old, new)| format!("{name} from {old:?} to {new:?}")).collect()
    }
}

/// Whose ledger it is; `None` when it is nobody's yet.
pub(super) async fn load(conn: &mut SqliteConnection) -> Result<Option<(Uuid, Identity)>, Fault> {
    let row =
        sqlx::query("select ledger_id, job, app_key, sink, partitioning from ledger").fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(None) };
    let id: &str = row.try_get(0)?;
    let id = Uuid::try_parse(id).map_err(|_| Fault::Damaged(format!("{id:?} is no ledger ID")))?;
    let identity = Identity {
        job: row.try_get(1)?,
        app_key: row.try_get(2)?,
        sink: row.try_get(3)?,
        partitioning: row.try_get(4)?,
    };
    Ok(Some((id, identity)))
}

/// Binds the ledger: finds it bound so, binds a new one, or lets it begin anew, unless that would lose something.
pub(super) async fn bind(conn: &mut SqliteConnection, identity: &Identity, now: i64) -> Result<Uuid, Fault> {
    let mut tx = super::begin(conn).await?;
    let id = match load(&mut tx).await? {
        Some((id, bound)) if bound == *identity => return Ok(id),
        Some((_, bound)) if bound.job != identity.job => {
            return Err(Fault::Refused(format!(
                "the ledger belongs to job {:?}, not to {:?}: a ledger cannot be copied or renamed. Move it away; or, \
                 if the archive is to be this job's, take it over with `yunxin-archiver adopt {}`",
                bound.job, identity.job, identity.job
            )));
        }
        Some((_, bound)) => {
            let changes = bound.changes(identity).join(", and ");
            if let Some(unfinished) = unfinished(&mut tx).await? {
                return Err(Fault::Refused(format!(
                    "job {:?} changed its {changes}, but {unfinished}: change it back and run the job to its end first; or, \
                     if the archive itself was moved, take it over there with `yunxin-archiver adopt {}`",
                    bound.job, bound.job
                )));
            }
            tracing::info!(
                job = identity.job,
                "the job changed its {changes}: it begins anew, and reads its source from the start"
            );
            begin_anew(&mut tx, now).await?
        }
        None => Uuid::now_v7(),
    };
    sqlx::query(
        "insert into ledger (one, ledger_id, job, app_key, sink, partitioning, last_commit, next_seq, next_urgent)
         values (1, ?, ?, ?, ?, ?, 0, ?, ?)
         on conflict (one) do update set ledger_id = excluded.ledger_id, app_key = excluded.app_key,
             sink = excluded.sink, partitioning = excluded.partitioning, last_commit = 0,
             checkpoint = null, checkpoint_source = null",
    )
    .bind(id.to_string())
    .bind(&identity.job)
    .bind(&identity.app_key)
    .bind(&identity.sink)
    .bind(&identity.partitioning)
    .bind(FIRST_SEQ)
    .bind(FIRST_URGENT)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(id)
}

/// What a new identity would lose.
async fn unfinished(conn: &mut SqliteConnection) -> Result<Option<&'static str>, Fault> {
    let row = sqlx::query(
        "select exists (select 1 from pending) or exists (select 1 from carried) or exists (select 1 from linked),
                exists (select 1 from announced),
                exists (select 1 from files where published = 0),
                exists (select 1 from files where run_id not in (select run_id from manifests))",
    )
    .fetch_one(conn)
    .await?;
    let found = [
        "batches of the old one are pending",
        "a commit to the old one is not finished",
        "files of the old one are not published",
        "files of the old one have no manifest",
    ];
    for (index, what) in found.into_iter().enumerate() {
        if row.try_get::<i64, _>(index)? != 0 {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

async fn begin_anew(conn: &mut SqliteConnection, now: i64) -> Result<Uuid, Fault> {
    for emptied in ["known", "answered", "done", "commits", "files", "manifests"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {emptied}"))).execute(&mut *conn).await?;
    }
    sqlx::query("update failures set state = 2, closed_at = ?, note = 'the job began anew' where state < 2")
        .bind(now)
        .execute(conn)
        .await?;
    Ok(Uuid::now_v7())
}
