#!/usr/bin/env bash
# Runs scenarios of the fleet simulator over SQLite, and then over the PostgreSQL server at TEST_DATABASE_URL, also if the
# first run failed. The arguments are those of gcctl simulate; by default it runs all scenarios.
set -uo pipefail
cd "$(dirname "$0")/../.."

[ $# -gt 0 ] || set -- all --mcs 200 --parallel 7

code=0
bin/gcctl simulate "$@" --plain || code=$?
bin/gcctl simulate "$@" --plain --store postgres --database "$TEST_DATABASE_URL" || code=$?
exit "$code"
