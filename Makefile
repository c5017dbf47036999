# What a newcomer needs: `make demo` and `make test`. Both install what is
# missing, or say in one line what to install.

TOOLS  := $(CURDIR)/.tools
BIN    := $(CURDIR)/bin/firn
GO     ?= go
export PATH := $(TOOLS)/bin:$(PATH)

VERSITYGW   := github.com/versity/versitygw/cmd/versitygw@v1.8.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
NFPM        := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0

VERSION     ?= $(shell scripts/dist-version.sh 2>/dev/null)

.PHONY: build dist demo bench bench-db bench-scale test test-unit test-e2e soak test-processors test-ceph lint tools fuzz clean

build: ## the program, bin/firn
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.buildVersion=$(VERSION)' -o $(BIN) ./cmd/firn

demo: build ## back up, change, back up, archive, mount, restore, compare
	scripts/packages.sh lz4 fuse3 rsync
	scripts/demo.sh $(BIN)

dist: $(TOOLS)/bin/nfpm ## what is published, into dist/: programs, .deb and .rpm for amd64 and arm64
	scripts/dist.sh dist

test: tools test-unit test-e2e ## all tests

# The race detector takes five times as long. In packages without goroutines it has
# nothing to find, which TestSequential holds; in envelope the slowest tests are left
# out, since others run the same goroutines. All are run without it as well. Four packages at once: they wait for disks and servers.
SEQUENTIAL := config extsort keys manifest schedule sha512x2 shard
SLOW       := 'TestReaderAt$$|TestReaderAtFindsDamage|TestOtherSealers|TestTableOfBlocks|TestTableFindsDamageInItsBlock|TestOriginalArchives'

test-unit: tools ## each package alone, with the race detector where there are goroutines
	$(GO) test -race -p 4 -timeout 10m $$($(GO) list ./... | grep -vE '/internal/($(subst $() ,|,$(SEQUENTIAL))|envelope)$$')
	$(GO) test -race -timeout 10m -skip $(SLOW) ./internal/envelope
	$(GO) test -p 4 -timeout 10m $(SEQUENTIAL:%=./internal/%) ./internal/envelope
	$(GO) test -timeout 10m -run 'Hostile|Memory' ./internal/catalog # in full: too slow under the race detector

test-e2e: tools build ## the program on a real S3 server, PostgreSQL, gpg, lz4, tar, rsync and FUSE
	cd e2e && FIRN=$(BIN) FIRN_TOOLS=$(TOOLS)/bin $(GO) test -count=1 -timeout 15m ./...

test-processors: ## what is written for processors, on emulated ones that this machine has not
	scripts/test-processors.sh

test-ceph: tools build ## the object store's tests and a night on Ceph's gateway
	scripts/test-ceph.sh $(BIN) $(TOOLS)/bin

lint: tools $(TOOLS)/bin/staticcheck ## format, vet, staticcheck, vulnerabilities
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./... && cd e2e && $(GO) vet ./...
	$(TOOLS)/bin/staticcheck ./... && cd e2e && $(TOOLS)/bin/staticcheck ./...
	scripts/vulncheck.sh

bench: build ## against the commands that firn takes the place of: into docs/performance.md, and docs/throughput.svg
	scripts/packages.sh gnupg lz4 fuse3 perl gnuplot-nox
	scripts/bench.sh $(BIN) >bin/bench.md
	scripts/bench-insert.sh docs/performance.md bin/bench.md

bench-db: tools build ## a database to the bucket and back, against pg_dump, lz4, gpg and psql
	scripts/bench-db.sh $(BIN)

# What to measure: numbers of files, "lines" and "tools". What was measured before stays.
SIZES ?= 10000 100000 1000000 lines tools
bench-scale: build ## time and memory by the number of files, and beside restic and borg: into docs/performance.md, and docs/scale.svg
	scripts/packages.sh fuse3 rsync time restic borgbackup gnuplot-nox
	scripts/bench-scale.sh $(BIN) bin/scale $(SIZES)

# Minutes for each of the tests that go on for as long as one likes.
SOAK ?= 10
soak: tools build ## the tests of crashes, faults and damage in full, and every fuzz target: hours
	FIRN_SOAK=$(SOAK) $(GO) test -count=1 -timeout 4h ./...
	cd e2e && FIRN=$(BIN) FIRN_TOOLS=$(TOOLS)/bin FIRN_SOAK=$(SOAK) $(GO) test -count=1 -timeout 4h ./...
	scripts/fuzz.sh $(FUZZTIME)

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME
	scripts/fuzz.sh $(FUZZTIME)

tools: $(TOOLS)/bin/versitygw $(TOOLS)/bin/nfpm $(TOOLS)/bin/prometheus $(TOOLS)/debian.tar ## what the tests need besides Go
	scripts/packages.sh gnupg lz4 fuse3 rsync postgresql gcc libc6-dev e2fsprogs chromium curl openssl jq rpm lintian man-db debootstrap systemd-container

$(TOOLS)/bin/versitygw:
	GOBIN=$(TOOLS)/bin $(GO) install $(VERSITYGW)

$(TOOLS)/bin/nfpm:
	GOBIN=$(TOOLS)/bin $(GO) install $(NFPM)

$(TOOLS)/bin/prometheus:
	scripts/prometheus.sh $(TOOLS)/bin

$(TOOLS)/debian.tar: # where the tests install the package
	scripts/packages.sh debootstrap
	mkdir -p $(TOOLS) && scripts/debian-base.sh $@

$(TOOLS)/bin/staticcheck:
	GOBIN=$(TOOLS)/bin $(GO) install $(STATICCHECK)

clean:
	rm -rf bin dist .tools
