# farboot: boot media for machines that nobody can walk up to.
#
#   make          the command, the demo medium and the demo site
#   make boot     boots the demo medium in QEMU, up to the Debian installer
#   make test     everything, its own set-up included
#
# Building needs Go and a Debian mirror, and no root. Trying it needs QEMU.

GO      ?= go
# The agent is part of the image, so its bytes must not depend on this folder,
# the version control state, the C toolchain or the user's settings for Go; and
# it has to run on every x86-64 machine there is (v1).
# Without inlining it is 0.5 MB smaller once packed, of 3.5 MB; what takes time
# in it is assembly or waiting.
AGENTFLAGS = -trimpath -buildvcs=false -ldflags='-s -w -buildid=' -gcflags=all=-l

SOURCES := $(shell find builder payload -name '*.go' -not -name '*_test.go') go.mod go.sum

.PHONY: all
all: out/netboot.iso out/site/manifest.json bin/farboot-vmagent ## build command, demo medium and demo site

bin/farboot: $(SOURCES)
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./builder/cmd/farboot

bin/farboot-agent: $(SOURCES)
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 GOAMD64=v1 GOFLAGS=-trimpath GOEXPERIMENT= \
		$(GO) build $(AGENTFLAGS) -o $@ ./payload/agent

# The agent of "farboot vm" runs in virtual machines of the desk, and on no medium.
bin/farboot-vmagent: $(SOURCES)
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 GOAMD64=v1 GOFLAGS=-trimpath GOEXPERIMENT= \
		$(GO) build -trimpath -buildvcs=false -ldflags='-s -w -buildid=' -o $@ ./payload/vmagent

# Demo keys are made once. Their secret parts go to the user's configuration
# folder, never into this one.
keys/trust/1.json: | bin/farboot
	bin/farboot keys init --product demo

out/netboot.iso: bin/farboot bin/farboot-agent recipes/netboot.yaml $(wildcard recipes/netboot.lock) keys/trust/1.json $(wildcard keys/trust/*.json)
	bin/farboot build recipes/netboot.yaml

out/site/manifest.json: bin/farboot recipes/demo-site.yaml $(wildcard recipes/demo-site.lock) keys/trust/1.json $(wildcard keys/trust/*.json)
	bin/farboot publish recipes/demo-site.yaml

.PHONY: boot
boot: all ## boot the demo medium in QEMU until the Debian installer's first screen
	bin/farboot boot out/netboot.iso --site out/site --until 'Choose language'

.PHONY: test
test: setup check unit boot-test ## run everything, set-up included

.PHONY: setup
setup: ## install what the tests compare against (apt-get, where root)
	.ci/setup

.PHONY: check
check: ## gofmt and vet
	@test -z "$$(gofmt -l builder payload)" || { gofmt -l builder payload; exit 1; }
	$(GO) vet -tags boot,bench,long ./...

.PHONY: unit
unit: ## every test that boots nothing, then seconds of fuzzing
	$(GO) test ./...
	$(GO) run ./builder/internal/fuzz -time 3s

.PHONY: boot-test
boot-test: all ## boot in QEMU, every firmware and bus
	$(GO) test -tags boot -count=1 -timeout 45m -p 1 -v ./builder/boottest/... ./builder/mediumtest/...

BOOTS ?= 200
SEED  ?= 0

.PHONY: soak
soak: all ## boot BOOTS machines (200) with random faults from SEED (0 is the clock)
	$(GO) test -tags boot -count=1 -timeout 0 -v -run TestSoak ./builder/boottest -args -soak.boots=$(BOOTS) -soak.seed=$(SEED)

.PHONY: test-long
test-long: all soak ## hours: the soak, twenty power cuts, bad disks, every tool, foreign kernels
	$(GO) test -tags boot -count=1 -timeout 0 -v -run 'TestFlash$$' ./builder/boottest -args -flash.kills=20
	$(GO) test -tags boot,long -count=1 -timeout 0 -v -run 'TestToolbox$$|TestBadDisks$$|TestXenInstaller$$|TestForeignOnUEFI$$|TestXenLive$$|TestXenParts$$|TestVMImages$$|TestVMFails$$|TestVMInterrupted$$|TestVMShell$$|TestISO.*|TestImageRoot$$|TestCachePowerCut$$|TestCast.*|TestClone$$' ./builder/boottest
	$(GO) test -tags long -count=1 -timeout 0 -v -run 'TestDebian$$|TestISO$$|TestLarge$$|TestLiveBuild$$' ./builder/iso ./builder/stock ./builder/internal/liveiso

.PHONY: bench
bench: all ## speed, side by side with the tool one would take otherwise
	$(GO) test -tags bench -count=1 -timeout 45m -v ./builder/benchmark/...

.PHONY: clean
clean: ## remove results; keys and cache stay
	rm -rf bin out

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
