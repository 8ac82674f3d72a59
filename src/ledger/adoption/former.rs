//! The ledger that is replaced: how much of it can be read.

use std::fs;
use std::io;
use std::path::Path;

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};
use uuid::Uuid;

use crate::ledger::connection::{begin, connect, options};
use crate::ledger::disk::{create, remove_database};
use crate::ledger::error::{Fault, sqlite_code};
use crate::ledger::identity::{self, Identity};
use crate::ledger::schema;
use crate::ledger::values::count;

/// What became of the ledger that is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplacedLedger {
    /// There was none.
    None,
    /// It could be read: what the archive does not hold is carried over.
    Read {
        /// Its ID.
        id: Uuid,
        /// The last commit that it recorded.
        commit: u64,
        /// Where its archive is, if that is another place.
        elsewhere: Option<String>,
        /// How its archive is partitioned, if that is another way.
        partitioned: Option<String>,
    },
    /// It is of another job or app: nothing is carried over.
    Foreign(String),
    /// It is damaged: nothing is carried over.
    Unreadable(String),
}

/// Makes a ledger at `path`: a copy of what can be read of the one at `place`, else an empty one.
pub(super) async fn copy(place: &Path, path: &Path, identity: &Identity) -> Result<ReplacedLedger, Fault> {
    let begin_empty = || remove_database(path).and_then(|()| create(path));
    begin_empty()?;
    let former = match fs::metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => ReplacedLedger::None,
        Err(error) => return Err(Fault::Io(error)),
        Ok(_) => match read(place, path, identity).await {
            Ok(former) => former,
            Err(fault) => ReplacedLedger::Unreadable(damage(fault)?),
        },
    };
    if !matches!(former, ReplacedLedger::Read { .. }) {
        begin_empty()?;
    }
    Ok(former)
}

/// Copies the former ledger as a whole, which reads every page of it, and looks whose it is.
async fn read(place: &Path, path: &Path, identity: &Identity) -> Result<ReplacedLedger, Fault> {
    let mut conn = options(place).connect().await?;
    let Some(format) = schema::format(&mut conn).await? else { return Ok(ReplacedLedger::None) };
    schema::check(format, true)?;
    let Some(target) = path.to_str() else {
        return Err(Fault::Refused(format!("{} is no UTF-8 path, which copying a ledger needs", path.display())));
    };
    sqlx::query("vacuum into ?").bind(target).execute(&mut conn).await?;
    // What is put away should be one file.
    sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut conn).await?;
    conn.close().await?;

    let mut conn = connect(path).await?;
    schema::migrate(&mut conn).await?;
    let bound = identity::load(&mut conn).await?;
    let commit = sqlx::query_scalar("select last_commit from ledger").fetch_optional(&mut conn).await?;
    conn.close().await?;
    Ok(match bound {
        None => ReplacedLedger::None,
        Some((_, bound)) if bound.job != identity.job => ReplacedLedger::Foreign(format!("it is of job {}", bound.job)),
        Some((_, bound)) if bound.app_key != identity.app_key => {
            ReplacedLedger::Foreign(format!("it is of the app {}", bound.app_key))
        }
        Some((id, bound)) => ReplacedLedger::Read {
            id,
            commit: count(commit.unwrap_or(0)),
            elsewhere: (bound.sink != identity.sink).then_some(bound.sink),
            partitioned: (bound.partitioning != identity.partitioning).then_some(bound.partitioning),
        },
    })
}

/// Binds the new ledger, and puts away what was known.
pub(super) async fn bind(conn: &mut SqliteConnection, identity: &Identity, id: Uuid) -> Result<(), Fault> {
    schema::migrate(conn).await?;
    let mut tx = begin(conn).await?;
    let made: Vec<String> = sqlx::query_scalar(
        "select sql from sqlite_schema where tbl_name = 'known' and sql is not null order by type = 'index'",
    )
    .fetch_all(&mut *tx)
    .await?;
    let put_away = ["drop index known_directory", "alter table known rename to former"].map(str::to_owned);
    let emptied = [
        "create table later (id integer, revision integer, primary key (id, revision)) without rowid",
        "delete from files",
        "delete from commits",
        "delete from intent",
    ]
    .map(str::to_owned);
    for sql in put_away.into_iter().chain(made).chain(emptied) {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    identity::store(&mut tx, id, identity).await?;
    Ok(tx.commit().await?)
}

/// Why a former ledger cannot be read, if that is what went wrong: its content, and not the disk or the permissions.
pub(super) fn damage(fault: Fault) -> Result<String, Fault> {
    match fault {
        Fault::Damaged(what) | Fault::Foreign(what) => Ok(what),
        Fault::Sql(error) => match (&error, sqlite_code(&error)) {
            // A table that is missing, a damaged page, a key that stands twice, no database at all.
            (_, Some(1 | 11 | 19 | 26)) => Ok(error.to_string()),
            (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_), _) => {
                Ok("it holds values of the wrong kind".to_owned())
            }
            _ => Err(Fault::Sql(error)),
        },
        other => Err(other),
    }
}
