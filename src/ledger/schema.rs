//! The ledger's tables, and how a ledger of an older version comes to have them.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{SqlSafeStr as _, SqliteConnection};

use super::error::Fault;

/// Every change of the tables, in order.
const MIGRATIONS: [(i64, &str, &str); 6] = [
    (1, "ledger", include_str!("../../migrations/sqlite/0001_ledger.sql")),
    (2, "manifests", include_str!("../../migrations/sqlite/0002_manifests.sql")),
    (3, "refetch", include_str!("../../migrations/sqlite/0003_refetch.sql")),
    (4, "answered", include_str!("../../migrations/sqlite/0004_answered.sql")),
    (5, "dismissals", include_str!("../../migrations/sqlite/0005_dismissals.sql")),
    (6, "asked", include_str!("../../migrations/sqlite/0006_asked.sql")),
];
/// The form of the tables that this version knows.
pub(super) const FORM: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;
/// What SQLite's header says of a ledger: "YXLG".
const APPLICATION_ID: i64 = 0x5958_4c47;

/// What a database file turned out to be.
pub(super) enum Found {
    /// A database without a table, or one whose making was cut off.
    Empty,
    /// A ledger, and the form of its tables.
    Ledger(i64),
    /// Something else.
    Foreign(String),
}

/// What the database is, without changing anything.
pub(super) async fn examine(conn: &mut SqliteConnection) -> Result<Found, sqlx::Error> {
    let application: i64 = sqlx::query_scalar("pragma application_id").fetch_one(&mut *conn).await?;
    let tables: i64 = sqlx::query_scalar(
        "select count(*) from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\' and name <> 'migrations'",
    )
    .fetch_one(&mut *conn)
    .await?;
    match (application, tables) {
        (APPLICATION_ID, 1..) => {
            let form: Option<i64> =
                sqlx::query_scalar("select max(version) from migrations where success").fetch_one(conn).await?;
            Ok(Found::Ledger(form.unwrap_or(0)))
        }
        (0 | APPLICATION_ID, 0) => Ok(Found::Empty),
        _ => Ok(Found::Foreign("it is a database of another program".to_owned())),
    }
}

/// Makes or changes the tables, each step in a transaction of its own.
pub(super) async fn migrate(conn: &mut SqliteConnection) -> Result<(), Fault> {
    let migrations = MIGRATIONS
        .into_iter()
        .map(|(version, name, sql)| {
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name("migrations");
    migrator.run_direct(None, conn, false).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => {
            Fault::Sql(error)
        }
        other => Fault::Damaged(format!("its tables are not as a version of this program made them ({other})")),
    })
}
