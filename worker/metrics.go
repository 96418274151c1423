package worker

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orderworker/upstream"
)

// classSuccess is the class of a success in metrics and log lines. The other
// classes are those of errors.
const classSuccess upstream.Class = "success"

// Metrics are the metrics of section 8 of the contract.
type Metrics struct {
	results       *prometheus.CounterVec
	duplicates    prometheus.Counter
	deadLetters   *prometheus.CounterVec
	requests      *prometheus.CounterVec
	refusals      *prometheus.CounterVec
	requestTime   *prometheus.HistogramVec
	orderDuration prometheus.Histogram
	quotaWait     prometheus.Histogram
	inProgress    prometheus.Gauge

	doublePurchases prometheus.Counter
	lookupBlind     prometheus.Gauge

	sent     atomic.Uint64 // requests to the vendor so far
	registry prometheus.Registerer
	mu       sync.Mutex
	codes    map[string]bool // the codes that have a label of their own in refusals
}

// NewMetrics returns the metrics, registered with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}
	}
	short := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	long := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 14400, 86400}
	m := &Metrics{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderworker_results_total", Help: "Result events stored, by status."}, []string{"status"}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "orderworker_duplicates_total", Help: "Requests acknowledged because their order already has its result."}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderworker_dead_letters_total", Help: "Requests moved to the dead-letter stream, by reason."}, []string{"reason"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderworker_upstream_requests_total", Help: "Requests to the vendor, by endpoint and outcome."}, []string{"endpoint", "outcome"}),
		requestTime: prometheus.NewHistogramVec(histogram(
			"orderworker_upstream_request_duration_seconds", "Time of a request to the vendor, from connection to last byte.", short), []string{"endpoint"}),
		orderDuration: prometheus.NewHistogram(histogram(
			"orderworker_order_duration_seconds", "Time from a request being stored to its final result being stored.", long)),
		quotaWait: prometheus.NewHistogram(histogram(
			"orderworker_quota_wait_seconds", "Time that an order waited for its slot in the account's quota.", short)),
		inProgress: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "orderworker_in_progress", Help: "Orders in progress in this process."}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderworker_refusals_total", Help: "Refusals by the vendor's code: the first 20 codes, then other."}, []string{"code"}),
		doublePurchases: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "orderworker_double_purchases_total", Help: "Orders that the vendor's lookup shows as bought more than once."}),
		lookupBlind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "orderworker_lookup_blind", Help: "1 while the lookup does not show an order that was bought: nothing is sent again because of it."}),
		registry: r, codes: make(map[string]bool),
	}
	r.MustRegister(m.results, m.duplicates, m.deadLetters, m.requests, m.refusals, m.requestTime, m.orderDuration,
		m.quotaWait, m.inProgress, m.doublePurchases, m.lookupBlind)
	for _, s := range []Status{Succeeded, Failed, Rejected, InDoubt} {
		m.results.WithLabelValues(string(s))
	}
	for _, reason := range []Reason{Invalid, Conflict} {
		m.deadLetters.WithLabelValues(string(reason))
	}
	m.refusals.WithLabelValues("other")
	for _, endpoint := range []string{"orderPackage", "getOrderPackageDetails"} {
		m.requestTime.WithLabelValues(endpoint)
		for _, class := range []upstream.Class{classSuccess, upstream.Refused, upstream.Account, upstream.Throttled, upstream.Ambiguous, upstream.Unreachable} {
			m.requests.WithLabelValues(endpoint, string(class))
		}
	}
	return m
}

// registerGauges registers the metrics whose values are read from w when they are
// scraped.
func (m *Metrics) registerGauges(w *Worker) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("orderworker_in_doubt", "Orders in doubt that this process was the last to look at: the sum over all processes counts each once.",
		func() float64 { return float64(w.doubts.count(time.Now())) })
	gauge("orderworker_upstream_paused", "1 while the account is paused: the vendor serves nobody of it.", func() float64 {
		if w.pause.Status().Paused {
			return 1
		}
		return 0
	})
	gauge("orderworker_paused_by_operator", "1 while an operator's pause lasts, as this process knows it.", func() float64 {
		if w.halts.Status().Lasts {
			return 1
		}
		return 0
	})
	gauge("orderworker_pause_next_probe_timestamp_seconds", "When the next probe of a paused account is due, in Unix seconds; 0: not paused.", func() float64 {
		if at := w.pause.Status().NextProbe; !at.IsZero() {
			return float64(at.UnixMilli()) / 1000
		}
		return 0
	})
	gauge("orderworker_stream_pending", "Requests in the stream that were not delivered yet: the same from every process.",
		func() float64 { return float64(w.backlog().Pending) })
	gauge("orderworker_stream_ack_pending", "Requests that were delivered and not acknowledged, those that wait included: the same from every process.",
		func() float64 { return float64(w.backlog().AckPending) })
	gauge("orderworker_oldest_order_age_seconds", "Age of the oldest unfinished request; 0: there is none.", func() float64 {
		oldest := w.backlog().Oldest
		if oldest.IsZero() {
			return 0
		}
		return max(0, time.Since(oldest).Seconds())
	})
	gauge("orderworker_quota_spacing_seconds", "Time between two requests of the fleet to the vendor; it grows when the vendor says too fast.",
		func() float64 { return w.slots.Spacing().Seconds() })
}

// request counts one request to the vendor, which began at begun and ended with err.
func (m *Metrics) request(endpoint string, begun time.Time, err error) {
	class := classSuccess
	if err != nil {
		class = upstream.ClassOf(err)
	}
	m.requests.WithLabelValues(endpoint, string(class)).Inc()
	m.sent.Add(1)
	m.requestTime.WithLabelValues(endpoint).Observe(time.Since(begun).Seconds())
	if e := upstreamError(err); e != nil && endpoint == "orderPackage" && (e.Class == upstream.Refused || e.Class == upstream.Account) {
		m.refusal(e.Code)
	}
}

// maxCodes is how many codes have a label of their own. Without a limit, a vendor
// could fill the monitoring system with series.
const maxCodes = 20

// refusal counts a refusal or an account-level answer by its code.
func (m *Metrics) refusal(code string) {
	m.mu.Lock()
	switch {
	case m.codes[code]:
	case len(m.codes) < maxCodes:
		m.codes[code] = true
	default:
		code = "other"
	}
	m.mu.Unlock()
	m.refusals.WithLabelValues(code).Inc()
}

// doubts counts the orders in doubt that this process has handed back. An order is
// counted until it is delivered again, because then the process that receives it
// counts it.
type doubts struct {
	mu    sync.Mutex
	until map[string]time.Time // by outTradeNo: when it is delivered again
}

func (d *doubts) add(outTradeNo string, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until[outTradeNo] = until
}

func (d *doubts) remove(outTradeNo string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.until, outTradeNo)
}

// count forgets the orders that are due, and returns the number of the others.
func (d *doubts) count(now time.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.until, func(_ string, until time.Time) bool { return now.After(until) })
	return len(d.until)
}
