//! The ledger that is replaced: how much of it can be read.

use std::fs;
use std::io;
use std::path::Path;

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use uuid::Uuid;

use crate::ledger::batches::{FIRST_SEQ, FIRST_URGENT};
use crate::ledger::error::{Fault, from_io, sqlite_code};
use crate::ledger::open::{self, accept, beside};
use crate::ledger::schema::{self, Found};
use crate::ledger::{Identity, LedgerError, count, identity};

/// What became of the ledger that is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Former {
    /// There was none.
    None,
    /// It could be read: what the archive does not hold is carried over.
    Read {
        /// Its ID.
        id: Uuid,
        /// The last commit that it recorded.
        commit: u64,
    },
    /// It is of another job or app: nothing is carried over.
    Foreign(String),
    /// It is damaged: nothing is carried over.
    Unreadable(String),
}

/// Makes a ledger at `path`: a copy of what can be read of the one at `place`, else an empty one.
pub(super) async fn copy(place: &Path, path: &Path, identity: &Identity) -> Result<Former, LedgerError> {
    let fresh = || {
        remove(path)?;
        open::create(path).map_err(|error| from_io(path, "making a ledger", error))
    };
    fresh()?;
    let former = match fs::metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Former::None,
        Err(error) => return Err(from_io(place, "reading the former ledger", error)),
        Ok(_) => match read(place, path, identity).await {
            Ok(former) => former?,
            Err(fault) => match unreadable(&fault) {
                Some(why) => Former::Unreadable(why),
                None => return Err(fault.at(place, "reading the former ledger")),
            },
        },
    };
    if !matches!(former, Former::Read { .. }) {
        fresh()?;
    }
    Ok(former)
}

/// Copies the former ledger as a whole, which reads every page of it, and looks whose it is.
async fn read(place: &Path, path: &Path, identity: &Identity) -> Result<Result<Former, LedgerError>, Fault> {
    let mut conn = open::options(place).connect().await?;
    match schema::examine(&mut conn).await? {
        Found::Empty => return Ok(Ok(Former::None)),
        Found::Foreign(why) => return Ok(Ok(Former::Unreadable(why))),
        found @ Found::Ledger(_) => {
            if let Err(error) = accept(place, found, true) {
                return Ok(Err(error));
            }
        }
    }
    let Some(target) = path.to_str() else {
        return Err(Fault::Refused(format!("{} is no UTF-8 path, which copying a ledger needs", path.display())));
    };
    sqlx::query("vacuum into ?").bind(target).execute(&mut conn).await?;
    // What is set aside should be one file.
    sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut conn).await?;
    conn.close().await?;

    let mut conn = open::connect(path).await?;
    schema::migrate(&mut conn).await?;
    let bound = identity::load(&mut conn).await?;
    let commit = sqlx::query_scalar("select last_commit from ledger").fetch_optional(&mut conn).await?;
    conn.close().await?;
    Ok(Ok(match bound {
        None => Former::None,
        Some((_, bound)) if bound.job != identity.job => Former::Foreign(format!("it is of job {}", bound.job)),
        Some((_, bound)) if bound.app_key != identity.app_key => {
            Former::Foreign(format!("it is of the app {}", bound.app_key))
        }
        Some((id, _)) => Former::Read { id, commit: count(commit.unwrap_or(0)) },
    }))
}

/// Binds the new ledger, and sets aside what was known.
pub(super) async fn bind(conn: &mut SqliteConnection, identity: &Identity, id: Uuid) -> Result<(), Fault> {
    schema::migrate(conn).await?;
    let mut tx = crate::ledger::begin(conn).await?;
    let made: Vec<String> = sqlx::query_scalar(
        "select sql from sqlite_schema where tbl_name = 'known' and sql is not null order by type = 'index'",
    )
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query("drop index known_directory").execute(&mut *tx).await?;
    sqlx::query("alter table known rename to former").execute(&mut *tx).await?;
    for sql in made {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    for sql in [
        "create table later (id integer, revision integer, primary key (id, revision)) without rowid",
        "delete from files",
        "delete from commits",
        "delete from announced",
    ] {
        sqlx::query(sql).execute(&mut *tx).await?;
    }
    sqlx::query(
        "insert into ledger (one, ledger_id, job, app_key, sink, partitioning, last_commit, next_seq, next_urgent)
         values (1, ?, ?, ?, ?, ?, 0, ?, ?)
         on conflict (one) do update set ledger_id = excluded.ledger_id, sink = excluded.sink,
             partitioning = excluded.partitioning, last_commit = 0",
    )
    .bind(id.to_string())
    .bind(&identity.job)
    .bind(&identity.app_key)
    .bind(&identity.sink)
    .bind(&identity.partitioning)
    .bind(FIRST_SEQ)
    .bind(FIRST_URGENT)
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}

/// Why a former ledger cannot be read, if that is what went wrong: its content, and not the disk or the rights.
pub(super) fn unreadable(fault: &Fault) -> Option<String> {
    match fault {
        Fault::Damaged(what) => Some(what.clone()),
        Fault::Sql(error) => match (error, sqlite_code(error)) {
            // A table that is missing, a damaged page, a key that stands twice, no database at all.
            (error, Some(1 | 11 | 19 | 26)) => Some(error.to_string()),
            (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_), _) => {
                Some("it holds values of the wrong kind".to_owned())
            }
            _ => None,
        },
        _ => None,
    }
}

/// Removes a ledger and what SQLite keeps beside it.
pub(super) fn remove(path: &Path) -> Result<(), LedgerError> {
    let all = ["", "-wal", "-shm", "-journal"].into_iter().try_for_each(|suffix| remove_file(&beside(path, suffix)));
    all.map_err(|error| from_io(path, "removing an unfinished ledger", error))
}

pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
