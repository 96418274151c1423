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
	"orderworker/dedupe/dedupetest"
)

// eventClaims takes every result.
type eventClaims struct {
	claims
	remembered []byte
}

func (f *eventClaims) Finish(_ context.Context, c *dedupe.Claim, result []byte, _ bool) ([]byte, error) {
	c.Verdict = dedupe.Final
	return result, nil
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
		for _, journalled := range []bool{false, true} {
			var log bytes.Buffer
			store, results := &eventClaims{}, takenResults{}
			if c.theirs.Status != "" {
				results.has = c.theirs.encode()
			}
			registry := prometheus.NewRegistry()
			m := NewMetrics(registry)
			task := &task{Worker: &Worker{claims: store, publisher: results, metrics: m, logger: zerolog.New(&log)},
				delivery: &Delivery{Seq: 7, Stored: time.Now()}, claim: &dedupe.Claim{ResultSeq: 7}}
			task.order.OutTradeNo = "A"
			o := finishWith(t, task, c.ours, journalled)
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
	for _, journalled := range []bool{false, true} {
		store := &eventClaims{}
		task := &task{Worker: &Worker{claims: store, publisher: takenResults{err: ErrRefused}, metrics: simMetrics(), logger: zerolog.Nop()},
			delivery: &Delivery{Seq: 7, Stored: time.Now()}, claim: &dedupe.Claim{ResultSeq: 7}}
		o := finishWith(t, task, Result{OutTradeNo: "A", Status: Succeeded, Code: "200", OrderNumber: "N1"}, journalled)
		if o.ack || o.step != StepInterrupted || !errors.Is(o.err, ErrRefused) || store.remembered != nil || task.claim.Verdict != dedupe.Final {
			t.Errorf("journalled before %v: outcome %+v, remembered %q, claim %q", journalled, o, store.remembered, task.claim.Verdict)
		}
	}
}

// finishWith ends the task's order with r, which is journalled before its event is
// published, or is not.
func finishWith(t *testing.T, task *task, r Result, journalled bool) outcome {
	if journalled {
		return task.finish(t.Context(), r)
	}
	return task.publishFinal(t.Context(), r.event(r.encode()), &r)
}

// noEvents is a results stream without an event.
type noEvents struct{ dedupe.Results }

func (noEvents) Used(context.Context) (bool, error) { return false, nil }

// A success is journalled before its event is published, where the event does not suffice.
func TestSuccessIsJournalledWhereItsEventDoesNotSuffice(t *testing.T) {
	for state, results := range map[dedupe.State]dedupe.Results{dedupe.StateIntent: noEvents{}, dedupe.StateFinal: nil} {
		m := dedupetest.NewMemory()
		store := dedupe.New(m, m, results, dedupe.Config{Lease: time.Minute, FinalTTL: time.Hour})
		c, err := store.Claim(t.Context(), dedupe.Order{OutTradeNo: "A", Fingerprint: "f", Seq: 7}, store.NewOwner(), false)
		if err != nil {
			t.Fatal(err)
		}
		sent, err := store.Intent(t.Context(), c, time.Now(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		task := &task{Worker: &Worker{claims: store, publisher: takenResults{}, metrics: simMetrics(), logger: zerolog.Nop()},
			delivery: &Delivery{Seq: 7, Stored: time.Now()}, claim: c}
		o := task.succeed(t.Context(), sent, Result{OutTradeNo: "A", Status: Succeeded, Code: "200", OrderNumber: "N1"})
		if r, _, err := m.Read(t.Context(), "A"); err != nil || !o.ack || r.State != state {
			t.Errorf("outcome %+v, journal %+v, %v; want %q", o, r, err, state)
		}
	}
}
