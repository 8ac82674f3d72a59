//! The file that `init` writes.

use super::sink::SinkKind;
use super::source::SourceKind;

/// A commented `jobs.yaml` for a kind of source and a kind of sink. It is valid as it is; variables and paths in it
/// are to be filled.
pub fn template(source: SourceKind, sink: SinkKind) -> String {
    let after_source = match source {
        SourceKind::Csv | SourceKind::Jsonl | SourceKind::Parquet => FILE_ROWS,
        SourceKind::Sqlite | SourceKind::Postgres | SourceKind::Mysql => QUERY_ROWS,
    };
    let source = match source {
        SourceKind::Csv => CSV,
        SourceKind::Jsonl => JSONL,
        SourceKind::Parquet => PARQUET_FILES,
        SourceKind::Sqlite => SQLITE,
        SourceKind::Postgres => POSTGRES_QUERY,
        SourceKind::Mysql => MYSQL,
    };
    let sink = match sink {
        SinkKind::Parquet => PARQUET,
        SinkKind::Postgres => POSTGRES,
    };
    [HEAD, source, after_source, FETCH, sink, TAIL].concat()
}

const HEAD: &str = "\
# Jobs of yunxin-archiver. Every key that is commented out shows its default.
#   yunxin-archiver check            is this file right?
#   yunxin-archiver check --connect  do source, sink and credentials work?
#   yunxin-archiver run              archive
version: 1

# One ledger per job, on a local disk. Relative paths are from this file's directory.
# state: ./state

apps:
  main:
    # A value may be env:NAME or file:PATH; a secret must be.
    app_key: env:YUNXIN_APP_KEY
    app_secret: env:YUNXIN_APP_SECRET
    region: cn                    # cn or sg; or  endpoints: [https://primary, https://backup]
    # api_version: v2.1
    # rate_limit: 100             # requests per second, of all jobs of this app
    # ca_file: null               # a CA bundle instead of the platform's
    # proxy: env                  # HTTPS_PROXY and NO_PROXY hold; or none, or a URL

jobs:
  nightly:
    app: main

    # Where references are read: conversation_id (or owner_id, conversation_type and other_id),
    # message_server_id, and create_time to the exact millisecond.
    source:
";

const CSV: &str = "      csv:
        path: refs/*.csv          # a file, a glob, or - for stdin; .gz and .zst are read as such
        # delimiter: \",\"
";

const JSONL: &str = "      jsonl:
        path: refs/*.jsonl        # a file, a glob, or - for stdin; .gz and .zst are read as such
";

const PARQUET_FILES: &str = "      parquet:
        path: refs/*.parquet      # a file or a glob
";

const SQLITE: &str = "      sqlite:
        path: refs.db
        query: >-
          select id, conversation_id, message_server_id, create_time
          from message_refs where id > :after
";

const POSTGRES_QUERY: &str = "      postgres:
        url: env:REFS_DATABASE_URL
        query: >-
          select id, conversation_id, message_server_id, create_time
          from message_refs where id > :after
";

const MYSQL: &str = "      mysql:
        url: env:REFS_DATABASE_URL
        query: >-
          select id, conversation_id, message_server_id, create_time
          from message_refs where id > :after
";

const FILE_ROWS: &str = "        cursor: files             # skip files that were already consumed
        # format: reference       # or copy_event: events of the message copy callback
        # columns: {}             # field: input name, where they differ
        # time_unit: ms           # or s, for integer times
        # timezone: UTC           # of times without a zone
";

const QUERY_ROWS: &str =
    "        # :after is the highest value that was planned, less the overlap for rows that came late.
        # For a timestamp column: { column: updated_at, start: 2026-01-01T00:00:00Z, overlap: 1d }
        cursor: { column: id, start: 0, overlap: 1000 }
        # format: reference       # or copy_event: events of the message copy callback
        # columns: {}             # field: input name, where they differ
        # time_unit: ms           # or s, for integer times
        # timezone: UTC           # of times without a zone
";

const FETCH: &str = "
    # fetch:
    #   batch_size: 100           # references per request
    #   concurrency: auto         # or a number of requests in flight, up to 1024
    #   timeout: 15s
    #   attempts: 6               # of one batch in one run
    #   give_up_after: 10m        # without a success on any endpoint
    #   retry_for: 7d             # age after which a failure counts as permanent
    #   team_owner: merge         # or own, or an account that is in every team
    #   threads: off              # or complete
    #   thread_depth: 32

";

const PARQUET: &str = "    sink:
      parquet:
        path: ./archive
        # partition_by: [date]    # of date, month, conversation_type, app_key
        # timezone: UTC           # in which date and month are counted
        # compression: zstd(3)    # or snappy, gzip, lz4, none
        # max_file_size: 256MB
        # commit_interval: 5m
        # memory: 256MB
        # encodings: compatible   # or compact
        # raw: false              # also keep each message's own JSON text
";

const POSTGRES: &str = "    sink:
      postgres:
        url: env:ARCHIVE_DATABASE_URL
        # schema: public
        # table: messages
        # commit_interval: 10s    # for so long a transaction may be open
        # raw: false              # also keep each message's own JSON text
";

const TAIL: &str = "
    # tolerate: []                # codes and classes that do not make exit 3, such as [107404, unanswered]
    # plan_window: 1000000        # references that may wait for others of their conversation
    # history: 400d               # how long runs and closed failures stay in the ledger
    # operator: null              # who runs it, for the manifests
    # purpose: null               # what for, for the manifests
    # sign: null                  # file:PATH of the Ed25519 private key that manifests are signed with
";
