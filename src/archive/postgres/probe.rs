//! Whether the archive could be written, without writing to it.

use sqlx::Row as _;

use super::Settings;
use super::connect::{Mode, Server};
use super::schema::Names;
use crate::archive::ArchiveError;

const PRIVILEGES: &str = "select to_regclass($1) is not null as there, \
    coalesce(has_table_privilege(to_regclass($1), 'insert'), false) as may_insert, \
    to_regnamespace($2) is not null as schema_there, \
    coalesce(has_schema_privilege(to_regnamespace($2)::oid, 'create'), false) as may_create, \
    has_database_privilege(current_database(), 'create') as may_create_schema";

/// Connects and looks at the table and the role's privileges. Takes no lock. Says what was found.
pub async fn probe(settings: &Settings) -> Result<String, ArchiveError> {
    let server = Server::new(&settings.url, settings.patience)?;
    let names = Names::new(&settings.schema, &settings.table)
        .map_err(|what| ArchiveError::Unusable(format!("the Postgres sink cannot be used: {what}")))?;
    let table = names.qualified(&names.messages);
    let unseen = |error| server.report("cannot look at the archive", error);
    let mut session = server.connect().await?;
    session.begin(Mode::Read).await.map_err(unseen)?;
    let row = sqlx::query(PRIVILEGES)
        .persistent(false)
        .bind(&table)
        .bind(super::schema::quoted(&settings.schema))
        .fetch_one(&mut session.connection)
        .await
        .map_err(unseen)?;
    let is = |column: &str| row.try_get::<bool, _>(column).map_err(|error| server.report("cannot read", error));
    if is("there")? {
        if is("may_insert")? {
            return Ok(format!("{table} at {} is there and can be written", server.place()));
        }
        return Err(ArchiveError::Denied(format!("the role may not insert into {table} at {}", server.place())));
    }
    if is("may_create")? || (!is("schema_there")? && is("may_create_schema")?) {
        return Ok(format!("{table} at {} will be made", server.place()));
    }
    Err(ArchiveError::Denied(format!(
        "{table} is not there, and the role may not create it at {}; grant it what it needs, or have somebody run what \
         `schema postgres` prints",
        server.place()
    )))
}
