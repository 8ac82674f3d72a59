//! Which versions of messages are in the tables, to ask the service for them again.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;

use super::connect::{Mode, Server, Session};
use super::target::Target;
use crate::archive::{ArchiveError, ExistingVersions};
use crate::model::message::ExistingVersion;

/// Rows read by one statement.
const ROWS: i64 = 20_000;

/// Reads the table of messages, which has the latest versions: first messages that have earlier ones, then the others.
pub(super) struct PostgresVersions {
    session: Session,
    server: Server,
    messages: String,
    vanished: String,
    app_key: String,
    since: i64,
    /// `None` at the end.
    reached: Option<Reached>,
}

/// How far the table was read.
struct Reached {
    /// Whether messages with earlier versions are read, or the others.
    revised: bool,
    after: i64,
}

type Row = (String, i64, i64, i32, Option<i64>, i64, bool);

impl PostgresVersions {
    pub(super) fn new(target: &Target, session: Session, since: i64) -> Self {
        Self {
            session,
            server: target.server.clone(),
            messages: target.names.qualified(&target.names.messages),
            vanished: target.names.qualified(&target.names.vanished),
            app_key: target.stamp.app_key.clone(),
            since,
            reached: Some(Reached { revised: true, after: i64::MIN }),
        }
    }

    async fn page(&mut self, reached: &Reached) -> Result<Vec<ExistingVersion>, sqlx::Error> {
        let revised = if reached.revised { "revision > 0" } else { "revision = 0" };
        let time = |column: &str| format!("floor(extract(epoch from {column}) * 1000)::bigint");
        // No edit is later than an infinite time.
        let sql = format!(
            "select conversation_id, message_server_id, {}, revision, \
                case when isfinite(modify_time) then {} when modify_time > 'epoch' then {} end, {}, requested \
             from {} m where app_key = $1 and message_server_id > $2 and fetched_at >= to_timestamp($3::bigint / 1000.0) \
                and {revised} and isfinite(create_time) and isfinite(fetched_at) \
                and not exists (select from {} v where v.app_key = m.app_key \
                    and v.message_server_id = m.message_server_id) \
             order by message_server_id limit {ROWS}",
            time("create_time"),
            time("modify_time"),
            i64::MAX,
            time("fetched_at"),
            self.messages,
            self.vanished
        );
        self.session.begin(Mode::Read).await?;
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .bind(&self.app_key)
            .bind(reached.after)
            .bind(self.since)
            .fetch_all(&mut self.session.connection)
            .await?;
        self.session.commit().await?;
        let version = |row: Row| {
            let (conversation_id, message_server_id, create_time, revision, modify_time, fetched_at, requested) = row;
            ExistingVersion {
                message_server_id,
                conversation_id,
                create_time,
                revision,
                modify_time,
                fetched_at,
                requested,
            }
        };
        Ok(rows.into_iter().map(version).collect())
    }
}

#[async_trait]
impl ExistingVersions for PostgresVersions {
    async fn next(&mut self) -> Result<Option<Vec<ExistingVersion>>, ArchiveError> {
        while let Some(reached) = self.reached.take() {
            let read = self.page(&reached).await;
            let page = read.map_err(|error| self.server.report(&format!("cannot read {}", self.messages), error))?;
            self.reached = match page.last() {
                Some(last) => Some(Reached { after: last.message_server_id, ..reached }),
                None if reached.revised => Some(Reached { revised: false, after: i64::MIN }),
                None => None,
            };
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }
}
