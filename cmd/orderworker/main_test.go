package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"orderworker/cmd/internal/apptest"
	"orderworker/cmd/internal/config"
	"orderworker/dedupe/storetest"
	"orderworker/worker/logtest"
)

// orderworker runs the program and returns what it wrote.
func orderworker(t *testing.T, env map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(args, apptest.Lookup(env), &out, &err)
	return status, out.String(), err.String()
}

// taken returns the address of a listener that accepts connections and never answers.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestExitStatus(t *testing.T) {
	busy := taken(t)
	for name, c := range map[string]struct {
		args   []string
		env    map[string]string
		status int
		out    string // in stdout
		err    string // in stderr
	}{
		"no command":           {nil, nil, 2, "", `orderworker: expected one of "run"`},
		"unknown command":      {[]string{"walk"}, nil, 2, "", "orderworker: unexpected argument walk"},
		"unknown flag":         {[]string{"run", "--nats-uri=x"}, required(), 2, "", "orderworker: unknown flag --nats-uri"},
		"flag without value":   {[]string{"run", "--nats-url"}, required(), 2, "", "orderworker: NATS_URL needs a value"},
		"missing settings":     {[]string{"run"}, nil, 2, "", "orderworker: UPSTREAM_APPKEY is not set"},
		"failed while running": {[]string{"run", "--admin-addr", busy}, required(), 1, "", "orderworker: "},
		"help":                 {[]string{"--help"}, nil, 0, "Usage: orderworker <command>", ""},
		"help of a command":    {[]string{"run", "--help"}, map[string]string{"CONCURRENCY": "x"}, 0, "Usage: orderworker run", ""},
		"version":              {[]string{"version"}, map[string]string{"CONCURRENCY": "x"}, 0, "revision ", ""},
		"sandbox cannot serve": {[]string{"sandbox", "--addr", busy}, nil, 1, "", "orderworker: --addr"},
		"sandbox, wrong flags": {[]string{"sandbox", "--rate=-1", "--latency=x", "--rule=nonsense"}, nil, 2, "", `orderworker: --latency ("x")`},
		"demo, wrong flags":    {[]string{"demo", "--orders=0"}, nil, 2, "", "orderworker: --orders (0)"},
		"demo has no settings": {[]string{"demo", "--nats-url=nats://a"}, nil, 2, "", "orderworker: unknown flag --nats-url"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, err := orderworker(t, c.env, c.args...)
			if status != c.status || !strings.Contains(out, c.out) || !strings.HasPrefix(err, c.err) {
				t.Errorf("got %d\nstdout %q\nstderr %q\nwant %d, %q, %q", status, out, err, c.status, c.out, c.err)
			}
			if c.err == "" && err != "" {
				t.Errorf("stderr is %q, want nothing", err)
			}
			for line := range strings.Lines(err) {
				if c.status == 2 && !strings.HasPrefix(line, "orderworker: ") {
					t.Errorf("line %q does not begin with the program's name", line)
				}
			}
		})
	}
}

// variables are those of all settings.
func variables() (names []string) {
	for field := range reflect.TypeFor[config.Settings]().Fields() {
		names = append(names, field.Tag.Get("env"))
	}
	return names
}

// required are the settings that have no default.
func required() map[string]string {
	return map[string]string{"UPSTREAM_APPKEY": "key-1", "UPSTREAM_SECRET": "hunter2"}
}

func TestAllFaultsInOneGo(t *testing.T) {
	env := map[string]string{}
	for _, name := range variables() {
		env[name] = " wrong " // for words too: most take no space
	}
	for _, name := range []string{"ADMIN_ADDR", "UPSTREAM_PERMANENT_CODES", "UPSTREAM_THROTTLE_CODES"} {
		env[name] = "a b"
	}
	env["UPSTREAM_DUPLICATE_CODES"] = "200"
	env["UPSTREAM_SECRET"] = "hunter2"
	env["REDIS_URL"] = "redis://:hunter2@host:x"
	status, out, stderr := orderworker(t, env, "run")
	if status != statusUsage || out != "" {
		t.Errorf("got %d and stdout %q", status, out)
	}
	if strings.Contains(stderr, "hunter2") {
		t.Errorf("a secret is shown:\n%s", stderr)
	}
	for _, name := range variables() {
		if !strings.Contains(stderr, name+" ") {
			t.Errorf("%s is not named in\n%s", name, stderr)
		}
	}
}

func TestHelpNamesEverySettingAndShowsNoVariable(t *testing.T) {
	env := map[string]string{}
	for _, name := range variables() {
		env[name] = "hunter2"
		t.Setenv(name, "hunter2") // kong looks there by itself
	}
	status, out, stderr := orderworker(t, env, "run", "--help")
	if status != statusDone || stderr != "" {
		t.Errorf("got %d, stderr %q", status, stderr)
	}
	for _, name := range variables() {
		if !strings.Contains(out, "$"+name+")") || !strings.Contains(out, "--"+strings.ReplaceAll(strings.ToLower(name), "_", "-")) {
			t.Errorf("%s or its flag is not in the help", name)
		}
	}
	if strings.Contains(out, "hunter2") {
		t.Errorf("the help shows the environment:\n%s", out)
	}
}

func TestVariablesAreReadForTheChosenCommandAlone(t *testing.T) {
	asked := false
	lookup := func(string) (string, bool) { asked = true; return "x", true }
	for _, command := range []string{"demo", "sandbox", "version"} {
		parser, err := config.NewParser(new(commands), lookup, new(config.Faults), io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse([]string{command}); err != nil || asked {
			t.Errorf("%s: asked for variables: %v, error %v", command, asked, err)
		}
	}
}

func TestExitStatusOfACommand(t *testing.T) {
	if got := exitStatus(1).Error(); got != "exit status 1" {
		t.Errorf("got %q", got)
	}
}

func TestVersion(t *testing.T) {
	for name, c := range map[string]struct {
		info debug.BuildInfo
		want string
	}{
		"released": {debug.BuildInfo{
			GoVersion: "go1.26.8", Main: debug.Module{Version: "v1.2.3"},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}},
		}, "orderworker v1.2.3\nrevision abc\ngo1.26.8\n"},
		"changed": {debug.BuildInfo{
			GoVersion: "go1.26.8", Main: debug.Module{Version: "(devel)"},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
		}, "orderworker (devel)\nrevision abc-dirty\ngo1.26.8\n"},
		"nothing known": {debug.BuildInfo{}, "orderworker unknown\nrevision unknown\nunknown\n"},
	} {
		var out bytes.Buffer
		if err := printVersion(&out, &c.info); err != nil || out.String() != c.want {
			t.Errorf("%s: got %q, %v, want %q", name, out.String(), err, c.want)
		}
	}
}

func TestSandboxServesUntilASignal(t *testing.T) {
	read, write := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		ended <- run([]string{"sandbox", "--addr=127.0.0.1:0", "--appkey=acme", "--secret=hunter2", "--rule=first=1 buy: hang", "--rule=always: delay=1s"},
			apptest.Lookup(nil), write, &stderr)
		write.Close()
	}()
	lines := bufio.NewScanner(read)
	if !lines.Scan() {
		t.Fatalf("no line: %v, stderr %s", lines.Err(), stderr.String())
	}
	var base, appkey, book string
	if _, err := fmt.Sscanf(lines.Text(), "sandbox %s appkey %s book %s", &base, &appkey, &book); err != nil || appkey != "acme" {
		t.Fatalf("first line is %q: %v", lines.Text(), err)
	}
	for _, url := range []string{base + "/healthz", book} {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, response.Status)
		}
	}
	response, err := http.Get(base + "/rules")
	if err != nil {
		t.Fatal(err)
	}
	rules, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if n := strings.Count(string(rules), "\n"); n != 2 {
		t.Errorf("%d rules, want 2:\n%s", n, rules)
	}
	// The line came after softContext, so the signal is ours.
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var rest []string
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	if status := <-ended; status != statusDone || len(rest) != 3 || rest[0] != "0 purchases for 0 orders, 0 of them bought more than once" {
		t.Errorf("got %d and %q, stderr %q", status, rest, stderr.String())
	}
}

func TestServersThatRefuseEndTheWorker(t *testing.T) {
	t.Parallel()
	open := "nats://" + storetest.NATS(t).Addr().String()
	locked := storetest.NATS(t, func(o *server.Options) { o.Username, o.Password = "u", "hunter2" }).Addr().String()
	evicting := storetest.Redis(t, "--maxmemory-policy", "allkeys-lru").Addr
	private := storetest.Redis(t, "--requirepass", "hunter2").Addr
	for name, c := range map[string]struct{ nats, redis, want string }{
		"NATS password":  {"nats://u:hunter3@" + locked, "redis://" + private, "Authorization Violation"},
		"Redis password": {open, "redis://:hunter3@" + private, "WRONGPASS"},
		"Redis forgets":  {open, "redis://" + evicting, "maxmemory-policy is allkeys-lru"},
	} {
		t.Run(name, func(t *testing.T) {
			env := required()
			env["NATS_URL"], env["REDIS_URL"], env["ADMIN_ADDR"] = c.nats, c.redis, ""
			status, _, stderr := orderworker(t, env, "run")
			if status != statusFailed || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "hunter") {
				t.Errorf("got %d and %q, want 1 and %q", status, stderr, c.want)
			}
		})
	}
}

func TestServersThatAreAwayAreWaitedFor(t *testing.T) {
	admin := storetest.FreeAddr(t)
	env := required()
	env["NATS_URL"], env["ADMIN_ADDR"], env["LOG_FORMAT"] = "nats://127.0.0.1:1", admin, "json"
	var stderr logtest.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run([]string{"run"}, apptest.Lookup(env), io.Discard, &stderr) }()
	storetest.Eventually(t, "the worker waits", func() bool { return strings.Contains(stderr.String(), "waiting for the server") })
	storetest.Eventually(t, "/readyz says why", func() bool {
		status, body := get(t, "http://"+admin+"/readyz")
		return status == 503 && strings.Contains(body, "nats: connect: ")
	})
	if status, _ := get(t, "http://"+admin+"/healthz"); status != 200 {
		t.Errorf("/healthz: %d while waiting", status)
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != statusDone {
		t.Errorf("got %d, stderr %s", status, stderr.String())
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	exited := make(chan int, 1)
	soft, stop := softContext(func(status int) { exited <- status })
	defer stop()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		select {
		case <-exited:
			t.Fatal("the first signal ended the process")
		default:
		}
		if err := syscall.Kill(syscall.Getpid(), signal); err != nil {
			t.Fatal(err)
		}
		<-soft.Done() // after the first: it was taken
	}
	if status := <-exited; status != statusFailed {
		t.Errorf("exit status %d, want %d", status, statusFailed)
	}
	if got := context.Cause(soft).Error(); got != "signal: interrupt" {
		t.Errorf("cause is %q", got)
	}
}

func TestStopGivesTheSignalsBack(t *testing.T) {
	soft, stop := softContext(func(int) { t.Error("exit was called") })
	stop()
	select {
	case <-soft.Done():
	case <-time.After(time.Minute):
		t.Error("the context is not freed")
	}
}
