#!/usr/bin/env bash
# Draws demo.svg and report.png from one run of the demo, and puts its output into the READMEs; and history.png and
# history-phone.png from the past that the tests make. Needs tmux and Chromium.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --locked
binary=$(realpath "${CARGO_TARGET_DIR:-target}/debug/yunxin-archiver")
images=$PWD/docs/images
scratch=$(mktemp -d)
terminal() { tmux -L yunxin-archiver-demo "$@"; }
shows() { terminal capture-pane -p | grep -q "$1"; }
trap 'terminal kill-server 2>/dev/null || true; rm -rf "$scratch"' EXIT

mkdir "$scratch/bin"
ln -s "$binary" "$scratch/bin/yunxin-archiver"
terminal new-session -d -x 108 -y 44 -c "$scratch" 'env PS1="$ " bash --norc --noprofile'
terminal send-keys "export PATH=$scratch/bin:\$PATH; clear" Enter
sleep 1
terminal send-keys 'yunxin-archiver demo' Enter
until shows 'in flight'; do sleep 0.1; done
sleep 3
terminal capture-pane -p -e >"$scratch/running"
until shows duckdb; do sleep 0.1; done
terminal capture-pane -p -e >"$scratch/ended"
"$images/terminal.py" "$images/demo.svg" "while it runs=$scratch/running" "at the end=$scratch/ended"
terminal capture-pane -p | python3 -c '
import re, sys
shown = sys.stdin.read()
shown = shown[shown.index("demo: "):shown.index("next:")].rstrip()
shown = re.sub(r" +$", "", re.sub(r"\n\n+", "\n\n", shown), flags=re.M)
for path in ["README.md", "README.zh-CN.md"]:
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(r"(?<=```text\n).*?\n(?=```)", lambda _: shown + "\n", text, count=1, flags=re.S))
'

YUNXIN_ARCHIVER_PICTURES=$images cargo test --locked --test it -- pictures_of_the_history

cd "$scratch"
"$binary" -c demo/jobs.yaml report demo
# The page shows where the configuration is, which would be a temporary directory.
sed -i "s|$(realpath "$scratch")|/srv/yunxin-archiver|g" report.html
chromium --headless --no-sandbox --hide-scrollbars --window-size=1060,1520 --screenshot="$images/report.png" \
  "file://$scratch/report.html" 2>/dev/null
