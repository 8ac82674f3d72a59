//! What the tables hold of messages, to ask for them again.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;

use super::connect::{Mode, Server, Session};
use super::schema::Names;
use crate::archive::{ArchiveError, ExistingVersions};
use crate::model::message::ExistingVersion;

/// Rows read by one statement.
const ROWS: i64 = 20_000;

/// Reads the table of messages, whose rows are the latest versions: those with earlier ones first, then the others.
pub(super) struct Held {
    session: Session,
    server: Server,
    messages: String,
    vanished: String,
    app_key: String,
    since: i64,
    reached: Option<Reached>,
}

/// How far it was read.
struct Reached {
    /// Whether these are the messages with earlier versions.
    revised: bool,
    after: i64,
}

type Row = (String, i64, i64, i32, Option<i64>, i64, bool);

impl Held {
    pub(super) fn new(session: Session, names: &Names, server: &Server, app_key: String, since: i64) -> Self {
        Self {
            session,
            server: server.clone(),
            messages: names.qualified(&names.messages),
            vanished: names.qualified(&names.vanished),
            app_key,
            since,
            reached: Some(Reached { revised: true, after: i64::MIN }),
        }
    }

    async fn page(&mut self, reached: &Reached) -> Result<Vec<ExistingVersion>, sqlx::Error> {
        let revised = if reached.revised { "revision > 0" } else { "revision = 0" };
        let time = |column: &str| format!("floor(extract(epoch from {column}) * 1000)::bigint");
        // A time that is none of ours is one that no edit is later than.
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
        let version =
            |(conversation_id, message_server_id, create_time, revision, modify_time, fetched_at, requested)| {
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
impl ExistingVersions for Held {
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
