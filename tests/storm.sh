#!/usr/bin/env bash
# A long storm, for the figures in docs/reliability.md: kill -9 at random moments for SECONDS (default 300) on each sink,
# then how much of a strict quota is used. Prints the figures, and fails at the first message lost or written twice.
#
#   tests/storm.sh [SECONDS]
#
# YUNXIN_ARCHIVER_BINARY=target/release/yunxin-archiver storms another build.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${YUNXIN_ARCHIVER_BINARY:-}" ]; then
  YUNXIN_ARCHIVER_BINARY=$(realpath "$YUNXIN_ARCHIVER_BINARY")
  export YUNXIN_ARCHIVER_BINARY
fi
YUNXIN_ARCHIVER_STORM=${1:-300} ./tests/run.sh --locked --test it storm::kills -- --nocapture
# Alone, or the two would disturb each other's seconds.
YUNXIN_ARCHIVER_STORM=${1:-300} ./tests/run.sh --locked --test it storm::quota -- --nocapture --test-threads=1
