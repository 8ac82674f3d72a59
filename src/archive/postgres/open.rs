//! Taking possession of an archive: who owns it, whether its tables have the right shape, and creating what is missing.
//!
//! All of it is one transaction, which holds the archive's lock. A refusal leaves the transaction open, and the connection is
//! dropped: nothing stays behind.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor, Row as _};

use super::connect::{Refusal, Server, Session, last_row};
use super::schema::{self, Names};
use super::statements;
use super::unlogged;
use crate::archive::{ArchiveError, Claim, Prepared};
use crate::model::Column;

/// What was found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The last commit in the archive.
    pub(super) commit: u64,
    /// What the row of that commit says.
    pub(super) holds: Option<Prepared>,
    /// Whether the tables have the column `raw`.
    pub(super) raw: bool,
    /// Whether somebody put triggers on the table of messages.
    pub(super) triggers: bool,
    /// Tables that the server empties after a crash, by name.
    pub(super) unlogged: Vec<String>,
}

/// Takes possession of the archive in the name of `claim`'s ledger, and ends the session's transaction.
pub(super) async fn open(
    server: &Server,
    session: &mut Session,
    names: &Names,
    claim: &Claim,
    raw: bool,
) -> Result<Found, Refusal> {
    let set_up = SetUp { server, names, claim, raw, handed_over: None };
    let found = set_up.run(&mut session.connection).await?;
    session.commit().await?;
    Ok(found)
}

/// Makes `claim`'s ledger the owner of the archive at this commit, whoever owned it, and ends the session's transaction.
/// Creates the tables that are missing.
pub(super) async fn hand_over(
    server: &Server,
    session: &mut Session,
    names: &Names,
    claim: &Claim,
    commit: u64,
) -> Result<(), Refusal> {
    let set_up = SetUp { server, names, claim, raw: false, handed_over: Some(commit) };
    set_up.run(&mut session.connection).await?;
    Ok(session.commit().await?)
}

/// When the shape of a table is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before migrations, which may add columns.
    Found,
    /// After migrations.
    Migrated,
}

struct SetUp<'a> {
    server: &'a Server,
    names: &'a Names,
    claim: &'a Claim,
    raw: bool,
    /// The commit at which the archive is handed over. `None` if its owner opens it.
    handed_over: Option<u64>,
}

impl SetUp<'_> {
    /// The table of messages as messages name it.
    fn table(&self) -> String {
        self.names.shown(&self.names.messages)
    }

    async fn run(&self, connection: &mut PgConnection) -> Result<Found, Refusal> {
        let names = self.names;
        // Two jobs may set up tables in one schema at once, and `create … if not exists` may fail then.
        let lock = format!("select pg_advisory_xact_lock({})", names.set_up_lock());
        connection.execute(sqlx::raw_sql(AssertSqlSafe(lock))).await?;
        let tables = self.tables(connection).await?;
        let there = |table: &str| tables.contains_key(table);
        let opened = self.handed_over.is_none();
        let owned = if opened && there(&names.archive) { self.owned(connection).await? } else { None };
        if opened && owned.is_none() {
            self.unowned(connection, there(&names.messages)).await?;
        }
        if there(&names.messages) {
            self.shape(connection, &names.messages, Stage::Found).await?;
        }
        self.migrate(connection, there(&names.migrations)).await?;
        let has_raw = self.shape(connection, &names.messages, Stage::Migrated).await?;
        let revisions_have_raw = self.shape(connection, &names.revisions, Stage::Migrated).await?;
        if (self.raw || has_raw) && !(has_raw && revisions_have_raw) {
            connection.execute(sqlx::raw_sql(AssertSqlSafe(schema::add_raw(names)))).await?;
        }
        self.keys(connection).await?;
        self.privileges(connection).await?;
        if owned.is_none() {
            self.own(connection).await?;
        }
        let triggers =
            format!("select {} is not null as triggers", statements::triggers(&[&names.qualified(&names.messages)]));
        let triggers = last_row(connection, triggers).await?.try_get("triggers")?;
        let unlogged = unlogged::tables(connection, names).await?;
        let (commit, holds) = owned.unwrap_or_default();
        Ok(Found { commit, holds, raw: self.raw || has_raw, triggers, unlogged })
    }

    /// Writes the owner record.
    async fn own(&self, connection: &mut PgConnection) -> Result<(), Refusal> {
        let archive = self.names.qualified(&self.names.archive);
        let owner = format!("select 1 from {archive} where ledger_id = $1 and job = $2 and sequence = $3");
        // Without `delete`, which the role need not have. The last statement finds what one of the others wrote.
        let mut written = 0;
        for (needed, sql) in [
            (true, format!("update {archive} set ledger_id = $1, job = $2, sequence = $3, updated_at = now()")),
            (
                false,
                format!("insert into {archive} (ledger_id, job, sequence) values ($1, $2, $3) on conflict do nothing"),
            ),
            (true, owner),
        ] {
            if needed || written == 0 {
                let query = sqlx::query(AssertSqlSafe(sql))
                    .persistent(false)
                    .bind(self.claim.ledger_id.to_string())
                    .bind(&self.claim.job)
                    .bind(self.handed_over.unwrap_or(0) as i64);
                written = query.execute(&mut *connection).await?.rows_affected();
            }
        }
        if written > 0 {
            return Ok(());
        }
        let what = format!(
            "{} lacks the row that was written to it: a trigger, a rule or a policy there drops rows",
            self.names.shown(&self.names.archive)
        );
        let context = format!("cannot take possession of {} at {}", self.table(), self.server.place());
        Err(ArchiveError::Failed { context, source: what.into() }.into())
    }

    /// The archive's tables that exist, by name, with their kind.
    async fn tables(&self, connection: &mut PgConnection) -> Result<BTreeMap<String, String>, Refusal> {
        let names = self.names;
        let schema_there: bool = sqlx::query_scalar("select exists (select from pg_namespace where nspname = $1)")
            .persistent(false)
            .bind(&names.schema)
            .fetch_one(&mut *connection)
            .await?;
        if !schema_there && self.claim.recorded == 0 {
            let sql = format!("create schema if not exists {}", schema::quoted(&names.schema));
            connection.execute(AssertSqlSafe(sql)).await?;
        }
        let tables: Vec<(String, String)> = sqlx::query_as(
            "select c.relname::text, c.relkind::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where n.nspname = $1 and c.relname = any($2)",
        )
        .persistent(false)
        .bind(&names.schema)
        .bind(
            [
                &names.messages,
                &names.revisions,
                &names.vanished,
                &names.archive,
                &names.commits,
                &names.manifests,
                &names.migrations,
            ]
            .map(String::clone),
        )
        .fetch_all(connection)
        .await?;
        if let Some((table, _)) = tables.iter().find(|(_, kind)| !matches!(kind.as_str(), "r" | "p")) {
            let name = names.shown(table);
            return Err(self.unusable(&format!("{name} exists and is no table; choose another `table`")).into());
        }
        Ok(tables.into_iter().collect())
    }

    /// The last commit of an archive that this ledger owns, and what it holds. `None` if no ledger owns it.
    async fn owned(&self, connection: &mut PgConnection) -> Result<Option<(u64, Option<Prepared>)>, Refusal> {
        let claim = self.claim;
        let archive = self.names.qualified(&self.names.archive);
        let owner: Option<(String, String, i64)> =
            sqlx::query_as(AssertSqlSafe(format!("select ledger_id, job, sequence from {archive}")))
                .persistent(false)
                .fetch_optional(&mut *connection)
                .await?;
        let Some((ledger, job, sequence)) = owner else { return Ok(None) };
        if ledger != claim.ledger_id.to_string() {
            return Err(self
                .not_ours(&format!(
                    "belongs to another ledger ({ledger}, of job {job:?}), not to {}; \
                     choose another table, or take it over with `adopt {}`",
                    claim.ledger_id, claim.job
                ))
                .into());
        }
        let sequence = sequence as u64;
        let known = claim.recorded.max(claim.intent.unwrap_or(0));
        if sequence > known {
            return Err(self
                .not_ours(&format!(
                    "has commit {sequence}, and the ledger knows of none after {known}: the ledger is an old copy; \
                     rebuild it from the archive with `adopt {}`",
                    claim.job
                ))
                .into());
        }
        let commits = self.names.qualified(&self.names.commits);
        let sql = format!("select run_id, messages, bytes from {commits} where ledger_id = $1 and sequence = $2");
        let row: Option<(String, i64, i64)> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .bind(&ledger)
            .bind(sequence as i64)
            .fetch_optional(connection)
            .await?;
        let Some((run, rows, bytes)) = row else { return Ok(Some((sequence, None))) };
        if let Some(what) = claim.contradiction(sequence, &run) {
            return Err(self.not_ours(&format!("belongs to another copy: {what}")).into());
        }
        Ok(Some((sequence, Some(Prepared { rows: rows as u64, bytes: bytes as u64, files: Vec::new() }))))
    }

    /// Whether tables that no ledger owns may be taken.
    async fn unowned(&self, connection: &mut PgConnection, messages: bool) -> Result<(), Refusal> {
        let claim = self.claim;
        if claim.recorded > 0 {
            return Err(self
                .not_ours(&format!(
                    "is gone: the ledger recorded {} commits to it, and there is no trace of them; restore it, \
                     or begin anew with a new state or another table, or, if its messages are there, run `adopt {}`",
                    claim.recorded, claim.job
                ))
                .into());
        }
        if messages {
            let sql = format!("select exists (select from {})", self.names.qualified(&self.names.messages));
            let filled: bool =
                sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(&mut *connection).await?;
            if filled {
                self.shape(connection, &self.names.messages, Stage::Found).await?;
                return Err(self
                    .not_ours(&format!(
                        "has messages and no ledger owns it; choose another table, or take it over with `adopt {}`",
                        claim.job
                    ))
                    .into());
            }
        }
        Ok(())
    }

    /// Brings the tables up to date.
    async fn migrate(&self, connection: &mut PgConnection, there: bool) -> Result<(), Refusal> {
        let table = self.names.qualified(&self.names.migrations);
        let mut applied: BTreeMap<i64, (Vec<u8>, bool)> = BTreeMap::new();
        if there {
            let sql = AssertSqlSafe(format!("select version, checksum, success from {table}"));
            let rows: Vec<(i64, Vec<u8>, bool)> =
                sqlx::query_as(sql).persistent(false).fetch_all(&mut *connection).await?;
            applied = rows.into_iter().map(|(version, checksum, success)| (version, (checksum, success))).collect();
        } else {
            connection.execute(sqlx::raw_sql(AssertSqlSafe(schema::migrations_table(self.names)))).await?;
        }
        for migration in schema::migrations(self.names) {
            let version = migration.version;
            match applied.remove(&version) {
                Some((checksum, true)) if checksum == *migration.checksum => {}
                Some(_) => {
                    return Err(self
                        .unusable(&format!(
                            "{} cannot be migrated: migration {version} was changed or is half done (see {})",
                            self.table(),
                            self.names.shown(&self.names.migrations)
                        ))
                        .into());
                }
                None => {
                    let record = schema::record_migration(self.names, &migration);
                    let sql = format!("{};\n{record}", migration.sql.as_str());
                    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
                }
            }
        }
        match applied.keys().next_back() {
            None => Ok(()),
            Some(version) => Err(self
                .unusable(&format!(
                    "{} was set up by a newer version of this program (migration {version}); use that one",
                    self.table()
                ))
                .into()),
        }
    }

    /// Insists that a table has the archive's columns. Returns whether it has `raw` too.
    async fn shape(&self, connection: &mut PgConnection, table: &str, stage: Stage) -> Result<bool, Refusal> {
        let found: Vec<(String, String, bool, bool)> = sqlx::query_as(
            "select a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
                a.atthasdef or a.attidentity <> '' \
             from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace \
             where n.nspname = $1 and c.relname = $2 and a.attnum > 0 and not a.attisdropped",
        )
        .persistent(false)
        .bind(&self.names.schema)
        .bind(table)
        .fetch_all(connection)
        .await?;
        let name = self.names.shown(table);
        if found.is_empty() {
            return Err(self
                .unusable(&format!("{name} does not exist; what `schema postgres` prints creates it"))
                .into());
        }
        let has_raw = found.iter().any(|(column, ..)| column == "raw");
        let mismatch = |column: &str, found: &str, expected: &str| {
            Refusal::Archive(self.unusable(&format!(
                "{name} is a table of another shape: column {column:?} is {found}, expected {expected}; \
                 choose another `table`"
            )))
        };
        for column in Column::all(has_raw) {
            let expected = schema::type_name(column.kind);
            let wanted = format!("{expected}{}", if column.nullable { "" } else { " not null" });
            let Some((_, kind, not_null, _)) = found.iter().find(|(name, ..)| name == column.name) else {
                if stage == Stage::Found && !schema::is_first(column.column) {
                    continue;
                }
                return Err(mismatch(column.name, "missing", &wanted));
            };
            if kind != expected || *not_null && column.nullable {
                let kind = format!("{kind}{}", if *not_null { " not null" } else { "" });
                return Err(mismatch(column.name, &kind, &wanted));
            }
        }
        let foreign = |name: &str| Column::all(true).iter().all(|column| column.name != name);
        if let Some((column, kind, ..)) =
            found.iter().find(|(name, _, not_null, default)| foreign(name) && *not_null && !*default)
        {
            return Err(mismatch(column, &format!("{kind} not null"), "nullable, or to have a default"));
        }
        Ok(has_raw)
    }

    /// Insists on the unique indexes that allow a message only once.
    async fn keys(&self, connection: &mut PgConnection) -> Result<(), Refusal> {
        let names = self.names;
        for (table, key) in [
            (&names.messages, &["app_key", "message_server_id"][..]),
            (&names.revisions, &["app_key", "message_server_id", "revision"][..]),
        ] {
            let unique: bool = sqlx::query_scalar(
                "select exists (select from pg_index i join pg_class c on c.oid = i.indrelid \
                    join pg_namespace n on n.oid = c.relnamespace \
                 where n.nspname = $1 and c.relname = $2 and i.indisunique and i.indisvalid and i.indimmediate \
                    and i.indpred is null and i.indexprs is null \
                    and $3 = (select array_agg(a.attname::text order by a.attname::text) from pg_attribute a \
                        where a.attrelid = i.indrelid \
                            and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])))",
            )
            .persistent(false)
            .bind(&names.schema)
            .bind(table)
            .bind(key)
            .fetch_one(&mut *connection)
            .await?;
            if !unique {
                let name = names.shown(table);
                let key = key.join(", ");
                return Err(self.unusable(&format!("{name} has no unique index on ({key}); create one")).into());
            }
        }
        Ok(())
    }

    /// Insists on the privileges that commits need, before anything is fetched.
    async fn privileges(&self, connection: &mut PgConnection) -> Result<(), Refusal> {
        let names = self.names;
        let (mut shown, mut tables, mut privileges) = (Vec::new(), Vec::new(), Vec::new());
        for (table, needed) in [
            (&names.messages, &["SELECT", "INSERT", "UPDATE"][..]),
            (&names.revisions, &["SELECT", "INSERT"][..]),
            (&names.vanished, &["SELECT", "INSERT"][..]),
            (&names.archive, &["SELECT", "INSERT", "UPDATE"][..]),
            (&names.commits, &["SELECT", "INSERT"][..]),
            (&names.manifests, &["SELECT", "INSERT"][..]),
        ] {
            for privilege in needed {
                shown.push(names.shown(table));
                tables.push(names.qualified(table));
                privileges.push((*privilege).to_owned());
            }
        }
        let missing: Option<(String, String)> = sqlx::query_as(
            "select s, p from unnest($1::text[], $2::text[], $3::text[]) as needed (s, t, p) \
             where not has_table_privilege(t, p) \
             union all select 'the database', 'TEMPORARY' \
             where not has_database_privilege(current_database(), 'TEMPORARY') limit 1",
        )
        .persistent(false)
        .bind(shown)
        .bind(tables)
        .bind(privileges)
        .fetch_optional(connection)
        .await?;
        match missing {
            None => Ok(()),
            Some((table, privilege)) => Err(ArchiveError::Denied(format!(
                "the role lacks {privilege} on {table} at {}; grant it",
                self.server.place()
            ))
            .into()),
        }
    }

    fn unusable(&self, what: &str) -> ArchiveError {
        ArchiveError::Unusable(format!("{what} (at {})", self.server.place()))
    }

    fn not_ours(&self, what: &str) -> ArchiveError {
        ArchiveError::NotOurs(format!("the archive {} at {} {what}", self.table(), self.server.place()))
    }
}
