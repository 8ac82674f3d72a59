"""Prints what was measured as a table: medians, and ratios to the floor or to psql of the same round.

table.py MEASURED COUNT
"""

import collections
import statistics
import sys

rounds = collections.defaultdict(list)
for line in open(sys.argv[1], encoding="utf-8"):
    name, times, written = line.rstrip("\n").split("\t")
    user, system, wall, kilobytes = map(float, times.split())
    rounds[name].append({"cpu": user + system, "wall": wall, "peak": kilobytes / 1024, "written": int(written) / 1e6})

FLOOR, PSQL = "floor to Parquet", "psql \\copy, rows as they arrive"


def ratio(name, key):
    base = FLOOR if name.endswith("Parquet") else PSQL
    pairs = [(mine[key], theirs[key]) for mine, theirs in zip(rounds[name], rounds[base])]
    return statistics.median(mine / max(theirs, 0.001) for mine, theirs in pairs)


print(f"{int(sys.argv[2]):,} messages; medians; CPU and memory of the client process\n")
print("| | runs | CPU s | of base | wall s | of base | peak MB | written MB |")
print("|---|---:|---:|---:|---:|---:|---:|---:|")
for name, runs in rounds.items():
    median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    print(
        f"| {name} | {len(runs)} | {median['cpu']:.2f} | {ratio(name, 'cpu'):.2f} | {median['wall']:.2f} |"
        f" {ratio(name, 'wall'):.2f} | {median['peak']:.0f} | {median['written']:.0f} |"
    )
print(f"\nThe base is “{FLOOR}” for Parquet and “{PSQL}” for Postgres, run by run.")
