//! Tables that the server empties after a crash.

use sqlx::postgres::PgConnection;

use super::schema::Names;

/// Those of the archive, with their partitions, by name.
pub(super) async fn tables(connection: &mut PgConnection, names: &Names) -> Result<Vec<String>, sqlx::Error> {
    let tables = [
        &names.messages,
        &names.revisions,
        &names.vanished,
        &names.archive,
        &names.commits,
        &names.manifests,
        &names.migrations,
    ];
    sqlx::query_scalar(
        "with recursive tables as (
            select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1 and c.relname = any($2)
            union
            select i.inhrelid from pg_inherits i join tables on i.inhparent = tables.oid)
         select format('%s.%s', n.nspname, c.relname)
         from tables join pg_class c using (oid) join pg_namespace n on n.oid = c.relnamespace
         where c.relpersistence = 'u' order by 1",
    )
    .persistent(false)
    .bind(&names.schema)
    .bind(tables.map(String::clone))
    .fetch_all(connection)
    .await
}

/// Warns of tables that the server empties after a crash.
pub(super) fn warning(unlogged: &[String]) -> Option<String> {
    let (tables, are, them) = match unlogged {
        [] => return None,
        [table] => (table.clone(), "is", "it"),
        tables => (tables.join(", "), "are", "them"),
    };
    let first = &unlogged[0];
    Some(format!(
        "{tables} {are} UNLOGGED: the server empties {them} after a crash, and the messages are lost; \
         `alter table {first} set logged` makes {first} durable"
    ))
}
