//! An archive in Postgres, read in one transaction.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::{Archive, HeldId, IdTaker, Origin, Taker, VanishedMessages, Wanted, WantedIds};
use crate::archive::postgres::{Reader, Settings};
use crate::export::error::ExportError;
use crate::export::record::{Record, Value, Vanished};
use crate::export::selection::{Scope, Selection};
use crate::model::{Column, ColumnType};

/// IDs that are asked for at once.
const IDS: usize = 20_000;

/// An archive in Postgres as it was when it was opened.
#[derive(Debug)]
pub struct PostgresArchive {
    reader: Reader,
    /// The columns that both tables have.
    columns: Vec<String>,
    origin: Origin,
}

impl PostgresArchive {
    /// Connects, and begins the transaction that everything is read in.
    ///
    /// # Errors
    ///
    /// The server cannot be reached or refuses, or there is no archive.
    pub async fn open(settings: &Settings) -> Result<Self, ExportError> {
        let mut reader = Reader::open(settings).await?;
        let columns = "select attname::text from pg_attribute where attnum > 0 and not attisdropped \
                       and attrelid in (to_regclass($1), to_regclass($2)) group by attname having count(*) = 2";
        let columns: Vec<String> = sqlx::query_scalar(columns)
            .persistent(false)
            .bind(&reader.messages)
            .bind(&reader.revisions)
            .fetch_all(&mut reader.connection)
            .await
            .map_err(|error| reader.report("cannot look at the archive", error))?;
        let owner = format!("select ledger_id, sequence from {}", reader.archive);
        let owner: Option<(String, i64)> = sqlx::query_as(AssertSqlSafe(owner))
            .persistent(false)
            .fetch_optional(&mut reader.connection)
            .await
            .map_err(|error| reader.report("cannot read whose the archive is", error))?;
        let origin = Origin::Postgres {
            place: reader.place().to_owned(),
            table: reader.messages.clone(),
            ledger_id: owner.as_ref().map(|(ledger_id, _)| ledger_id.clone()),
            commit: owner.map(|(_, commit)| commit),
        };
        Ok(Self { reader, columns, origin })
    }

    /// Both tables, with values in few types. What they do not have is null: `raw`, or a column of a later version.
    fn rows(&self, condition: &str) -> String {
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
            self.reader.messages, self.reader.revisions
        )
    }
}

/// A time that is none, such as `infinity`, is null.
fn milliseconds(name: &str) -> String {
    format!("case when isfinite({name}) then floor(extract(epoch from {name}) * 1000)::bigint end as {name}")
}

/// What is wanted as a condition that may let more pass, never less.
const SELECTED: &str = "($1::bigint is null or create_time >= to_timestamp($1 / 1000.0)) \
    and ($2::bigint is null or create_time < to_timestamp($2 / 1000.0) + interval '1 millisecond') \
    and ($3::text[] is null or conversation_key = any ($3)) \
    and ($4::text[] is null \
        or conversation_type = 1 and (split_part(conversation_key, '|', 2) = any ($4) \
            or split_part(conversation_key, '|', 3) = any ($4)) \
        or conversation_type <> 1 and (lower(sender_id) = any ($4) or exists \
            (select from unnest(receiver_account_ids) as receiver where lower(receiver) = any ($4))))";
/// Times beyond those of any message, which `to_timestamp` may not know.
const TIMES: std::ops::RangeInclusive<i64> = -62_000_000_000_000..=253_000_000_000_000;

#[async_trait]
impl Archive for PostgresArchive {
    async fn read(&mut self, wanted: Wanted<'_>, take: &mut Taker<'_>) -> Result<(), ExportError> {
        let mut failed = None;
        match wanted {
            Wanted::Selected(selection) => {
                let sql = AssertSqlSafe(self.rows(SELECTED));
                let time = |time: Option<i64>| time.filter(|time| TIMES.contains(time));
                let texts = |texts: &std::collections::BTreeSet<String>| texts.iter().cloned().collect::<Vec<_>>();
                let (keys, accounts) = match &selection.scope {
                    Scope::All => (None, None),
                    Scope::Conversations(keys) => (Some(texts(keys)), None),
                    Scope::Accounts(accounts) => (None, Some(texts(accounts))),
                };
                let mut rows = sqlx::query(sql)
                    .persistent(false)
                    .bind(time(selection.from))
                    .bind(time(selection.to))
                    .bind(keys)
                    .bind(accounts)
                    .fetch(&mut self.reader.connection);
                loop {
                    match rows.try_next().await.and_then(|row| row.as_ref().map(record).transpose()) {
                        Ok(Some(record)) if wanted.holds(&record) => take(record)?,
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(error) => {
                            failed = Some(error);
                            break;
                        }
                    }
                }
            }
            Wanted::Ids(ids, ..) => {
                let sql = self.rows("message_server_id = any ($1)");
                let ids: Vec<i64> = ids.iter().copied().collect();
                'chunks: for ids in ids.chunks(IDS) {
                    let query = sqlx::query(AssertSqlSafe(sql.clone())).persistent(false).bind(ids);
                    let mut rows = query.fetch(&mut self.reader.connection);
                    loop {
                        match rows.try_next().await.and_then(|row| row.as_ref().map(record).transpose()) {
                            Ok(Some(record)) => take(record)?,
                            Ok(None) => break,
                            Err(error) => {
                                failed = Some(error);
                                break 'chunks;
                            }
                        }
                    }
                }
            }
        }
        match failed {
            Some(error) => Err(self.reader.report("cannot read the archive", error).into()),
            None => Ok(()),
        }
    }

    async fn vanished(&mut self, selection: &Selection) -> Result<VanishedMessages, ExportError> {
        let there: Result<bool, _> = sqlx::query_scalar("select to_regclass($1) is not null")
            .persistent(false)
            .bind(&self.reader.vanished)
            .fetch_one(&mut self.reader.connection)
            .await;
        let mut found = VanishedMessages::new();
        if !there.map_err(|error| self.reader.report("cannot look for what vanished", error))? {
            return Ok(found);
        }
        let keys = match &selection.scope {
            Scope::Conversations(keys) => Some(keys.iter().cloned().collect::<Vec<_>>()),
            _ => None,
        };
        let sql = format!(
            "select app_key, message_server_id::bigint, {}, code::bigint from {} \
             where $1::text[] is null or conversation_key = any ($1)",
            milliseconds("noticed_at"),
            self.reader.vanished
        );
        let rows: Result<Vec<(String, i64, Option<i64>, Option<i64>)>, _> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .bind(keys)
            .fetch_all(&mut self.reader.connection)
            .await;
        for (app_key, id, noticed_at, code) in
            rows.map_err(|error| self.reader.report("cannot read what vanished", error))?
        {
            found.insert((app_key, id), Vanished { noticed_at, code });
        }
        Ok(found)
    }

    async fn ids(&mut self, wanted: WantedIds<'_>, take: &mut IdTaker<'_>) -> Result<Vec<String>, ExportError> {
        // Every message stands in the table of messages, with its latest revision.
        let sql = format!(
            "select message_server_id from {} where app_key = $1 and message_server_id between $2 and $3",
            self.reader.messages
        );
        let mut failed = None;
        {
            let mut rows = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql))
                .persistent(false)
                .bind(wanted.app_key)
                .bind(wanted.first)
                .bind(wanted.last)
                .fetch(&mut self.reader.connection);
            loop {
                match rows.try_next().await {
                    Ok(Some(id)) => take(HeldId::Archived(id))?,
                    Ok(None) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
        match failed {
            Some(error) => Err(self.reader.report("cannot read the archive's IDs", error).into()),
            None => Ok(Vec::new()),
        }
    }

    async fn app_keys(&mut self) -> Result<Vec<String>, ExportError> {
        let sql = format!("select min(app_key), max(app_key) from {}", self.reader.messages);
        let ends: Result<(Option<String>, Option<String>), _> =
            sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_one(&mut self.reader.connection).await;
        let (first, last) = ends.map_err(|error| self.reader.report("cannot read whose messages these are", error))?;
        let mut keys: Vec<String> = [first, last].into_iter().flatten().collect();
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
