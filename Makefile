# CabinCrew. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

export GOTOOLCHAIN := local
# Models need cgo; without a C compiler the program is built without them.
export CGO_ENABLED ?= $(if $(shell command -v $${CC:-gcc} 2>/dev/null),1,0)

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X github.com/cabincrew/action/internal/cli.version=$(VERSION)
FUZZTIME ?= 10s
BENCH    ?= .
TOOLS    := bin/tools
LINTER   := $(TOOLS)/golangci-lint

# Packages with goroutines, files or processes: tested with the race detector too.
RACE := $(addprefix ./,$(wildcard audit ci/github engines/check engines/egress engines/oci engines/process engines/sandbox gateways gateways/identity gateways/llm gateways/llm/upstream gateways/mcp gateways/mcp/back gateways/mcp/front gateways/mcp/pins internal/patch internal/redact internal/workspace orchestrator policies/onnx storage/file test/flight test/githubtest))
# Of the flights on a forge one of each kind: all of them take it twenty minutes.
RACE_FORGE := ^Test(FromPullRequestToMerge|ThreeJobs|MergeGroup|CarriedToTheQueue|ReplannedWithTheSameIntent|SingleSteps|T04TwoRunnersAtOnce|ForkIsSealedInTheBase)$$

.PHONY: help build onnxruntime github-api webhooks demo test unit race lint fmt vet tidy arch golangci vulncheck e2e bench fuzz clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/cabincrew
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/cabincrew ./cmd/cabincrew

onnxruntime: ## put the pinned ONNX Runtime into bin/lib (demo and test do it by themselves)
	@scripts/onnxruntime.sh

github-api: ## put GitHub's description of its API into bin/lib, for the tests (test does it by itself)
	@scripts/github-api.sh

webhooks: ## put GitHub's examples of webhook payloads into bin/lib (test does it by itself)
	@scripts/webhook-examples.sh

demo: build onnxruntime ## fly the main job on a clone of this repository, stage by stage
	scripts/demo.sh

test: unit race ## run all tests

unit: onnxruntime github-api webhooks ## run the tests of all packages
	$(GO) test -timeout 15m ./...

race: onnxruntime github-api ## run the tests of the concurrent packages with the race detector
ifeq ($(CGO_ENABLED),1)
	$(GO) test -race -timeout 25m $(RACE)
	$(GO) test -race -timeout 25m -run "$(RACE_FORGE)" ./test/forge
else
	@echo "race: left out, the race detector needs a C compiler"
endif

lint: fmt vet tidy arch golangci ## check format, layers, modules and everything golangci-lint sees

fmt:
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go' 2>/dev/null | grep -v /testdata/ || echo .)); \
	if [[ -n $$out ]]; then echo "not formatted; run gofmt -w on:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet -tags e2e ./...
	cd test/mcp/peers && $(GO) vet ./...

tidy:
	$(GO) mod tidy -diff
	cd test/mcp/peers && $(GO) mod tidy -diff

arch:
	$(GO) test ./test -run '^Test(EveryPackage|Layers|Owners|Never|Pure|No|Main|Dependency|Chains)' -count=1

golangci: $(LINTER)
	$(LINTER) run ./...

# Rebuilt when its pinned version changes. The first build takes minutes.
$(LINTER): tools/go.mod tools/go.sum
	@echo "building golangci-lint (once, some minutes) ..."
	cd tools && $(GO) build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

vulncheck: ## look for known vulnerabilities (needs the network)
	cd tools && $(GO) build -o ../$(TOOLS)/govulncheck golang.org/x/vuln/cmd/govulncheck
	$(TOOLS)/govulncheck ./...

e2e: build github-api ## run the program from outside, and let programs of others judge what it signs
	scripts/demo.sh
	scripts/outside-judges.sh
	scripts/mcp-judges.sh
	$(GO) test -tags e2e -count=1 -timeout 10m ./test/e2e ./test/mcp ./test/llm ./gateways/mcp/back

# The benchmark of judging compares with it. The version is that of policies/rego/conftest_test.go.
CONFTEST := $(TOOLS)/.conftest-v0.71.1
$(CONFTEST):
	@echo "building conftest (once, some minutes) ..."
	@mkdir -p $(TOOLS)
	GOBIN=$(abspath $(TOOLS)) $(GO) install github.com/open-policy-agent/conftest@$(subst $(TOOLS)/.conftest-,,$@)
	@touch $@

bench: $(CONFTEST) onnxruntime ## run the benchmarks (BENCH=pattern)
	@scripts/mcp-judges.sh peers
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 30m $$(scripts/packages-with.sh Benchmark)

fuzz: ## fuzz each target for FUZZTIME
	FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

clean: ## remove what was built
	rm -rf bin dist
