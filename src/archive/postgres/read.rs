//! Reads the tables in one transaction.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, RangeInclusive};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Row as _};

use super::settings::Settings;
use super::snapshot::Snapshot;
use crate::archive::ArchiveError;
use crate::archive::read::{ArchiveReader, FoundId, IdTaker, Origin, RecordTaker, VanishedMessages, Wanted, WantedIds};
use crate::model::record::{Record, Value, VanishedNote};
use crate::model::selection::{Scope, Selection};
use crate::model::{Column, ColumnType};

/// IDs that one statement asks for.
const IDS: usize = 20_000;

/// An archive in Postgres as it was when it was opened.
#[derive(Debug)]
pub(super) struct PostgresReader {
    snapshot: Snapshot,
    /// The columns that both tables have.
    columns: Vec<String>,
    origin: Origin,
}

impl PostgresReader {
    /// Connects, and begins the transaction in which everything is read.
    ///
    /// # Errors
    ///
    /// The server cannot be reached or refuses, or there is no archive.
    pub(super) async fn open(settings: &Settings) -> Result<Self, ArchiveError> {
        let mut snapshot = Snapshot::open(settings).await?;
        let columns = "select attname::text from pg_attribute where attnum > 0 and not attisdropped \
                       and attrelid in (to_regclass($1), to_regclass($2)) group by attname having count(*) = 2";
        let columns: Vec<String> = sqlx::query_scalar(columns)
            .persistent(false)
            .bind(&snapshot.messages)
            .bind(&snapshot.revisions)
            .fetch_all(&mut snapshot.connection)
            .await
            .map_err(|error| snapshot.report("cannot look at the archive", error))?;
        let owner = format!("select ledger_id, sequence from {}", snapshot.archive);
        let owner: Vec<(String, i64)> = snapshot.rows("cannot read who owns the archive", owner).await?;
        let owner = owner.into_iter().next();
        let origin = Origin::Postgres {
            place: snapshot.place().to_owned(),
            table: snapshot.messages.clone(),
            ledger_id: owner.as_ref().map(|(ledger_id, _)| ledger_id.clone()),
            commit: owner.map(|(_, commit)| commit),
        };
        Ok(Self { snapshot, columns, origin })
    }

    /// Selects from both tables, with values in few types. A column that the tables lack is null: `raw`, or one of a later
    /// version.
    fn select(&self, condition: &str) -> String {
        let select: Vec<String> = Column::all(true)
            .iter()
            .map(|column| {
                let name = column.name;
                let there = self.columns.iter().any(|known| known == name);
                let value = if there { format!("\"{name}\"") } else { "null".to_owned() };
                match column.kind {
                    ColumnType::Text | ColumnType::Account | ColumnType::Receiver | ColumnType::Json => {
                        format!("{value}::text as \"{name}\"")
                    }
                    ColumnType::Boolean => format!("{value}::boolean as \"{name}\""),
                    ColumnType::TextList => format!("{value}::text[] as \"{name}\""),
                    ColumnType::Time if there => milliseconds(name),
                    ColumnType::Int64 | ColumnType::Int32 | ColumnType::Time => {
                        format!("{value}::bigint as \"{name}\"")
                    }
                }
            })
            .collect();
        let select = select.join(", ");
        format!(
            "select {select} from {} where {condition} union all select {select} from {} where {condition}",
            self.snapshot.messages, self.snapshot.revisions
        )
    }
}

/// A time in milliseconds. An infinite one is null.
fn milliseconds(name: &str) -> String {
    format!("case when isfinite({name}) then floor(extract(epoch from {name}) * 1000)::bigint end as {name}")
}

/// A selection as a condition. It may let more pass, never less.
const SELECTED: &str = "($1::bigint is null or create_time >= to_timestamp($1 / 1000.0)) \
    and ($2::bigint is null or create_time < to_timestamp($2 / 1000.0) + interval '1 millisecond') \
    and ($3::text[] is null or conversation_key = any ($3)) \
    and ($4::text[] is null \
        or conversation_type = 1 and (split_part(conversation_key, '|', 2) = any ($4) \
            or split_part(conversation_key, '|', 3) = any ($4)) \
        or conversation_type <> 1 and (lower(sender_id) = any ($4) or exists \
            (select from unnest(receiver_account_ids) as receiver where lower(receiver) = any ($4))))";
/// Times outside those of any message, which `to_timestamp` may not accept.
const TIMES: RangeInclusive<i64> = -62_000_000_000_000..=253_000_000_000_000;

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Binds the parameters of [`SELECTED`].
fn bind_selection(sql: String, selection: &Selection) -> Statement<'static> {
    let time = |time: Option<i64>| time.filter(|time| TIMES.contains(time));
    let (keys, accounts) = match &selection.scope {
        Scope::All => (None, None),
        Scope::Conversations(keys) => (Some(keys), None),
        Scope::Accounts(accounts) => (None, Some(accounts)),
    };
    let texts = |texts: &BTreeSet<String>| texts.iter().cloned().collect::<Vec<_>>();
    sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .bind(time(selection.from))
        .bind(time(selection.to))
        .bind(keys.map(texts))
        .bind(accounts.map(texts))
}

/// Passes on the wanted records among the rows of a statement.
async fn take_records(
    connection: &mut PgConnection,
    statement: Statement<'_>,
    wanted: &Wanted,
    take: &mut RecordTaker<'_>,
) -> Result<ControlFlow<()>, sqlx::Error> {
    let mut rows = statement.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let record = record(&row)?;
        if wanted.holds(&record) && take(record).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

#[async_trait]
impl ArchiveReader for PostgresReader {
    async fn read(&mut self, wanted: &Wanted, take: &mut RecordTaker<'_>) -> Result<(), ArchiveError> {
        let statements = match wanted {
            Wanted::Selected(selection) => vec![bind_selection(self.select(SELECTED), selection)],
            Wanted::Ids { ids, .. } => {
                let sql = self.select("message_server_id = any ($1)");
                let ids: Vec<i64> = ids.iter().copied().collect();
                let of = |ids: &[i64]| sqlx::query(AssertSqlSafe(sql.clone())).persistent(false).bind(ids.to_vec());
                ids.chunks(IDS).map(of).collect()
            }
        };
        for statement in statements {
            let taken = take_records(&mut self.snapshot.connection, statement, wanted, take).await;
            if taken.map_err(|error| self.snapshot.report("cannot read the archive", error))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn vanished(&mut self, selection: &Selection) -> Result<VanishedMessages, ArchiveError> {
        let table = self.snapshot.vanished.clone();
        if !self.snapshot.exists(&table).await? {
            return Ok(VanishedMessages::new());
        }
        let keys = match &selection.scope {
            Scope::Conversations(keys) => Some(keys.iter().cloned().collect::<Vec<_>>()),
            Scope::All | Scope::Accounts(_) => None,
        };
        let sql = format!(
            "select app_key, message_server_id::bigint, {}, code::bigint from {table} \
             where $1::text[] is null or conversation_key = any ($1)",
            milliseconds("noticed_at"),
        );
        let rows: Result<Vec<(String, i64, Option<i64>, Option<i64>)>, _> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .bind(keys)
            .fetch_all(&mut self.snapshot.connection)
            .await;
        let rows = rows.map_err(|error| self.snapshot.report("cannot read what vanished", error))?;
        let note = |(app_key, id, noticed_at, code)| ((app_key, id), VanishedNote { noticed_at, code });
        Ok(rows.into_iter().map(note).collect())
    }

    async fn ids(&mut self, wanted: WantedIds<'_>, take: &mut IdTaker<'_>) -> Result<Vec<String>, ArchiveError> {
        // Every message is in the table of messages, with its latest revision.
        let sql = format!(
            "select message_server_id from {} where app_key = $1 and message_server_id between $2 and $3",
            self.snapshot.messages
        );
        let statement = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql))
            .persistent(false)
            .bind(wanted.app_key)
            .bind(wanted.first)
            .bind(wanted.last);
        let mut ids = statement.fetch(&mut self.snapshot.connection);
        let failed = loop {
            match ids.try_next().await {
                Ok(Some(id)) if take(FoundId::Archived(id)).is_continue() => {}
                Ok(_) => return Ok(Vec::new()),
                Err(error) => break error,
            }
        };
        drop(ids);
        Err(self.snapshot.report("cannot read the archive's IDs", failed))
    }

    async fn app_keys(&mut self) -> Result<Vec<String>, ArchiveError> {
        let sql = format!("select min(app_key), max(app_key) from {}", self.snapshot.messages);
        let ends: Vec<(Option<String>, Option<String>)> =
            self.snapshot.rows("cannot read whose messages these are", sql).await?;
        let mut keys: Vec<String> = ends.into_iter().flat_map(|(first, last)| [first, last]).flatten().collect();
        keys.dedup();
        Ok(keys)
    }

    fn origin(&self) -> Origin {
        self.origin.clone()
    }
}

fn record(row: &PgRow) -> Result<Record, sqlx::Error> {
    let mut record = Record::new();
    for definition in Column::all(true) {
        let place = definition.column as usize;
        let value = match definition.kind {
            ColumnType::Text | ColumnType::Account | ColumnType::Receiver | ColumnType::Json => {
                row.try_get::<Option<String>, _>(place)?.map(Value::Text)
            }
            ColumnType::Int64 | ColumnType::Int32 | ColumnType::Time => {
                row.try_get::<Option<i64>, _>(place)?.map(Value::Integer)
            }
            ColumnType::Boolean => row.try_get::<Option<bool>, _>(place)?.map(Value::Flag),
            ColumnType::TextList => row
                .try_get::<Option<Vec<Option<String>>>, _>(place)?
                .map(|list| Value::List(list.into_iter().map(Option::unwrap_or_default).collect())),
        };
        record.set(definition.column, value.unwrap_or_default());
    }
    Ok(record)
}
