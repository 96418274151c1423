package main

import (
	"bytes"
	"strings"
	"testing"

	"orderworker/upstream/sandbox"
)

func TestSandboxFaults(t *testing.T) {
	args := []string{"sandbox", "--addr=x", "--appkey=", "--secret=", "--rate=-1", "--retry-after=-1s", "--latency=-1s", "--jitter=-1s", "--lookup-lag=-1s", "--lookup-shape=tree", "--seed=-1", "--rule=a", "--rule=b"}
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
