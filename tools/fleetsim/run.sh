#!/usr/bin/env bash
# Plays the fleet simulator's scenarios over SQLite and over the PostgreSQL at TEST_DATABASE_URL, one store after the
# other, whatever became of the first. The arguments are gcctl simulate's.
set -uo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- all --mcs 200 --parallel 7
code=0
bin/gcctl simulate "$@" --plain || code=$?
bin/gcctl simulate "$@" --plain --store postgres --database "$TEST_DATABASE_URL" || code=$?
exit "$code"
