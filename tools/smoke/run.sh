#!/usr/bin/env bash
# Runs the demo as a newcomer would, on free ports, and holds what it promises: 12 controllers healthy within 15 s, the
# one that is killed unhealthy within the threshold and 5 s, and exit code 0 when it is told to stop.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
log=$dir/demo.log
bin/gcctl dev --kill-one --http 127.0.0.1:0 --grpc 127.0.0.1:0 --ac 127.0.0.1:0 --data "$dir/data" >"$log" 2>&1 &
demo=$!
trap 'kill -KILL $demo 2>/dev/null || true; rm -rf "$dir"' EXIT

wait_for() { # seconds, pattern, what
  local began=$SECONDS
  until grep -qE "$2" "$log"; do
    if ! kill -0 $demo 2>/dev/null || [ $((SECONDS - began)) -gt "$1" ]; then
      echo "smoke: not seen within $1 s: $3" >&2
      cat "$log" >&2
      exit 1
    fi
    sleep 0.2
  done
  echo "smoke: $3 after $((SECONDS - began)) s"
}
wait_for 15 'all 12 controllers are healthy' 'all 12 controllers healthy'
[ "$(grep -c 'pending -> healthy' "$log")" = 12 ] || { echo "smoke: want 12 lines of pending -> healthy" >&2; cat "$log" >&2; exit 1; }
wait_for 36 'mc-us-east-1-1 +healthy -> unhealthy' 'the killed one unhealthy'
# A line to paste must work as it stands.
paste=$(grep -m1 'curl -s' "$log")
answer=$(bash -c "$paste")
case $answer in *'"controllers":['*) echo "smoke: the curl line of the demo works" ;; *) echo "smoke: $answer" >&2; exit 1 ;; esac
kill -TERM $demo
code=0
wait $demo || code=$?
[ $code = 0 ] || { echo "smoke: the demo ended with exit code $code, want 0" >&2; cat "$log" >&2; exit 1; }
echo "smoke: ended with exit code 0"
