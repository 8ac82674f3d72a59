#!/usr/bin/env bash
# Measures the product, to Parquet and to Postgres, against a minimal client (the floor), psql's \copy, hand-written Python
# and dlt, all on one machine. Prints the table of docs/performance.md.
#
#   benches/compare.sh [COUNT]        COUNT messages, 1,000,000 by default
#
# BUILT=1 (uses the programs as they are), RUNS=3 (of each, in turn), DLT_RUNS=1 (0: without dlt), DAYS=1, DIR=target/compare (a million needs about 4 GB), PYTHON=python3
# Needs GNU time, the programs of Postgres, and Python with venv. Python packages go to DIR, the Postgres server to a new
# directory below /tmp. Whatever else runs on the machine disturbs the figures, wall time more than CPU time and ratios.
set -euo pipefail
cd "$(dirname "$0")/.."
COUNT=${1:-1000000} RUNS=${RUNS:-3} DLT_RUNS=${DLT_RUNS:-1} DAYS=${DAYS:-1} PYTHON=${PYTHON:-python3}
DIR=$(mkdir -p "${DIR:-target/compare}" && cd "${DIR:-target/compare}" && pwd)
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release
PG_HOME=$(mktemp -d /tmp/compare-postgres.XXXXXX)
export YUNXIN_APP_KEY=simulated-app-key YUNXIN_APP_SECRET=simulated-app-secret

PG_BIN=$(dirname "$(command -v initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -1)")
PG_PORT=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
DSN=postgres://postgres:compare@127.0.0.1:$PG_PORT/postgres
# Postgres does not run as root.
as_postgres() { if [ "$(id -u)" -eq 0 ]; then setpriv --reuid postgres --regid postgres --clear-groups -- "$@"; else "$@"; fi; }
server=
cleanup() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  as_postgres "$PG_BIN/pg_ctl" -D "$PG_HOME/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$PG_HOME"
}
trap cleanup EXIT

[ -n "${BUILT:-}" ] || cargo build --release --bin yunxin-archiver --example world
[ -n "${BUILT:-}" ] || cargo build --release --manifest-path benches/floor/Cargo.toml --target-dir "$TARGET/../floor"
FLOOR=$TARGET/../floor/release/floor
WORLD=$DIR/world-$COUNT-$DAYS
[ -e "$WORLD/made" ] || { "$TARGET/examples/world" make "$WORLD" "$COUNT" "$DAYS" | tee "$WORLD.made"; mv "$WORLD.made" "$WORLD/made"; }
if [ ! -e "$DIR/peers/ready" ]; then
  "$PYTHON" -m venv "$DIR/peers"
  "$DIR/peers/bin/pip" install --quiet --disable-pip-version-check aiohttp orjson pyarrow asyncpg
  touch "$DIR/peers/ready"
fi
if [ "$DLT_RUNS" -gt 0 ] && [ ! -e "$DIR/dlt/ready" ]; then
  "$PYTHON" -m venv "$DIR/dlt"
  "$DIR/dlt/bin/pip" install --quiet --disable-pip-version-check 'dlt[parquet,postgres]' orjson requests
  touch "$DIR/dlt/ready"
fi

echo compare >"$PG_HOME/password"
[ "$(id -u)" -ne 0 ] || chown -R postgres "$PG_HOME"
as_postgres "$PG_BIN/initdb" -D "$PG_HOME/data" -U postgres --pwfile "$PG_HOME/password" -A scram-sha-256 -E UTF8 --locale C >/dev/null
as_postgres "$PG_BIN/pg_ctl" -D "$PG_HOME/data" -w -l "$PG_HOME/log" start \
  -o "-p $PG_PORT -k $PG_HOME -c listen_addresses=127.0.0.1 -c shared_buffers=512MB -c max_wal_size=4GB" >/dev/null
sql() { psql -qAt "$DSN" -c "$1"; }

coproc SERVER { exec "$TARGET/examples/world" serve "$WORLD"; }
server=$SERVER_PID
read -r URL <&"${SERVER[0]}"

measured=$DIR/measured.tsv
: >"$measured"
# measure NAME COMMAND…: CPU, wall and peak memory of the client process; the caller adds what was written.
measure() {
  local name=$1 times; shift
  times=$(mktemp)
  if ! /usr/bin/time -f '%U %S %e %M' -o "$times" "$@" >"$DIR/last.log" 2>&1; then
    echo "$name failed:" >&2; tail -20 "$DIR/last.log" >&2; exit 1
  fi
  printf '%s\t%s\t%s\n' "$name" "$(tail -1 "$times")" "$("${written[@]}")" >>"$measured"
  rm -f "$times"
}
folder_bytes() { du -sb --apparent-size "$DIR/out" | cut -f1; }
table_bytes() { sql "select coalesce(sum(pg_total_relation_size(c.oid)), 0) from pg_class c join pg_namespace n on n.oid = relnamespace where relkind = 'r' and (relname in ('messages') or nspname = 'dlt_peer')"; }

job() { # KIND
  rm -rf "$DIR/job" "$DIR/out"; mkdir -p "$DIR/job" "$DIR/out"
  local sink="parquet: { path: $DIR/out }"
  [ "$1" = parquet ] || sink="postgres: { url: env:ARCHIVE_DATABASE_URL }"
  cat >"$DIR/job/jobs.yaml" <<YAML
version: 1
apps: { main: { app_key: env:YUNXIN_APP_KEY, app_secret: env:YUNXIN_APP_SECRET, endpoints: ["$URL"], rate_limit: 100000 } }
jobs: { nightly: { app: main, source: { csv: { path: $WORLD/refs.csv } }, sink: { $sink } } }
YAML
}
export ARCHIVE_DATABASE_URL=$DSN
product=("$TARGET/yunxin-archiver" -c "$DIR/job/jobs.yaml" --progress none run)
empty_table() { sql 'truncate messages, message_revisions; checkpoint'; }

# The table and its indexes are the product's own.
"$TARGET/yunxin-archiver" schema postgres | psql -q "$DSN" >/dev/null
# A new cluster has no old log segments to reuse, and the first run pays for that. So the first run is not measured.
job postgres; "${product[@]}" 2>"$DIR/last.log" || { tail -20 "$DIR/last.log" >&2; exit 1; }
psql -q "$DSN" -c "\\copy (select * from messages order by fetched_at, conversation_id) to '$DIR/arrival.bin' (format binary)"
psql -q "$DSN" -c "\\copy (select * from messages) to '$DIR/product.bin' (format binary)"
for run in $(seq "$RUNS"); do
  echo "run $run of $RUNS" >&2
  written=(folder_bytes)
  job parquet; measure 'product to Parquet' "${product[@]}"
  rm -rf "$DIR/out"; mkdir "$DIR/out"; measure 'floor to Parquet' "$FLOOR" "$URL" "$WORLD" "$DIR/out/floor.parquet"
  rm -rf "$DIR/out"; mkdir "$DIR/out"; measure 'Python to Parquet' "$DIR/peers/bin/python" benches/compare/peer.py parquet "$URL" "$WORLD" "$DIR/out/peer.parquet"
  if [ "$run" -le "$DLT_RUNS" ]; then
    rm -rf "$DIR/out"; mkdir "$DIR/out"; measure 'dlt to Parquet' "$DIR/dlt/bin/python" benches/compare/dlt_peer.py parquet "$URL" "$WORLD" "$DIR/out"
  fi
  written=(table_bytes)
  sql 'truncate messages, message_revisions, messages_archive, messages_commits, messages_manifests; checkpoint'
  job postgres; measure 'product to Postgres' "${product[@]}"
  # As if a failover had lost every commit but the rows: all is fetched and merged again.
  sql 'update messages_archive set sequence = 0; truncate messages_commits, messages_manifests; checkpoint'
  measure 'product to Postgres, rows there already' "${product[@]}"
  empty_table; measure 'psql \copy, rows as they arrive' psql -q "$DSN" -c "\\copy messages from '$DIR/arrival.bin' (format binary)"
  empty_table; measure 'psql \copy, rows as the product orders them' psql -q "$DSN" -c "\\copy messages from '$DIR/product.bin' (format binary)"
  empty_table; measure 'Python to Postgres' "$DIR/peers/bin/python" benches/compare/peer.py postgres "$URL" "$WORLD" "$DSN"
  if [ "$run" -le "$DLT_RUNS" ]; then
    empty_table; sql 'drop schema if exists dlt_peer cascade'
    measure 'dlt to Postgres' "$DIR/dlt/bin/python" benches/compare/dlt_peer.py postgres "$URL" "$WORLD" "$DSN"
    sql 'drop schema if exists dlt_peer cascade'
  fi
done
rm -rf "$DIR/job" "$DIR/out" "$DIR"/*.bin

"$PYTHON" benches/compare/table.py "$measured" "$COUNT"
