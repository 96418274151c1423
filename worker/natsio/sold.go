package natsio

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"orderworker/worker"
)

// soldReads is the most messages that one call of FindControl reads. A search among n messages
// reads about log2(n).
const soldReads = 200

var errSoldReads = errors.New("find a control number: too many reads")

// FindControl returns a control number for lookups: the newest purchase of this account whose
// event was stored before that time, and false if there is none. It reads from the leader.
//
// A purchase that an operator settled does not count: if the operator was wrong, no lookup
// would show it. A purchase that the vendor confirmed in its answer is preferred to a newer
// one that a lookup found: that lookup shows it even if it hides other purchases.
//
// Source: contract, section 7.
func (j *JetStream) FindControl(ctx context.Context, before time.Time) (worker.Control, bool, error) {
	s := &soldSearch{j: j, left: soldReads}
	var lookedUp worker.Control // the newest purchase that a lookup found
	for {
		m, found, err := s.newest(ctx, before)
		switch {
		case err == nil && !found, errors.Is(err, errSoldReads): // errSoldReads: very many purchases do not count
			return lookedUp, lookedUp != (worker.Control{}), nil
		case err != nil:
			return worker.Control{}, false, err
		}
		sold, reconciled, ok := j.confirmed(m)
		switch {
		case ok && !reconciled:
			return sold, true, nil
		case ok && lookedUp == (worker.Control{}):
			lookedUp = sold
		}
		before = m.Time
	}
}

// confirmed returns the purchase of a succeeded event, and whether a lookup found it; ok is
// false if the event is no control number.
func (j *JetStream) confirmed(m storedMsg) (sold worker.Control, reconciled, ok bool) {
	var r worker.Result
	account := m.Header.Get(accountHeader)
	if json.Unmarshal(m.Data, &r) != nil || r.Code != "200" || m.Header.Get(settledByHeader) != "" || r.OrderNumber == "" || account != "" && account != j.names.Account {
		return worker.Control{}, false, false
	}
	return worker.Control{OutTradeNo: r.OutTradeNo, OrderNumber: r.OrderNumber}, r.Reconciled, true
}

// soldSearch reads succeeded events, at most left more.
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

// newest returns the last succeeded event that was stored before that time. It bisects the
// stream, whose events are in the order of their times.
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
	// low was stored before that time, and no event from high on was.
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
