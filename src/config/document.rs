//! What is written in `jobs.yaml`: its keys and their shapes, and nothing about what they mean.
//!
//! The comments on the keys are their descriptions in the JSON schema.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::written::{Entries, Leaf, OneKind, Written};

/// Jobs that archive NetEase Yunxin messages by reference.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "yunxin-archiver jobs.yaml")]
pub(super) struct Document {
    /// The version of this file's form: 1.
    #[schemars(with = "u32", extend("const" = 1))]
    pub(super) version: Leaf,
    /// The directory of the ledgers, one `<job>.sqlite` per job. A local disk, not NFS. Relative paths are from this file's directory.
    #[schemars(with = "Option<String>", extend("default" = "./state"))]
    pub(super) state: Leaf,
    /// Yunxin apps, by a name of your choice.
    #[schemars(with = "Entries<AppDocument>", extend("minProperties" = 1))]
    pub(super) apps: Option<Written<Entries<Written<AppDocument>>>>,
    /// Jobs, by a name of your choice: lower-case letters, digits, `_` and `-`. `run` without a name runs all, in this order.
    #[schemars(with = "Entries<JobDocument>", extend("minProperties" = 1))]
    pub(super) jobs: Option<Written<Entries<Written<JobDocument>>>>,
}

/// One AppKey and its quota.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "App")]
pub(super) struct AppDocument {
    /// The AppKey.
    #[schemars(with = "String")]
    pub(super) app_key: Leaf,
    /// The AppSecret: `env:NAME` or `file:PATH`, never the secret itself.
    #[schemars(with = "String", extend("pattern" = INDIRECT))]
    pub(super) app_secret: Leaf,
    /// The API's region: `cn` or `sg`. Not together with `endpoints`.
    #[serde(default)]
    #[schemars(schema_with = "region", extend("default" = "cn"))]
    pub(super) region: Leaf,
    /// The API's base URLs, in order of preference, instead of a region. `https`, except on loopback.
    #[schemars(with = "Option<Vec<String>>", extend("minItems" = 1))]
    pub(super) endpoints: Option<Written<Vec<Written<String>>>>,
    /// The API's version in the path: `v2.1` or `v2`.
    #[serde(default)]
    #[schemars(schema_with = "api_version", extend("default" = "v2.1"))]
    pub(super) api_version: Leaf,
    /// Requests per second of `batch_messages`, of all jobs of this app together. The service counts each call by itself.
    #[schemars(with = "Option<u32>", range(min = 1, max = 100_000), extend("default" = 100))]
    pub(super) rate_limit: Leaf,
    /// A file of CA certificates (PEM) to trust instead of the platform's.
    #[schemars(with = "Option<String>", extend("default" = null))]
    pub(super) ca_file: Leaf,
    /// The proxy to the API: `env` (HTTPS_PROXY, ALL_PROXY and NO_PROXY hold), `none`, or a URL. With a password in it: `env:NAME` or `file:PATH`.
    #[schemars(with = "Option<String>", extend("default" = "env"))]
    pub(super) proxy: Leaf,
}

/// One job: references from a source, messages to a sink.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Job")]
pub(super) struct JobDocument {
    /// The name of an app of `apps`.
    #[schemars(with = "String")]
    pub(super) app: Leaf,
    /// Where references are read: exactly one of `csv`, `jsonl`, `parquet`, `sqlite`, `postgres`, `mysql`.
    #[schemars(with = "SourceDocument")]
    pub(super) source: Option<Written<OneKind<SourceDocument>>>,
    /// How messages are fetched.
    #[schemars(with = "Option<FetchDocument>")]
    pub(super) fetch: Option<FetchDocument>,
    /// Where messages go: exactly one of `parquet`, `postgres`.
    #[schemars(with = "SinkDocument")]
    pub(super) sink: Option<Written<OneKind<SinkDocument>>>,
    /// Codes and failure classes that do not make the job exit with 3.
    #[serde(default)]
    #[schemars(schema_with = "tolerate", extend("default" = []))]
    pub(super) tolerate: Option<Vec<Written<String>>>,
    /// References that may wait for others of their conversation before the fullest batches are cut.
    #[schemars(with = "Option<u64>", range(min = 1, max = 100_000_000), extend("default" = 1_000_000))]
    pub(super) plan_window: Leaf,
    /// How long runs and closed failures stay in the ledger.
    #[schemars(with = "Option<String>", extend("default" = "400d"))]
    pub(super) history: Leaf,
    /// Who runs the job, for the manifests. `run --operator` says it for one run.
    #[schemars(with = "Option<String>", extend("default" = null))]
    pub(super) operator: Leaf,
    /// What the job is for, for the manifests. `run --purpose` says it for one run.
    #[schemars(with = "Option<String>", extend("default" = null))]
    pub(super) purpose: Leaf,
    /// The Ed25519 private key (PKCS#8, PEM) that manifests are signed with: `file:PATH` or `env:NAME`.
    #[schemars(with = "Option<String>", extend("default" = null, "pattern" = INDIRECT))]
    pub(super) sign: Leaf,
}

/// Where references are read.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Source")]
pub(super) enum SourceDocument {
    /// CSV files with a header.
    Csv(CsvDocument),
    /// Files of one JSON object a line.
    Jsonl(FileDocument),
    /// Parquet files.
    Parquet(FileDocument),
    /// A query of a SQLite database.
    Sqlite(SqliteDocument),
    /// A query of a Postgres database.
    Postgres(DatabaseDocument),
    /// A query of a MySQL or MariaDB database.
    Mysql(DatabaseDocument),
}

/// CSV files with a header.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CsvSource")]
pub(super) struct CsvDocument {
    /// A file, a glob, or `-` for stdin; `.gz` and `.zst` are read as such.
    #[schemars(with = "String")]
    pub(super) path: Leaf,
    /// `files` skips files that were already consumed.
    #[serde(default)]
    #[schemars(schema_with = "files", extend("default" = null))]
    pub(super) cursor: Leaf,
    /// One ASCII character between fields, or `tab`.
    #[schemars(with = "Option<String>", extend("default" = ","))]
    pub(super) delimiter: Leaf,
    /// What a row is: a `reference`, or a `copy_event` of the message copy callback.
    #[serde(default)]
    #[schemars(schema_with = "format", extend("default" = "reference"))]
    pub(super) format: Leaf,
    /// The input's names of the fields, where they differ: `field: input name`.
    #[schemars(with = "Option<Entries<String>>", extend("default" = {}))]
    pub(super) columns: Option<Entries<Written<String>>>,
    /// The unit of integer times: `ms` or `s`.
    #[serde(default)]
    #[schemars(schema_with = "time_unit", extend("default" = "ms"))]
    pub(super) time_unit: Leaf,
    /// The IANA time zone of times without a zone.
    #[schemars(with = "Option<String>", extend("default" = "UTC"))]
    pub(super) timezone: Leaf,
}

/// Files of references.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FileSource")]
pub(super) struct FileDocument {
    /// A file, a glob, or `-` for stdin; `.gz` and `.zst` are read as such.
    #[schemars(with = "String")]
    pub(super) path: Leaf,
    /// `files` skips files that were already consumed.
    #[serde(default)]
    #[schemars(schema_with = "files", extend("default" = null))]
    pub(super) cursor: Leaf,
    /// What a row is: a `reference`, or a `copy_event` of the message copy callback.
    #[serde(default)]
    #[schemars(schema_with = "format", extend("default" = "reference"))]
    pub(super) format: Leaf,
    /// The input's names of the fields, where they differ: `field: input name`.
    #[schemars(with = "Option<Entries<String>>", extend("default" = {}))]
    pub(super) columns: Option<Entries<Written<String>>>,
    /// The unit of integer times: `ms` or `s`.
    #[serde(default)]
    #[schemars(schema_with = "time_unit", extend("default" = "ms"))]
    pub(super) time_unit: Leaf,
    /// The IANA time zone of times without a zone.
    #[schemars(with = "Option<String>", extend("default" = "UTC"))]
    pub(super) timezone: Leaf,
}

/// A query of a SQLite database.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SqliteSource")]
pub(super) struct SqliteDocument {
    /// The database file.
    #[schemars(with = "String")]
    pub(super) path: Leaf,
    /// The query, or `file:PATH` of it. With a cursor it binds `:after`.
    #[schemars(with = "String")]
    pub(super) query: Leaf,
    /// The column that tells new rows from old ones.
    pub(super) cursor: Option<Written<CursorDocument>>,
    /// What a row is: a `reference`, or a `copy_event` of the message copy callback.
    #[serde(default)]
    #[schemars(schema_with = "format", extend("default" = "reference"))]
    pub(super) format: Leaf,
    /// The input's names of the fields, where they differ: `field: input name`.
    #[schemars(with = "Option<Entries<String>>", extend("default" = {}))]
    pub(super) columns: Option<Entries<Written<String>>>,
    /// The unit of integer times: `ms` or `s`.
    #[serde(default)]
    #[schemars(schema_with = "time_unit", extend("default" = "ms"))]
    pub(super) time_unit: Leaf,
    /// The IANA time zone of times without a zone.
    #[schemars(with = "Option<String>", extend("default" = "UTC"))]
    pub(super) timezone: Leaf,
}

/// A query of a database server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DatabaseSource")]
pub(super) struct DatabaseDocument {
    /// The database's URL. With a password in it: `env:NAME` or `file:PATH`.
    #[schemars(with = "String")]
    pub(super) url: Leaf,
    /// The query, or `file:PATH` of it. With a cursor it binds `:after`.
    #[schemars(with = "String")]
    pub(super) query: Leaf,
    /// The column that tells new rows from old ones.
    pub(super) cursor: Option<Written<CursorDocument>>,
    /// What a row is: a `reference`, or a `copy_event` of the message copy callback.
    #[serde(default)]
    #[schemars(schema_with = "format", extend("default" = "reference"))]
    pub(super) format: Leaf,
    /// The input's names of the fields, where they differ: `field: input name`.
    #[schemars(with = "Option<Entries<String>>", extend("default" = {}))]
    pub(super) columns: Option<Entries<Written<String>>>,
    /// The unit of integer times: `ms` or `s`.
    #[serde(default)]
    #[schemars(schema_with = "time_unit", extend("default" = "ms"))]
    pub(super) time_unit: Leaf,
    /// The IANA time zone of times without a zone.
    #[schemars(with = "Option<String>", extend("default" = "UTC"))]
    pub(super) timezone: Leaf,
}

/// The column that tells new rows from old ones. The query binds `:after`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Cursor")]
pub(super) struct CursorDocument {
    /// A column of the query's result: integers or timestamps.
    #[schemars(with = "String")]
    pub(super) column: Leaf,
    /// Where the first run starts: an integer, or a date or time for a timestamp column.
    #[serde(default)]
    #[schemars(schema_with = "integer_or_text", extend("default" = 0))]
    pub(super) start: Leaf,
    /// How far each run reads back for rows that came late: a number, or a duration for a timestamp column (then `1d`).
    #[serde(default)]
    #[schemars(schema_with = "integer_or_text", extend("default" = 1000))]
    pub(super) overlap: Leaf,
}

/// How messages are fetched.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Fetch")]
pub(super) struct FetchDocument {
    /// References per request.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000), extend("default" = 100))]
    pub(super) batch_size: Leaf,
    /// Requests in flight: a number up to 1024, or `auto`, which adapts.
    #[serde(default)]
    #[schemars(schema_with = "concurrency", extend("default" = "auto"))]
    pub(super) concurrency: Leaf,
    /// The time a request may take.
    #[schemars(with = "Option<String>", extend("default" = "15s"))]
    pub(super) timeout: Leaf,
    /// Attempts of one batch in one run.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000), extend("default" = 6))]
    pub(super) attempts: Leaf,
    /// After so long without a success on any endpoint the run fails; its batches stay pending.
    #[schemars(with = "Option<String>", extend("default" = "10m"))]
    pub(super) give_up_after: Leaf,
    /// The age after which a failure counts as permanent. Transport failures never do.
    #[schemars(with = "Option<String>", extend("default" = "7d"))]
    pub(super) retry_for: Leaf,
    /// In whose name teams are asked: `merge` (the owner most references name), `own` (each reference's own), or an account.
    #[schemars(with = "Option<String>", extend("default" = "merge"))]
    pub(super) team_owner: Leaf,
    /// `complete` also fetches the messages that threads refer to.
    #[serde(default)]
    #[schemars(schema_with = "threads", extend("default" = "off"))]
    pub(super) threads: Leaf,
    /// How many steps a thread is followed.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000), extend("default" = 32))]
    pub(super) thread_depth: Leaf,
}

/// Where messages go.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Sink")]
pub(super) enum SinkDocument {
    /// A directory of Parquet files.
    Parquet(ParquetDocument),
    /// A table of a Postgres database.
    Postgres(PostgresDocument),
}

/// A directory of Parquet files.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ParquetSink")]
pub(super) struct ParquetDocument {
    /// The archive's directory.
    #[schemars(with = "Option<String>", extend("default" = "./archive"))]
    pub(super) path: Leaf,
    /// The directories under it, outermost first: `date`, `month`, `conversation_type`, `app_key`.
    #[serde(default)]
    #[schemars(schema_with = "partition_by", extend("default" = ["date"]))]
    pub(super) partition_by: Option<Vec<Written<String>>>,
    /// The IANA time zone in which `date` and `month` are counted.
    #[schemars(with = "Option<String>", extend("default" = "UTC"))]
    pub(super) timezone: Leaf,
    /// `zstd(1)` to `zstd(22)`, `snappy`, `gzip`, `lz4` or `none`.
    #[schemars(with = "Option<String>", extend("default" = "zstd(3)"))]
    pub(super) compression: Leaf,
    /// The size at which a file is closed, such as `256MB`.
    #[serde(default)]
    #[schemars(schema_with = "integer_or_text", extend("default" = "256MB"))]
    pub(super) max_file_size: Leaf,
    /// The time after which open files are closed and committed.
    #[schemars(with = "Option<String>", extend("default" = "5m"))]
    pub(super) commit_interval: Leaf,
    /// The memory that unwritten rows may take, such as `256MB`.
    #[serde(default)]
    #[schemars(schema_with = "integer_or_text", extend("default" = "256MB"))]
    pub(super) memory: Leaf,
    /// `compatible` is read by every engine; `compact` is smaller.
    #[serde(default)]
    #[schemars(schema_with = "encodings", extend("default" = "compatible"))]
    pub(super) encodings: Leaf,
    /// Whether each message's own JSON text is kept as well.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) raw: Leaf,
}

/// A table of a Postgres database.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresSink")]
pub(super) struct PostgresDocument {
    /// The database's URL. With a password in it: `env:NAME` or `file:PATH`.
    #[schemars(with = "String")]
    pub(super) url: Leaf,
    /// The schema of the tables.
    #[schemars(with = "Option<String>", extend("default" = "public"))]
    pub(super) schema: Leaf,
    /// The table of messages; the names of its companions begin with this name.
    #[schemars(with = "Option<String>", extend("default" = "messages"))]
    pub(super) table: Leaf,
    /// The time after which a transaction is committed.
    #[schemars(with = "Option<String>", extend("default" = "10s"))]
    pub(super) commit_interval: Leaf,
    /// Whether each message's own JSON text is kept as well.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) raw: Leaf,
}

/// What an indirect value looks like.
const INDIRECT: &str = "^(env|file):.+";

fn one_of(values: &[&str]) -> Schema {
    json_schema!({ "anyOf": [{ "enum": values }, { "type": "string", "pattern": INDIRECT }, { "type": "null" }] })
}

fn region(_: &mut SchemaGenerator) -> Schema {
    one_of(&["cn", "sg"])
}

fn api_version(_: &mut SchemaGenerator) -> Schema {
    one_of(&["v2.1", "v2"])
}

fn files(_: &mut SchemaGenerator) -> Schema {
    one_of(&["files"])
}

fn format(_: &mut SchemaGenerator) -> Schema {
    one_of(&["reference", "copy_event"])
}

fn time_unit(_: &mut SchemaGenerator) -> Schema {
    one_of(&["ms", "s"])
}

fn threads(_: &mut SchemaGenerator) -> Schema {
    // YAML 1.1 readers take a bare `off` for false before the schema sees it.
    json_schema!({ "anyOf": [{ "enum": ["off", "complete", false] }, { "type": "string", "pattern": INDIRECT }, { "type": "null" }] })
}

fn encodings(_: &mut SchemaGenerator) -> Schema {
    one_of(&["compatible", "compact"])
}

fn integer_or_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["integer", "string", "null"] })
}

fn concurrency(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": 1024 },
        { "type": "string", "pattern": "^auto$|^(env|file):.+" },
        { "type": "null" },
    ] })
}

fn tolerate(_: &mut SchemaGenerator) -> Schema {
    let classes = crate::model::failure::Class::ALL.map(crate::model::failure::Class::as_str);
    json_schema!({ "type": ["array", "null"], "items": { "anyOf": [{ "type": "integer" }, { "enum": classes }] } })
}

fn partition_by(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["array", "null"],
        "items": { "enum": ["date", "month", "conversation_type", "app_key"] },
        "uniqueItems": true,
    })
}

/// The JSON schema of `jobs.yaml`.
pub(super) fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}
