#!/usr/bin/env python3
"""clickhouse-client as the recipes call it, over the embedded ClickHouse of chdb."""
import os
import sys
import tempfile

from chdb import session

query, token = None, None
arguments = iter(sys.argv[1:])
for argument in arguments:
    if argument == "--query":
        query = next(arguments)
    elif argument.startswith("--insert_deduplication_token="):
        token = argument.split("=", 1)[1]
    else:
        sys.exit(f"unexpected argument {argument}")
with session.Session(os.environ["CLICKHOUSE_DATA"]) as clickhouse:
    if query is None:
        query = sys.stdin.read()
    elif query.rstrip().endswith("format Parquet"):
        with tempfile.NamedTemporaryFile(suffix=".parquet", delete=False) as file:
            file.write(sys.stdin.buffer.read())
        head = query.rstrip().removesuffix("format Parquet")
        setting = f"settings insert_deduplication_token = '{token}'" if token else ""
        query = f"{head} from infile '{file.name}' {setting} format Parquet"
    sys.stdout.write(str(clickhouse.query(query, "TabSeparated")))
