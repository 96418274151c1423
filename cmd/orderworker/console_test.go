package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A wrong flag or token stops the console before it touches anything, and no token is shown.
func TestConsoleRefusesWrongUsage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{args: []string{"--addr", "8081"}, want: "--addr"},
		{args: []string{"--prefix", "p"}, want: "--prefix"},
		{args: []string{"--prefix", "/a b"}, want: "--prefix"},
		{args: []string{"--prefix", "//evil.example"}, want: "--prefix"},
		{args: []string{"--prefix", "/orders"}, want: "a page of the console"},
		{env: map[string]string{"CONSOLE_TOKEN": "hunter2", "CONSOLE_TOKEN_FILE": file}, want: "both set"},
		{env: map[string]string{"CONSOLE_TOKEN_FILE": file + "x"}, want: "CONSOLE_TOKEN_FILE cannot be used"},
		{env: map[string]string{"NATS_URL": "http://x", "LOG_LEVEL": "loud"}, want: "LOG_LEVEL"},
	} {
		status, out, errs := orderworker(t, c.env, append([]string{"console"}, c.args...)...)
		if status != statusUsage || !strings.Contains(errs, c.want) || strings.Contains(out+errs, "hunter2") {
			t.Errorf("%v %v: status %d\n%s", c.env, c.args, status, errs)
		}
	}
}

// The help names what the console needs, and not the settings that it does not read.
func TestConsoleHelp(t *testing.T) {
	status, out, _ := orderworker(t, nil, "console", "--help")
	for _, want := range []string{"--addr", "--prefix", "--host", "CONSOLE_TOKEN", "NATS_URL", "REDIS_URL"} {
		if !strings.Contains(out, want) {
			t.Errorf("the help lacks %s:\n%s", want, out)
		}
	}
	if status != statusDone || strings.Contains(out, "UPSTREAM_SECRET") {
		t.Errorf("status %d:\n%s", status, out)
	}
}
