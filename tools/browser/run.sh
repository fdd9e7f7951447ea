#!/usr/bin/env bash
# Tests the web page in Chromium. If there is no Chromium, the script installs Debian's package. Flags go to the tests:
# -screenshots FOLDER writes screenshots. If TEST_DATABASE_URL is set, the demo runs with that PostgreSQL server as well.
set -euo pipefail
cd "$(dirname "$0")/../.."

export DEBIAN_FRONTEND=noninteractive
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if ! command -v chromium >/dev/null; then
  command -v apt-get >/dev/null || { echo "browser: chromium not found: install it" >&2; exit 1; }
  echo "Chromium not found: installing Debian's packages chromium and fonts-dejavu-core"
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
  echo "browser: TEST_DATABASE_URL is not set: the demo runs with SQLite only"
fi
cd tools/browser
go vet ./...
go test -count=1 -v ./... -args -database "$url" "$@" 2>&1 | grep -v '^=== '
