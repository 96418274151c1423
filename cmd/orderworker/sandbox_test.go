package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"

	"orderworker/cmd/internal/config"
	"orderworker/upstream/sandbox"
)

func TestSandboxFaults(t *testing.T) {
	args := []string{"sandbox", "--addr=x", "--appkey=", "--secret=", "--rate=-1", "--retry-after=-1s", "--latency=-1s", "--jitter=-1s", "--lookup-lag=-1s", "--lookup-shape=tree", "--lookup-without-state=1", "--lookup-mode=blind", "--throttle-as=tcp", "--seed=-1", "--rule=a", "--rule=b"}
	status, _, stderr := orderworker(t, nil, args...)
	if status != statusUsage {
		t.Errorf("got %d", status)
	}
	for _, arg := range args[1:] {
		name, _, _ := strings.Cut(arg, "=")
		if !strings.Contains(stderr, "orderworker: "+name+" ") {
			t.Errorf("%s is not named in\n%s", name, stderr)
		}
	}
	if !strings.Contains(stderr, `rule "a"`) || !strings.Contains(stderr, `rule "b"`) {
		t.Errorf("a wrong rule is not named in\n%s", stderr)
	}
	status, _, stderr = orderworker(t, nil, "sandbox", "--refuse-repeats=200")
	if status != statusUsage || !strings.Contains(stderr, "RefuseRepeats") {
		t.Errorf("got %d, %s", status, stderr)
	}
}

// Every command in the help is one that the sandbox takes, and the help has room
// on two screens.
func TestSandboxHelp(t *testing.T) {
	status, help, stderr := orderworker(t, nil, "sandbox", "--help")
	if status != statusDone || stderr != "" {
		t.Fatalf("got %d, %s", status, stderr)
	}
	examples := 0
	for line := range strings.Lines(help) {
		rest, ok := strings.CutPrefix(line, "    orderworker ")
		if !ok {
			continue
		}
		examples++
		var args []string
		for _, m := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(rest, -1) {
			args = append(args, m[1]+m[2])
		}
		var c commands
		var found config.Faults
		parser, err := config.NewParser(&c, func(string) (string, bool) { return "", false }, &found, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = parser.Parse(args); err == nil {
			c.Sandbox.Check(&found)
			err = found.Err()
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if examples < 3 || !strings.Contains(help, sandbox.Help[strings.Index(sandbox.Help, "    always"):strings.Index(sandbox.Help, "    p=0.25")]) {
		t.Errorf("%d commands, want at least 3 and the rules in\n%s", examples, help)
	}
	if n := strings.Count(help, "\n"); n > 130 {
		t.Errorf("%d lines", n)
	}
}

func TestSandboxConfig(t *testing.T) {
	c := sandboxCmd{LookupWithoutState: sandbox.StateError, LookupMode: "hide=*", ThrottleAs: sandbox.ThrottleAsCode, Rule: []string{"buy: hang", "always: pass"}}
	var found config.Faults
	cfg := c.config(&found)
	if found.Err() != nil || cfg.LookupWithoutState != sandbox.StateError || cfg.LookupMode.Hide != "*" || cfg.ThrottleAs != sandbox.ThrottleAsCode || len(cfg.Rules) != 2 {
		t.Errorf("got %+v, %v", cfg, found.Err())
	}
}

func TestPrintBook(t *testing.T) {
	var out bytes.Buffer
	printBook(&out, sandbox.Book{
		Totals: sandbox.Totals{
			Bought: 3, PeakPerSecond: 9, Throttled: 2,
			Calls:   map[sandbox.Endpoint]int{sandbox.EndpointOrder: 5, sandbox.EndpointLookup: 1},
			Refused: map[string]int{"1002": 1, "1001": 4},
		},
		PerOutTradeNo: map[string]int{"A": 2, "B": 1}, Doubles: []string{"A"},
	})
	want := `3 purchases for 2 orders, 1 of them bought more than once
  A: 2 times
calls 5 orderPackage, 1 getOrderPackageDetails, at most 9 in a second
refused 1001 4, 1002 1, throttled 2, faults none
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
