#!/usr/bin/env bash
# Runs the tests. Arguments go to `cargo test`.
#
# The tests stand on real services: programs of Postgres, PgBouncer and MariaDB (each test process starts private servers of
# its own), jq, and Python with DuckDB and PyArrow as independent readers of Parquet. The recipes of docs/loading.md are run
# in the versions of DuckDB that it names and in an embedded ClickHouse; also in Spark, where it is in target/loading/pyspark
# (python3 -m pip install --target target/loading/pyspark pyspark; it needs Java). What is missing is installed first: by
# apt when run by root on Debian or Ubuntu, and below target for Python; what is present is left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

found() { command -v "$1" >/dev/null 2>&1; }
readers() { "$1" -c 'import duckdb, pyarrow.parquet' >/dev/null 2>&1; }

packages=()
{ found cc && found make; } || packages+=(build-essential)
[ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
found initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
found pgbouncer || [ -x /usr/sbin/pgbouncer ] || packages+=(pgbouncer)
found mariadbd || [ -x /usr/sbin/mariadbd ] || packages+=(mariadb-server)
found psql || packages+=(postgresql-client)
found jq || packages+=(jq)
python=target/python/bin/python3
recipes=(duckdb==1.1.3 duckdb==2.0.1 chdb==4.4.0)
home() { local name=${1/==/-}; [[ $1 == duckdb* ]] || name=${1%%==*}; echo "target/loading/$name"; }
missing=()
for recipe in "${recipes[@]}"; do
  [ -e "$(home "$recipe")" ] || missing+=("$recipe")
done
if { ! readers python3 && ! readers "$python"; } || { [ ${#missing[@]} -gt 0 ] && [ ! -x "$python" ]; }; then
  found python3 || packages+=(python3)
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || packages+=(python3-venv)
fi

if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ] || ! found apt-get; then
    echo "tests/run.sh: the tests need ${packages[*]} (names of Debian packages): install them, or run this as root" >&2
    exit 2
  fi
  # The tests start their own servers: no need for those that packages would start.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -q -y --no-install-recommends "${packages[@]}"
fi

pip() { "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore "$@"; }
[ ${#missing[@]} -eq 0 ] || [ -x "$python" ] || python3 -m venv target/python
for recipe in "${missing[@]}"; do
  # Under its name only when it is whole.
  rm -rf target/loading/half
  pip --target target/loading/half "$recipe"
  mv target/loading/half "$(home "$recipe")"
done
if ! readers python3; then
  if ! readers "$python"; then
    python3 -m venv target/python
    pip duckdb pyarrow
  fi
  PATH="$PWD/target/python/bin:$PATH"
  export PATH
fi

cargo test "$@"
