package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"orderworker/upstream/pause"
	"orderworker/worker/halt"
)

// scrape is every counter and gauge of a registry, by name and labels.
func scrape(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := make(map[string]float64)
	for _, family := range all {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetName() + "=" + label.GetValue()
			}
			series[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return series
}

// backlogs is a source that says what waits, or an error.
type backlogs struct {
	source
	Backlog
	err error
}

func (b *backlogs) Pending(context.Context) (Backlog, error) { return b.Backlog, b.err }

// noSlots has no spacing to show.
type noSlots struct{ slots }

func (noSlots) Spacing() time.Duration { return 0 }

// noHalts has no pause of an operator.
type noHalts struct{ halts }

func (noHalts) Status() halt.Status { return halt.Status{} }
func (noHalts) Allows() error       { return nil }

func (noHalts) Until() (time.Time, error) { return time.Now().Add(time.Hour), nil }

// The backlog metrics show the last inspection that succeeded; the age of the oldest
// request grows between two inspections.
func TestBacklogMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		s := &backlogs{Backlog: Backlog{Pending: 3, AckPending: 2, Oldest: time.Now().Add(-time.Minute)}}
		w := &Worker{source: s, slots: noSlots{}, halts: noHalts{}, ackWait: time.Minute, metrics: NewMetrics(registry), logger: zerolog.Nop(), pause: pause.New(func(pause.Status) {}), doubts: &doubts{}}
		w.metrics.registerGauges(w)
		want := func(when string, pending, ackPending, oldest float64) {
			t.Helper()
			series := scrape(t, registry)
			for name, want := range map[string]float64{"orderworker_stream_pending": pending, "orderworker_stream_ack_pending": ackPending, "orderworker_oldest_order_age_seconds": oldest} {
				if got, ok := series[name]; !ok || got != want {
					t.Errorf("%s: %s is %v (there: %v), want %v", when, name, got, ok, want)
				}
			}
		}
		want("before the first look", 0, 0, 0)
		w.inspectStream(t.Context(), "")
		want("at the first look", 3, 2, 60)
		time.Sleep(10 * time.Second)
		want("between two looks", 3, 2, 70)
		s.Backlog, s.err = Backlog{}, errors.New("no answer")
		w.inspectStream(t.Context(), "")
		want("after a look without an answer", 3, 2, 70)
		s.Backlog, s.err = Backlog{Pending: 1}, &LossyError{Faults: []string{"max_age"}}
		w.inspectStream(t.Context(), "")
		want("where something is wrong with the stream", 1, 0, 0)
	})
}

// An alert needs a series before its first event.
func TestSeriesStartAtZero(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	NewMetrics(registry)
	series := scrape(t, registry)
	for _, name := range []string{
		"orderworker_refusals_total code=other", "orderworker_upstream_requests_total endpoint=orderPackage outcome=account",
		"orderworker_upstream_requests_total endpoint=getOrderPackageDetails outcome=account", "orderworker_double_purchases_total",
		"orderworker_lookup_blind", "orderworker_results_total status=in_doubt", "orderworker_dead_letters_total reason=conflict", "orderworker_duplicates_total",
	} {
		if value, ok := series[name]; !ok || value != 0 {
			t.Errorf("%s: %v, there: %v; want 0", name, value, ok)
		}
	}
}
