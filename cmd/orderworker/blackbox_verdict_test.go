package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker"
)

// verdict is what became of a scenario's orders, judged only by the vendors' books and the
// streams. The lists have one line for each order that ended wrong.
type verdict struct {
	w                             *world
	orders, bought, failed, found int             // found: by the lookup
	notices                       int             // in_doubt events
	took                          []time.Duration // from stored to result
	slowest                       time.Duration
	slowestNo                     string
	peak                          int // the most calls in a sliding second that a vendor saw
	above                         int // sliding seconds with more calls than the rate allows, by each vendor's account
	doubles, lost, contradictions []string
}

// patience is how long nothing at all may happen while orders are unfinished:
// longer than the longest wait between two lookups, 13.5 s with these settings.
const patience = 60 * time.Second

// verdict waits until every request is stored and acknowledged, stops the
// workers, and judges.
func (w *world) verdict() *verdict {
	w.t.Helper()
	w.takeTurns()
	w.drain()
	w.checkHeld()
	w.readShown()
	for _, p := range w.workers {
		if !p.stop(30 * time.Second) {
			w.t.Errorf("%s did not stop with exit status 0", p.name)
		}
	}
	w.readLogs()
	return w.judge(w.book(), w.results())
}

// drain waits until no request is unfinished. It fails the test if none is finished for as
// long as patience.
func (w *world) drain() {
	w.t.Helper()
	least, since := w.unfinished(), time.Now()
	for n := least; n > 0; n = w.unfinished() {
		if n < least {
			least, since = n, time.Now()
		}
		if time.Since(since) > patience {
			w.t.Errorf("%d requests are left, and none ended for %v", n, patience)
			return
		}
		time.Sleep(50 * time.Millisecond) // between two polls, under the deadline above
	}
}

// unfinished counts the requests that are not stored or not acknowledged.
func (w *world) unfinished() int {
	waiting := w.publisher.left()
	in, err := w.count("ORDERS", w.subject(requestSubject))
	if err != nil {
		return waiting + 1 // it cannot be seen: at least that is not finished
	}
	return waiting + in
}

// count is how many messages of a subject a stream holds.
func (w *world) count(stream, subject string) (int, error) {
	s, err := w.js.Stream(w.t.Context(), w.stream(stream))
	if err != nil {
		return 0, err
	}
	info, err := s.Info(w.t.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, err
	}
	return int(info.State.Subjects[subject]), nil
}

// summary is the scenario's one line.
func (v *verdict) summary(s size) string {
	rate := "no rate"
	if v.w.rate > 0 {
		rate = fmt.Sprintf("at most %d calls in a second of %d", v.peak, v.w.rate)
	}
	return fmt.Sprintf("%d faults, %d orders (%d bought, %d failed, %d found by lookup, %d noticed in doubt, the slowest took %v; %s): %d double purchases, %d lost, %d contradictions, %d seconds above the rate (bound 3/n = %.2g)",
		s.faults, v.orders, v.bought, v.failed, v.found, v.notices, v.slowest.Round(time.Second), rate, len(v.doubles), len(v.lost), len(v.contradictions), v.above, bound(v.orders))
}

// bound returns the upper limit, with 95 % confidence, of the share of orders that end
// wrong, if none of n did: the rule of three.
func bound(n int) float64 { return 3 / float64(max(1, n)) }

// report fails the test if an order ended wrong, and shows the log lines of the first few.
func (v *verdict) report(t *testing.T) {
	t.Helper()
	if v.slowest > patience {
		t.Logf("the slowest order:\n%s", v.w.logged(v.slowestNo))
	}
	for what, wrong := range map[string][]string{"double purchase": v.doubles, "lost": v.lost, "contradiction": v.contradictions} {
		slices.Sort(wrong)
		for i, line := range wrong {
			if i == 3 {
				t.Errorf("%s: and %d more", what, len(wrong)-i)
				break
			}
			no, _, _ := strings.Cut(line, " ")
			t.Errorf("%s: %s\n%s\n%s", what, line, v.w.journalled(no), v.w.logged(no))
		}
	}
	for i, line := range v.w.spilled.lines {
		if i == 10 {
			t.Errorf("and %d more", len(v.w.spilled.lines)-i)
			break
		}
		t.Error(line)
	}
	if seen := v.w.spilled.answers; seen["/metrics 200"] == 0 || seen["/readyz 200"]+seen["/readyz 503"] == 0 {
		t.Errorf("pages seen: %v", seen)
	}
	if v.above > 0 {
		t.Errorf("%d sliding seconds above the rate of %d, the most %d", v.above, v.w.rate, v.peak)
	}
	v.w.reportOthers()
}

// reportOthers fails the test if an invalid request did not become a dead letter, or a
// message of another subject is gone.
func (w *world) reportOthers() {
	w.t.Helper()
	dead := 0
	w.messages("ORDERS_DEAD", func(msg *jetstream.RawStreamMsg) {
		dead++
		if reason := msg.Header.Get("Dead-Reason"); reason != string(worker.Invalid) || w.invalid == 0 {
			w.t.Errorf("a dead letter, %s: %s", reason, msg.Data)
		}
	})
	if dead < w.invalid { // it may have been stored twice, and is then buried twice
		w.t.Errorf("%d dead letters, want %d", dead, w.invalid)
	}
	if w.foreign == 0 {
		return
	}
	if left, err := w.count("ORDERS", w.subject(foreignSubject)); err != nil || left < w.foreign {
		w.t.Errorf("%d foreign messages are left, %v; want %d", left, err, w.foreign)
	}
}

// logged is what the workers' logs say of an order.
func (w *world) logged(outTradeNo string) string {
	var lines strings.Builder
	for _, p := range w.workers {
		lines.WriteString(p.linesWith(`"`+outTradeNo+`"`, 20))
	}
	return lines.String()
}

// journalled is the journal's record of an order.
func (w *world) journalled(outTradeNo string) string {
	stream, err := w.js.Stream(w.t.Context(), w.stream("ORDER_JOURNAL"))
	if err != nil {
		return err.Error()
	}
	msg, err := stream.GetLastMsgForSubject(w.t.Context(), w.subject("orders.journal.")+outTradeNo)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("journal %d: %s", msg.Sequence, msg.Data)
}
