.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

test: ## run every test, with the race detector
	go test -race -shuffle=on ./...

FUZZTIME ?= 30s
fuzz: ## run each fuzz target for FUZZTIME
	go test -run "^$$" -fuzz "^FuzzEndpointURL$$" -fuzztime $(FUZZTIME) ./service
	go test -run "^$$" -fuzz "^FuzzAuthenticate$$" -fuzztime $(FUZZTIME) ./pkg/auth

fmt-check: ## fail when gofmt would change a file
	@test -z "$$(gofmt -l . | tee /dev/stderr)"

vet: ## run go vet
	go vet ./...

check: test fmt-check vet fuzz ## exactly what CI runs

.PHONY: help test fuzz fmt-check vet check
