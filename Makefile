# adsync. `make test` is the one command that tests everything, from a machine with nothing but Go.

GO       ?= go
BIN      ?= bin/adsync
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  := -s -w -X adsync/internal/cli.version=$(VERSION)
RELEASE  := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
FUZZTIME ?= 1m

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0

.PHONY: help build test test-short vet fmt bench fuzz cross clean

help:
	@echo 'make test    everything: set-up (PostgreSQL), vet, staticcheck, all tests with the race detector'
	@echo 'make build   $(BIN)'
	@echo 'make bench   benchmarks, each with its ratio to a limit measured in the same run'
	@echo 'make fuzz    every fuzz target for $(FUZZTIME)'
	@echo 'make cross   binaries for linux, darwin and windows in dist/'
	@echo 'make fmt     format the code'

build:
	$(RELEASE) -o $(BIN) ./cmd/adsync

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

cross:
	@mkdir -p dist
	@set -e; for p in $(PLATFORMS); do \
		os=$${p%/*}; arch=$${p#*/}; ext=; if [ $$os = windows ]; then ext=.exe; fi; \
		echo "building dist/adsync-$$os-$$arch$$ext"; \
		GOOS=$$os GOARCH=$$arch $(RELEASE) -o dist/adsync-$$os-$$arch$$ext ./cmd/adsync; \
	done

clean:
	rm -rf bin dist
