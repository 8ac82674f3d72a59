//! An archive that gets another ledger: which messages are in it, and whose it becomes.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::connect::{Refusal, Server, Session};
use super::schema::Names;
use super::{Settings, open};
use crate::archive::{ArchiveError, Claim, ExistingIds, HeldManifest, Inventory, RunStamp, Takeover, UnsealedRun};
use crate::model::manifest::sha256;

/// Rows read by one statement.
const ROWS: i64 = 50_000;

/// An archive in Postgres that gets another ledger.
pub struct PostgresTakeover {
    server: Server,
    names: Names,
    stamp: RunStamp,
    /// In one transaction from the first look until the archive changed hands: it holds the archive's lock.
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
    /// The archive that these settings name, to become that of the stamp's ledger. Connects to nothing.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unusable`] if the URL or a name cannot be used; the URL is never quoted.
    pub fn new(settings: &Settings, stamp: RunStamp) -> Result<Self, ArchiveError> {
        let server = Server::new(&settings.url, settings.patience)?;
        let names = Names::new(&settings.schema, &settings.table)
            .map_err(|what| ArchiveError::Unusable(format!("the Postgres sink cannot be used: {what}")))?;
        Ok(Self { server, names, stamp, session: None, reached: Reached::End })
    }

    fn session(&mut self) -> Result<&mut Session, ArchiveError> {
        self.session.as_mut().ok_or_else(|| ArchiveError::Failed {
            context: format!("the archive at {} cannot be taken over", self.server.place()),
            source: "it was not looked at".into(),
        })
    }

    fn explain(&self, doing: &str, error: sqlx::Error) -> ArchiveError {
        self.server.report(&format!("{doing} {}", self.names.qualified(&self.names.messages)), error)
    }
}

#[async_trait]
impl Takeover for PostgresTakeover {
    async fn look(&mut self) -> Result<Inventory, ArchiveError> {
        self.session = None;
        let mut session = self.server.session(self.names.locks(self.stamp.run_id), false).await?;
        let found = look(&mut session, &self.names).await;
        let (holding, has_messages) = found.map_err(|error| self.explain("cannot look at", error))?;
        self.session = Some(session);
        self.reached = if has_messages { Reached::Start } else { Reached::End };
        Ok(holding)
    }

    async fn ids(&mut self) -> Result<Option<ExistingIds>, ArchiveError> {
        let messages = self.names.qualified(&self.names.messages);
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
        let rows = read.map_err(|error| self.explain("cannot read", error))?;
        let Some((app, id)) = rows.last().cloned() else { return Ok(None) };
        self.reached = if rows.len() as i64 == ROWS { Reached::After(app, id) } else { Reached::End };
        let all = rows.len();
        let first: Vec<i64> =
            rows.into_iter().filter(|(app, _)| *app == self.stamp.app_key).map(|(_, id)| id).collect();
        let other_apps = (all - first.len()) as u64;
        // The table's key lets every message stand once, in whatever revision.
        Ok(Some(ExistingIds { first, later: Vec::new(), other_apps }))
    }

    async fn hand_over(&mut self, commit: u64) -> Result<(), ArchiveError> {
        let claim = Claim {
            ledger_id: self.stamp.ledger_id,
            job: self.stamp.job.clone(),
            recorded: 0,
            intent: None,
            unpublished: Vec::new(),
            runs: Vec::new(),
        };
        self.session()?;
        let Self { server, names, session, .. } = self;
        let Some(session) = session else { return Ok(()) };
        match open::hand_over(server, session, names, &claim, commit).await {
            Ok(()) => Ok(()),
            Err(Refusal::Sink(error)) => Err(error),
            Err(Refusal::Database(error)) => Err(self.explain("cannot take over", error)),
        }
    }
}

/// What is there, and whether there is a table of messages.
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
    let mut holding = Inventory { is_empty: true, ..Inventory::default() };
    if has_archive {
        let sql = format!("select ledger_id, job, sequence from {archive}");
        let owner: Option<(String, String, i64)> =
            sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_optional(&mut *connection).await?;
        if let Some((ledger, job, sequence)) = owner {
            holding.commit = sequence.max(0) as u64;
            holding.owner = Some((ledger, job));
            holding.is_empty = false;
        }
    }
    holding.manifests = manifests(connection, names).await?;
    if holding.manifests.is_some() {
        holding.unsealed = unsealed(connection, names).await?;
    }
    holding.is_empty &= holding.manifests.as_ref().is_none_or(Vec::is_empty);
    if has_messages && holding.is_empty {
        let sql = format!("select exists (select from {messages})");
        let filled = sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql)).persistent(false).fetch_one(connection).await?;
        holding.is_empty = !filled;
    }
    Ok((holding, has_messages))
}

async fn is_there(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    let there = sqlx::query_scalar("select to_regclass($1) is not null").persistent(false).bind(table);
    there.fetch_one(connection).await
}

/// Runs without a manifest. Those before the first one are of a version that wrote none: the IDs of runs tell their time.
async fn unsealed(connection: &mut PgConnection, names: &Names) -> Result<Vec<UnsealedRun>, sqlx::Error> {
    let (commits, manifests) = (names.qualified(&names.commits), names.qualified(&names.manifests));
    if !is_there(connection, &commits).await? {
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
        })
    });
    Ok(runs.collect())
}

/// The manifests, whose rows name no files; `None` in an archive of an earlier version, which has no table of them.
async fn manifests(connection: &mut PgConnection, names: &Names) -> Result<Option<Vec<HeldManifest>>, sqlx::Error> {
    let table = names.qualified(&names.manifests);
    if !is_there(connection, &table).await? {
        return Ok(None);
    }
    let sql = format!("select sequence, run_id, body from {table} order by sequence");
    let rows: Vec<(i64, String, String)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await?;
    let held = rows.into_iter().map(|(sequence, run_id, body)| HeldManifest {
        sequence: sequence.max(0) as u64,
        run_id: Uuid::try_parse(&run_id).unwrap_or_default(),
        // Of what is there: the column beside it may say something else.
        sha256: sha256(body.as_bytes()),
        files: Vec::new(),
    });
    Ok(Some(held.collect()))
}
