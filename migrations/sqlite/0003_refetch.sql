-- What the archive holds of messages that are asked for again, where it is more than one version that was never edited and
-- that a reference asked for. It stays until all that is asked for again was answered.

create table versions (
    message_server_id integer primary key,
    conversation_id   text    not null,
    create_time       integer not null,
    revision          integer not null, -- of the latest version
    modify_time       integer,
    fetched_at        integer not null,
    requested         integer not null
) strict;
create index versions_fetched on versions (fetched_at) where revision > 0;

-- Batches that ask again are numbered from here, so that they come after all others.
alter table ledger add column next_refetch integer not null default 281474976710656; -- 2^48
