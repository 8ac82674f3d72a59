//! What an archive holds, read back; its parts must say the same of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use arrow::array::{Array as _, Int64Array};
use arrow::datatypes::Int64Type;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;

use super::files_below;
use crate::support::postgres::PgUrl;

/// The IDs in an archive, sorted; having seen that manifests, files, the deed and the ledger say the same.
pub(super) fn parquet_ids(root: &Path, last_commit: u64, in_ledger: &BTreeSet<String>) -> Vec<i64> {
    let deed: Value = serde_json::from_slice(&std::fs::read(root.join("_archive.json")).unwrap()).unwrap();
    assert_eq!(deed["commit"], last_commit, "_archive.json and the ledger disagree");
    let mut named: BTreeMap<String, Value> = BTreeMap::new();
    let mut sequences = Vec::new();
    for manifest in parquet_manifests(root) {
        sequences.push(manifest["sequence"].as_u64().unwrap());
        for file in manifest["files"].as_array().unwrap() {
            let name = file["path"].as_str().unwrap().to_owned();
            assert!(named.insert(name.clone(), file.clone()).is_none(), "{name} stands in two manifests");
        }
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "manifests are counted without a gap");
    let there: BTreeSet<String> = files_below(root)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(named.keys().cloned().collect::<BTreeSet<_>>(), there, "manifests and files");
    assert_eq!(&there, in_ledger, "the ledger's files");
    let mut ids = Vec::new();
    for (name, file) in named {
        let content = std::fs::read(root.join(&name)).unwrap();
        assert_eq!(file["bytes"], content.len(), "{name}");
        assert_eq!(file["sha256"], hex::encode(Sha256::digest(&content)), "{name}");
        let before = ids.len();
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(root.join(&name)).unwrap()).unwrap();
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["message_server_id"]);
        for batch in builder.with_projection(mask).build().unwrap() {
            let batch = batch.unwrap();
            let column: &Int64Array = arrow::array::AsArray::as_primitive::<Int64Type>(batch.column(0).as_ref());
            assert_eq!(column.null_count(), 0);
            ids.extend(column.values());
        }
        assert_eq!(file["rows"], ids.len() - before, "{name}");
    }
    ids.sort_unstable();
    ids
}

/// The manifests of an archive, in order.
pub(super) fn parquet_manifests(root: &Path) -> Vec<Value> {
    let mut paths = files_below(&root.join("_manifests"));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
}

/// The same of a table; having seen that each says of its run what the run's commits say.
pub(super) async fn postgres_manifests(url: &PgUrl) -> Vec<Value> {
    let mut connection = url.connect().await;
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select body, (select coalesce(sum(messages), 0)::bigint from messages_commits c where c.run_id = m.run_id),
             (select coalesce(sum(bytes), 0)::bigint from messages_commits c where c.run_id = m.run_id)
         from messages_manifests m order by sequence",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let read = |(body, messages, bytes): (String, i64, i64)| {
        let manifest: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&manifest["rows"], &manifest["bytes"]), (&json!(messages), &json!(bytes)), "{manifest}");
        manifest
    };
    rows.into_iter().map(read).collect()
}

/// The IDs in a table, sorted; having seen that archive, commits and the ledger say the same.
pub(super) async fn postgres_ids(url: &PgUrl, last_commit: u64) -> Vec<i64> {
    let mut connection = url.connect().await;
    let (sequence, commits, messages): (i64, i64, i64) = sqlx::query_as(
        "select (select sequence from messages_archive), (select count(distinct sequence) from messages_commits),
                (select coalesce(sum(messages), 0)::bigint from messages_commits)",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!((sequence, commits), (last_commit as i64, last_commit as i64), "the archive and the ledger disagree");
    let ids: Vec<i64> = sqlx::query_scalar("select message_server_id from messages order by 1")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(messages, ids.len() as i64, "what the commits wrote, and what is there");
    connection.close().await.unwrap();
    ids
}
