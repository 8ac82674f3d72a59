//! Whether the archive could be written, without writing.

use sqlx::{AssertSqlSafe, Row as _};

use super::connect::{Mode, Server};
use super::schema::{Names, quoted};
use super::settings::Settings;
use super::unlogged;
use crate::archive::{ArchiveError, ArchiveOwner};

const PRIVILEGES: &str = "select to_regclass($1) is not null as there, \
    coalesce(has_table_privilege(to_regclass($1), 'insert'), false) as may_insert, \
    to_regnamespace($2) is not null as schema_there, \
    coalesce(has_schema_privilege(to_regnamespace($2)::oid, 'create'), false) as may_create, \
    has_database_privilege(current_database(), 'create') as may_create_schema";

/// Connects and looks at the table and the role's privileges. Takes no lock. Returns a sentence about what was found.
pub(super) async fn probe(settings: &Settings) -> Result<String, ArchiveError> {
    let (server, names) = (Server::new(settings)?, Names::of(settings)?);
    let table = names.shown(&names.messages);
    let failed = |error| server.report("cannot look at the archive", error);
    let mut session = server.connect().await?;
    session.begin(Mode::Read).await.map_err(failed)?;
    let row = sqlx::query(PRIVILEGES)
        .persistent(false)
        .bind(names.qualified(&names.messages))
        .bind(quoted(&settings.sink.schema))
        .fetch_one(&mut session.connection)
        .await
        .map_err(failed)?;
    let is = |column: &str| row.try_get::<bool, _>(column).map_err(|error| server.report("cannot read", error));
    if is("there")? {
        if is("may_insert")? {
            let found = unlogged::tables(&mut session.connection, &names).await.map_err(failed)?;
            let warning = unlogged::warning(&found).map_or_else(String::new, |warning| format!("; warning: {warning}"));
            return Ok(format!("{table} at {} is there and can be written{warning}", server.place()));
        }
        return Err(ArchiveError::Denied(format!("the role may not insert into {table} at {}", server.place())));
    }
    if is("may_create")? || (!is("schema_there")? && is("may_create_schema")?) {
        return Ok(format!("{table} at {} will be made", server.place()));
    }
    Err(ArchiveError::Denied(format!(
        "there is no {table} at {}, and the role may not create it; grant it what it needs, or have somebody run what \
         `schema postgres` prints",
        server.place()
    )))
}

/// Whose the archive is, as its owner record says. Takes no lock.
pub(super) async fn owner(settings: &Settings) -> Result<Option<ArchiveOwner>, ArchiveError> {
    let (server, names) = (Server::new(settings)?, Names::of(settings)?);
    let failed = |error| server.report("cannot read who owns the archive", error);
    let mut session = server.connect().await?;
    session.begin(Mode::Read).await.map_err(failed)?;
    let record = names.qualified(&names.archive);
    let is_there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .persistent(false)
        .bind(&record)
        .fetch_one(&mut session.connection)
        .await
        .map_err(failed)?;
    if !is_there {
        return Ok(None);
    }
    let sql = format!("select ledger_id, job, sequence from {record}");
    let owner: Option<(String, String, i64)> = sqlx::query_as(AssertSqlSafe(sql))
        .persistent(false)
        .fetch_optional(&mut session.connection)
        .await
        .map_err(failed)?;
    Ok(owner.map(|(ledger_id, job, commit)| ArchiveOwner { ledger_id, job, commit: commit.max(0) as u64 }))
}
