"""The runs of a Parquet archive and the files that each added, as its manifests name them.

An archive is a directory or an s3:// URL. For S3, credentials and region come from the environment, and so does the
address of a service other than AWS: AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow
from pyarrow import fs, parquet

S3_ENDPOINT = os.environ.get("AWS_ENDPOINT_URL")


@dataclass(frozen=True)
class DataFile:
    path: str  # relative to the dataset
    url: str  # absolute
    rows: int
    bytes: int
    modified: datetime
    ranges: dict[str, dict[str, int]]  # `min` and `max` of some columns; times in milliseconds


@dataclass(frozen=True)
class Run:
    number: int  # of its manifest
    run_id: str
    files: list[DataFile]
    schema: pyarrow.Schema

    def __str__(self) -> str:
        rows = sum(file.rows for file in self.files)
        return f"run {self.number} ({self.run_id}): {len(self.files)} files, {rows} rows"


class Archive:
    """An archive's messages or, with `vanished`, its notes of the messages that vanished."""

    def __init__(self, location: str, vanished: bool = False) -> None:
        self.location = location.rstrip("/") if "://" in location else os.path.abspath(location)
        self.dataset = self.location + "-vanished" if vanished else self.location
        self.key = "vanished" if vanished else "files"
        if S3_ENDPOINT and location.startswith("s3://"):
            self.filesystem: fs.FileSystem = fs.S3FileSystem(endpoint_override=S3_ENDPOINT)
        else:
            self.filesystem, _ = fs.FileSystem.from_uri(self.location)
        self.run_ids = self._list_manifests()

    def runs_after(self, number: int, registered: Container[str | None]) -> Iterator[Run]:
        """The runs that added files after manifest `number`, the last one registered; 0 if none is.

        The run of that manifest must be among those that are `registered`.
        """
        if number > len(self.run_ids) or (number and self.run_ids[number - 1] not in registered):
            sys.exit(
                f"{self.location}: its manifest {number} is missing or is not the one that was registered: "
                "this is not the archive that the table was made of, or an older copy of it"
            )
        found = False
        for next_number in range(number + 1, len(self.run_ids) + 1):
            run = self._read_manifest(next_number)
            if run:
                found = True
                yield run
        if not found:
            what = "notes of messages that vanished" if self.key == "vanished" else "files"
            print(f"{self.dataset}: no new {what} up to run {len(self.run_ids)}")

    def _list_manifests(self) -> list[str]:
        """The IDs of all runs that have ended, in the order of their manifests, which are numbered from 1."""
        directory = f"{self.location}/_manifests"
        listed = self.filesystem.get_file_info(fs.FileSelector(without_scheme(directory), allow_not_found=True))
        names = [re.fullmatch(r"(\d+)-(.{36})\.json", info.base_name) for info in listed]
        manifests = sorted((int(name[1]), name[2]) for name in names if name)
        if not manifests:
            sys.exit(f"{directory}: there are no manifests, so no run has ended")
        for expected, (number, _) in enumerate(manifests, start=1):
            if number != expected:
                sys.exit(f"{directory}: manifest {expected} is missing, or there are two with one number")
        return [run_id for _, run_id in manifests]

    def _read_manifest(self, number: int) -> Run | None:
        run_id = self.run_ids[number - 1]
        path = without_scheme(f"{self.location}/_manifests/{number:08}-{run_id}.json")
        with self.filesystem.open_input_stream(path) as stream:
            entries = json.load(stream).get(self.key)
        if not entries:
            return None
        paths = [without_scheme(f"{self.dataset}/{entry['path']}") for entry in entries]
        files = []
        for entry, info in zip(entries, self.filesystem.get_file_info(paths)):
            url = f"{self.dataset}/{entry['path']}"
            if info.size != entry["bytes"]:
                sys.exit(f"{url}: missing or of another size than manifest {number} says, {entry['bytes']} bytes")
            ranges = {column: value for column, value in entry.items() if isinstance(value, dict)}
            files.append(DataFile(entry["path"], url, entry["rows"], entry["bytes"], info.mtime, ranges))
        schema = parquet.read_schema(paths[0], filesystem=self.filesystem).remove_metadata()
        return Run(number, run_id, files, schema)


def without_scheme(url: str) -> str:
    """The path by which PyArrow's file system knows a URL."""
    return url.split("://")[-1]
