// Package sandboxtest starts the simulated vendor for the tests of other packages.
package sandboxtest

import (
	"net/http/httptest"
	"strings"
	"testing"

	"orderworker/upstream/sandbox"
)

// Start starts a vendor with rules, each a line of sandbox.ParseRules, and returns it with
// its base URL. It ends with the test, and calls that hang end before that.
func Start(t testing.TB, cfg sandbox.Config, rules ...string) (*sandbox.Vendor, string) {
	t.Helper()
	parsed, err := sandbox.ParseRules(strings.Join(rules, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Rules = parsed
	v := sandbox.New(cfg)
	server := httptest.NewServer(v)
	t.Cleanup(func() { v.Close(); server.Close() }) // in this order: the server waits for calls that hang
	return v, server.URL
}
