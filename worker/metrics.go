package worker

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orderworker/upstream"
)

// Metrics are the numbers of section 8 of the contract.
type Metrics struct {
	results       *prometheus.CounterVec
	duplicates    prometheus.Counter
	deadLetters   *prometheus.CounterVec
	requests      *prometheus.CounterVec
	requestTime   *prometheus.HistogramVec
	orderDuration prometheus.Histogram
	quotaWait     prometheus.Histogram
	inProgress    prometheus.Gauge
	inDoubt       prometheus.Gauge
	paused        prometheus.Gauge
	pending       prometheus.Gauge
	spacing       prometheus.Gauge
}

// NewMetrics makes the metrics and registers them with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}
	}
	call := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
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
			"orderworker_upstream_request_duration_seconds", "Time of a request to the vendor, from connection to last byte.", call), []string{"endpoint"}),
		orderDuration: prometheus.NewHistogram(histogram(
			"orderworker_order_duration_seconds", "Time from a request being stored to its final result being stored.", long)),
		quotaWait: prometheus.NewHistogram(histogram(
			"orderworker_quota_wait_seconds", "Time that an order waited for its slot in the account's quota.", call)),
		inProgress: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "orderworker_in_progress", Help: "Orders in progress in this process."}),
		inDoubt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "orderworker_in_doubt", Help: "Orders in doubt that this process was the last to look at."}),
		paused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "orderworker_upstream_paused", Help: "1 while the breaker holds orders back."}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "orderworker_stream_pending", Help: "Requests in the stream that were not delivered yet."}),
		spacing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "orderworker_quota_spacing_seconds", Help: "Time between two requests of the fleet to the vendor; it grows when the vendor says too fast."}),
	}
	r.MustRegister(m.results, m.duplicates, m.deadLetters, m.requests, m.requestTime, m.orderDuration,
		m.quotaWait, m.inProgress, m.inDoubt, m.paused, m.pending, m.spacing)
	for _, s := range []Status{Succeeded, Failed, Rejected, InDoubt} {
		m.results.WithLabelValues(string(s))
	}
	for _, reason := range []Reason{Invalid, Conflict} {
		m.deadLetters.WithLabelValues(string(reason))
	}
	for _, endpoint := range []string{"orderPackage", "getOrderPackageDetails"} {
		m.requestTime.WithLabelValues(endpoint)
		for _, class := range []upstream.Class{"success", upstream.Refused, upstream.Throttled, upstream.Ambiguous, upstream.Unreachable} {
			m.requests.WithLabelValues(endpoint, string(class))
		}
	}
	return m
}

// call counts one request to the vendor.
func (m *Metrics) call(endpoint string, begun time.Time, err error) {
	outcome := "success"
	if err != nil {
		outcome = string(upstream.ClassOf(err))
	}
	m.requests.WithLabelValues(endpoint, outcome).Inc()
	m.requestTime.WithLabelValues(endpoint).Observe(time.Since(begun).Seconds())
}

func (m *Metrics) pause(on bool) {
	if on {
		m.paused.Set(1)
	} else {
		m.paused.Set(0)
	}
}

// spaced shows the spacing of slots, where they have one to tell.
func (m *Metrics) spaced(s slots) {
	if s, ok := s.(interface{ Spacing() time.Duration }); ok {
		m.spacing.Set(s.Spacing().Seconds())
	}
}

// doubts counts the orders in doubt that this process was the last to look at.
// One that another process looks at next is forgotten when its time is over.
type doubts struct {
	gauge prometheus.Gauge
	mu    sync.Mutex
	until map[string]time.Time
}

func (d *doubts) add(outTradeNo string, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until[outTradeNo] = until
	d.gauge.Set(float64(len(d.until)))
}

func (d *doubts) remove(outTradeNo string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.until, outTradeNo)
	d.gauge.Set(float64(len(d.until)))
}

func (d *doubts) forget(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for no, until := range d.until {
		if now.After(until) {
			delete(d.until, no)
		}
	}
	d.gauge.Set(float64(len(d.until)))
}

// settled says that an order is no longer in doubt.
func (w *Worker) settled(outTradeNo string) { w.doubts.remove(outTradeNo) }
