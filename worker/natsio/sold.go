package natsio

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"orderworker/worker"
)

// soldReads is how many messages FindControl reads at most. A search among n messages
// takes about log2(n).
const soldReads = 200

var errSoldReads = errors.New("find a control number: no end of the search")

// FindControl returns the newest purchase that the vendor itself confirmed on this
// account and that was stored before that time: a control number for lookups.
// An operator's verdict does not count: a wrong one would make every lookup look
// as if it was not understood. It asks the leader.
//
// A purchase that the vendor confirmed when it sold it goes before a newer one
// that a lookup found: what a lookup found is shown by it, whatever else it
// hides, and so would prove too much.
//
// Source: contract, section 7.
func (j *JetStream) FindControl(ctx context.Context, before time.Time) (worker.Control, bool, error) {
	s := &soldSearch{j: j, left: soldReads}
	var second worker.Control // the newest that a lookup found
	for {
		m, found, err := s.newest(ctx, before)
		switch {
		case err == nil && !found, errors.Is(err, errSoldReads): // or thousands of purchases that do not count
			return second, second != (worker.Control{}), nil
		case err != nil:
			return worker.Control{}, false, err
		}
		sold, reconciled, ok := j.confirmed(m)
		switch {
		case ok && !reconciled:
			return sold, true, nil
		case ok && second == (worker.Control{}):
			second = sold
		}
		before = m.Time
	}
}

// confirmed reads a succeeded event that proves that lookups are understood, and
// whether a lookup found it.
func (j *JetStream) confirmed(m storedMsg) (sold worker.Control, reconciled, ok bool) {
	var r worker.Result
	account := m.Header.Get(accountHeader)
	if json.Unmarshal(m.Data, &r) != nil || r.Code != "200" || m.Header.Get(settledByHeader) != "" || r.OrderNumber == "" || account != "" && account != j.names.Account {
		return worker.Control{}, false, false
	}
	return worker.Control{OutTradeNo: r.OutTradeNo, OrderNumber: r.OrderNumber}, r.Reconciled, true
}

// soldSearch reads succeeded events, a bounded number of them.
type soldSearch struct {
	j    *JetStream
	left int
}

func (s *soldSearch) read(ctx context.Context, what get) (storedMsg, bool, error) {
	if s.left--; s.left < 0 {
		return storedMsg{}, false, errSoldReads
	}
	return readLeader(ctx, s.j.js, s.j.names.Results, what)
}

// newest returns the last succeeded event that was stored before that time, by
// bisection: the events of a stream stand in the order of their times.
func (s *soldSearch) newest(ctx context.Context, before time.Time) (storedMsg, bool, error) {
	subjects := s.j.names.ResultsSubject + "." + string(worker.Succeeded) + ".*"
	last, found, err := s.read(ctx, get{LastFor: subjects})
	if err != nil || !found || last.Time.Before(before) {
		return last, found, err
	}
	low, found, err := s.read(ctx, get{Seq: 1, NextFor: subjects})
	if err != nil || !found || !low.Time.Before(before) {
		return storedMsg{}, false, err
	}
	// low is old enough; no event from high on is.
	for high := last.Seq; high-low.Seq > 1; {
		middle := low.Seq + (high-low.Seq)/2
		m, found, err := s.read(ctx, get{Seq: middle, NextFor: subjects})
		switch {
		case err != nil:
			return storedMsg{}, false, err
		case found && m.Seq < high && m.Time.Before(before):
			low = m
		default:
			high = middle
		}
	}
	return low, true, nil
}
