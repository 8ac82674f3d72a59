#!/usr/bin/env bash
# What a fleet does, with NATS, MiniStack and a simulated API on this machine:
#
#   benches/fleet.sh quota [SECONDS]   how much of the quota three workers use without exceeding it; SECONDS at the quota,
#                                      60 by default, for each of LIMITS="100 2000" and LATENCIES="5 50 500"
#   benches/fleet.sh workers [SECONDS] requests a second of one worker and of ten, with answers after 50 ms and one request at
#                                      a time each; SECONDS of work, 30 by default
#   benches/fleet.sh cpu [REFERENCES]  CPU seconds of coordinator and workers, without a limit that matters, next to one process;
#                                      1,000,000 references by default
#
# In the first two every request has one reference. Rates are those from the first request to the last: a coordinator grants
# nothing in its first twelve seconds. BUILT=1 uses the programs as they are. Needs GNU time, and what tests/run.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."
WHAT=${1:-quota} LIMITS=${LIMITS:-100 2000} LATENCIES=${LATENCIES:-5 50 500}
TARGET=${TARGET:-$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release} ROOT=$PWD
[ -n "${BUILT:-}" ] || cargo build --release --bin yunxin-archiver --example world
DIR=$(mktemp -d)
export YUNXIN_APP_KEY=simulated-app-key YUNXIN_APP_SECRET=simulated-app-secret
export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=bench-secret AWS_REGION=us-east-1
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$DIR"' EXIT
read -r nats store <<<"$(python3 -c '
import socket
taken = [socket.socket() for _ in range(2)]
for one in taken: one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in taken])')"
"$ROOT/target/nats/bin/nats-server" -a 127.0.0.1 -p "$nats" -js -sd "$DIR/nats" >"$DIR/nats.log" 2>&1 &
BIND_HOST=127.0.0.1 GATEWAY_PORT=$store SERVICES=s3 LOG_LEVEL=WARNING "$ROOT/target/stores/bin/ministack" >"$DIR/store.log" 2>&1 &
until curl -sf -o /dev/null -X PUT "http://127.0.0.1:$store/bench"; do sleep 0.2; done
round=0

# A run: LIMIT LATENCY WORKERS FETCH [--no-fleet]. Leaves $DIR/rate: requests, seconds between the first and the last, rate, the
# busiest second and the number of 416.
run() {
  local limit=$1 latency=$2 workers=$3 fetch=$4 fleet=${5:---fleet}
  round=$((round + 1))
  rm -rf "$DIR/state" "$DIR/url"
  "$TARGET/yunxin-archiver" simulate --port 0 --rate-limit "${SERVICE_LIMIT:-$limit}" --latency "${latency}ms" >"$DIR/url" 2>"$DIR/simulated" &
  local server=$!
  until [ -s "$DIR/url" ]; do sleep 0.1; done
  cat >"$DIR/jobs.yaml" <<YAML
version: 1
fleet: { nats: "nats://127.0.0.1:$nats", prefix: bench$round }
apps: { main: { app_key: env:YUNXIN_APP_KEY, app_secret: env:YUNXIN_APP_SECRET, endpoints: ["$(cat "$DIR/url")"], rate_limit: $limit } }
jobs: { bench: { app: main, source: { csv: { path: refs.csv } }, fetch: { $fetch }, sink: { parquet: { path: "s3://bench/$round", commit_interval: 30s, storage: { endpoint: "http://127.0.0.1:$store" } } } } }
YAML
  local all=()
  [ "$fleet" = --no-fleet ] || for number in $(seq "$workers"); do
    /usr/bin/time -a -o "$DIR/workers.time" -f '%U %S' "$TARGET/yunxin-archiver" -c "$DIR/jobs.yaml" worker 2>"$DIR/worker$number.log" &
    all+=($!)
  done
  [ "$fleet" = --fleet ] || fleet=
  /usr/bin/time -o "$DIR/coordinator.time" -f '%U %S %e' "$TARGET/yunxin-archiver" -c "$DIR/jobs.yaml" --progress none run bench $fleet 2>"$DIR/log" ||
    { tail -3 "$DIR/log" >&2; exit 1; }
  for worker in "${all[@]}"; do pkill -TERM -P "$worker" || true; wait "$worker" || true; done
  kill -INT "$server"; wait "$server" || true
  python3 - "$DIR" >"$DIR/rate" <<'PYTHON'
import json, re, sqlite3, sys
body, = sqlite3.connect(f"{sys.argv[1]}/state/bench.sqlite").execute("select body from timelines").fetchone()
samples = json.loads(body)["samples"]
points = list(zip(samples["at"], samples["sent"]))
total = points[-1][1]
first = max((at for at, sent in points if sent == 0), default=0)
last = min(at for at, sent in points if sent == total)
said = open(f"{sys.argv[1]}/simulated").read()
busiest = re.search(r"at most ([\d,]+) requests? in any second", said).group(1)
throttled = re.search(r"([\d,]+) answered with 416", said).group(1)
print(total, (last - first) / 1000, total / (last - first) * 1000, busiest, throttled)
PYTHON
}

case $WHAT in
quota)
  echo '| limit | latency | requests | seconds | quota used | answered 416 | most in any second |'
  echo '|---:|---:|---:|---:|---:|---:|---:|'
  for limit in $LIMITS; do
    count=$((limit * ${2:-60}))
    "$TARGET/examples/world" references "$DIR/refs.csv" "$count" 1 "$count"
    for latency in $LATENCIES; do
      run "$limit" "$latency" 3 ''
      read -r requests seconds rate busiest throttled <"$DIR/rate"
      printf '| %s/s | %s ms | %s | %.1f | %.1f%% | %s | %s |\n' "$limit" "$latency" "$requests" "$seconds" \
        "$(python3 -c "print($rate * 100 / $limit)")" "$throttled" "$busiest"
    done
  done
  ;;
workers)
  echo '| workers | requests | seconds | requests a second |'
  echo '|---:|---:|---:|---:|'
  for workers in 1 10; do
    count=$((workers * 18 * ${2:-30}))
    "$TARGET/examples/world" references "$DIR/refs.csv" "$count" 1 "$count"
    SERVICE_LIMIT=0 run 1000 50 "$workers" 'concurrency: 1'
    read -r requests seconds rate _ <"$DIR/rate"
    printf '| %s | %s | %.1f | %.1f |\n' "$workers" "$requests" "$seconds" "$rate"
  done
  ;;
cpu)
  "$TARGET/examples/world" references "$DIR/refs.csv" "${2:-1000000}" 1
  for how in --no-fleet --fleet; do
    rm -f "$DIR/workers.time"
    SERVICE_LIMIT=0 run 100000 5 3 '' "$how"
    echo "$how: user, system and wall seconds of the run $(cat "$DIR/coordinator.time"); user and system seconds of its workers" \
      "$(awk '{ user += $1; system += $2 } END { print user + 0, system + 0 }' "$DIR/workers.time" 2>/dev/null)"
  done
  ;;
esac
