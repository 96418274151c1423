package deploy

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"orderworker/dedupe/storetest"
)

// tool finds a program. Under CI one that is missing is a failure.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") != "":
		t.Fatalf("%s is missing, and CI is set: %v", name, err)
	}
	t.Skipf("NOT TESTED: %s is missing; make tools installs it", name)
	return ""
}

// nodeModules installs the packages of examples/node into a directory outside of the
// repository, once for each version of package.json, and returns a copy of the examples
// beside them.
func nodeModules(t *testing.T) string {
	t.Helper()
	npm := tool(t, "npm")
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	manifest := read(t, "examples/node/package.json")
	dir := filepath.Join(cache, "orderworker-examples", versions(manifest))
	if _, err := os.Stat(filepath.Join(dir, "installed")); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		install := exec.CommandContext(ctx, npm, "install", "--no-audit", "--no-fund", "--ignore-scripts")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("npm install: %v, and CI is set\n%s", err, out)
			}
			t.Skipf("NOT TESTED: npm cannot install the NATS client: %v\n%s", err, out)
		}
		if err := os.WriteFile(filepath.Join(dir, "installed"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS("examples/node")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "node_modules"), filepath.Join(work, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return work
}

// versions are the versions that a package.json names, as a part of a file's name.
func versions(manifest string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return -1
	}, manifest)
}

// TestNodeExamples runs the examples as the users of the shipped configuration: an order,
// its result, and all results with the durable consumer.
func TestNodeExamples(t *testing.T) {
	node := tool(t, "node")
	dir := nodeModules(t)
	s := guarded(t)
	env := here(t, natsURL(s, "worker"), "redis://"+storetest.Redis(t).Addr, vendor(t, "packageCode=GONE always: refuse code=41018"))
	env["UPSTREAM_RATE"] = "0"
	work(t, env)
	run := func(user string, more map[string]string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, node, args...)
		c.Dir = dir
		variables := map[string]string{"NATS_URL": "nats://" + s.Addr().String(), "NATS_USER": user, "NATS_PASSWORD": "pw-" + user}
		for name, value := range more {
			variables[name] = value
		}
		c.Env = environ(variables)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("node %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	for range 2 { // the second request is a duplicate, and finds the same result
		if out := run("publisher", nil, "order.js", "node.1", "8988308650100524999", "P"); !strings.Contains(out, `"status":"succeeded"`) || !strings.Contains(out, `"orderNumber"`) {
			t.Errorf("order.js: %s", out)
		}
	}
	if out := run("publisher", nil, "order.js", "node-3", "8988308650100524999", "GONE"); !strings.Contains(out, `"reason":"permanent_code"`) {
		t.Errorf("order.js: %s", out)
	}
	out := run("subscriber", map[string]string{"LIMIT": "2"}, "consume.js")
	if !strings.HasPrefix(out, "succeeded node.1 ") || !strings.HasSuffix(out, "failed node-3 permanent_code\n") {
		t.Errorf("consume.js: %s", out)
	}
}

// TestPythonExamples: the syntax is right. Its client is not installed here.
func TestPythonExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: it runs Python, and -short is set")
	}
	python := tool(t, "python3")
	for _, path := range must(filepath.Glob("examples/python/*.py")) {
		check := exec.Command(python, "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", path)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
	program := "import sys; sys.path.insert(0, 'examples/python'); sys.dont_write_bytecode = True; import orderworker as o; print(o.token('a.B-_*%>~'))"
	if out, err := exec.Command(python, "-c", program).CombinedOutput(); err != nil || string(out) != "a%2EB-_%2A%25%3E%7E\n" {
		t.Errorf("token: %s %v", out, err)
	}
}
