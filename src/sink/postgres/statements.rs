//! The words of a commit.

use sqlx::{AssertSqlSafe, SqlStr};

use super::commit::{Commit, CommitId, Counts};
use super::schema::{self, Names, columns};
use crate::model::Column;

const STAGING: &str = "pg_temp.yunxin_archiver_staging";

/// The statements of a commit, made once.
pub(super) struct Statements {
    pub(super) copy: String,
    pub(super) copy_staging: String,
    pub(super) create_staging: SqlStr,
    pub(super) truncate_staging: SqlStr,
    pub(super) insert: SqlStr,
    pub(super) keep: SqlStr,
    pub(super) revise: SqlStr,
    pub(super) versions: SqlStr,
    pub(super) vanish: SqlStr,
    messages: String,
    archive: String,
    commits: String,
}

impl Statements {
    /// Statements for tables with `raw` or without (`there`), and messages with it or without (`written`).
    pub(super) fn new(names: &Names, there: bool, written: bool) -> Self {
        let messages = names.qualified(&names.messages);
        let revisions = names.qualified(&names.revisions);
        let vanished = names.qualified(&names.vanished);
        let archive = names.qualified(&names.archive);
        let commits = names.qualified(&names.commits);
        let all = schema::list(&columns(there), "");
        let sent = schema::list(&columns(written), "");
        let earlier = schema::list(&columns(there), "m.");
        let same = "m.app_key = s.app_key and m.message_server_id = s.message_server_id";
        let newer = "coalesce(s.modify_time, '-infinity') > coalesce(m.modify_time, '-infinity')";
        let assignments: Vec<String> = columns(there)
            .iter()
            .map(|column| match column.column {
                Column::Revision => "revision = greatest(m.revision + 1, s.revision)".to_owned(),
                Column::Requested => "requested = m.requested or s.requested".to_owned(),
                _ => format!("{0} = s.{0}", schema::quoted(column.name)),
            })
            .collect();
        let assignments = assignments.join(", ");
        let sql = |text: String| sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(text));
        Self {
            copy: format!("copy {messages} ({sent}) from stdin with (format binary)"),
            copy_staging: format!("copy {STAGING} ({sent}) from stdin with (format binary)"),
            create_staging: sql(format!(
                "create temporary table if not exists {STAGING} on commit delete rows as select {all} from {messages} with no data"
            )),
            truncate_staging: sql(format!("truncate {STAGING}")),
            insert: sql(format!(
                "insert into {messages} ({all}) select {all} from {STAGING} \
                 on conflict (app_key, message_server_id) do nothing"
            )),
            // Locked until they are revised: another writer may be at the same rows, in the same order.
            keep: sql(format!(
                "insert into {revisions} ({all}) select {earlier} from {STAGING} s join {messages} m on {same} \
                 where {newer} order by m.message_server_id for update of m on conflict do nothing"
            )),
            revise: sql(format!("update {messages} m set {assignments} from {STAGING} s where {same} and {newer}")),
            // A time that is none of ours is before or after all of ours.
            versions: sql(format!(
                "select message_server_id, case when isfinite(modify_time) \
                    then (extract(epoch from modify_time) * 1000)::bigint \
                    when modify_time > 'epoch' then {} end \
                 from {messages} where app_key = $1 and message_server_id = any ($2)",
                i64::MAX
            )),
            // Once each: what was noted first stays.
            vanish: sql(format!(
                "insert into {vanished} (app_key, conversation_key, conversation_id, conversation_type, \
                    message_server_id, create_time, code, run_id, noticed_at) \
                 select $1, k, c, t, i, to_timestamp(a / 1000.0), e, $2, to_timestamp(n / 1000.0) \
                 from unnest($3::text[], $4::text[], $5::int[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[]) \
                    as v (k, c, t, i, a, e, n) \
                 on conflict (app_key, message_server_id) do nothing"
            )),
            messages,
            archive,
            commits,
        }
    }

    /// Begins a transaction, and moves the archive to this commit: no row if it does not come next. All in one message:
    /// while the database waits for another, it does nothing.
    pub(super) fn begin(&self, CommitId { ledger_id, sequence, .. }: &CommitId) -> String {
        format!(
            "begin isolation level read committed; \
             update {} set sequence = {sequence}, updated_at = now() \
             where ledger_id = '{ledger_id}' and sequence < {sequence}",
            self.archive
        )
    }

    /// The same, with the question whether some of these keys, separated by commas, are there, and no bound of time for
    /// what follows.
    pub(super) fn begin_copy(&self, id: &CommitId, keys: &str) -> String {
        format!(
            "{}; \
             select exists (select from {} where app_key = {} and message_server_id = any ('{{{keys}}}'::bigint[])), \
                set_config('statement_timeout', '0', true)",
            self.begin(id),
            self.messages,
            schema::literal(&id.app_key)
        )
    }

    /// Says that the commit was made, and makes it final.
    pub(super) fn commit(&self, commit: &Commit<'_>, Counts { inserted, revised, bytes }: Counts) -> String {
        let CommitId { ledger_id, sequence, .. } = commit.id;
        format!(
            "insert into {} (ledger_id, sequence, run_id, messages, inserted, revised, bytes) \
             values ('{ledger_id}', {sequence}, '{}', {}, {inserted}, {revised}, {bytes}); \
             commit",
            self.commits, commit.run_id, commit.messages
        )
    }
}
