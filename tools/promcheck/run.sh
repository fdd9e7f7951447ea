#!/usr/bin/env bash
# Checks the configuration, the rules and the dashboards with a real Prometheus. promtool checks the configuration and the
# rules and runs the rules' tests. Then a Prometheus scrapes the demo over SQLite and, if TEST_DATABASE_URL is set, over
# PostgreSQL. It must find the service up, 12 controllers discovered with their labels, and every rule without an error. If
# Prometheus is not installed, the script installs Debian's package.
set -euo pipefail
cd "$(dirname "$0")/../.."

export DEBIAN_FRONTEND=noninteractive
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
  command -v apt-get >/dev/null || { echo "prom-check: needs prometheus and promtool, 2.42 or newer" >&2; exit 1; }
  echo "No Prometheus found: installing Debian's package prometheus"
  # The package may start a service, which is not used here and must not remain.
  running=$(pidof prometheus || true)
  $sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends prometheus
  [ -n "$running" ] || ! command -v systemctl >/dev/null || $sudo systemctl disable --now prometheus >/dev/null 2>&1 || true
fi
for tool in curl jq; do
  command -v $tool >/dev/null || {
    echo "No $tool found: installing Debian's package $tool"
    $sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends $tool
  }
done

promtool check config deploy/prometheus/prometheus.yml
promtool check rules deploy/prometheus/rules.yml
promtool test rules deploy/prometheus/*_test.yml

dir=$(mktemp -d)
demo="" prometheus="" database=""

# Stops a process of this script with SIGTERM, and after 5 s with SIGKILL.
stop() { # process id
  [ -n "$1" ] || return 0
  kill -TERM "$1" 2>/dev/null || return 0
  for _ in $(seq 50); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

clean_up() {
  stop "$prometheus"
  stop "$demo"
  [ -z "$database" ] || sql "DROP DATABASE IF EXISTS $database WITH (FORCE)"
  rm -rf "$dir"
}

sql() { "$psql" -qX -v ON_ERROR_STOP=1 "$TEST_DATABASE_URL" -c "$1"; }

trap clean_up EXIT
trap 'exit 130' INT TERM

fail() { # message
  echo "prom-check: $1" >&2
  tail -n 30 "$dir"/*.log >&2 || true
  exit 1
}

wait_until() { # seconds, description, command...
  local began=$SECONDS limit=$1 description=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    kill -0 "$demo" 2>/dev/null || fail "the demo ended before this was seen: $description"
    [ -z "$prometheus" ] || kill -0 "$prometheus" 2>/dev/null || fail "Prometheus ended before this was seen: $description"
    [ $((SECONDS - began)) -le "$limit" ] || fail "not seen within $limit s: $description"
    sleep 0.2
  done
  echo "prom-check: $description after $((SECONDS - began)) s"
}

query() { curl -sf --max-time 5 "http://$prom/api/v1/$1" "${@:2}"; }

value_is() { # expression, value
  query query -G --data-urlencode "query=$1" | jq -e --arg want "$2" '.data.result | length == 1 and .[0].value[1] == $want'
}

all_discovered() {
  query targets -G -d state=active | jq -e '[.data.activeTargets[] | select(.labels.job == "meeting-controllers")]
    | length == 12
      and all(.[].discoveredLabels; .__meta_gc_controller_id != "" and .__meta_gc_region != "" and .__meta_gc_host != ""
        and .__meta_gc_health == "healthy" and .__meta_gc_draining == "false")
      and all(.[]; .labels.controller_id != "" and .labels.region != ""
        and .labels.discovered == "\(.discoveredLabels.__meta_gc_host):50052")
      and ([.[].labels.controller_id] | unique | length == 12)
      and ([.[].labels.region] | unique | length == 3)'
}

rules=$(grep -cE '^ +- (alert|record): ' deploy/prometheus/rules.yml)

# Prometheus must be able to evaluate every expression of the dashboards. The number of empty results is only printed.
check_dashboards() { # name
  local expression count=0 empty=0 results
  while read -r expression; do
    results=$(query query -G --data-urlencode "query=$expression" | jq '.data.result | length') ||
      fail "$1: Prometheus cannot evaluate an expression of a dashboard: $expression"
    count=$((count + 1))
    [ "$results" != 0 ] || empty=$((empty + 1))
  done < <(jq -r '.. | objects | .expr? // empty' deploy/grafana/*.json |
    sed -E 's/\$__rate_interval/5s/g; s/\$region/us-east-1/g' | sort -u)
  [ "$count" -gt 50 ] || fail "$1: found $count expressions in deploy/grafana, want more than 50"
  echo "prom-check: $1: the dashboards have $count expressions; $empty have no result"
}

all_rules_healthy() {
  query rules | jq -e --argjson want "$rules" '[.data.groups[].rules[]]
    | length == $want and all(.health == "ok" and (.lastError // "") == "")'
}

check_demo() { # name, database
  local log=$dir/$1-demo.log http port
  bin/gcctl dev --http 127.0.0.1:0 --grpc 127.0.0.1:0 --ac 127.0.0.1:0 --data "$dir/$1" --database "$2" >"$log" 2>&1 &
  demo=$!
  wait_until 20 "$1: all 12 controllers healthy" grep -q 'all 12 controllers are healthy' "$log"
  http=$(sed -nE 's|^ *HTTP +http://([0-9.:]+).*|\1|p' "$log")

  # The repository's configuration with the addresses and intervals of this check. The demo's controllers have no server and
  # no DNS names, so their targets get an address that refuses connections.
  sed -E 's/^( *)interval: .*/\1interval: 1s/' deploy/prometheus/rules.yml >"$dir/rules.yml"
  local discovered='{source_labels: [__address__], target_label: discovered}'
  local refusing="{target_label: __address__, replacement: '127.0.0.1:9'}"
  sed -E \
    -e "s/global-controller:8081/$http/" \
    -e "s/^( *)relabel_configs:/&\n\1  - $discovered\n\1  - $refusing/" \
    -e "s/(scrape_interval|evaluation_interval|refresh_interval): .*/\1: 1s/" deploy/prometheus/prometheus.yml >"$dir/$1.yml"
  promtool check config "$dir/$1.yml" >"$dir/$1-config.log"

  prometheus=""
  for _ in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 10000)) # Below the ephemeral ports.
    prom=127.0.0.1:$port
    prometheus --config.file="$dir/$1.yml" --storage.tsdb.path="$dir/$1-tsdb" --web.listen-address="$prom" \
      >"$dir/$1-prometheus.log" 2>&1 &
    prometheus=$!
    for _ in $(seq 50); do
      curl -sf --max-time 1 "http://$prom/-/ready" >/dev/null && break 2
      kill -0 "$prometheus" 2>/dev/null || break
      sleep 0.1
    done
    stop "$prometheus"
    prometheus=""
  done
  [ -n "$prometheus" ] || fail "$1: Prometheus does not start"

  wait_until 15 "$1: the service is up" value_is 'up{job="global-controller"}' 1
  wait_until 15 "$1: 12 controllers are counted" value_is 'sum(gc_registered_controllers)' 12
  wait_until 15 "$1: 12 controllers are discovered with their labels" all_discovered
  wait_until 15 "$1: a recording rule returns 12 serving controllers" value_is 'sum(region:gc_registered_controllers_serving:sum)' 12
  wait_until 15 "$1: all $rules rules are evaluated, without an error" all_rules_healthy
  query targets -G -d state=active | jq -r '.data.activeTargets[] | select(.labels.job == "meeting-controllers")
    | "  \(.labels.controller_id)\t\(.labels.region)\t\(.labels.discovered)"' | sort
  check_dashboards "$1"
  value_is 'count(ALERTS{alertstate="firing"}) or vector(0)' 0 >/dev/null ||
    fail "$1: an alert fires for a healthy demo: $(query query -G --data-urlencode 'query=ALERTS{alertstate="firing"}')"

  stop "$prometheus"
  prometheus=""
  stop "$demo"
  demo=""
}

check_demo sqlite ""
if [ -n "${TEST_DATABASE_URL:-}" ]; then
  # Its own database, as in every test.
  psql=$(command -v psql || echo "${TESTPG_BIN:-}/psql")
  database=promcheck_$$_$RANDOM
  sql "CREATE DATABASE $database"
  check_demo postgres "$(sed -E "s|^([a-z]+://[^/]*/)[^?]*|\1$database|" <<<"$TEST_DATABASE_URL")"
else
  echo "prom-check: TEST_DATABASE_URL is not set: PostgreSQL was not checked"
fi
echo "prom-check: ok"
