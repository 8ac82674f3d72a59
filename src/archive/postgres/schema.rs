//! The tables: their names, columns and migrations. Pure.

use std::borrow::Cow;
use std::fmt::Write;

use sha2::{Digest, Sha256};
use sqlx::migrate::{Migration, MigrationType};
use sqlx::{AssertSqlSafe, SqlSafeStr};
use uuid::Uuid;

use super::settings::Settings;
use crate::archive::ArchiveError;
use crate::model::columns::Definition;
use crate::model::{Column, ColumnType};

/// The longest name that Postgres does not cut off, in bytes.
const LONGEST_NAME: usize = 63;
/// The longest suffix of a name that is made from the table's.
const LONGEST_SUFFIX: &str = "_conversation";

/// How many columns the first migration creates, `raw` not among them. Later migrations add the others.
const FIRST_COLUMNS: usize = 37;

/// The columns of a table with `raw` or without, in the order in which they are written. `extra` and `substituted` come
/// last: they depend on whether the other columns could hold their values.
pub(super) fn columns(raw: bool) -> Vec<&'static Definition> {
    let last = |column: &&Definition| matches!(column.column, Column::Extra | Column::Substituted);
    let (last, mut columns): (Vec<_>, Vec<_>) = Column::all(raw).iter().partition(last);
    columns.extend(last);
    columns
}

/// Whether the first migration creates a column. A table that was not migrated yet may lack the others.
pub(super) fn is_first(column: Column) -> bool {
    (column as usize) < FIRST_COLUMNS
}

/// The name of a column's type in Postgres.
pub fn type_name(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text | ColumnType::Account | ColumnType::Receiver => "text",
        ColumnType::Json => "jsonb",
        ColumnType::TextList => "text[]",
        ColumnType::Int64 => "bigint",
        ColumnType::Int32 => "integer",
        ColumnType::Time => "timestamp with time zone",
        ColumnType::Boolean => "boolean",
    }
}

/// A name in SQL, whatever its characters.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL, whatever its characters and however the server reads backslashes.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The names of everything in the database, not quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) schema: String,
    pub(super) messages: String,
    pub(super) revisions: String,
    pub(super) vanished: String,
    pub(super) archive: String,
    pub(super) commits: String,
    pub(super) manifests: String,
    pub(super) migrations: String,
    conversation_index: String,
}

impl Names {
    /// The names for the configured schema and table.
    pub(super) fn of(settings: &Settings) -> Result<Self, ArchiveError> {
        Self::new(&settings.sink.schema, &settings.sink.table)
            .map_err(|what| ArchiveError::Unusable(format!("the Postgres sink cannot be used: {what}")))
    }

    /// The names for a schema and a table, or what is wrong with these.
    fn new(schema: &str, table: &str) -> Result<Self, String> {
        for (what, name, longest) in
            [("schema", schema, LONGEST_NAME), ("table", table, LONGEST_NAME - LONGEST_SUFFIX.len())]
        {
            if name.is_empty() || name.contains('\0') {
                return Err(format!(
                    "{name:?} cannot be the name of the {what}: a name has at least one character and no NUL"
                ));
            }
            if name.len() > longest {
                let length = name.len();
                return Err(format!("the {what}'s name {name:?} has {length} bytes; at most {longest} are possible"));
            }
        }
        let revisions = if table == "messages" { "message_revisions".to_owned() } else { format!("{table}_revisions") };
        Ok(Self {
            schema: schema.to_owned(),
            messages: table.to_owned(),
            revisions,
            vanished: format!("{table}_vanished"),
            archive: format!("{table}_archive"),
            commits: format!("{table}_commits"),
            manifests: format!("{table}_manifests"),
            migrations: format!("{table}_migrations"),
            conversation_index: format!("{table}{LONGEST_SUFFIX}"),
        })
    }

    /// A table as messages name it: `schema.table`.
    pub(super) fn shown(&self, table: &str) -> String {
        format!("{}.{table}", self.schema).replace(char::is_control, "�")
    }

    /// A name within the schema, in SQL.
    pub(super) fn qualified(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
    }

    /// The advisory locks of a transaction that writes the archive, in the process of this run.
    pub(super) fn locks(&self, run: Uuid) -> Locks {
        let (messages, run) = (self.messages.as_str(), run.to_string());
        Locks { archive: self.lock_key(&[messages]), process: self.lock_key(&[messages, &run]) }
    }

    /// The advisory lock of a transaction that sets up tables in the schema.
    pub(super) fn set_up_lock(&self) -> i64 {
        self.lock_key(&[""])
    }

    fn lock_key(&self, parts: &[&str]) -> i64 {
        let mut digest = Sha256::new();
        for part in ["yunxin-archiver", self.schema.as_str()].iter().chain(parts) {
            digest.update(part);
            digest.update([0]);
        }
        let bytes: [u8; 32] = digest.finalize().into();
        i64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
    }

    fn placeholder(&self, name: &str) -> Option<String> {
        Some(match name {
            "schema" => quoted(&self.schema),
            "messages" => self.qualified(&self.messages),
            "revisions" => self.qualified(&self.revisions),
            "vanished" => self.qualified(&self.vanished),
            "archive" => self.qualified(&self.archive),
            "commits" => self.qualified(&self.commits),
            "manifests" => self.qualified(&self.manifests),
            "migrations" => self.qualified(&self.migrations),
            "conversation_index" => quoted(&self.conversation_index),
            _ => return None,
        })
    }

    /// Fills in a template. A name that is filled in may have braces itself.
    fn fill(&self, template: &str) -> String {
        let mut pieces = template.split("{{");
        let mut sql = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let filled = piece.split_once("}}").and_then(|(name, rest)| Some((self.placeholder(name)?, rest)));
            let (name, rest) = filled.expect("the templates are this crate's own, and a test fills all of them");
            sql.push_str(&name);
            sql.push_str(rest);
        }
        sql
    }
}

/// The keys of the advisory locks of a transaction that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locks {
    /// Keeps every other writer of the archive waiting.
    pub(super) archive: i64,
    /// Tells the sessions of this process from others.
    pub(super) process: i64,
}

const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "archive", include_str!("../../../migrations/postgres/0001_archive.sql")),
    (2, "manifests", include_str!("../../../migrations/postgres/0002_manifests.sql")),
    (3, "vanished", include_str!("../../../migrations/postgres/0003_vanished.sql")),
];

/// The migrations for these names. Their checksums are those of the templates: a changed migration has another checksum, and
/// another name has not.
pub(super) fn migrations(names: &Names) -> Vec<Migration> {
    MIGRATIONS
        .into_iter()
        .map(|(version, description, template)| {
            let template = Migration::new(
                version,
                Cow::Borrowed(description),
                MigrationType::Simple,
                template.into_sql_str(),
                false,
            );
            Migration { sql: AssertSqlSafe(names.fill(template.sql.as_str())).into_sql_str(), ..template }
        })
        .collect()
}

/// Creates the table of migrations.
pub(super) fn migrations_table(names: &Names) -> String {
    names.fill(
        "create table if not exists {{migrations}} (\n    version bigint primary key,\n    description text not null,\n    \
         installed_on timestamptz not null default now(),\n    success boolean not null,\n    checksum bytea not null,\n    \
         execution_time bigint not null\n);\n",
    )
}

/// Records a migration.
pub(super) fn record_migration(names: &Names, migration: &Migration) -> String {
    let table = names.qualified(&names.migrations);
    let checksum = hex::encode(&migration.checksum);
    let (version, description) = (migration.version, &migration.description);
    format!(
        "insert into {table} (version, description, success, checksum, execution_time)\n    \
         values ({version}, '{description}', true, E'\\\\x{checksum}', 0) on conflict do nothing;\n"
    )
}

/// Adds the column `raw` to both tables: a message keeps it when it becomes an earlier revision.
pub(super) fn add_raw(names: &Names) -> String {
    names.fill(
        "alter table {{messages}} add column if not exists raw text;\n\
         alter table {{revisions}} add column if not exists raw text;\n",
    )
}

/// Everything that a database needs, as SQL to run by hand if the archiver's role may not create tables.
///
/// # Errors
///
/// What is wrong with a name.
pub fn script(schema: &str, table: &str, raw: bool) -> Result<String, String> {
    let names = Names::new(schema, table)?;
    let mut sql = names.fill("create schema if not exists {{schema}};\n\n");
    sql.push_str(&migrations_table(&names));
    for migration in migrations(&names) {
        let _ = write!(sql, "\n{}\n{}", migration.sql.as_str(), record_migration(&names, &migration));
    }
    if raw {
        sql.push('\n');
        sql.push_str(&add_raw(&names));
    }
    Ok(sql)
}

/// The names of columns, quoted, each after `prefix`, separated by commas.
pub(super) fn list(columns: &[&Definition], prefix: &str) -> String {
    let names: Vec<String> = columns.iter().map(|column| format!("{prefix}{}", quoted(column.name))).collect();
    names.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_never_filled_in_twice() {
        let names = Names::new("we\"ird {{messages}}", "表 Messages").unwrap();
        let sql = migrations(&names)[0].sql.as_str().to_owned();
        assert!(sql.contains(r#"create table if not exists "we""ird {{messages}}"."表 Messages" ("#), "{sql}");
        assert!(sql.contains(r#"create index if not exists "表 Messages_conversation" on "#), "{sql}");
    }

    #[test]
    fn a_text_is_quoted_for_either_reading_of_backslashes() {
        assert_eq!(literal("app"), "E'app'");
        assert_eq!(literal(r"it's \"), r"E'it''s \\'");
    }

    #[test]
    fn the_checksum_of_a_migration_does_not_depend_on_names() {
        let of = |schema, table| migrations(&Names::new(schema, table).unwrap())[0].checksum.clone();
        assert_eq!(of("public", "messages"), of("audit", "chat"));
    }

    #[test]
    fn names_that_postgres_would_cut_off_are_refused() {
        assert!(Names::new("public", &"m".repeat(50)).is_ok());
        let long = Names::new("public", &"m".repeat(51)).unwrap_err();
        assert!(long.contains("51 bytes; at most 50"), "{long}");
        assert!(Names::new(&"s".repeat(64), "messages").is_err());
        assert!(Names::new("", "messages").is_err());
        assert!(Names::new("public", "a\0b").is_err());
    }

    #[test]
    fn the_earlier_revisions_of_messages_are_message_revisions() {
        assert_eq!(Names::new("public", "messages").unwrap().revisions, "message_revisions");
        assert_eq!(Names::new("public", "chat").unwrap().revisions, "chat_revisions");
    }

    #[test]
    fn every_archive_has_a_lock_of_its_own() {
        let names = |schema, table| Names::new(schema, table).unwrap();
        let of = |schema, table, run| names(schema, table).locks(Uuid::from_u128(run));
        assert_ne!(of("a", "bc", 1).archive, of("ab", "c", 1).archive);
        assert_eq!(of("a", "b", 1).archive, of("a", "b", 2).archive);
        assert_ne!(of("a", "b", 1).process, of("a", "b", 2).process);
        assert_ne!(of("a", "b", 1).archive, names("a", "b").set_up_lock());
        assert_eq!(names("a", "b").set_up_lock(), names("a", "c").set_up_lock());
    }

    #[test]
    fn columns_that_depend_on_the_others_are_written_last() {
        for raw in [false, true] {
            let columns = columns(raw);
            assert_eq!(columns.len(), Column::all(raw).len());
            let last: Vec<&str> = columns[columns.len() - 2..].iter().map(|column| column.name).collect();
            assert_eq!(last, ["extra", "substituted"]);
        }
    }

    #[test]
    fn the_script_has_every_column() {
        let sql = script("public", "messages", true).unwrap();
        assert!(!sql.contains("{{"), "{sql}");
        for column in Column::all(true) {
            assert!(sql.contains(&format!(" {} ", column.name)), "{}", column.name);
        }
    }
}
