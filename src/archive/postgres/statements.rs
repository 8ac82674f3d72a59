//! The SQL of a commit. Pure.

use sqlx::{AssertSqlSafe, SqlStr};
use uuid::Uuid;

use super::connect::Mode;
use super::schema::{self, Locks, Names, columns};
use crate::model::Column;

const STAGING: &str = "pg_temp.yunxin_archiver_staging";

/// Which commit it is, and whose.
#[derive(Debug, Clone)]
pub(super) struct CommitId {
    pub(super) app_key: String,
    pub(super) ledger_id: Uuid,
    pub(super) run_id: Uuid,
    pub(super) locks: Locks,
    /// The archive's last commit, as far as this process knows.
    pub(super) before: u64,
    pub(super) sequence: u64,
}

/// What the row of a commit says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Messages that were sent.
    pub(super) messages: u64,
    /// Messages that were not there.
    pub(super) inserted: u64,
    /// Messages that were there in an earlier version.
    pub(super) revised: u64,
    /// Bytes sent for them.
    pub(super) bytes: u64,
}

/// The statements of a commit.
pub(super) struct Statements {
    pub(super) copy: String,
    pub(super) copy_staging: String,
    pub(super) create_staging: SqlStr,
    pub(super) truncate_staging: SqlStr,
    pub(super) keep: SqlStr,
    pub(super) unkept: String,
    pub(super) unrevised: String,
    pub(super) revise: SqlStr,
    pub(super) versions: SqlStr,
    pub(super) vanish: SqlStr,
    pub(super) vanished: SqlStr,
    messages: String,
    archive: String,
    commits: String,
    triggers: String,
    /// Whether there are triggers on the archive's other tables.
    others: String,
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
            // A session that a pooler shares may have one that was left behind.
            create_staging: sql(format!(
                "drop table if exists {STAGING}; \
                 create temporary table {STAGING} on commit drop as select {all} from {messages} with no data"
            )),
            truncate_staging: sql(format!("truncate {STAGING}")),
            // Locks the rows until they are revised: another writer may revise them too, in the same order.
            keep: sql(format!(
                "insert into {revisions} ({all}) select {earlier} from {STAGING} s join {messages} m on {same} \
                 where {newer} order by m.message_server_id for update of m on conflict do nothing"
            )),
            // Deferred triggers run before the rows are looked at.
            unkept: format!(
                "set constraints all immediate; select count(*) as unkept from {STAGING} s join {messages} m on {same} where {newer} and not exists \
                    (select from {revisions} r where r.app_key = m.app_key \
                        and r.message_server_id = m.message_server_id and r.revision = m.revision)"
            ),
            unrevised: format!(
                "set constraints all immediate; select count(*) as unrevised, min(s.message_server_id) as example \
                 from {STAGING} s join {messages} m on {same} where {newer}"
            ),
            revise: sql(format!("update {messages} m set {assignments} from {STAGING} s where {same} and {newer}")),
            // An infinite time is before or after every time of an edit.
            versions: sql(format!(
                "select message_server_id, case when isfinite(modify_time) \
                    then (extract(epoch from modify_time) * 1000)::bigint \
                    when modify_time > 'epoch' then {} end \
                 from {messages} where app_key = $1 and message_server_id = any ($2)",
                i64::MAX
            )),
            // A message is noted once. The first note stays.
            vanish: sql(format!(
                "insert into {vanished} (app_key, conversation_key, conversation_id, conversation_type, \
                    message_server_id, create_time, code, run_id, noticed_at) \
                 select $1, k, c, t, i, to_timestamp(a / 1000.0), e, $2, to_timestamp(n / 1000.0) \
                 from unnest($3::text[], $4::text[], $5::int[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[]) \
                    as v (k, c, t, i, a, e, n) \
                 on conflict (app_key, message_server_id) do nothing"
            )),
            vanished: sql(format!(
                "select count(distinct message_server_id) from {vanished} \
                 where app_key = $1 and message_server_id = any ($2)"
            )),
            triggers: triggers(&[&messages]),
            others: triggers(&[&archive, &commits, &vanished, &revisions]),
            messages,
            archive,
            commits,
        }
    }

    /// Begins a transaction that holds the archive's lock, and moves the archive on to this commit if it is where the commit
    /// before left it (`moved`). Asks whether one of the messages with these IDs, separated by commas, is there (`met`). All
    /// of it is one message to the server.
    pub(super) fn begin(&self, id: &CommitId, sample: &str) -> String {
        let CommitId { app_key, ledger_id, locks, before, sequence, .. } = id;
        format!(
            "{}; select pg_advisory_xact_lock({}), pg_advisory_xact_lock({}); \
             with moved as (update {} set sequence = {sequence}, updated_at = now() \
                where ledger_id = '{ledger_id}' and sequence = {before} and sequence < {sequence} returning sequence) \
             select exists (select from moved where sequence = {sequence}) as moved, \
                exists (select from {} where app_key = {} and message_server_id = any ('{{{sample}}}'::bigint[])) as met",
            Mode::Write.begin(),
            locks.archive,
            locks.process,
            self.archive,
            self.messages,
            schema::literal(app_key)
        )
    }

    /// Writes the row of the commit and runs deferred triggers. Then asks whether the row is there, and which triggers there
    /// are.
    pub(super) fn record(&self, id: &CommitId, counts: Counts) -> String {
        let CommitId { ledger_id, sequence, run_id, .. } = id;
        let Counts { messages, inserted, revised, bytes } = counts;
        let commits = &self.commits;
        format!(
            "insert into {commits} (ledger_id, sequence, run_id, messages, inserted, revised, bytes) \
             values ('{ledger_id}', {sequence}, '{run_id}', {messages}, {inserted}, {revised}, {bytes}); \
             set constraints all immediate; \
             select exists (select from {commits} where ledger_id = '{ledger_id}' and sequence = {sequence} \
                and run_id = '{run_id}') as recorded, {} as triggers, {} is not null as others",
            self.triggers, self.others
        )
    }
}

/// An expression: the names of the enabled user triggers on these tables and on what inherits from them; null if there is
/// none.
pub(super) fn triggers(tables: &[&str]) -> String {
    let tables: Vec<String> = tables.iter().map(|table| format!("({}::regclass)", schema::literal(table))).collect();
    format!(
        "(with recursive tree (id) as (select id::oid from (values {}) as tables (id) \
            union select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.id) \
         select string_agg(distinct quote_ident(tgname), ', ') from tree join pg_trigger on tgrelid = tree.id \
            where not tgisinternal and tgenabled <> 'D')",
        tables.join(", ")
    )
}
