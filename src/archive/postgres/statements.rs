//! The words of a commit.

use sqlx::{AssertSqlSafe, SqlStr};

use super::commit::{Commit, CommitId, Counts};
use super::connect::Mode;
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
            // A session that others have as well may have one that was left behind.
            create_staging: sql(format!(
                "drop table if exists {STAGING}; \
                 create temporary table {STAGING} on commit drop as select {all} from {messages} with no data"
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
            // What triggers put off, they do before it is looked at.
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

    /// Begins a transaction that holds the archive's lock, and moves the archive to this commit, if it is where the
    /// commit before left it: `moved`. All in one message: while the database waits for another, it does nothing.
    pub(super) fn begin(&self, id: &CommitId) -> String {
        self.begin_in(Mode::Write, id, "false")
    }

    /// The same, with the question whether some of these keys, separated by commas, are there, and no bound of time for
    /// what follows.
    pub(super) fn begin_copy(&self, id: &CommitId, keys: &str) -> String {
        let met = format!(
            "exists (select from {} where app_key = {} and message_server_id = any ('{{{keys}}}'::bigint[]))",
            self.messages,
            schema::literal(&id.app_key)
        );
        self.begin_in(Mode::Stream, id, &met)
    }

    fn begin_in(&self, mode: Mode, id: &CommitId, met: &str) -> String {
        let CommitId { ledger_id, locks, before, sequence, .. } = id;
        format!(
            "{}; select pg_advisory_xact_lock({}), pg_advisory_xact_lock({}); \
             with moved as (update {} set sequence = {sequence}, updated_at = now() \
                where ledger_id = '{ledger_id}' and sequence = {before} and sequence < {sequence} returning sequence) \
             select exists (select from moved where sequence = {sequence}) as moved, {met} as met",
            mode.begin(),
            locks.archive,
            locks.process,
            self.archive
        )
    }

    /// Says that the commit was made, lets triggers do what they put off until its end, and asks whether that is there
    /// now, and which triggers there are.
    pub(super) fn record(&self, commit: &Commit<'_>, counts: Counts) -> String {
        let CommitId { ledger_id, sequence, .. } = commit.id;
        let Counts { inserted, revised, bytes, .. } = counts;
        let (commits, run_id) = (&self.commits, commit.run_id);
        format!(
            "insert into {commits} (ledger_id, sequence, run_id, messages, inserted, revised, bytes) \
             values ('{ledger_id}', {sequence}, '{run_id}', {}, {inserted}, {revised}, {bytes}); \
             set constraints all immediate; \
             select exists (select from {commits} where ledger_id = '{ledger_id}' and sequence = {sequence} \
                and run_id = '{run_id}') as recorded, {} as triggers, {} is not null as others",
            commit.messages, self.triggers, self.others
        )
    }
}

/// The names of the triggers that somebody put on these tables or on what inherits from them; null if there is none.
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
