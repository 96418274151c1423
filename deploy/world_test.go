package deploy

import (
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"orderworker/dedupe/storetest"
	"orderworker/upstream/sandbox"
	"orderworker/upstream/sandbox/sandboxtest"
	"orderworker/worker/logtest"
)

const (
	appkey = "000001"
	secret = "sandbox-secret"
)

// vendor starts the simulated vendor with rules, and returns its base URL.
func vendor(t *testing.T, rules string) string {
	t.Helper()
	_, url := sandboxtest.Start(t, sandbox.Config{AppKey: appkey, Secret: secret}, rules)
	return url
}

// running is a worker process.
type running struct {
	admin string // base URL
	cmd   *exec.Cmd
	log   *logtest.Buffer
}

// environ is env as a process takes it, with nothing of ours.
func environ(env map[string]string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// work starts `orderworker run` with env, on a free port for its admin server,
// and waits until it is ready. It is killed at the end of the test.
func work(t *testing.T, env map[string]string) *running {
	t.Helper()
	env = maps.Clone(env)
	env["ADMIN_ADDR"] = storetest.FreeAddr(t)
	w := &running{admin: "http://" + env["ADMIN_ADDR"], log: new(logtest.Buffer)}
	w.cmd = exec.Command(binary(t), "run")
	w.cmd.Env, w.cmd.Stdout, w.cmd.Stderr = environ(env), w.log, w.log
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- w.cmd.Wait() }()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		<-gone //nolint:errcheck // killed: not what it ended with
		if t.Failed() {
			t.Logf("the worker's log:\n%s", w.log)
		}
	})
	storetest.Eventually(t, "the worker is ready", func() bool {
		select {
		case err := <-gone:
			gone <- err
			t.Fatalf("the worker ended: %v\n%s", err, w.log)
		default:
		}
		status, _ := get(w.admin + "/readyz")
		return status == http.StatusOK
	})
	return w
}

// get returns the status and body at url; 0 where there is no answer.
func get(url string) (int, string) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// here is the part of a worker's environment that every test sets: servers on
// loopback in place of the real ones.
func here(t *testing.T, natsURL, redisURL, vendorURL string) map[string]string {
	t.Helper()
	return map[string]string{
		"NATS_URL": natsURL, "REDIS_URL": redisURL, "UPSTREAM_URL": vendorURL,
		"UPSTREAM_APPKEY": appkey, "UPSTREAM_SECRET_FILE": secretFile(t),
	}
}

func secretFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "upstream-secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// settings are the names of the settings that the binary knows, by its help.
func settings(t *testing.T) []string {
	t.Helper()
	help, err := exec.Command(binary(t), "run", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`\(\s*\$([A-Z_]+)\)`).FindAllStringSubmatch(string(help), -1) {
		names = append(names, m[1])
	}
	if len(names) < 40 {
		t.Fatalf("the help names %d settings only: %v", len(names), names)
	}
	return names
}

// known reports every name in env that is neither a setting nor one of Go's own.
func known(t *testing.T, where string, env map[string]string) {
	t.Helper()
	names := settings(t)
	for name := range env {
		if !slices.Contains(names, name) && name != "GOMEMLIMIT" {
			t.Errorf("%s sets %s, which the binary does not know", where, name)
		}
	}
}

// acceptable runs the worker with env until it is ready, with the servers
// replaced by some on loopback, and the secrets' files by one here.
func acceptable(t *testing.T, env map[string]string) *running {
	t.Helper()
	env = maps.Clone(env)
	for name := range env {
		if strings.HasSuffix(name, "_CREDS") || strings.HasPrefix(name, "NATS_C") || name == "NATS_KEY" {
			delete(env, name) // the server here wants none
		}
	}
	env["NATS_REPLICAS"] = "1"
	delete(env, "UPSTREAM_SECRET")
	maps.Copy(env, here(t, storetest.NATS(t).ClientURL(), "redis://"+storetest.Redis(t).Addr, vendor(t, "")))
	return work(t, env)
}

// refused runs the worker with env, which must end it, and returns its exit
// status and what it said.
func refused(t *testing.T, env map[string]string) (status int, said string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), "run")
	cmd.Env = environ(env)
	text, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("the worker ended with exit status 0: %s", text)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}
