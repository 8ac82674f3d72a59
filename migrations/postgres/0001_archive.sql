-- The archive: the latest revision of every message, the earlier ones, and what makes commits safe.
-- Names in double braces stand for the configured schema and table and for names made from them, quoted.

-- Exactly one row for every message: its latest revision.
create table if not exists {{messages}} (
    app_key text not null,
    conversation_key text not null,
    conversation_id text not null,
    conversation_type integer not null,
    message_server_id bigint not null,
    revision integer not null,
    message_client_id text,
    sender_id text,
    receiver_id text,
    team_id bigint,
    create_time timestamptz not null,
    message_type integer,
    sub_type integer,
    sender_client_type integer,
    text text,
    attachment jsonb,
    extension text,
    modify_account_id text,
    modify_time timestamptz,
    receiver_account_ids text[],
    inclusive boolean,
    new_member_visible boolean,
    thread_root_sender_id text,
    thread_root_receiver_id text,
    thread_root_create_time timestamptz,
    thread_root_message_server_id bigint,
    thread_root_message_client_id text,
    thread_reply_sender_id text,
    thread_reply_receiver_id text,
    thread_reply_create_time timestamptz,
    thread_reply_message_server_id bigint,
    thread_reply_message_client_id text,
    extra jsonb,
    substituted boolean not null,
    requested boolean not null,
    run_id text not null,
    fetched_at timestamptz not null,
    primary key (app_key, message_server_id)
);

create index if not exists {{conversation_index}} on {{messages}} (conversation_key, create_time);

-- What a message was before it was edited.
create table if not exists {{revisions}} (
    like {{messages}},
    primary key (app_key, message_server_id, revision)
);

-- One row: the ledger that owns the archive, and the last commit in it.
create table if not exists {{archive}} (
    sole boolean primary key default true check (sole),
    ledger_id text not null,
    job text not null,
    sequence bigint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- One row for every commit, written in the transaction that wrote its messages.
create table if not exists {{commits}} (
    ledger_id text not null,
    sequence bigint not null,
    run_id text not null,
    messages bigint not null,
    inserted bigint not null,
    revised bigint not null,
    bytes bigint not null,
    committed_at timestamptz not null default now(),
    primary key (ledger_id, sequence)
);
