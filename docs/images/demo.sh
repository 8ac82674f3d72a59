#!/usr/bin/env bash
# Draws docs/images/demo.svg: runs the demo in a terminal of 108 columns, and takes one frame during the run and one after it.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build
binary=$(realpath "${CARGO_TARGET_DIR:-target}/debug/yunxin-archiver")
scratch=$(mktemp -d)
terminal() { tmux -L yunxin-archiver-demo "$@"; }
trap 'terminal kill-server 2>/dev/null || true; rm -rf "$scratch"' EXIT

mkdir "$scratch/bin"
ln -s "$binary" "$scratch/bin/yunxin-archiver"
terminal new-session -d -x 108 -y 44 -c "$scratch" 'env PS1="$ " bash --norc --noprofile'
terminal send-keys "export PATH=$scratch/bin:\$PATH; clear" Enter
sleep 1
terminal send-keys 'yunxin-archiver demo' Enter
until terminal capture-pane -p | grep -q 'in flight'; do sleep 0.1; done
sleep 3
terminal capture-pane -p -e >"$scratch/running"
until terminal capture-pane -p | grep -q 'duckdb'; do sleep 0.1; done
terminal capture-pane -p -e >"$scratch/ended"
docs/images/terminal.py docs/images/demo.svg "while it runs=$scratch/running" "at the end=$scratch/ended"
