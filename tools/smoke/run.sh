#!/usr/bin/env bash
# Runs the demo as a new user does, but on free ports. It checks that 12 controllers are healthy within 15 s, that the killed
# one is unhealthy within the threshold and 5 s, and that the exit code after SIGTERM is 0.
set -euo pipefail
cd "$(dirname "$0")/../.."

dir=$(mktemp -d)
log=$dir/demo.log
bin/gcctl dev --kill-one --http 127.0.0.1:0 --grpc 127.0.0.1:0 --ac 127.0.0.1:0 --data "$dir/data" >"$log" 2>&1 &
demo=$!
trap 'kill -KILL $demo 2>/dev/null || true; rm -rf "$dir"' EXIT

fail() { # message
  echo "smoke: $1" >&2
  cat "$log" >&2
  exit 1
}

wait_for() { # seconds, pattern, description
  local began=$SECONDS
  until grep -qE "$2" "$log"; do
    if ! kill -0 $demo 2>/dev/null || [ $((SECONDS - began)) -gt "$1" ]; then
      fail "not seen within $1 s: $3"
    fi
    sleep 0.2
  done
  echo "smoke: $3 after $((SECONDS - began)) s"
}

wait_for 15 'all 12 controllers are healthy' 'all 12 controllers healthy'
[ "$(grep -c 'pending -> healthy' "$log")" = 12 ] || fail "want 12 lines with pending -> healthy"
wait_for 36 'mc-us-east-1-1 +healthy -> unhealthy' 'the killed controller unhealthy'

# The command in the output must work when it is pasted.
paste=$(grep -m1 'curl -s' "$log")
response=$(bash -c "$paste")
case $response in
*'"controllers":['*) echo "smoke: the demo's curl command works" ;;
*) fail "the demo's curl command returned: $response" ;;
esac

kill -TERM $demo
code=0
wait $demo || code=$?
[ $code = 0 ] || fail "the demo ended with exit code $code, want 0"
echo "smoke: the demo ended with exit code 0"
