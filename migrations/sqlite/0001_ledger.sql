-- The ledger of one job. Times are milliseconds since the epoch.

pragma application_id = 1498958919; -- "YXLG"

-- Whose ledger this is, and how far it got. One row.
create table ledger (
    one               integer primary key check (one = 1),
    ledger_id         text    not null,
    job               text    not null,
    app_key           text    not null,
    sink              text    not null,
    partitioning      text    not null,
    last_commit       integer not null,
    next_seq          integer not null, -- the next batch to be planned
    next_urgent       integer not null, -- the next half of a split batch; counts down, so that halves come first
    checkpoint        text,
    checkpoint_source text
) strict;

create table runs (
    number      integer primary key autoincrement,
    run_id      text    not null unique,
    ledger_id   text    not null,
    command     text    not null,
    started_at  integer not null,
    finished_at integer,
    outcome     text,
    exit_code   integer,
    error       text,
    summary     text,
    planned     integer not null default 0,
    retried     integer not null default 0,
    archived    integer not null default 0,
    failed      integer not null default 0,
    rows        integer not null default 0,
    bytes       integer not null default 0,
    commits     integer not null default 0
) strict;

-- How a run went over time, as JSON. It goes when its run does.
create table courses (
    run_id text primary key references runs (run_id) on delete cascade,
    body   text not null
) strict;

-- Batches to be sent, in the order of seq.
create table pending (
    seq   integer primary key,
    ask   integer not null, -- 1 first, 2 second
    depth integer not null, -- 0 for messages that references name; for others, how many links away from one they are
    key   text    not null,
    asked text    not null,
    refs  integer not null,
    body  blob    not null
) strict;
create index pending_refs on pending (depth, refs);

-- References to be asked once more under another owner, until they are cut into full batches.
create table carried (
    id    integer primary key,
    depth integer not null,
    key   text    not null,
    asked text    not null collate nocase,
    refs  integer not null,
    body  blob    not null
) strict;
create index carried_dialogue on carried (key, asked, depth);
create index carried_refs on carried (depth, refs);

-- Messages that archived ones link to, until it is known that no reference names them and they are cut into batches.
create table linked (
    id      integer primary key,
    key     text    not null,
    depth   integer not null,
    planned integer not null, -- 1 for what was planned before and failed: it is known already, and to be asked again
    refs    integer not null,
    body    blob    not null
) strict;
create index linked_dialogue on linked (key);
create index linked_refs on linked (planned, refs);

-- What a commit archived, for as long as it may have to be fetched again.
create table done (
    seq        integer primary key,
    commit_seq integer not null,
    ask        integer not null,
    depth      integer not null,
    key        text    not null,
    asked      text    not null,
    refs       integer not null,
    body       blob    not null
) strict;
create index done_commit on done (commit_seq);

create table commits (
    seq       integer primary key,
    run_id    text    not null,
    at        integer not null,
    rows      integer not null,
    bytes     integer not null,
    announced integer not null,          -- whether the sink's own commit was final
    kept      integer not null default 1 -- whether its batches are still in done
) strict;

-- The commit that the sink may have made and the ledger has not recorded yet. At most one row.
create table announced (
    one  integer primary key check (one = 1),
    seq  integer not null,
    body blob    not null
) strict;

create table files (
    id         integer primary key,
    commit_seq integer not null,
    run_id     text    not null,
    path       text    not null unique,
    temporary  text    not null,
    rows       integer not null,
    bytes      integer not null,
    sha256     text    not null,
    published  integer not null default 0
) strict;
create index files_unpublished on files (commit_seq) where published = 0;
create index files_run on files (run_id);

create table manifests (
    sequence integer primary key,
    run_id   text    not null unique
) strict;

-- Message IDs that are archived, pending or failed: blocks of sorted IDs. The blocks of a layer do not overlap.
create table known (
    id    integer primary key,
    layer integer not null,
    first integer not null,
    last  integer not null,
    n     integer not null,
    ids   blob    not null
) strict;
create index known_directory on known (layer, first, last, n);

create table failures (
    id                integer primary key autoincrement,
    state             integer not null, -- 0 open, 1 being retried, 2 closed
    class             text    not null,
    code              integer,
    message           text    not null,
    retryable         integer not null,
    depth             integer not null default 0, -- of pending: more than 0 for what only a thread needs
    attempts          integer not null,
    rounds            integer not null, -- how often it was met, which is what the pauses between retries grow with
    message_server_id integer,
    create_time       integer,
    conversation_id   text,
    key               text,
    source            text,
    run_id            text    not null,
    first_seen        integer not null,
    last_seen         integer not null,
    closed_at         integer,
    note              text
) strict;
create unique index failures_reference on failures (message_server_id) where state < 2 and class <> 'invalid';
create unique index failures_invalid on failures (source, message) where state < 2 and class = 'invalid';
create index failures_ids on failures (message_server_id) where state < 2;
create index failures_due on failures (key, message_server_id) where state = 0 and class <> 'invalid';
create index failures_state on failures (state, class);
