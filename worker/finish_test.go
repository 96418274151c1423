package worker

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"orderworker/dedupe"
)

// eventClaims takes every result, and says whether it is journalled.
type eventClaims struct {
	claims
	recorded   bool
	remembered []byte
}

func (f *eventClaims) Finish(_ context.Context, c *dedupe.Claim, result []byte, _ bool) ([]byte, error) {
	c.Verdict, c.Recorded = dedupe.Final, f.recorded
	return result, nil
}

func (f *eventClaims) Record(_ context.Context, c *dedupe.Claim) error {
	c.Recorded = true
	return nil
}

func (f *eventClaims) Remember(_ context.Context, _ *dedupe.Claim, result []byte) error {
	f.remembered = result
	return nil
}

// takenResults is a results stream that has a final event already, or none, or an error.
type takenResults struct {
	publisher
	has []byte
	err error
}

func (f takenResults) Publish(context.Context, Event) ([]byte, error) { return f.has, f.err }

// doublePurchases reads the counter of that name.
func doublePurchases(t *testing.T, r *prometheus.Registry) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "orderworker_double_purchases_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("there is no such metric")
	return 0
}

// A result that is not the order's: the one that has its event counts. Where that names
// another purchase, or the order was bought although this delivery lets it fail, a person
// is told.
func TestAnotherResultIsFinal(t *testing.T) {
	purchase := func(number string) Result {
		return Result{OutTradeNo: "A", Status: Succeeded, Code: "200", OrderNumber: number, Attempts: 1}
	}
	failure := Result{OutTradeNo: "A", Status: Failed, Reason: PermanentCode, Attempts: 1}
	reconciled := purchase("N1")
	reconciled.Reconciled = true
	for name, c := range map[string]struct {
		ours, theirs Result // theirs is empty: there is none
		double       float64
		line         string // how the error begins; "": none
		step         Step
	}{
		"none":                    {ours: purchase("N1"), step: StepSucceeded},
		"the same":                {ours: purchase("N1"), theirs: purchase("N1"), step: StepSucceeded},
		"the same, by the lookup": {ours: purchase("N1"), theirs: reconciled, step: StepSucceeded},
		"another purchase":        {ours: purchase("N1"), theirs: purchase("N2"), double: 1, line: "double purchase", step: StepSucceeded},
		"ours has failed":         {ours: failure, theirs: purchase("N2"), line: "the order was about to fail", step: StepSucceeded},
		"both have failed":        {ours: failure, theirs: failure, step: StepFailed},
	} {
		for _, recorded := range []bool{false, true} {
			var log bytes.Buffer
			store, results := &eventClaims{recorded: recorded}, takenResults{}
			if c.theirs.Status != "" {
				results.has = c.theirs.encode()
			}
			registry := prometheus.NewRegistry()
			m := NewMetrics(registry)
			task := &task{Worker: &Worker{claims: store, publisher: results, metrics: m, logger: zerolog.New(&log)},
				delivery: &Delivery{Seq: 7, Stored: time.Now()}, claim: &dedupe.Claim{ResultSeq: 7}}
			task.order.OutTradeNo = "A"
			o := task.finish(t.Context(), c.ours)
			if !o.ack || o.step != c.step || doublePurchases(t, registry) != c.double {
				t.Errorf("%s: outcome %+v, %v double purchases", name, o, doublePurchases(t, registry))
			}
			if got := log.String(); (got == "") != (c.line == "") || !strings.Contains(got, c.line) {
				t.Errorf("%s: log %q, want %q", name, got, c.line)
			}
			if want := results.has; want != nil && !bytes.Equal(store.remembered, want) {
				t.Errorf("%s: remembered %s, but the event is %s", name, store.remembered, want)
			}
		}
	}
}

// While the results stream refuses events, a success that only its event would record is
// journalled, and not remembered: its request comes again, and has its event published.
func TestSuccessOfARefusedEventIsJournalled(t *testing.T) {
	for _, recorded := range []bool{false, true} {
		store := &eventClaims{recorded: recorded}
		task := &task{Worker: &Worker{claims: store, publisher: takenResults{err: ErrRefused}, metrics: simMetrics(), logger: zerolog.Nop()},
			delivery: &Delivery{Seq: 7, Stored: time.Now()}, claim: &dedupe.Claim{ResultSeq: 7}}
		o := task.finish(t.Context(), Result{OutTradeNo: "A", Status: Succeeded, Code: "200", OrderNumber: "N1"})
		if o.ack || o.step != StepInterrupted || !errors.Is(o.err, ErrRefused) || store.remembered != nil || !task.claim.Recorded {
			t.Errorf("journalled before %v: outcome %+v, remembered %q, journalled %v", recorded, o, store.remembered, task.claim.Recorded)
		}
	}
}
