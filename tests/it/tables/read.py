"""Reads a table with DuckDB, compares it with the files that the archive's manifests name, and prints JSON.

usage: read.py iceberg NAMESPACE | delta DIRECTORY | ducklake CATALOGUE, then messages or vanished; beside the archive
"""

import glob
import json
import os
import sys
from urllib.parse import urlparse

import duckdb

kind, table, dataset = sys.argv[1:]
connection = duckdb.connect()
connection.execute("set timezone = 'UTC'")
endpoint = urlparse(os.environ.get("AWS_ENDPOINT_URL", ""))
if endpoint.netloc:
    os.environ["AWS_ALLOW_HTTP"] = "true"
    keys = "key_id 'it', secret 'hunter2-bucket'"
    connection.execute(
        f"create secret (type s3, {keys}, endpoint '{endpoint.netloc}', use_ssl false, url_style 'path')"
    )

if kind == "iceberg":
    from pyiceberg.catalog import load_catalog

    loaded = load_catalog("default").load_table(f"{table}.{dataset}")
    runs = [snapshot.summary["yunxin.run-id"] for snapshot in loaded.snapshots()]
    source = f"iceberg_scan('{loaded.metadata_location}')"
elif kind == "delta":
    from deltalake import DeltaTable

    root = table if dataset == "messages" else f"{table}-vanished"
    commits = DeltaTable(root).history()
    runs = [commit["yunxin.run-id"] for commit in reversed(commits) if "yunxin.run-id" in commit]
    source = f"delta_scan('{root}')"
else:
    connection.execute(f"attach 'ducklake:{table}' as lake (read_only)")
    runs = connection.execute(f"select run_id from lake.{dataset}_progress").fetchone()
    source = f"lake.{dataset}"

root, key = ("archive", "files") if dataset == "messages" else ("archive-vanished", "vanished")
manifests = [json.load(open(path)) for path in sorted(glob.glob("archive/_manifests/*.json"))]
files = [f"{root}/{file['path']}" for manifest in manifests for file in manifest.get(key, [])]
named = f"read_parquet({files}, hive_partitioning = false, union_by_name = true)"
columns = [column[0] for column in connection.execute(f"describe from {named}").fetchall()]
there = [column[0] for column in connection.execute(f"describe from {source}").fetchall()]
assert sorted(there) == sorted(columns), there
texts = ", ".join(f'"{column}"::text' for column in columns)
inside, outside = f"select {texts} from {source}", f"select {texts} from {named}"
differing = f"select count(*) from (({inside} except all {outside}) union all ({outside} except all {inside}))"


def rows(query):
    shown = ", ".join(column for column in ("message_server_id", "revision", "text", "raw") if column in columns)
    result = connection.execute(f"select {shown} from ({query}) order by all")
    names = [column[0] for column in result.description]
    return [dict(zip(names, row)) for row in result.fetchall()]


seen = {"differing": connection.execute(differing).fetchone()[0], "runs": runs, "rows": rows(f"from {source}")}
if dataset == "messages":
    latest = "row_number() over (partition by app_key, message_server_id order by revision desc) = 1"
    seen["latest"] = rows(f"from {source} qualify {latest}")
print(json.dumps(seen))
