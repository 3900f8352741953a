# adsync. `make test` is the one command that tests everything, from a machine with nothing but Go.

GO       ?= go
BIN      ?= bin/adsync
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  := -s -w -X adsync/internal/cli.version=$(VERSION) -X adsync/internal/cli.commit=$(shell git rev-parse HEAD 2>/dev/null)
FUZZTIME ?= 1m

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: help build test vet fmt bench fuzz soak release cross reproduce vulnerabilities clean

help:
	@echo 'make test    everything: set-up (PostgreSQL), vet, staticcheck, all tests with the race detector'
	@echo 'make build   $(BIN)'
	@echo 'make bench   benchmarks, each with its ratio to a limit measured in the same run'
	@echo 'make fuzz    every fuzz target for $(FUZZTIME)'
	@echo 'make soak    the service under every fault for half an hour, and what it costs over time'
	@echo 'make release binaries for linux, macOS and Windows, what is in them, licences and checksums, in dist/'
	@echo 'make reproduce        a release twice, from two places: the same bytes'
	@echo 'make vulnerabilities  known holes in what the program calls'
	@echo 'make fmt     format the code'

build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/adsync

test:
	@GO='$(GO)' STATICCHECK='$(STATICCHECK)' ./scripts/test

vet:
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fmt:
	$(GO) run $(GOFUMPT) -w .

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

fuzz:
	@GO='$(GO)' FUZZTIME='$(FUZZTIME)' ./scripts/fuzz

soak:
	$(GO) run ./bench/soak

cross: release

release:
	@GO='$(GO)' ./scripts/release

reproduce:
	@GO='$(GO)' ./scripts/reproduce

vulnerabilities:
	@GO='$(GO)' GOVULNCHECK='$(GOVULNCHECK)' ./scripts/vulnerabilities

clean:
	rm -rf bin dist
