"""Registers the files of an archive's runs in a DuckLake table, where they are, each run once.

    python3 ducklake.py ARCHIVE CATALOGUE TABLE [--vanished]

CATALOGUE is what follows `ducklake:` in DuckDB's `attach`: a file such as `lake.ducklake`, or `postgres:dbname=lake`.
The table TABLE_progress has one row, which says what was registered last.
"""

from __future__ import annotations

import argparse
import sys
from urllib.parse import urlparse

import duckdb

from manifests import S3_ENDPOINT, Archive, Run


def connect(catalogue: str) -> duckdb.DuckDBPyConnection:
    lake = duckdb.connect()
    lake.execute("set enable_progress_bar = false")
    lake.execute("attach 'ducklake:{}' as lake".format(catalogue.replace("'", "''")))
    lake.execute("use lake")
    return lake


def use_s3(lake: duckdb.DuckDBPyConnection) -> None:
    service = ""
    if S3_ENDPOINT:
        endpoint = urlparse(S3_ENDPOINT)
        service = f", endpoint '{endpoint.netloc}', use_ssl {endpoint.scheme == 'https'}, url_style 'path'"
    lake.execute(f"create secret (type s3, provider credential_chain{service})")


def register(lake: duckdb.DuckDBPyConnection, table: str, run: Run, last: int) -> None:
    """Adds a run's files, and the columns that the table lacks, in one transaction that notes the run."""
    lake.execute("begin")
    # Transactions that only add files never conflict. Those that update one row do.
    updated = lake.execute(
        f"update {table}_progress set manifest = $number, run_id = $run_id where manifest = $last",
        {"number": run.number, "run_id": run.run_id, "last": last},
    )
    if updated.fetchall() != [(1,)]:
        raise duckdb.TransactionException("another process has registered runs meanwhile")
    columns = "from read_parquet($url, hive_partitioning = false)"
    url = {"url": run.files[0].url}
    if last == 0:
        lake.execute(f"create table {table} as {columns} limit 0", url)
    lacking = f"from (describe {columns}) anti join (describe {table}) using (column_name)"
    for name, kind in lake.execute(f"select column_name, column_type {lacking}", url).fetchall():
        lake.execute(f"alter table {table} add column {name} {kind}")
    for file in run.files:
        lake.execute(
            "call ducklake_add_data_files('lake', $table, $url, hive_partitioning => false, allow_missing => true)",
            {"table": table, "url": file.url},
        )
    lake.execute("commit")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("archive")
    parser.add_argument("catalogue")
    parser.add_argument("table")
    parser.add_argument("--vanished", action="store_true", help="the notes of messages that vanished")
    arguments = parser.parse_args()
    table = arguments.table

    archive = Archive(arguments.archive, arguments.vanished)
    try:
        lake = connect(arguments.catalogue)
        if archive.location.startswith("s3://"):
            use_s3(lake)
        lake.execute(f"create table if not exists {table}_progress as select 0::bigint as manifest, '' as run_id")
        number, run_id = lake.execute(f"select manifest, run_id from {table}_progress").fetchall()[0]
        for run in archive.runs_after(number, [run_id]):
            register(lake, table, run, number)
            number = run.number
            # The files belong to the archive. A checkpoint must not replace and delete them.
            lake.execute("call lake.set_option('auto_compact', 'false', table_name => $table)", {"table": table})
            print(f"{table}: added {run}")
    except duckdb.Error as error:
        sys.exit(f"{table}: did not add every run. Run this again. ({error})")


if __name__ == "__main__":
    main()
