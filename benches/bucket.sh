#!/usr/bin/env bash
# Archives a million messages to a directory, and to buckets of two stores on loopback, in turn:
#
#   benches/bucket.sh [RUNS]          RUNS of each, 3 by default
#
# Prints user and system CPU seconds, wall seconds and peak KB of each run. BUILT=1 (uses the programs as they are),
# DIR=target/compare. Needs GNU time, curl, and the stores that tests/run.sh installs. The stores use the same cores.
set -euo pipefail
cd "$(dirname "$0")/.."
RUNS=${1:-3} STORES=$PWD/target/stores/bin
DIR=$(mkdir -p "${DIR:-target/compare}" && cd "${DIR:-target/compare}" && pwd)
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release
WORLD=$DIR/world-1000000-1
JOB=$(mktemp -d "$DIR/bucket.XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$JOB"' EXIT
export YUNXIN_APP_KEY=simulated-app-key YUNXIN_APP_SECRET=simulated-app-secret
export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=bench-secret
[ -n "${BUILT:-}" ] || cargo build --release --bin yunxin-archiver --example world
[ -e "$WORLD/made" ] || { "$TARGET/examples/world" make "$WORLD" 1000000 1 >"$JOB/made"; mv "$JOB/made" "$WORLD/made"; }

ports=($(python3 -c 'import socket; s = [socket.socket() for _ in range(2)]; [one.bind(("127.0.0.1", 0)) for one in s]; print(*[one.getsockname()[1] for one in s])'))
ministack=http://127.0.0.1:${ports[0]} rclone=http://127.0.0.1:${ports[1]}
BIND_HOST=127.0.0.1 GATEWAY_PORT=${ports[0]} SERVICES=s3 LOG_LEVEL=WARNING "$STORES/ministack" >"$JOB/ministack.log" 2>&1 &
mkdir -p "$JOB/buckets/bench"
"$STORES/rclone" serve s3 "$JOB/buckets" --config /dev/null --addr "127.0.0.1:${ports[1]}" \
  --auth-key "$AWS_ACCESS_KEY_ID,$AWS_SECRET_ACCESS_KEY" >"$JOB/rclone.log" 2>&1 &
"$TARGET/examples/world" serve "$WORLD" >"$JOB/url" &
until grep -q http "$JOB/url"; do sleep 0.2; done
for store in "$ministack" "$rclone"; do until curl -s -o /dev/null "$store/"; do sleep 0.2; done; done
curl -s -X PUT "$ministack/bench" >/dev/null

for run in $(seq "$RUNS"); do
  for to in directory ministack rclone; do
    rm -rf "$JOB/state" "$JOB/out"
    case $to in
      directory) sink="path: out" ;;
      ministack) sink="path: 's3://bench/$run', storage: { endpoint: '$ministack' }" ;;
      rclone) sink="path: 's3://bench/$run', storage: { endpoint: '$rclone', conditional_writes: 'off' }" ;;
    esac
    cat >"$JOB/jobs.yaml" <<YAML
version: 1
apps: { main: { app_key: env:YUNXIN_APP_KEY, app_secret: env:YUNXIN_APP_SECRET, endpoints: ["$(head -1 "$JOB/url")"], rate_limit: 100000 } }
jobs: { nightly: { app: main, source: { csv: { path: $WORLD/refs.csv } }, sink: { parquet: { $sink } } } }
YAML
    /usr/bin/time -o "$JOB/times" -f "$to	%U %S %e %M" \
      "$TARGET/yunxin-archiver" -c "$JOB/jobs.yaml" --progress none run 2>"$JOB/log" || { tail -3 "$JOB/log" >&2; exit 1; }
    cat "$JOB/times"
  done
done
