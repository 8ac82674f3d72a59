#!/usr/bin/env bash
# Runs the tests. Arguments go to `cargo test`.
#
# The tests stand on real services: programs of Postgres, PgBouncer and MariaDB (each test process starts private servers of its
# own), and Python with DuckDB and PyArrow as independent readers of Parquet. What is missing is installed first: by apt
# when run by root on Debian or Ubuntu, and into target/python for Python; what is present is left as it is.
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
python=target/python/bin/python3
if ! readers python3 && ! readers "$python"; then
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

if ! readers python3; then
  if ! readers "$python"; then
    python3 -m venv target/python
    "$python" -m pip install --quiet --disable-pip-version-check duckdb pyarrow
  fi
  PATH="$PWD/target/python/bin:$PATH"
  export PATH
fi

cargo test "$@"
