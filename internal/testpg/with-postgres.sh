#!/usr/bin/env bash
# Starts a temporary PostgreSQL, runs a command, and stops and removes the server. The command gets TEST_DATABASE_URL, the server's
# address, and TESTPG_BIN, the folder of its programs. If TEST_DATABASE_URL is set already, no server is started. If no server is
# installed, the script installs Debian's package.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT ...]" >&2; exit 2; }

find_bin() {
  local found
  for found in "${TESTPG_BIN:-}" "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin "$(dirname "$(command -v initdb || echo /none/x)")"; do
    [ -n "$found" ] && [ -x "$found/initdb" ] && [ -x "$found/pg_ctl" ] && echo "$found" && return
  done
  return 1
}

if [ -n "${TEST_DATABASE_URL:-}" ]; then
  # Tests that start their own servers need the programs.
  if bin=$(find_bin); then export TESTPG_BIN=$bin; fi
  exec "$@"
fi

if ! bin=$(find_bin); then
  sudo=""
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  if ! command -v apt-get >/dev/null || ! $sudo true 2>/dev/null; then
    echo "PostgreSQL server programs (initdb, pg_ctl) not found: install PostgreSQL 15 or newer, or set TEST_DATABASE_URL." >&2
    exit 1
  fi
  echo "PostgreSQL server not found: installing Debian's package postgresql" >&2
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get update -q >&2
  # By default the package creates and starts a cluster, which is not needed.
  $sudo mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
  $sudo apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold postgresql >&2
  bin=$(find_bin)
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/testpg.XXXXXX")
as=(env)
if [ "$(id -u)" = 0 ]; then
  chown postgres "$dir" # PostgreSQL refuses to run as root.
  as=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi
child=""
cleanup() {
  (cd "$dir" && "${as[@]}" "$bin/pg_ctl" -D "$dir/data" -s -m immediate stop >/dev/null 2>&1) || true
  rm -rf "$dir"
}
# The command needs the server until it has stopped.
stop() {
  if [ -n "$child" ]; then
    kill -TERM "$child" 2>/dev/null || true
    wait "$child" || true
  fi
  exit 130
}
trap cleanup EXIT
trap stop INT TERM

back=$PWD
cd "$dir"
"${as[@]}" "$bin/initdb" --no-sync -A trust -U postgres -E UTF8 --locale=C.UTF-8 -D "$dir/data" >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
for _ in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 10000)) # Below the range of ephemeral ports.
  if "${as[@]}" "$bin/pg_ctl" -w -s -D "$dir/data" -l "$dir/server.log" \
    -o "-h 127.0.0.1 -p $port -k $dir -c max_connections=300 -c shared_buffers=128MB" start >/dev/null 2>&1; then
    started=yes
    break
  fi
done
[ "${started:-}" = yes ] || { cat "$dir/server.log" >&2; exit 1; }
cd "$back"

export TEST_DATABASE_URL="postgres://postgres@127.0.0.1:$port/postgres?sslmode=disable"
export TESTPG_BIN=$bin
# In the background, because bash handles a signal only between commands or while it waits.
"$@" <&0 &
child=$!
code=0
wait "$child" || code=$?
exit "$code"
