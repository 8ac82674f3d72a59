"""Reads an archive straight from a bucket with PyArrow and with DuckDB, and prints as JSON what they see.

usage: read_bucket.py HOST:PORT BUCKET/PREFIX; the secret key is in SECRET
"""

import hashlib
import json
import os
import sys

import duckdb
import pyarrow.parquet
from pyarrow import fs

host, root = sys.argv[1:]
s3 = fs.S3FileSystem(access_key="yunxin-it", secret_key=os.environ["SECRET"], endpoint_override=host, scheme="http")
connection = duckdb.connect()
connection.execute(
    "create secret (type s3, key_id 'yunxin-it', secret '" + os.environ["SECRET"] + f"', endpoint '{host}', "
    "use_ssl false, url_style 'path')"
)

found = [info.path for info in s3.get_file_info(fs.FileSelector(root, recursive=True)) if info.is_file]
data = sorted(path for path in found if path.endswith(".parquet"))
manifests = [json.loads(s3.open_input_file(path).read()) for path in sorted(found) if "/_manifests/" in path and path.endswith(".json")]
named = [file for manifest in manifests for file in manifest["files"]]


def pyarrow_reads(path):
    content = s3.open_input_file(path).read()
    ids = pyarrow.parquet.read_table(path, filesystem=s3)["message_server_id"].to_pylist()
    return {"rows": len(ids), "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}, ids


read = {path: pyarrow_reads(path) for path in data}
keys = ["rows", "sha256", "bytes"]
differing = {path: facts for path, (facts, _) in read.items()} != {
    f"{root}/{file['path']}": {key: file[key] for key in keys} for file in named
}
by_glob = f"read_parquet('s3://{root}/date=*/*.parquet', hive_partitioning = false)"
print(
    json.dumps(
        {
            "differing": differing,
            "pyarrow": sorted(id for _, ids in read.values() for id in ids),
            "duckdb": [row[0] for row in connection.execute(f"select message_server_id from {by_glob} order by 1").fetchall()],
        }
    )
)
