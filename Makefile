.DEFAULT_GOAL := help
SHELL := bash

# Tools have modules of their own, so that the product's go.mod names what the product needs.
GOLANGCI := go tool -modfile=tools/golangci-lint/go.mod golangci-lint
GOFUMPT  := go tool -modfile=tools/gofumpt/go.mod gofumpt
BUF      := go tool -modfile=$(CURDIR)/tools/buf/go.mod buf
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X darktower.example/global-controller/internal/daemon.Version=$(VERSION)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

ARGS ?=
demo: ## run everything on this machine with 12 simulated controllers; ARGS=--kill-one stops one of them
	@go build -ldflags '$(LDFLAGS)' -o bin/gcctl ./cmd/gcctl
	@bin/gcctl dev $(ARGS)

# Most tests wait for time to pass, so more tests run at once than there are cores.
TESTFLAGS ?=
# Without vet, which type-checks every dependency in a first run; lint includes it.
test: ## run every test over SQLite and a temporary PostgreSQL
	CGO_ENABLED=0 internal/testpg/with-postgres.sh go test -vet=off -shuffle=on -parallel 6 -skip '$(MEASURED)' $(TESTFLAGS) ./...

# A first run spends most of its time on building SQLite for the race detector.
test-race: tools-cc ## run every test with the race detector, as CI does
	internal/testpg/with-postgres.sh go test -race -shuffle=on -parallel 6 $(TESTFLAGS) ./...

# Measurements run alone on the machine, without the race detector.
MEASURED := ^(TestWatch_Latency|TestStart_ReadyInTime)$$
measure: ## measure the delay of a watch of 5,000 controllers, and the time until a start is ready
	internal/testpg/with-postgres.sh go test -count=1 -p 1 -v ./internal/e2e -run '$(MEASURED)'

SEED  ?= 1
SEEDS ?= 200
STEPS ?= 10000
model-test: ## run SEEDS randomized histories of STEPS steps each, starting with seed SEED; docs/model-test.md
	GOGC=400 internal/testpg/with-postgres.sh go test ./internal/modeltest -run TestModel -count=1 -timeout=2h \
	  -modeltest.seed=$(SEED) -modeltest.seeds=$(SEEDS) -modeltest.steps=$(STEPS) -modeltest.server-seeds=4 -modeltest.server-steps=3000

cover: ## print the tests' coverage by package
	internal/testpg/with-postgres.sh go test -cover -parallel 6 -skip '$(MEASURED)' ./...

build: ## build bin/global-controller and bin/gcctl
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/global-controller ./cmd/gcctl

generate: ## generate the protocol's Go code
	cd proto && $(BUF) generate

generate-check: ## fail if the committed code differs from the generated code
	tools/generate-check.sh

proto-lint: ## check the protocol's style
	cd proto && $(BUF) lint && $(BUF) format --diff --exit-code

proto-breaking: ## fail if the protocol is incompatible with its recorded baseline
	cd proto && $(BUF) breaking --against baseline.binpb

lint: ## run the linters
	$(GOLANGCI) run ./...

fmt: ## format the Go code
	$(GOFUMPT) -w -extra $(GOFILES)

fmt-check: ## fail if fmt would change a file
	@wrong=$$($(GOFUMPT) -l -extra $(GOFILES)); [ -z "$$wrong" ] || { echo "make fmt would change: $$wrong" >&2; exit 1; }

GOFILES = $$(git ls-files -co --exclude-standard '*.go' ':!:*.pb.go')

tidy-check: ## fail if go.mod lacks a module or has an unused one
	go mod tidy -diff

FUZZTIME ?= 30s
fuzz: ## run each fuzz target for FUZZTIME
	tools/fuzz.sh $(FUZZTIME)

compose-check: ## check docker-compose.yml and what it mounts, without an engine
	cd tools/composecheck && go run . ../../docker-compose.yml

openapi-check: ## check that the OpenAPI document is valid
	cd tools/openapicheck && go run .

BENCHFLAGS ?=
bench: build ## compare the heartbeat path with bare gRPC and etcd, and write docs/bench; BENCHFLAGS=--help lists the flags
	@command -v etcd >/dev/null || { echo "No etcd found: installing Debian's package etcd-server"; apt-get update -q && apt-get install -y -q --no-install-recommends etcd-server; }
	cd tools/bench && go build -o ../../bin/bench .
	internal/testpg/with-postgres.sh bin/bench $(BENCHFLAGS)

SCENARIOS ?= all --mcs 200 --parallel 7
simulate: ## run every scenario of gcctl simulate with 200 controllers, over SQLite and PostgreSQL; SCENARIOS='herd --mcs 5000' runs others
	@go build -ldflags '$(LDFLAGS)' -o bin/gcctl ./cmd/gcctl
	internal/testpg/with-postgres.sh tools/fleetsim/run.sh $(SCENARIOS)

smoke: build ## run the demo, kill a controller, and check that both are reported in time
	tools/smoke/run.sh

prom-check: build ## check Prometheus's configuration, rules and discovery of controllers with a real Prometheus
	internal/testpg/with-postgres.sh tools/promcheck/run.sh

check: ## exactly what CI runs
	.ci/run

BROWSERFLAGS ?=
browser: build ## test the web page in a real Chromium, over SQLite and PostgreSQL; BROWSERFLAGS='-screenshots FOLDER' writes pictures
	internal/testpg/with-postgres.sh tools/browser/run.sh $(BROWSERFLAGS)

clean: ## remove what was built, and the demo's data
	rm -rf bin data

.PHONY: browser help demo test cover build generate generate-check proto-lint proto-breaking lint fmt fmt-check tidy-check fuzz compose-check openapi-check bench simulate smoke prom-check measure test-race check clean tools-cc model-test

# The race detector needs a C compiler.
tools-cc:
	@command -v cc >/dev/null || { command -v apt-get >/dev/null || { echo "install a C compiler: the race detector needs it" >&2; exit 1; }; \
	  echo "No C compiler found: installing Debian's package gcc"; apt-get update -q && apt-get install -y -q --no-install-recommends gcc libc6-dev; }
