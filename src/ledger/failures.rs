//! References that did not become messages: recorded, asked for again, closed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row as _, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::commits::FailedRef;
use super::error::Fault;
use super::linked::BatchName;
use super::statement::{IDS, json, runs, values};
use super::{Ledger, LedgerError, invalid, millis, run_id, timestamp};
use crate::model::failure::Class;
use crate::model::reference::ConversationKey;

/// The first pause before a failure is asked for again; it doubles with every round.
const FIRST_PAUSE: i64 = 6 * 3_600_000;
/// The longest pause: less than a day, so that a nightly job asks every night.
const LONGEST_PAUSE: i64 = 20 * 3_600_000;

/// Which failures to ask for again. Never those of class `invalid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryFilter {
    /// Those that are due: `transport` at once and for ever; other retryable ones 6 h after they were last met,
    /// then 12 h, then 20 h, until `retry_for` after they were first met.
    Due {
        /// The age after which a failure counts as permanent.
        retry_for: Duration,
    },
    /// Those of these classes and of these codes, due or not; an empty list is no condition.
    /// Without any condition the retryable ones.
    Chosen {
        /// Any of these classes.
        classes: Vec<Class>,
        /// Any of these codes.
        codes: Vec<i64>,
        /// Every open failure, whatever the lists say.
        all: bool,
    },
}

/// A failed reference to be asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryRef {
    /// The conversation as the reference spelt it, `owner|type|other`.
    pub conversation_id: String,
    /// The dialogue.
    pub key: ConversationKey,
    /// The message's ID.
    pub message_server_id: i64,
    /// When it was created, milliseconds since the epoch.
    pub create_time: i64,
    /// The run that met it last.
    pub last_run: Uuid,
    /// How many links it is away from a message that a reference names; 0 for one that a reference names.
    pub depth: u16,
}

/// Which failures to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailureFilter {
    /// Only of these classes; empty for all.
    pub classes: Vec<Class>,
    /// Only of these codes; empty for all.
    pub codes: Vec<i64>,
    /// Only rows of this input, as [`FailureRow::source`] names it without the row; `*` stands for any text.
    pub source: Option<String>,
    /// Only those that were last met before this.
    pub last_seen_before: Option<Timestamp>,
    /// Only those that stand here now.
    pub state: Option<FailureState>,
    /// Failures first met before this count as permanent (except `transport`): now, less `retry_for`.
    pub permanent_before: Option<Timestamp>,
}

/// Where a failure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureState {
    /// The reference failed.
    Open,
    /// The reference is pending again.
    Retrying,
    /// The message was archived, or the reference corrected.
    Closed,
    /// An operator said that nothing is to be done about it. It is not asked again, unless its reference is corrected.
    Dismissed,
}

impl FailureState {
    /// As it is stored. What is below 2 may still change.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Dismissed => -1,
            Self::Open => 0,
            Self::Retrying => 1,
            Self::Closed => 2,
        }
    }

    pub(super) fn from_number(number: i64) -> Result<Self, Fault> {
        [Self::Dismissed, Self::Open, Self::Retrying, Self::Closed]
            .into_iter()
            .find(|state| state.number() == number)
            .ok_or_else(|| Fault::Damaged(format!("no failure stands in state {number}")))
    }
}

/// A failure with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRow {
    /// Counts up; what [`Ledger::failures`] goes on from.
    pub id: i64,
    /// Where it stands.
    pub state: FailureState,
    /// The job.
    pub job: String,
    /// The run that met it last.
    pub run_id: Uuid,
    /// The conversation as the reference spelt it; of an invalid row, as far as it could be read.
    pub conversation_id: Option<String>,
    /// The message's ID; of an invalid row, as far as it could be read.
    pub message_server_id: Option<i64>,
    /// The create time in milliseconds; of an invalid row, as far as it could be read.
    pub create_time: Option<i64>,
    /// The kind.
    pub class: Class,
    /// The API's code.
    pub code: Option<i64>,
    /// What was said.
    pub message: String,
    /// How often it was tried, in all runs.
    pub attempts: u64,
    /// Whether asking again may help.
    pub retryable: bool,
    /// When it was first met.
    pub first_seen: Timestamp,
    /// When it was last met.
    pub last_seen: Timestamp,
    /// Where an invalid row stood; of rows that are told together, the first and the last.
    pub source: Option<String>,
    /// How many rows of the input it stands for.
    pub rows: u64,
    /// Whether only a thread asked for it, and no reference.
    pub extra: bool,
    /// When and why it was closed or dismissed.
    pub closed: Option<(Timestamp, String)>,
    /// Who dismissed it.
    pub closed_by: Option<String>,
}

impl Ledger {
    /// Failures to be asked for again, in the order of dialogue and ID, from the first after `after`.
    pub async fn due_failures(
        &self,
        now: Timestamp,
        filter: &RetryFilter,
        after: Option<(&str, i64)>,
        limit: u32,
    ) -> Result<Vec<RetryRef>, LedgerError> {
        let (key, id) = after.unwrap_or(("", i64::MIN));
        let read = async {
            let query = match filter {
                RetryFilter::Due { retry_for } => sqlx::query(
                    "select conversation_id, key, message_server_id, create_time, run_id, depth
                     from failures indexed by failures_due
                     where state = 0 and class <> 'invalid' and (key, message_server_id) > (?1, ?2)
                       and (class = 'transport'
                            or (retryable and first_seen >= ?4 and last_seen + min(?5 << min(rounds - 1, 8), ?6) <= ?7))
                     order by key, message_server_id limit ?3",
                )
                .bind(key)
                .bind(id)
                .bind(limit)
                .bind(millis(now).saturating_sub(retry_for.as_millis().min(i64::MAX as u128) as i64))
                .bind(FIRST_PAUSE)
                .bind(LONGEST_PAUSE)
                .bind(millis(now)),
                RetryFilter::Chosen { classes, codes, all } => sqlx::query(
                    "select conversation_id, key, message_server_id, create_time, run_id, depth
                         from failures indexed by failures_due
                         where state = 0 and class <> 'invalid' and (key, message_server_id) > (?1, ?2)
                           and (?4 or ((?5 is not null or ?6 is not null or retryable or class = 'transport')
                                       and (?5 is null or class in (select value from json_each(?5)))
                                       and (?6 is null or code in (select value from json_each(?6)))))
                         order by key, message_server_id limit ?3",
                )
                .bind(key)
                .bind(id)
                .bind(limit)
                .bind(*all)
                .bind((!classes.is_empty()).then(|| names(classes)))
                .bind((!codes.is_empty()).then(|| json(codes))),
            };
            let rows = query.fetch_all(&mut self.reader().await?.conn).await?;
            rows.iter()
                .map(|row| {
                    Ok(RetryRef {
                        conversation_id: row.try_get(0)?,
                        key: ConversationKey::from_stored(row.try_get(1)?),
                        message_server_id: row.try_get(2)?,
                        create_time: row.try_get(3)?,
                        last_run: run_id(row.try_get(4)?)?,
                        depth: row.try_get::<i64, _>(5)? as u16,
                    })
                })
                .collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(self.explain("reading failures"))
    }

    /// Failures in the order in which they were first met, from the first after `after_id` (0: from the start).
    pub async fn failures(
        &self,
        filter: &FailureFilter,
        after_id: i64,
        limit: u32,
    ) -> Result<Vec<FailureRow>, LedgerError> {
        let read = async {
            let sql =
                format!("select *, depth > 0 as extra from failures where id > ?6 and {CHOSEN} order by id limit ?7");
            let query = filter.bind(sqlx::query(sqlx::AssertSqlSafe(sql))).bind(after_id).bind(limit);
            let rows = query.fetch_all(&mut self.reader().await?.conn).await?;
            rows.iter().map(|row| self.failure(row, filter)).collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(self.explain("reading failures"))
    }

    pub(super) fn failure(&self, row: &SqliteRow, filter: &FailureFilter) -> Result<FailureRow, Fault> {
        let class = class(row.try_get("class")?)?;
        let first_seen = timestamp(row.try_get("first_seen")?);
        let aged = class != Class::Transport && filter.permanent_before.is_some_and(|before| first_seen < before);
        let closed_at: Option<i64> = row.try_get("closed_at")?;
        let note: Option<String> = row.try_get("note")?;
        Ok(FailureRow {
            id: row.try_get("id")?,
            state: FailureState::from_number(row.try_get("state")?)?,
            job: self.identity.job.clone(),
            run_id: run_id(row.try_get("run_id")?)?,
            conversation_id: row.try_get("conversation_id")?,
            message_server_id: row.try_get("message_server_id")?,
            create_time: row.try_get("create_time")?,
            class,
            code: row.try_get("code")?,
            message: row.try_get("message")?,
            attempts: super::count(row.try_get("attempts")?),
            retryable: row.try_get::<i64, _>("retryable")? != 0 && !aged,
            first_seen,
            last_seen: timestamp(row.try_get("last_seen")?),
            source: row.try_get("source")?,
            rows: super::count(row.try_get("rows")?),
            extra: row.try_get("extra")?,
            closed: closed_at.map(|at| (timestamp(at), note.unwrap_or_default())),
            closed_by: row.try_get("closed_by")?,
        })
    }
}

/// What a [`FailureFilter`] lets through, with its values bound as the first five.
pub(super) const CHOSEN: &str = "(?1 = '[]' or class in (select value from json_each(?1)))
    and (?2 = '[]' or code in (select value from json_each(?2)))
    and (?3 is null or source glob ?3 or source glob ?3 || ':*')
    and (?4 is null or last_seen < ?4)
    and (?5 is null or state = ?5)";

impl FailureFilter {
    pub(super) fn bind<'q>(&self, query: Query<'q, Sqlite, SqliteArguments>) -> Query<'q, Sqlite, SqliteArguments> {
        // Only the star is special, whatever characters a name has.
        let pattern = |source: &String| source.replace('[', "[[]").replace('?', "[?]");
        query
            .bind(names(&self.classes))
            .bind(json(&self.codes))
            .bind(self.source.as_ref().map(pattern))
            .bind(self.last_seen_before.map(millis))
            .bind(self.state.map(FailureState::number))
    }
}

/// Classes as the JSON array that `json_each` takes apart.
fn names(classes: &[Class]) -> String {
    classes.iter().map(|class| class.as_str()).collect::<serde_json::Value>().to_string()
}

pub(super) fn class(name: &str) -> Result<Class, Fault> {
    name.parse().map_err(|_| Fault::Damaged(format!("{name:?} is no failure class")))
}

/// Open failures that are pending again.
pub(super) async fn retrying(conn: &mut SqliteConnection, ids: &[i64]) -> Result<(), Fault> {
    for some in ids.chunks(IDS) {
        sqlx::query(
            "update failures set state = 1
             where state < 2 and class <> 'invalid' and message_server_id in (select value from json_each(?))",
        )
        .bind(json(some))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Closes whatever is open or dismissed of these IDs; returns how many failures that were.
pub(super) async fn close(conn: &mut SqliteConnection, ids: &[i64], now: i64, note: &str) -> Result<u64, Fault> {
    let mut closed = 0;
    for some in ids.chunks(IDS) {
        closed += sqlx::query(
            "update failures set state = 2, closed_at = ?, note = ?, closed_by = null
             where state < 2 and message_server_id in (select value from json_each(?))",
        )
        .bind(now)
        .bind(note)
        .bind(json(some))
        .execute(&mut *conn)
        .await?
        .rows_affected();
    }
    Ok(closed + invalid::close(conn, ids, now, note).await?)
}

/// Records failures, each with the batch it was asked in; returns how many are new, by class and code.
///
/// New is a reference that was not failed before, or failed by another class. What only a thread asked for never is.
pub(super) async fn store(
    conn: &mut SqliteConnection,
    run_id: Uuid,
    now: i64,
    failed: &[(&FailedRef, &BatchName)],
) -> Result<BTreeMap<(Class, Option<i64>), u64>, Fault> {
    let mut new = BTreeMap::new();
    let run_id = run_id.to_string();
    for failed in failed.chunks(IDS) {
        let mut before = classes(conn, failed).await?;
        for (failure, batch) in failed {
            let class = failure.reason.class;
            if class == Class::Invalid {
                return Err(Fault::Inconsistent(format!(
                    "reference {} became an invalid row",
                    failure.message_server_id
                )));
            }
            if before.insert(failure.message_server_id, class) != Some(class) && batch.depth() == 0 {
                *new.entry((class, failure.reason.code)).or_default() += 1;
            }
        }
        for some in runs(failed) {
            let sql = values(
                "insert into failures (state, class, code, message, retryable, attempts, rounds, message_server_id,
                                       create_time, conversation_id, key, depth, run_id, first_seen, last_seen) values",
                15,
                some.len(),
                "on conflict (message_server_id) where state < 2 and class <> 'invalid' do update
                 set state = 0, class = excluded.class, code = excluded.code, message = excluded.message,
                     retryable = excluded.retryable, attempts = attempts + excluded.attempts, rounds = rounds + 1,
                     create_time = excluded.create_time, conversation_id = excluded.conversation_id,
                     key = excluded.key, depth = excluded.depth, run_id = excluded.run_id, last_seen = excluded.last_seen",
            );
            let mut query = sqlx::query(sql);
            for (failure, batch) in some {
                query = query
                    .bind(0)
                    .bind(failure.reason.class.as_str())
                    .bind(failure.reason.code)
                    .bind(failure.reason.message.as_str())
                    .bind(failure.reason.retryable)
                    .bind(failure.attempts)
                    .bind(1)
                    .bind(failure.message_server_id)
                    .bind(failure.create_time)
                    .bind(failure.conversation_id.as_str())
                    .bind(batch.key.as_str())
                    .bind(batch.depth())
                    .bind(run_id.as_str())
                    .bind(now)
                    .bind(now);
            }
            query.execute(&mut *conn).await?;
        }
    }
    Ok(new)
}

async fn classes(
    conn: &mut SqliteConnection,
    failed: &[(&FailedRef, &BatchName)],
) -> Result<HashMap<i64, Class>, Fault> {
    let rows = sqlx::query(
        "select message_server_id, class from failures
         where state < 2 and class <> 'invalid' and message_server_id in (select value from json_each(?))",
    )
    .bind(json(failed.iter().map(|(failure, _)| &failure.message_server_id)))
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, class(row.try_get(1)?)?))).collect()
}
