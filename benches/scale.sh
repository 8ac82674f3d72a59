#!/usr/bin/env bash
# How cost and memory grow with the work, and what a second core brings:
#
#   benches/scale.sh plan MILLIONS     plans MILLIONS of references against a server that never answers: CPU, time of the
#                                      first request, memory over time
#   benches/scale.sh slope MILLIONS    archives MILLIONS to Parquet in one run, and as many in runs of one million: CPU
#                                      for each million
#   benches/scale.sh cores             archives a million to Parquet on one core and on two; the server takes what is left
#   benches/scale.sh known MILLIONS    a ledger that knows MILLIONS of IDs: its size, and the cost of looking up a night
#
# RUNS=3 (slope, cores), SECONDS_TO_PLAN (plan), DIR=target/compare. Needs GNU time and Python; a world of ten million
# takes 8 GB of disk and 7 GB of memory.
set -euo pipefail
cd "$(dirname "$0")/.."
WHAT=${1:?plan, slope, cores or known} MILLIONS=${2:-1} RUNS=${RUNS:-3} PYTHON=${PYTHON:-python3}
DIR=$(mkdir -p "${DIR:-target/compare}" && cd "${DIR:-target/compare}" && pwd)
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release
JOB=$(mktemp -d "$DIR/scale.XXXXXX")
export YUNXIN_APP_KEY=simulated-app-key YUNXIN_APP_SECRET=simulated-app-secret
servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; rm -rf "$JOB"' EXIT
[ -n "${BUILT:-}" ] || cargo build --release --bin yunxin-archiver --example world --example known

serve() { # NAME ARGUMENTS of world serve
  "$TARGET/examples/world" serve "${@:2}" >"$JOB/$1" &
  servers+=($!)
  until grep -q http "$JOB/$1" 2>/dev/null; do sleep 0.1; done
}
job() { # SERVER REFERENCES
  rm -rf "$JOB/state" "$JOB/out"
  cat >"$JOB/jobs.yaml" <<YAML
version: 1
apps: { main: { app_key: env:YUNXIN_APP_KEY, app_secret: env:YUNXIN_APP_SECRET, endpoints: ["$(head -1 "$JOB/$1")"], rate_limit: 100000 } }
jobs: { nightly: { app: main, source: { csv: { path: $2 } }, sink: { parquet: { path: out } } } }
YAML
}
product() { /usr/bin/time -a -o "$JOB/times" -f "$1 %U %S %e %M" "${@:2}" "$TARGET/yunxin-archiver" -c "$JOB/jobs.yaml" --progress none run 2>>"$JOB/log"; }
# The number of conversations is always the same, so that a million messages take about as many requests.
world() { # MILLIONS
  local world=$DIR/world-$(($1 * 1000000))-1
  [ "$1" = 1 ] || world+=-5000
  [ -e "$world/made" ] || { "$TARGET/examples/world" make "$world" $(($1 * 1000000)) 1 5000 >"$JOB/made"; mv "$JOB/made" "$world/made"; }
  echo "$world"
}

case $WHAT in
plan)
  references=$JOB/refs.csv
  "$TARGET/examples/world" references "$references" $((MILLIONS * 1000000))
  serve stalling "$JOB" stall
  job stalling "$references"
  began=$(date +%s%3N)
  "$TARGET/yunxin-archiver" -c "$JOB/jobs.yaml" --progress none run --deadline "${SECONDS_TO_PLAN:-$((MILLIONS * 2 + 5))}s" 2>"$JOB/log" &
  "$PYTHON" - $! "$began" "$JOB" "$MILLIONS" <<'PYTHON'
import os, pathlib, sys, time
pid, began, job, millions = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]), int(sys.argv[4])
ticks, curve, peak = os.sysconf("SC_CLK_TCK"), [], 0
def cpu():
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / ticks
spent, samples = 0.0, []
while True:
    try:
        status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
        if "VmRSS" not in status:
            break
        now = cpu()
    except OSError:
        break
    memory = int(status["VmRSS"].split()[0]) // 1024
    peak = max(peak, int(status["VmHWM"].split()[0]) // 1024)
    seconds = time.time() - began / 1000
    samples.append((seconds, now))
    if not curve or seconds - curve[-1][0] >= max(0.5, millions / 20):
        curve.append((seconds, memory))
    spent = now
    time.sleep(0.1)
# Once everything is planned the run only waits, which costs next to nothing.
busy = next(at for at, used in samples if max(u for t, u in samples if t <= at + 1) - used <= 0.03)
planned = int((job / "log").read_text().split(" pending=")[1].split()[0])
asked = int((job / "stalling").read_text().split("asked at ")[1].split()[0]) - began
print(f"{millions} million references: {planned:,} planned after {busy:.1f} s, {spent:.2f} CPU s, {spent / millions:.3f} for each million;")
print(f"first request after {asked} ms; peak {peak} MB; ledger {(job / 'state/nightly.sqlite').stat().st_size / 1e6:.0f} MB")
print("seconds: MB  " + ", ".join(f"{s:.0f}: {m}" for s, m in curve if s <= busy + 1))
PYTHON
  ;;
slope)
  serve small "$(world 1)"
  serve large "$(world "$MILLIONS")"
  small() { for _ in $(seq "$1"); do job small "$(world 1)/refs.csv"; product 1; done; }
  # The speed of the machine varies: half of the small runs go before the large one and half after it.
  for _ in $(seq "$RUNS"); do
    small $((MILLIONS / 2))
    job large "$(world "$MILLIONS")/refs.csv"
    product "$MILLIONS"
    small $((MILLIONS - MILLIONS / 2))
  done
  ;;
cores)
  from=$(world 1)
  serve small "$from"
  for _ in $(seq "$RUNS"); do
    for cores in 0 0,1; do
      job small "$from/refs.csv"
      product "$cores" taskset -c "$cores"
    done
  done
  ;;
known)
  "$TARGET/examples/known" "$JOB" $((MILLIONS * 1000000))
  ;;
esac
if [ -e "$JOB/times" ]; then
  "$PYTHON" - "$JOB/times" "$WHAT" <<'PYTHON'
import collections, statistics, sys
rows = collections.defaultdict(list)
for line in open(sys.argv[1]):
    name, user, system, wall, peak = line.split()
    rows[name].append((float(user) + float(system), float(wall), int(peak) / 1024))
for name, runs in rows.items():
    millions = int(name) if sys.argv[2] == "slope" else 1
    cpu, wall, peak = (statistics.median(run[at] for run in runs) for at in range(3))
    print(f"{sys.argv[2]} {name}: {cpu / millions:.2f} CPU s and {wall / millions:.2f} s for each million, peak {peak:.0f} MB, {len(runs)} runs")
first, second = rows.values()
millions = int(list(rows)[1]) if sys.argv[2] == "slope" else 1
# Each run of the second kind is compared with as many of the first.
each = len(first) // len(second)
means = [[statistics.mean(run[at] for run in first[n * each:(n + 1) * each]) for at in range(2)] for n in range(len(second))]
ratios = [[run[at] / millions / mean[at] for at in range(2)] for run, mean in zip(second, means)]
print("in turn, of the first: CPU " + ", ".join(f"{r[0]:.2f}" for r in ratios) + "; wall " + ", ".join(f"{r[1]:.2f}" for r in ratios))
PYTHON
fi
