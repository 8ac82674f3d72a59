#!/usr/bin/env bash
# How much of the quota a run uses without exceeding it. The simulated service counts a strict sliding second and answers
# 416 to each request beyond the limit.
#
#   benches/quota.sh [SECONDS]        SECONDS at the quota, 120 by default, for each limit and latency
#
# Every request has one reference, so that only the pace matters. LIMITS="100 2000" LATENCIES="5 50 500"
set -euo pipefail
cd "$(dirname "$0")/.."
SECONDS_AT_QUOTA=${1:-120} LIMITS=${LIMITS:-100 2000} LATENCIES=${LATENCIES:-5 50 500} PYTHON=${PYTHON:-python3}
TARGET=${TARGET:-$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release}
DIR=$(mktemp -d)
export YUNXIN_APP_KEY=simulated-app-key YUNXIN_APP_SECRET=simulated-app-secret
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$DIR"' EXIT
[ -n "${BUILT:-}" ] || cargo build --release --bin yunxin-archiver --example world

echo '| limit | latency | requests | seconds | quota used | answered 416 | most in any second |'
echo '|---:|---:|---:|---:|---:|---:|---:|'
for limit in $LIMITS; do
  count=$((limit * SECONDS_AT_QUOTA))
  "$TARGET/examples/world" references "$DIR/refs.csv" "$count" 1 "$count"
  for latency in $LATENCIES; do
    rm -rf "$DIR/state" "$DIR/archive" "$DIR/url"
    "$TARGET/yunxin-archiver" simulate --port 0 --rate-limit "$limit" --latency "${latency}ms" >"$DIR/url" 2>"$DIR/simulated" &
    server=$!
    until [ -s "$DIR/url" ]; do sleep 0.1; done
    cat >"$DIR/jobs.yaml" <<YAML
version: 1
apps: { main: { app_key: env:YUNXIN_APP_KEY, app_secret: env:YUNXIN_APP_SECRET, endpoints: ["$(cat "$DIR/url")"], rate_limit: $limit } }
jobs: { quota: { app: main, source: { csv: { path: refs.csv } }, sink: { parquet: { path: archive } } } }
YAML
    "$TARGET/yunxin-archiver" -c "$DIR/jobs.yaml" --progress none run --summary "$DIR/summary.json" 2>"$DIR/log" || { cat "$DIR/log" >&2; exit 1; }
    kill -INT "$server"; wait "$server" || true; server=
    "$PYTHON" - "$DIR/summary.json" "$DIR/simulated" "$limit" "$latency" <<'PYTHON'
import json, re, sys
job = json.load(open(sys.argv[1]))["jobs"][0]
busiest = re.search(r"at most ([\d,]+) requests? in any second", open(sys.argv[2]).read()).group(1)
rates, requests = job["rates"], job["requests"]
seconds = requests["sent"] / rates["requests_per_second"]
print(f"| {sys.argv[3]}/s | {sys.argv[4]} ms | {requests['sent']:,} | {seconds:.1f} | {rates['quota_used']:.1%} |"
      f" {requests['throttled']} | {busiest} |")
PYTHON
  done
done
