#!/usr/bin/env bash
# Runs each fuzz target of the module for a time, 30 s by default.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
found=0

while IFS=: read -r file target; do
  found=$((found + 1))
  echo "== $target in $(dirname "$file"), $time"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$(dirname "$file")"
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs grep -oHE '^func Fuzz[A-Za-z0-9_]+' | sed 's/func //' | sort)

[ "$found" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
