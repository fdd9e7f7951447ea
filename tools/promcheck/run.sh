#!/usr/bin/env bash
# Checks what Prometheus is given with a real one. promtool checks the configuration and the rules and runs the rules'
# tests; then, over SQLite and, where TEST_DATABASE_URL names a server, over PostgreSQL, a Prometheus scrapes the demo and
# has to find the service up, the 12 controllers discovered with their labels, and every rule without an error. Where no
# Prometheus is installed, Debian's package is.
set -euo pipefail
cd "$(dirname "$0")/../.."

export DEBIAN_FRONTEND=noninteractive
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
  command -v apt-get >/dev/null || { echo "prom-check: needs prometheus and promtool, 2.42 or newer" >&2; exit 1; }
  echo "No Prometheus found: installing Debian's package prometheus"
  # The service that the package may start is of no use here, and would be left running.
  running=$(pidof prometheus || true)
  $sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends prometheus
  [ -n "$running" ] || ! command -v systemctl >/dev/null || $sudo systemctl disable --now prometheus >/dev/null 2>&1 || true
fi
for tool in curl jq; do
  command -v $tool >/dev/null || { echo "No $tool found: installing Debian's package $tool"; $sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends $tool; }
done

promtool check config deploy/prometheus/prometheus.yml
promtool check rules deploy/prometheus/rules.yml
promtool test rules deploy/prometheus/*_test.yml

dir=$(mktemp -d)
demo="" prometheus="" database=""
# Ends a process of ours, kindly for a while.
end() {
  [ -n "$1" ] || return 0
  kill -TERM "$1" 2>/dev/null || return 0
  for _ in $(seq 50); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
clean() {
  end "$prometheus"
  end "$demo"
  [ -z "$database" ] || sql "DROP DATABASE IF EXISTS $database WITH (FORCE)"
  rm -rf "$dir"
}
sql() { "$psql" -qX -v ON_ERROR_STOP=1 "$TEST_DATABASE_URL" -c "$1"; }
trap clean EXIT
trap 'exit 130' INT TERM

fail() { # message
  echo "prom-check: $1" >&2
  tail -n 30 "$dir"/*.log >&2 || true
  exit 1
}

until_seen() { # seconds, what, command...
  local began=$SECONDS limit=$1 what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    kill -0 "$demo" 2>/dev/null || fail "the demo has ended before: $what"
    [ -z "$prometheus" ] || kill -0 "$prometheus" 2>/dev/null || fail "Prometheus has ended before: $what"
    [ $((SECONDS - began)) -le "$limit" ] || fail "not seen within $limit s: $what"
    sleep 0.2
  done
  echo "prom-check: $what after $((SECONDS - began)) s"
}

ask() { curl -sf --max-time 5 "http://$prom/api/v1/$1" "${@:2}"; }
value_is() { # expression, value
  ask query -G --data-urlencode "query=$1" | jq -e --arg want "$2" '.data.result | length == 1 and .[0].value[1] == $want'
}
discovered() {
  ask targets -G -d state=active | jq -e '[.data.activeTargets[] | select(.labels.job == "meeting-controllers")]
    | length == 12
      and all(.[].discoveredLabels; .__meta_gc_controller_id != "" and .__meta_gc_region != "" and .__meta_gc_health == "healthy" and .__meta_gc_draining == "false" and .__meta_gc_host != "")
      and all(.[]; .labels.controller_id != "" and .labels.region != "" and .labels.discovered == "\(.discoveredLabels.__meta_gc_host):50052")
      and ([.[].labels.controller_id] | unique | length == 12)
      and ([.[].labels.region] | unique | length == 3)'
}
rules=$(grep -cE '^ +- (alert|record): ' deploy/prometheus/rules.yml)
# Every expression of the dashboards is one that Prometheus can answer; how many come to something is shown.
dashboards_are_well() { # name
  local expression asked=0 empty=0 results
  while read -r expression; do
    results=$(ask query -G --data-urlencode "query=$expression" | jq '.data.result | length') || fail "$1: a dashboard asks what Prometheus cannot answer: $expression"
    asked=$((asked + 1))
    [ "$results" != 0 ] || empty=$((empty + 1))
  done < <(jq -r '.. | objects | .expr? // empty' deploy/grafana/*.json | sed -E 's/\$__rate_interval/5s/g; s/\$region/us-east-1/g' | sort -u)
  [ "$asked" -gt 50 ] || fail "$1: found $asked expressions in deploy/grafana, want more than 50"
  echo "prom-check: $1: the dashboards ask $asked questions; $empty have nothing to show"
}
rules_are_well() {
  ask rules | jq -e --argjson want "$rules" '[.data.groups[].rules[]] | length == $want and all(.health == "ok" and (.lastError // "") == "")'
}

play() { # name, database
  local log=$dir/$1-demo.log http port
  bin/gcctl dev --http 127.0.0.1:0 --grpc 127.0.0.1:0 --ac 127.0.0.1:0 --data "$dir/$1" --database "$2" >"$log" 2>&1 &
  demo=$!
  until_seen 20 "$1: all 12 controllers healthy" grep -q 'all 12 controllers are healthy' "$log"
  http=$(sed -nE 's|^ *HTTP +http://([0-9.:]+).*|\1|p' "$log")
  # The repository's own, with the addresses and the pace of this check. The demo's controllers serve nothing, and nobody
  # is to look for their names.
  sed -E 's/^( *)interval: .*/\1interval: 1s/' deploy/prometheus/rules.yml >"$dir/rules.yml"
  sed -E "s/global-controller:8081/$http/; s/^( *)relabel_configs:/&\n\1  - {source_labels: [__address__], target_label: discovered}\n\1  - {target_label: __address__, replacement: '127.0.0.1:9'}/; s/(scrape_interval|evaluation_interval|refresh_interval): .*/\1: 1s/" deploy/prometheus/prometheus.yml >"$dir/$1.yml"
  promtool check config "$dir/$1.yml" >"$dir/$1-config.log"
  prometheus=""
  for _ in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 10000)) # Below the range from which a system gives out ports itself.
    prom=127.0.0.1:$port
    prometheus --config.file="$dir/$1.yml" --storage.tsdb.path="$dir/$1-tsdb" --web.listen-address="$prom" >"$dir/$1-prometheus.log" 2>&1 &
    prometheus=$!
    for _ in $(seq 50); do
      curl -sf --max-time 1 "http://$prom/-/ready" >/dev/null && break 2
      kill -0 "$prometheus" 2>/dev/null || break
      sleep 0.1
    done
    end "$prometheus"
    prometheus=""
  done
  [ -n "$prometheus" ] || fail "$1: Prometheus does not start"
  until_seen 15 "$1: the service is up" value_is 'up{job="global-controller"}' 1
  until_seen 15 "$1: 12 controllers are counted" value_is 'sum(gc_registered_controllers)' 12
  until_seen 15 "$1: 12 controllers are discovered with their labels" discovered
  until_seen 15 "$1: a recording rule says that 12 serve" value_is 'sum(region:gc_registered_controllers_serving:sum)' 12
  until_seen 15 "$1: all $rules rules are evaluated, without an error" rules_are_well
  ask targets -G -d state=active | jq -r '.data.activeTargets[] | select(.labels.job == "meeting-controllers") | "  \(.labels.controller_id)\t\(.labels.region)\t\(.labels.discovered)"' | sort
  dashboards_are_well "$1"
  value_is 'count(ALERTS{alertstate="firing"}) or vector(0)' 0 >/dev/null ||
    fail "$1: an alert fires for a demo that is well: $(ask query -G --data-urlencode 'query=ALERTS{alertstate="firing"}')"
  end "$prometheus"
  prometheus=""
  end "$demo"
  demo=""
}

play sqlite ""
if [ -n "${TEST_DATABASE_URL:-}" ]; then
  # A database of its own, as every test has.
  psql=$(command -v psql || echo "${TESTPG_BIN:-}/psql")
  database=promcheck_$$_$RANDOM
  sql "CREATE DATABASE $database"
  play postgres "$(sed -E "s|^([a-z]+://[^/]*/)[^?]*|\1$database|" <<<"$TEST_DATABASE_URL")"
else
  echo "prom-check: without TEST_DATABASE_URL there is nothing to see over PostgreSQL"
fi
echo "prom-check: ok"
