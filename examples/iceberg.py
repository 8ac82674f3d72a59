"""Registers the files of an archive's runs in an Iceberg table, where they are, each run once.

    python3 iceberg.py ARCHIVE TABLE [--vanished]

TABLE is a name such as `yunxin.messages` in the catalogue that PyIceberg's configuration calls `default`.
"""

from __future__ import annotations

import argparse
import os
import sys

from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError
from pyiceberg.table import Table

from manifests import S3_ENDPOINT, Archive, Run

PROPERTIES = {
    # If another registration commits first, this one must fail. A retry would add the same files again.
    "commit.retry.num-retries": "0",
    # The files belong to the archive. Expiring snapshots must not delete them.
    "gc.enabled": "false",
}


def register(table: Table, run: Run) -> None:
    """Adds a run's files, and the columns that the table lacks, in one commit that notes the run."""
    progress = {"yunxin.manifest": str(run.number), "yunxin.run-id": run.run_id}
    urls = [file.url for file in run.files]
    with table.transaction() as transaction:
        with transaction.update_schema() as schema:
            schema.union_by_name(run.schema)
        transaction.set_properties(progress)
        transaction.add_files(urls, snapshot_properties=progress, check_duplicate_files=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("archive")
    parser.add_argument("table")
    parser.add_argument("--vanished", action="store_true", help="the notes of messages that vanished")
    arguments = parser.parse_args()
    name = arguments.table

    archive = Archive(arguments.archive, arguments.vanished)
    service = {"s3.endpoint": S3_ENDPOINT, "s3.region": os.environ.get("AWS_REGION", "us-east-1")}
    catalog = load_catalog("default", **(service if S3_ENDPOINT else {}))
    catalog.create_namespace_if_not_exists(name.rpartition(".")[0])
    table = catalog.load_table(name) if catalog.table_exists(name) else None
    properties = table.properties if table else PROPERTIES
    if not PROPERTIES.items() <= properties.items():
        sys.exit(f"{name}: the properties of the table must include {PROPERTIES}")

    number = int(properties.get("yunxin.manifest", 0))
    for run in archive.runs_after(number, [properties.get("yunxin.run-id")]):
        try:
            table = table or catalog.create_table(name, run.schema, properties=PROPERTIES)
            register(table, run)
        except (CommitFailedException, TableAlreadyExistsError) as error:
            sys.exit(f"{name}: did not add {run}: another process changed the table. Run this again. ({error})")
        print(f"{name}: added {run}")


if __name__ == "__main__":
    main()
