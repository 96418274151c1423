.PHONY: test tools build clean

# Everything: vet, and every test with the race detector, against a real
# nats-server (in process) and a real redis-server (installed where it is missing).
test: tools
	go vet ./...
	go test -race -timeout 12m ./...

# redis-server for the tests, a C compiler for the race detector.
tools:
	@missing=""; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	if [ -n "$$missing" ]; then \
		sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		echo "installing$$missing"; \
		$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

# One static binary.
build:
	CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o bin/orderworker ./cmd/orderworker

clean:
	rm -rf bin
