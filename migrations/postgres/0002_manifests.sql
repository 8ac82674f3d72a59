-- One row for every run, which holds the hash of the row before it.

create table if not exists {{manifests}} (
    sequence bigint primary key,
    run_id text not null unique,
    ledger_id text not null,
    sha256 text not null, -- of the bytes of body as UTF-8
    body text not null, -- exactly as it was hashed and signed
    signature bytea,
    written_at timestamptz not null default now()
);
