.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

test: tools-cc ## run every test, with the race detector, over SQLite and a throw-away PostgreSQL
	internal/testpg/with-postgres.sh go test -race -shuffle=on ./...

ARGS ?=
demo: ## run everything on this machine with 12 simulated controllers; ARGS=--kill-one stops one of them
	go run ./cmd/gcctl dev $(ARGS)

build: ## build bin/global-controller and bin/gcctl
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/global-controller ./cmd/gcctl

FUZZTIME ?= 30s
fuzz: ## run each fuzz target for FUZZTIME
	go test -run "^$$" -fuzz "^FuzzEndpointURL$$" -fuzztime $(FUZZTIME) ./service
	go test -run "^$$" -fuzz "^FuzzAuthenticate$$" -fuzztime $(FUZZTIME) ./pkg/auth
	go test -run "^$$" -fuzz "^FuzzBody$$" -fuzztime $(FUZZTIME) ./transport/http

fmt-check: ## fail when gofmt would change a file
	@test -z "$$(gofmt -l . | tee /dev/stderr)"

vet: ## run go vet
	go vet ./...

check: test fmt-check vet fuzz ## exactly what CI runs

.PHONY: help test demo build fuzz fmt-check vet check

# The race detector needs a C compiler.
tools-cc:
	@command -v cc >/dev/null || { command -v apt-get >/dev/null || { echo "install a C compiler: the race detector needs it" >&2; exit 1; }; \
	  echo "No C compiler found: installing Debian's package gcc"; apt-get update -q && apt-get install -y -q --no-install-recommends gcc libc6-dev; }
.PHONY: tools-cc
