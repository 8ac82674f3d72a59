-- Messages that were archived and that the service no longer has: recalled, deleted, or older than it keeps them. They
-- stay in the tables of messages; here stands once when that was noticed.

create table if not exists {{vanished}} (
    app_key text not null,
    conversation_key text not null,
    conversation_id text not null,
    conversation_type integer not null,
    message_server_id bigint not null,
    create_time timestamptz not null,
    code integer not null,
    run_id text not null,
    noticed_at timestamptz not null,
    primary key (app_key, message_server_id)
);
