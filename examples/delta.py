"""Makes a Delta table of an archive: registers the files of its runs where they are, each run once.

    python3 delta.py ARCHIVE [--vanished]

The table is the archive itself. Its log is the directory `_delta_log` in the archive.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime, timezone

from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction

from manifests import S3_ENDPOINT, Archive, DataFile, Run

CONFIGURATION = {
    # The files belong to the archive. Nothing may replace them, and VACUUM must not delete them.
    "delta.appendOnly": "true",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}


def add_action(file: DataFile) -> AddAction:
    def bounds(end: str) -> dict[str, int | str]:
        values: dict[str, int | str] = {column: ends[end] for column, ends in file.ranges.items()}
        if "create_time" in file.ranges:
            time = datetime.fromtimestamp(file.ranges["create_time"][end] / 1000, timezone.utc)
            values["create_time"] = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return values

    return AddAction(
        path=file.path,
        size=file.bytes,
        partition_values={},
        modification_time=int(file.modified.timestamp() * 1000),
        data_change=True,
        stats=json.dumps({"numRecords": file.rows, "minValues": bounds("min"), "maxValues": bounds("max")}),
    )


def register(table: DeltaTable, application: str, run: Run) -> None:
    """Adds a run's files in one commit that notes the run. Columns that the table lacks are added before."""
    known = {field.name for field in table.schema().fields}
    fields = [field for field in Schema.from_arrow(run.schema).fields if field.name not in known]
    if fields:
        table.alter.add_columns([Field(field.name, field.type, nullable=True) for field in fields])
        if (table.transaction_version(application) or 0) >= run.number:
            raise DeltaError("another registration added it meanwhile")
    table.create_write_transaction(
        [add_action(file) for file in run.files],
        mode="append",
        schema=table.schema(),
        commit_properties=CommitProperties(
            app_transactions=[Transaction(application, run.number)],
            custom_metadata={"yunxin.run-id": run.run_id},
            # If another registration commits first, this one must fail.
            max_commit_retries=0,
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("archive")
    parser.add_argument("--vanished", action="store_true", help="the notes of messages that vanished")
    arguments = parser.parse_args()
    if S3_ENDPOINT and S3_ENDPOINT.startswith("http://"):
        os.environ["AWS_ALLOW_HTTP"] = "true"

    archive = Archive(arguments.archive, arguments.vanished)
    application = f"yunxin-archiver/{archive.run_ids[0]}"
    table = DeltaTable(archive.dataset) if DeltaTable.is_deltatable(archive.dataset) else None
    number = (table.transaction_version(application) if table else None) or 0
    # Files are named part-<run>-<count>.parquet.
    registered = {os.path.basename(uri)[5:41] for uri in table.file_uris()} if table else set()
    for run in archive.runs_after(number, registered):
        try:
            table = table or DeltaTable.create(archive.dataset, run.schema, configuration=CONFIGURATION)
            register(table, application, run)
        except DeltaError as error:
            sys.exit(f"{archive.dataset}: did not add {run}. Run this again. ({error})")
        print(f"{archive.dataset}: added {run}")
        table.update_incremental()
        if table.transaction_version(application) != run.number:
            sys.exit(f"{archive.dataset}: another registration is at work. Run this again.")


if __name__ == "__main__":
    main()
