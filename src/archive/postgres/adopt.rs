//! Gives an archive to another ledger: what is in it, which messages those are, and the new owner record.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::connect::{Refusal, Session};
use super::open;
use super::schema::Names;
use super::snapshot::exists;
use super::target::Target;
use crate::archive::{ArchiveError, Claim, ExistingIds, Inventory, ListedManifest, Takeover, UnsealedRun};
use crate::model::manifest::{Manifest, sha256};

/// Rows read by one statement.
const ROWS: i64 = 50_000;

/// An archive in Postgres that gets another ledger.
pub(super) struct PostgresTakeover {
    target: Target,
    /// In one transaction from the first look until the archive is handed over: it holds the archive's lock.
    session: Option<Session>,
    /// How far the IDs were read.
    reached: Reached,
}

enum Reached {
    Start,
    After(String, i64),
    End,
}

impl PostgresTakeover {
    /// Connects to nothing.
    pub(super) fn new(target: Target) -> Self {
        Self { target, session: None, reached: Reached::End }
    }

    fn session(&mut self) -> Result<&mut Session, ArchiveError> {
        let place = self.target.server.place();
        self.session.as_mut().ok_or_else(|| {
            ArchiveError::failed(format!("the archive at {place} cannot be taken over"), "it was not looked at")
        })
    }

    fn report(&self, doing: &str, error: sqlx::Error) -> ArchiveError {
        self.target.server.report(&format!("{doing} {}", self.target.table()), error)
    }
}

#[async_trait]
impl Takeover for PostgresTakeover {
    async fn look(&mut self) -> Result<Inventory, ArchiveError> {
        self.session = None;
        let mut session = self.target.server.session(self.target.locks(), false).await?;
        let found = look(&mut session, &self.target.names).await;
        let (inventory, has_messages) = found.map_err(|error| self.report("cannot look at", error))?;
        self.session = Some(session);
        self.reached = if has_messages { Reached::Start } else { Reached::End };
        Ok(inventory)
    }

    async fn ids(&mut self) -> Result<Option<ExistingIds>, ArchiveError> {
        let messages = self.target.names.qualified(&self.target.names.messages);
        let (condition, after) = match std::mem::replace(&mut self.reached, Reached::End) {
            Reached::End => return Ok(None),
            Reached::Start => ("", None),
            Reached::After(app, id) => ("where (app_key, message_server_id) > ($1, $2)", Some((app, id))),
        };
        let sql = format!(
            "select app_key, message_server_id from {messages} {condition} order by app_key, message_server_id limit {ROWS}"
        );
        let mut query = sqlx::query_as::<_, (String, i64)>(AssertSqlSafe(sql)).persistent(false);
        if let Some((app, id)) = after {
            query = query.bind(app).bind(id);
        }
        let read = query.fetch_all(&mut self.session()?.connection).await;
        let rows = read.map_err(|error| self.report("cannot read", error))?;
        let Some((app, id)) = rows.last().cloned() else { return Ok(None) };
        self.reached = if rows.len() as i64 == ROWS { Reached::After(app, id) } else { Reached::End };
        let all = rows.len();
        let first: Vec<i64> =
            rows.into_iter().filter(|(app, _)| *app == self.target.stamp.app_key).map(|(_, id)| id).collect();
        let other_apps = (all - first.len()) as u64;
        // The table's key allows every message once, in one revision.
        Ok(Some(ExistingIds { first, later: Vec::new(), other_apps }))
    }

    async fn hand_over(&mut self, commit: u64) -> Result<(), ArchiveError> {
        let claim = Claim::of_new(self.target.stamp.ledger_id, self.target.stamp.job.clone());
        self.session()?;
        let Self { target, session: Some(session), .. } = self else { return Ok(()) };
        match open::hand_over(&target.server, session, &target.names, &claim, commit).await {
            Ok(()) => Ok(()),
            Err(Refusal::Archive(error)) => Err(error),
            Err(Refusal::Database(error)) => Err(self.report("cannot take over", error)),
        }
    }
}

/// What is in the archive, and whether there is a table of messages.
async fn look(session: &mut Session, names: &Names) -> Result<(Inventory, bool), sqlx::Error> {
    let connection = &mut session.connection;
    let (archive, messages) = (names.qualified(&names.archive), names.qualified(&names.messages));
    let (has_archive, has_messages): (bool, bool) =
        sqlx::query_as("select to_regclass($1) is not null, to_regclass($2) is not null")
            .persistent(false)
            .bind(&archive)
            .bind(&messages)
            .fetch_one(&mut *connection)
            .await?;
    let mut inventory = Inventory { is_empty: true, ..Inventory::default() };
    if has_archive {
        let sql = format!("select ledger_id, job, sequence from {archive}");
        let owner: Option<(String, String, i64)> =
            sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_optional(&mut *connection).await?;
        if let Some((ledger, job, sequence)) = owner {
            inventory.commit = sequence.max(0) as u64;
            inventory.owner = Some((ledger, job));
            inventory.is_empty = false;
        }
    }
    inventory.manifests = manifests(connection, names).await?;
    if inventory.manifests.is_some() {
        inventory.unsealed = unsealed(connection, names).await?;
    }
    inventory.is_empty &= inventory.manifests.as_ref().is_none_or(Vec::is_empty);
    if has_messages && inventory.is_empty {
        let sql = format!("select exists (select from {messages})");
        let filled = sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql)).persistent(false).fetch_one(connection).await?;
        inventory.is_empty = !filled;
    }
    Ok((inventory, has_messages))
}

/// Runs without a manifest. The ID of a run contains its time: runs before the first manifest are of a version that wrote
/// none.
async fn unsealed(connection: &mut PgConnection, names: &Names) -> Result<Vec<UnsealedRun>, sqlx::Error> {
    let (commits, manifests) = (names.qualified(&names.commits), names.qualified(&names.manifests));
    if !exists(connection, &commits).await? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "select run_id, (extract(epoch from min(committed_at)) * 1000)::bigint, sum(messages)::bigint, sum(bytes)::bigint \
         from {commits} where run_id not in (select run_id from {manifests}) \
            and run_id > (select run_id from {manifests} order by sequence limit 1) \
         group by run_id order by run_id"
    );
    let rows: Vec<(String, i64, i64, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await?;
    let runs = rows.into_iter().filter_map(|(run_id, began, rows, bytes)| {
        Some(UnsealedRun {
            run_id: Uuid::try_parse(&run_id).ok()?,
            began: Timestamp::from_millisecond(began).ok()?,
            rows: rows.max(0) as u64,
            bytes: bytes.max(0) as u64,
            files: Vec::new(),
        })
    });
    Ok(runs.collect())
}

/// The manifests, which name no files. `None` if there is no table of them, as in an archive of an earlier version.
async fn manifests(connection: &mut PgConnection, names: &Names) -> Result<Option<Vec<ListedManifest>>, sqlx::Error> {
    let table = names.qualified(&names.manifests);
    if !exists(connection, &table).await? {
        return Ok(None);
    }
    let sql = format!("select sequence, run_id, body from {table} order by sequence");
    let rows: Vec<(i64, String, String)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await?;
    let listed = rows.into_iter().map(|(sequence, run_id, body)| ListedManifest {
        sequence: sequence.max(0) as u64,
        run_id: Uuid::try_parse(&run_id).unwrap_or_default(),
        app_key: serde_json::from_str(&body).map(|manifest: Manifest| manifest.app_key).unwrap_or_default(),
        // Of the text itself: the column beside it may say something else.
        sha256: sha256(body.as_bytes()),
        files: Vec::new(),
    });
    Ok(Some(listed.collect()))
}
