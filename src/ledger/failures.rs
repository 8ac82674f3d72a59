//! References that did not become messages: listed, dismissed, asked for again.

pub(super) mod grouping;
mod invalid;
pub(super) mod record;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::database::Ledger;
use super::error::{Fault, LedgerError};
use super::values::{Columns as _, IDS, json, millis, millis_before};
use crate::model::failure::Class;
use crate::model::reference::{ConversationId, ConversationKey};

/// The pause before a failure is asked for again, in milliseconds; it doubles with every round.
const FIRST_PAUSE: i64 = 6 * 3_600_000;
/// The longest pause: less than a day, so that a nightly job asks every night.
const LONGEST_PAUSE: i64 = 20 * 3_600_000;

/// Which failures to ask for again. Never those of class `invalid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryFilter {
    /// Those that are due: `transport` at once and for ever; other retryable ones 6 h after they were last seen,
    /// then 12 h, then 20 h, until `retry_for` after they were first seen.
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

/// Which failures to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailureFilter {
    /// Only of these classes; empty for all.
    pub classes: Vec<Class>,
    /// Only of these codes; empty for all.
    pub codes: Vec<i64>,
    /// Only rows of this input, as [`FailureRow::source`] names it without the row; `*` stands for any text.
    pub source: Option<String>,
    /// Only those that were last seen before this.
    pub last_seen_before: Option<Timestamp>,
    /// Only those in this state now.
    pub state: Option<FailureState>,
    /// Failures first seen before this count as permanent (except `transport`): now, less `retry_for`.
    pub permanent_before: Option<Timestamp>,
}

/// The state of a failure.
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

    pub(super) fn of(row: &SqliteRow) -> Result<Self, Fault> {
        let number: i64 = row.value("state")?;
        [Self::Dismissed, Self::Open, Self::Retrying, Self::Closed]
            .into_iter()
            .find(|state| state.number() == number)
            .ok_or_else(|| Fault::Damaged(format!("{number} is not the state of a failure")))
    }
}

/// A failure with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRow {
    /// Counts up; what [`Ledger::failures`] goes on from.
    pub id: i64,
    /// Its state.
    pub state: FailureState,
    /// The job.
    pub job: String,
    /// The last run in which it failed.
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
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Where an invalid row is; of rows that are recorded together, the first and the last.
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

/// A reference that failed before: to be asked for again, or named once more by the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierFailure {
    /// The message's ID.
    pub message_server_id: i64,
    /// The create time it was asked with, milliseconds since the epoch.
    pub create_time: i64,
    /// The conversation as the reference spelt it, `owner|type|other`.
    pub conversation_id: String,
    /// The conversation key.
    pub key: ConversationKey,
    /// How many links it is away from a message that a reference names; 0 for one that a reference names.
    pub depth: u16,
    /// Its state.
    pub state: FailureState,
    /// The kind.
    pub class: Class,
    /// The owners under whom it was asked in turn: the one that its reference named, and those that later rows named.
    pub asked: Vec<String>,
    /// The last run in which it failed.
    pub last_run: Uuid,
}

/// What was dismissed or reopened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dismissed {
    /// References that did not become messages.
    pub references: u64,
    /// Rows of the input that are no reference.
    pub rows: u64,
}

impl Ledger {
    /// Failures to be asked for again, in the order of conversation key and ID, from the first after `after`.
    pub async fn due_failures(
        &self,
        now: Timestamp,
        filter: &RetryFilter,
        after: Option<(&str, i64)>,
        limit: u32,
    ) -> Result<Vec<EarlierFailure>, LedgerError> {
        let (key, id) = after.unwrap_or(("", i64::MIN));
        let condition = match filter {
            RetryFilter::Due { .. } => {
                "class = 'transport'
                 or (retryable and first_seen >= ?4 and last_seen + min(?5 << min(rounds - 1, 8), ?6) <= ?7)"
            }
            RetryFilter::Chosen { .. } => {
                "?4 or ((?5 <> '[]' or ?6 <> '[]' or retryable or class = 'transport')
                        and (?5 = '[]' or class in (select value from json_each(?5)))
                        and (?6 = '[]' or code in (select value from json_each(?6))))"
            }
        };
        let sql = format!(
            "select * from failures indexed by failures_due
             where state = 0 and class <> 'invalid' and (key, message_server_id) > (?1, ?2) and ({condition})
             order by key, message_server_id limit ?3"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(key).bind(id).bind(limit);
        let query = match filter {
            RetryFilter::Due { retry_for } => {
                query.bind(millis_before(now, *retry_for)).bind(FIRST_PAUSE).bind(LONGEST_PAUSE).bind(millis(now))
            }
            RetryFilter::Chosen { classes, codes, all } => query.bind(*all).bind(names(classes)).bind(json(codes)),
        };
        self.query("reading failures", async |conn| query.fetch_all(conn).await?.iter().map(earlier_failure).collect())
            .await
    }

    /// Failures in the order in which they were first seen, from the first after `after_id` (0: from the start).
    pub async fn failures(
        &self,
        filter: &FailureFilter,
        after_id: i64,
        limit: u32,
    ) -> Result<Vec<FailureRow>, LedgerError> {
        let sql = format!("select * from failures where {SELECTED} and id > ?6 order by id limit ?7");
        let query = filter.select(sql).bind(after_id).bind(limit);
        self.query("reading failures", async |conn| {
            query.fetch_all(conn).await?.iter().map(|row| self.failure(row, filter.permanent_before)).collect()
        })
        .await
    }

    /// The failures that have not failed again in a later run, by class and code: how many there are of each kind, and
    /// the first `limit` of them. All have IDs in `among`, which spares reading the others.
    pub async fn failures_of_run(
        &self,
        run: Uuid,
        limit: u32,
        among: RangeInclusive<i64>,
    ) -> Result<Vec<(u64, Vec<FailureRow>)>, LedgerError> {
        self.query("reading failures", async |conn| {
            let rows = sqlx::query(
                "select * from (
                     select *, row_number() over kind as place, sum(rows) over (partition by class, code) as of_kind
                     from failures where run_id = ? and id between ? and ? window kind as (partition by class, code order by id)
                 ) where place <= ? order by class, code, id",
            )
            .bind(run.to_string())
            .bind(among.start())
            .bind(among.end())
            .bind(limit)
            .fetch_all(conn)
            .await?;
            let mut kinds: Vec<(u64, Vec<FailureRow>)> = Vec::new();
            for row in &rows {
                if row.value::<i64>("place")? == 1 {
                    kinds.push((row.count("of_kind")?, Vec::new()));
                }
                if let Some((_, failures)) = kinds.last_mut() {
                    failures.push(self.failure(row, None)?);
                }
            }
            Ok(kinds)
        })
        .await
    }

    pub(super) fn failure(&self, row: &SqliteRow, permanent_before: Option<Timestamp>) -> Result<FailureRow, Fault> {
        let (class, first_seen) = (row.class("class")?, row.time("first_seen")?);
        let is_permanent = class != Class::Transport && permanent_before.is_some_and(|before| first_seen < before);
        let note: Option<String> = row.value("note")?;
        Ok(FailureRow {
            id: row.value("id")?,
            state: FailureState::of(row)?,
            job: self.identity.job.clone(),
            run_id: row.run_id("run_id")?,
            conversation_id: row.value("conversation_id")?,
            message_server_id: row.value("message_server_id")?,
            create_time: row.value("create_time")?,
            class,
            code: row.value("code")?,
            message: row.value("message")?,
            attempts: row.count("attempts")?,
            retryable: row.value("retryable")? && !is_permanent,
            first_seen,
            last_seen: row.time("last_seen")?,
            source: row.value("source")?,
            rows: row.count("rows")?,
            extra: row.value::<i64>("depth")? > 0,
            closed: row.optional_time("closed_at")?.map(|at| (at, note.unwrap_or_default())),
            closed_by: row.value("closed_by")?,
        })
    }

    /// Those of `ids` whose failure is open or dismissed, by ID. One whose reference is pending again is among them only
    /// if it was asked under a further owner before.
    pub async fn earlier_failures(&self, ids: &[i64]) -> Result<HashMap<i64, EarlierFailure>, LedgerError> {
        self.query("reading failures", async |conn| {
            let mut found = HashMap::new();
            for some in ids.chunks(IDS) {
                let rows = sqlx::query(
                    "select * from failures indexed by failures_reference
                     where state < 2 and (state <> 1 or asked is not null) and class <> 'invalid'
                       and message_server_id in (select value from json_each(?))",
                );
                for row in rows.bind(json(some)).fetch_all(&mut *conn).await? {
                    let failure = earlier_failure(&row)?;
                    found.insert(failure.message_server_id, failure);
                }
            }
            Ok(found)
        })
        .await
    }

    /// Dismisses the open failures that `filter` selects, in one transaction: they are no longer open, not asked
    /// again, and not new when they fail again. `by` and `reason` are kept with them.
    pub async fn dismiss(
        &self,
        filter: &FailureFilter,
        now: Timestamp,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Dismissed, LedgerError> {
        let closed = Some((millis(now), by, reason.unwrap_or_default()));
        self.change_state(filter, (FailureState::Open, FailureState::Dismissed), closed).await
    }

    /// Opens the dismissed failures that `filter` selects again.
    pub async fn reopen(&self, filter: &FailureFilter) -> Result<Dismissed, LedgerError> {
        self.change_state(filter, (FailureState::Dismissed, FailureState::Open), None).await
    }

    async fn change_state(
        &self,
        filter: &FailureFilter,
        (from, to): (FailureState, FailureState),
        closed: Option<(i64, &str, &str)>,
    ) -> Result<Dismissed, LedgerError> {
        let filter = FailureFilter { state: Some(from), ..filter.clone() };
        let count = filter.select(format!(
            "select sum(class <> 'invalid') as refs, sum(case class when 'invalid' then rows end) as rows
             from failures where {SELECTED}"
        ));
        let change = filter
            .select(format!(
                "update failures set state = ?6, closed_at = ?7, closed_by = ?8, note = ?9 where {SELECTED}"
            ))
            .bind(to.number())
            .bind(closed.map(|(at, ..)| at))
            .bind(closed.map(|(_, by, _)| by))
            .bind(closed.map(|(.., reason)| reason));
        self.transaction("dismissing failures", async |tx| {
            let row = count.fetch_one(&mut *tx).await?;
            change.execute(tx).await?;
            Ok(Dismissed { references: row.count("refs")?, rows: row.count("rows")? })
        })
        .await
    }
}

/// What a [`FailureFilter`] selects. Its values are the first five that are bound.
const SELECTED: &str = "(?1 = '[]' or class in (select value from json_each(?1)))
    and (?2 = '[]' or code in (select value from json_each(?2)))
    and (?3 is null or source glob ?3 or source glob ?3 || ':*')
    and (?4 is null or last_seen < ?4)
    and (?5 is null or state = ?5)";

impl FailureFilter {
    /// A statement with [`SELECTED`] in it.
    fn select<'q>(&self, sql: String) -> Query<'q, Sqlite, SqliteArguments> {
        // Only the star is special, whatever characters a name has.
        let pattern = |source: &String| source.replace('[', "[[]").replace('?', "[?]");
        sqlx::query(AssertSqlSafe(sql))
            .bind(names(&self.classes))
            .bind(json(&self.codes))
            .bind(self.source.as_ref().map(pattern))
            .bind(self.last_seen_before.map(millis))
            .bind(self.state.map(FailureState::number))
    }
}

/// Classes as the JSON array that `json_each` reads.
fn names(classes: &[Class]) -> String {
    classes.iter().map(|class| class.as_str()).collect::<serde_json::Value>().to_string()
}

fn earlier_failure(row: &SqliteRow) -> Result<EarlierFailure, Fault> {
    let conversation_id: String = row.value("conversation_id")?;
    let asked: Option<&str> = row.value("asked")?;
    let asked = match asked {
        Some(asked) => serde_json::from_str(asked)
            .map_err(|error| Fault::Damaged(format!("the owners of a failure cannot be read: {error}")))?,
        None => ConversationId::parse(&conversation_id).map(|own| own.owner).into_iter().collect(),
    };
    Ok(EarlierFailure {
        message_server_id: row.value("message_server_id")?,
        create_time: row.value("create_time")?,
        conversation_id,
        key: ConversationKey::from_stored(row.value("key")?),
        depth: row.value("depth")?,
        state: FailureState::of(row)?,
        class: row.class("class")?,
        asked,
        last_run: row.run_id("run_id")?,
    })
}

/// Stores the owners under whom failures were asked because rows named them.
pub(super) async fn store_asked(conn: &mut SqliteConnection, asked: &[(i64, Vec<String>)]) -> Result<(), Fault> {
    for some in asked.chunks(IDS) {
        sqlx::query(
            "update failures set asked = given.value ->> '$[1]' from json_each(?) as given
             where state < 2 and class <> 'invalid' and message_server_id = given.value ->> '$[0]'",
        )
        .bind(serde_json::json!(some).to_string())
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
