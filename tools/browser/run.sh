#!/usr/bin/env bash
# Tests the web page in a real Chromium, Debian's package, which is installed where there is none. Flags go to the tests:
# -screenshots FOLDER writes pictures. Where TEST_DATABASE_URL names a PostgreSQL server, the demo runs over it as well.
set -euo pipefail
cd "$(dirname "$0")/../.."

export DEBIAN_FRONTEND=noninteractive
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if ! command -v chromium >/dev/null; then
  command -v apt-get >/dev/null || { echo "browser: needs chromium" >&2; exit 1; }
  echo "No Chromium found: installing Debian's packages chromium and fonts-dejavu-core"
  $sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core
fi
database="" url=""
sql() { "$psql" -qX -v ON_ERROR_STOP=1 "$TEST_DATABASE_URL" -c "$1"; }
if [ -n "${TEST_DATABASE_URL:-}" ]; then
  psql=$(command -v psql || echo "${TESTPG_BIN:-}/psql")
  database=browser_$$_$RANDOM
  sql "CREATE DATABASE $database"
  trap 'sql "DROP DATABASE IF EXISTS $database WITH (FORCE)"' EXIT
  url=$(sed -E "s|^([a-z]+://[^/]*/)[^?]*|\1$database|" <<<"$TEST_DATABASE_URL")
else
  echo "browser: without TEST_DATABASE_URL there is nothing to see over PostgreSQL"
fi
cd tools/browser
go vet ./...
go test -count=1 -v ./... -args -database "$url" "$@" 2>&1 | grep -v '^=== '
