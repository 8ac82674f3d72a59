//! The ledger's tables, and how a ledger of an older version comes to have them.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{SqlSafeStr as _, SqliteConnection};

use super::error::Fault;

/// Every change of the tables, in order.
const MIGRATIONS: [(i64, &str, &str); 7] = [
    (1, "ledger", include_str!("../../migrations/sqlite/0001_ledger.sql")),
    (2, "manifests", include_str!("../../migrations/sqlite/0002_manifests.sql")),
    (3, "refetch", include_str!("../../migrations/sqlite/0003_refetch.sql")),
    (4, "answered", include_str!("../../migrations/sqlite/0004_answered.sql")),
    (5, "dismissals", include_str!("../../migrations/sqlite/0005_dismissals.sql")),
    (6, "asked", include_str!("../../migrations/sqlite/0006_asked.sql")),
    (7, "words", include_str!("../../migrations/sqlite/0007_words.sql")),
];
/// The format of the tables that this version knows.
const FORMAT: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;
/// What SQLite's header says of a ledger: "YXLG".
const APPLICATION_ID: i64 = 0x5958_4c47;

/// Batches are numbered upwards from here.
pub(super) const FIRST_SEQ: i64 = 1 << 32;
/// Halves of split batches are numbered downwards from here, so that they come before all others.
pub(super) const FIRST_URGENT: i64 = FIRST_SEQ - 1;
/// Batches that ask again are numbered upwards from here, so that they come after all others.
pub(super) const FIRST_REFETCH: i64 = 1 << 48;

/// The format of a ledger's tables; `None` for a database that has no table yet. Changes nothing.
pub(super) async fn format(conn: &mut SqliteConnection) -> Result<Option<i64>, Fault> {
    let application: i64 = sqlx::query_scalar("pragma application_id").fetch_one(&mut *conn).await?;
    let tables: i64 = sqlx::query_scalar(
        "select count(*) from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\' and name <> 'migrations'",
    )
    .fetch_one(&mut *conn)
    .await?;
    match (application, tables) {
        (APPLICATION_ID, 1..) => {
            let format: Option<i64> =
                sqlx::query_scalar("select max(version) from migrations where success").fetch_one(conn).await?;
            Ok(Some(format.unwrap_or(0)))
        }
        (0 | APPLICATION_ID, 0) => Ok(None),
        _ => Err(Fault::Foreign("it is a database of another program".to_owned())),
    }
}

/// Refuses a format that a newer version made, and, to read, one that is yet to be migrated.
pub(super) fn check(format: i64, to_write: bool) -> Result<(), Fault> {
    let advice = match format {
        FORMAT => return Ok(()),
        newer if newer > FORMAT => "use the newer version that made it",
        _ if to_write => return Ok(()),
        _ => "an earlier version made it, and it cannot be read before the job's next `run` has brought it up to date",
    };
    Err(Fault::Version { found: format, known: FORMAT, advice })
}

/// Makes or changes the tables, each step in a transaction of its own.
pub(super) async fn migrate(conn: &mut SqliteConnection) -> Result<(), Fault> {
    let migrations = MIGRATIONS.into_iter().map(|(version, name, sql)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name("migrations");
    migrator.run_direct(None, conn, false).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Fault::Sql(error),
        other => Fault::Damaged(format!("its tables are not as a version of this program made them ({other})")),
    })
}
