"""Reads an archive with DuckDB and PyArrow and prints what they see as JSON.

usage: read_parquet.py rows|files ROOT
"""

import glob
import json
import os
import sys

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq


ORDER = ["message_server_id", "revision"]


def milliseconds(table):
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(index, field.name, pc.cast(table.column(index), pa.int64()))
        elif pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, pc.cast(table.column(index), pa.string()))
    return table


def with_duckdb(root):
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    source = f"read_parquet('{root}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
    described = connection.execute(f"describe select * from {source}").fetchall()
    columns = [
        f'epoch_ms("{name}") as "{name}"' if kind.startswith("TIMESTAMP") else f'"{name}"'
        for name, kind, *_ in described
    ]
    order = ", ".join(name for name in ORDER if name in [name for name, *_ in described])
    result = connection.execute(f"select {', '.join(columns)} from {source} order by {order}")
    names = [column[0] for column in result.description]
    rows = [dict(zip(names, row)) for row in result.fetchall()]
    return {"types": [[name, kind] for name, kind, *_ in described], "rows": rows}


def with_pyarrow(root):
    dataset = ds.dataset(root, format="parquet", partitioning=ds.partitioning(flavor="hive"))
    table = dataset.to_table()
    table = table.sort_by([(name, "ascending") for name in ORDER if name in table.column_names])
    types = [[field.name, str(field.type), field.nullable] for field in table.schema]
    return {"types": types, "rows": milliseconds(table).to_pylist()}


def files(root):
    seen = {}
    for path in sorted(glob.glob(f"{root}/**/*.parquet", recursive=True)):
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            table = file.read(columns=["message_server_id"])
        seen[os.path.relpath(path, root)] = {
            "rows": metadata.num_rows,
            "groups": [group.num_rows for group in groups],
            "format": metadata.format_version,
            "metadata": {key.decode(): value.decode() for key, value in (metadata.metadata or {}).items()},
            "schema": [
                f"{field.name}: {field.type}{'' if field.nullable else '!'}" for field in metadata.schema.to_arrow_schema()
            ],
            "ids": table.column(0).to_pylist(),
            "columns": {
                column.path_in_schema: {
                    "encodings": sorted(column.encodings),
                    "compression": column.compression,
                    "dictionary": column.has_dictionary_page,
                    "statistics": column.is_stats_set,
                    "page_index": column.has_offset_index and column.has_column_index,
                }
                for column in (groups[0].column(index) for index in range(metadata.num_columns))
            },
        }
    return seen


def main():
    mode, root = sys.argv[1:]
    seen = files(root) if mode == "files" else {"duckdb": with_duckdb(root), "pyarrow": with_pyarrow(root)}
    json.dump(seen, sys.stdout)


main()
