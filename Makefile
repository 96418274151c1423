.PHONY: test quick race plain sample tools check vet gofmt lint vuln licences sbom reproducible sim sim-for pairs simulation soak badday mutants bench bench-long bench-micro alerts build clean

# Everything: the cheap checks, and every test, against a real nats-server (in
# process) and a real redis-server (installed where it is missing). What is
# compiled without the race detector runs first and alone: beside the tests of the
# vendor's bad days it would take the time that those measure.
test: tools plain race
	cd worker && ../bin/worker.test -test.timeout 8m -test.run '^($(PUNCTUAL))$$'

# Where the race detector costs much and sees little: each of these does the same as a
# test beside it, many times over.
REPEATED = TestLookupModes|TestSimulatedFleet.*

# The vendor's bad days are measured by the clock, so they run alone and without the
# race detector, when all else is done.
PUNCTUAL = TestBadDay.*

# These only drive child processes: the program as it is shipped, without the race detector,
# and servers. In this test binary the detector would watch the publisher and the proxies,
# at twice its processor time.
BLACKBOX = TestBlackBox

# The operator's commands: most of these run a command many times, from its command line to
# its output; two pause a fleet of child processes. The race detector would take three times
# their processor time. What the commands do at once is in cmd/internal/operator and
# cmd/internal/doctor, and is tested with it by the console's tests and by the doctor's other
# ones. make soak runs all of these with it.
COMMANDS = Test(Desk.*|Settle.*|Status.*|Doctor(Broken|Known|BadSignature|Account|Permissions).*|PauseOfTheFleet|NothingIsSentWithoutTheBucket)

# What people run while they write in worker, dedupe or upstream: no server, no browser, no
# built program. cmd and deploy are left out: after a change in worker they are two thirds of
# the work. make check looks at all of it, and compiles it.
DOMAIN = ./worker/... ./dedupe/... ./upstream/...
quick: gofmt
	go vet $(DOMAIN)
	go test -short -vet=off $(DOMAIN)

# Tests wait a lot, so three packages at once keep two cores busy.
race:
	go test -race -vet=off -p $$(cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores > 3 ? cores : 3))) -parallel 8 -skip '^($(PUNCTUAL)|$(REPEATED)|$(BLACKBOX)|$(COMMANDS))$$' -timeout 14m $$(go list ./... | grep -vE '/(deploy|cmd/bench)$$')

# Without the race detector: deploy's tests, which start programs and read files, for it
# the Kubernetes types would be compiled once more; the bench's, whose contenders and servers are
# this test binary again; the black box; the commands; and the simulation, many times as fast.
# TestLookupModes mostly waits, so it runs beside the simulation, which only computes.
# It is compiled as the program is shipped, which deploy and the black box build:
# all of it once.
plain: export CGO_ENABLED = 0
plain: export GOFLAGS += -trimpath
plain: check simulation
	go test -vet=off -parallel 8 -timeout 14m ./deploy ./cmd/bench
	go test -vet=off -parallel 8 -run '^($(COMMANDS))$$' -timeout 14m ./cmd/orderworker
	go test -vet=off -run '^($(BLACKBOX))$$' -timeout 14m ./cmd/orderworker
	go test -vet=off -run '^($(REPEATED))$$' ./upstream/quota
	@cd worker; ../bin/worker.test -test.timeout 8m -test.parallel 8 -test.run '^($(REPEATED))$$' & repeated=$$!; \
	trap 'kill $$repeated' INT TERM; cd ..; ($(SAMPLE)) && ($(RANDOM)); computed=$$?; wait $$repeated && exit $$computed

# What costs seconds: formatting, the modules as go.sum says, go.mod tidy, vet,
# and whether the mutants still apply.
# The licences of what is linked are a test in deploy (see licences).
check: vet
	go mod verify
	go mod tidy -diff
	go run ./cmd/mutants -check

# go test has a vet of its own, a part of this one: -vet=off where this has run.
vet: gofmt
	go vet ./...

gofmt:
	@unformatted="$$(gofmt -l .)"; [ -z "$$unformatted" ] || { echo "not gofmt'ed: $$unformatted"; exit 1; }

# Not a part of make test: on a fresh machine golangci-lint is built from source,
# three minutes of CPU and two hundred modules to fetch, and its first look at
# the tree takes another minute or two.
lint:
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run

# Known vulnerabilities in code that is really called. It asks vuln.go.dev, so
# it is not a part of make test; without a network give it a copy of the
# database: make vuln VULN='-db file:///path/to/copy'.
vuln:
	go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 $(VULN) ./...

# A million simulated orders with random faults, in two processes; make test has
# a tenth of them. A failing seed prints itself; SIM_ORDERS is how many for each process.
SIM_ORDERS ?= 500000
plain: SIM_ORDERS = 50000
sim: simulation
	@$(RANDOM)
RANDOM = $(call simulate,Random,-sim.orders=$(SIM_ORDERS) -sim.seed=1,-sim.orders=$(SIM_ORDERS) -sim.seed=1000001)

# The same for as long as asked, from seeds that were never used: they begin
# with the time.
SIM_FOR ?= 10m
sim-for: simulation
	@now=$$(date +%s); $(call simulate,Random,-sim.for=$(SIM_FOR) -sim.seed=$${now}000000000,-sim.for=$(SIM_FOR) -sim.seed=$${now}500000000)

# Each fault at each point of an order's life, each pair of them, and each older
# state of Redis; make test takes a sample. A quarter of an hour on two free cores.
sample: simulation
	@$(SAMPLE)
SAMPLE = $(call simulate,(EachFaultAndEachPair|RedisFallsBackToEachState),-sim.parts=2 -sim.part=0,-sim.parts=2 -sim.part=1)

pairs: simulation
	@$(call simulate,(EachFaultAndEachPair|RedisFallsBackToEachState),-sim.stride=1 -sim.parts=2 -sim.part=0,-sim.stride=1 -sim.parts=2 -sim.part=1)

simulation:
	@mkdir -p bin && go test -c -o bin/worker.test ./worker

# A test of the simulation in two processes, each with its own flags: one uses one core.
simulate = cd worker; sim() { ../bin/worker.test -test.v -test.timeout 0 -test.run '^TestSim$(1)$$' "$$@"; }; \
	sim $(2) & first=$$!; sim $(3); second=$$?; wait $$first && exit $$second

# redis-server and promtool for the tests, a browser for those of the console, a C compiler
# for the race detector, node and python for the examples in deploy/examples.
tools:
	@missing=""; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v promtool >/dev/null || missing="$$missing prometheus"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	command -v python3 >/dev/null || missing="$$missing python3"; \
	command -v chromium >/dev/null || missing="$$missing chromium fonts-dejavu-core"; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	if [ -n "$$missing" ]; then \
		sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		echo "installing$$missing"; \
		$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

# The black-box tests for as long as it takes: over 2,000 faults and 100,000
# orders, about half an hour on two cores; SOAK=0.1 is a tenth of it. With them the
# operator's commands, with the race detector. Then the simulation: a million orders,
# each pair of faults, and new seeds for SIM_FOR.
SOAK ?= 1
soak: tools
	go test -race -count=1 -v -timeout 5h -run '^($(BLACKBOX)|$(COMMANDS))$$' ./cmd/orderworker -args -soak=$(SOAK) -soak.at-once=5
	$(MAKE) --no-print-directory sim pairs sim-for

# The vendor's bad days at full length, and the table of the limiter.
badday: tools
	BADDAY=1 go test -count=1 -v -timeout 30m -run 'BadDay|SimulatedFleet' ./upstream/quota ./worker

# The alert rules' own tests; promtool comes with Debian's prometheus.
alerts:
	@command -v promtool >/dev/null || { \
		sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends prometheus >/dev/null; }
	go test -count=1 -run 'TestAlerts|TestQueriesParse|TestRules' ./deploy

# Removes one safety rule at a time and shows that some test fails for each.
mutants: tools
	go run ./cmd/mutants

# Load: the built worker beside a bare loop that does the same work without its
# promises, in turns: long queues, steady loads, nothing to do. It says which goals are
# met. A quarter of an hour (BENCH='-runs 1' a fifth of it), best on a quiet
# machine. More flags in BENCH: BENCH=-h lists them.
bench: tools
	go run ./cmd/bench $(BENCH)

# A million orders queued beside ten thousand, and three processes beside one:
# about half an hour, BENCH='-runs 1' a third of it.
bench-long: tools
	go run ./cmd/bench -long $(BENCH)

# The small parts: sign, encode, decode, classify, claim, and a call with our own HTTP
# exchange beside one with http.Transport.
bench-micro: tools
	go test -run '^$$' -bench . -benchmem ./upstream ./worker ./dedupe

# One static binary.
build:
	CGO_ENABLED=0 go build -trimpath -buildvcs=true -ldflags="-s -w" -o bin/orderworker ./cmd/orderworker

# Writes and shows deploy/licences.txt: each module in the binary and its licence,
# from the module cache. That they are allowed, and the list is up to date, is a test.
licences:
	@go test -count=1 -run '^TestLicences$$' ./deploy -args -licences && cat deploy/licences.txt

# The binary's bill of materials, CycloneDX: the same for the same binary. Then
# it must list each module that the binary says it has. Two warnings are to be
# expected: no licence of this module itself, nor of the standard library.
sbom: build
	go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 bin -json -std -licenses -noserial -notimestamp \
		-output bin/orderworker.cdx.json bin/orderworker
	@go version -m bin/orderworker | awk '$$1 == "dep" { print "pkg:golang/" $$2 "@" $$3 "?" }' > bin/modules; \
	while read -r module; do \
		grep -qF "\"purl\": \"$$module" bin/orderworker.cdx.json || { echo "missing: $$module"; exit 1; }; \
	done < bin/modules; \
	echo "bin/orderworker.cdx.json lists all $$(wc -l < bin/modules) modules of the binary"; rm bin/modules

# Builds the commit twice, in two places and with two empty caches, and compares
# byte by byte. Two cold builds take minutes, so it is not a part of make test.
reproducible:
	@set -e; commit=$$(git rev-parse HEAD); dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	for place in one another/deeper/place; do \
		git clone -q . "$$dir/$$place"; git -C "$$dir/$$place" checkout -q --detach "$$commit"; \
		GOCACHE="$$dir/$$place.cache" $(MAKE) --no-print-directory -C "$$dir/$$place" build; \
		(cd "$$dir/$$place" && sha256sum bin/orderworker && bin/orderworker version); \
	done; \
	cmp "$$dir/one/bin/orderworker" "$$dir/another/deeper/place/bin/orderworker" && echo "the same, byte by byte"

clean:
	rm -rf bin
