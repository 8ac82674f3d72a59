-- What a run's manifest says, durable while the run is under way: a run that dies leaves it to the next.

alter table runs add column note text;               -- who ran what with which settings, as JSON
alter table runs add column references_sha256 text;  -- the running hash of what was planned
alter table runs add column read integer not null default 0;
alter table runs add column skipped integer not null default 0;
alter table runs add column invalid integer not null default 0;
alter table runs add column duplicate integer not null default 0;
alter table runs add column resumed integer not null default 0;
alter table runs add column extras_planned integer not null default 0;
alter table runs add column extras_archived integer not null default 0;
alter table runs add column extras_failed integer not null default 0;
alter table runs add column ended_at integer;        -- when it had nothing left to do; then what it left is counted too
alter table runs add column pending integer;
alter table runs add column extras_pending integer;

-- Failures new in a run, by kind. They go when their run does.
create table run_failures (
    run_id text    not null references runs (run_id) on delete cascade,
    class  text    not null,
    code   integer,
    n      integer not null
) strict;
create unique index run_failures_kind on run_failures (run_id, class, coalesce(code, 'none'));

-- The ranges of a file's values; null where nobody knows.
alter table files add column first_time integer;
alter table files add column last_time integer;
alter table files add column first_id integer;
alter table files add column last_id integer;

-- The hash of a manifest's exact bytes; and the bytes with their signature, where the archive may lose them.
alter table manifests add column sha256 text;
alter table manifests add column body text;
alter table manifests add column signature blob;
