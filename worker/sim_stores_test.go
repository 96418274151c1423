package worker

import (
	"context"
	"time"

	"orderworker/dedupe"
)

// simCache is Redis as one process sees it.
type simCache struct{ p *simProc }

// simJournal is the journal as one process sees it.
type simJournal struct{ p *simProc }

// simResults are the final events as one process reads them.
type simResults struct{ p *simProc }

var (
	_ dedupe.Cache   = simCache{}
	_ dedupe.Journal = simJournal{}
	_ dedupe.Results = simResults{}
)

func (s simCache) Claim(ctx context.Context, o dedupe.Order, owner string, lease time.Duration) (dedupe.Entry, bool, error) {
	type found struct {
		entry dedupe.Entry
		taken bool
	}
	f, err := simIO(s.p, ctx, s.p.w.find(o.OutTradeNo), opClaim, "", func() (f found, err error) {
		f.entry, f.taken, err = s.p.w.memory.Claim(context.Background(), o, owner, lease)
		return f, err
	})
	return f.entry, f.taken, err
}

func (s simCache) Renew(ctx context.Context, o dedupe.Order, owner string, rev uint64, lease time.Duration) error {
	return s.do(ctx, o.OutTradeNo, opRenew, "", func(ctx context.Context) error {
		return s.p.w.memory.Renew(ctx, o, owner, rev, lease)
	})
}

func (s simCache) Park(ctx context.Context, o dedupe.Order, owner string, e dedupe.Entry, delay time.Duration) error {
	return s.do(ctx, o.OutTradeNo, opPark, string(e.State), func(ctx context.Context) error {
		err := s.p.w.memory.Park(ctx, o, owner, e, delay)
		if err == nil {
			s.p.w.mu.Lock()
			defer s.p.w.mu.Unlock()
			s.p.w.find(o.OutTradeNo).parked = time.Now()
		}
		return err
	})
}

// lose has Redis lose what the fault says: all of it, or its last writes. A lone
// order has faults of its own; of many, all are thrown back to one moment.
func (w *simWorld) lose(o *simOrder, pt simPoint, f simFault) {
	if f < forget {
		return
	}
	w.mu.Lock()
	parked := o.parked
	w.mu.Unlock()
	switch {
	case f == forget:
		w.memory.ForgetAll()
	case len(w.orders) > 1:
		longest := []time.Duration{time.Second, 30 * time.Second, 5 * time.Minute}[w.chance(5, pt.hash()).of(3)]
		w.memory.LoseSince(time.Now().Add(-w.chance(6, pt.hash()).upTo(longest)))
	case f == rollBack:
		w.memory.LoseSince(parked)
	default:
		all := !w.memory.LoseWrites(int(f - rollBack))
		w.mu.Lock()
		defer w.mu.Unlock()
		w.lostAll = w.lostAll || all
	}
}

func (s simCache) Remember(ctx context.Context, o dedupe.Order, result []byte, ttl time.Duration) error {
	return s.do(ctx, o.OutTradeNo, opNoted, "", func(ctx context.Context) error {
		return s.p.w.memory.Remember(ctx, o, result, ttl)
	})
}

func (s simCache) Adopt(ctx context.Context, o dedupe.Order, from string) error {
	return s.p.w.memory.Adopt(ctx, o, from) // all have one account
}

func (s simCache) Complete(ctx context.Context, born time.Time) error {
	return s.p.w.memory.Complete(ctx, born)
}

func (s simCache) Forget(ctx context.Context, o dedupe.Order, owner string) (time.Duration, error) {
	return simIO(s.p, ctx, s.p.w.find(o.OutTradeNo), opForget, "", func() (time.Duration, error) {
		return s.p.w.memory.Forget(context.Background(), o, owner)
	})
}

func (s simCache) Look(ctx context.Context, outTradeNo string) (dedupe.Entry, bool, error) {
	return s.p.w.memory.Look(ctx, outTradeNo) // no part of an order's life
}

// do runs what only succeeds or fails. What has got to the store is no longer
// stopped by the caller's context.
func (s simCache) do(ctx context.Context, no string, op simOp, note string, act func(context.Context) error) error {
	_, err := simIO(s.p, ctx, s.p.w.find(no), op, note, func() (struct{}, error) {
		return struct{}{}, act(context.Background())
	})
	return err
}

func (j simJournal) Read(ctx context.Context, outTradeNo string) (dedupe.Record, uint64, error) {
	type read struct {
		record dedupe.Record
		rev    uint64
	}
	r, err := simIO(j.p, ctx, j.p.w.find(outTradeNo), opRead, "", func() (r read, err error) {
		r.record, r.rev, err = j.p.w.memory.Read(context.Background(), outTradeNo)
		return r, err
	})
	return r.record, r.rev, err
}

func (j simJournal) Created(ctx context.Context) (time.Time, error) {
	return j.p.w.memory.Created(ctx)
}

// Write shows the auditor what is replaced by what.
func (j simJournal) Used(ctx context.Context) (bool, error) { return j.p.w.memory.Used(ctx) }

func (j simJournal) Write(ctx context.Context, outTradeNo string, r dedupe.Record, rev uint64) (uint64, error) {
	o := j.p.w.find(outTradeNo)
	op := map[dedupe.State]simOp{dedupe.StateIntent: opIntent, dedupe.StateReady: opReady, dedupe.StateFinal: opFinal}[r.State]
	if r.State == dedupe.StateIntent && !r.Bought && !r.Exists && r.Parked.IsZero() { // the others allow no request
		j.p.w.checkHalt(o, "an intent")
	}
	return simIO(j.p, ctx, o, op, "", func() (uint64, error) {
		next, err := j.p.w.memory.Write(context.Background(), outTradeNo, r, rev)
		if err == nil {
			j.p.w.written(o, r, next)
		}
		return next, err
	})
}

func (s simResults) Final(ctx context.Context, outTradeNo string) (dedupe.FinalEvent, bool, error) {
	w, o := s.p.w, s.p.w.find(outTradeNo)
	f, err := simIO(s.p, ctx, o, opEnded, "", func() (*dedupe.FinalEvent, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		finals, _ := o.finals()
		if len(finals) == 0 {
			return nil, nil
		}
		e := finals[0]
		return &dedupe.FinalEvent{Result: e.Payload, Seq: e.Seq, Fingerprint: e.Fingerprint, Account: e.Account}, nil
	})
	if err != nil || f == nil {
		return dedupe.FinalEvent{}, false, err
	}
	return *f, true, nil
}

// Used is no part of an order's life.
func (s simResults) Used(context.Context) (bool, error) {
	s.p.w.mu.Lock()
	defer s.p.w.mu.Unlock()
	return len(s.p.w.sales) > 0, nil
}

// simQuota is the quota as one process sees it: a slot comes at once, or as
// late as Redis lets it. The only error is that the caller's context ended.
type simQuota struct{ p *simProc }

func (q simQuota) Wait(ctx context.Context, ready func(context.Context) error) error {
	return q.wait(ctx, opSlot, ready)
}

func (q simQuota) WaitAgain(ctx context.Context, ready func(context.Context) error) error {
	return q.wait(ctx, opSlot, ready)
}

func (q simQuota) WaitLookup(ctx context.Context, ready func(context.Context) error) error {
	return q.wait(ctx, opAskSlot, ready)
}

// Over goes by the default of the quota.
func (q simQuota) Over(slot time.Time) bool { return time.Since(slot) > 50*time.Millisecond }

func (q simQuota) Slow(context.Context, time.Duration) error { return nil }

func (q simQuota) Spacing() time.Duration { return 0 }

// wait belongs to no order that it could know of. It is a point in the life of
// a lone order; of many, none could be told apart.
func (q simQuota) wait(ctx context.Context, op simOp, ready func(context.Context) error) error {
	w := q.p.w
	if err := ready(ctx); err != nil {
		return err
	}
	for {
		err := q.p.pause(ctx, time.Millisecond)
		switch {
		case len(w.orders) == 1:
			_, err = simIO(q.p, ctx, w.orders[0], op, "", func() (struct{}, error) { return struct{}{}, nil })
		case err == nil && w.away != nil && w.away(op, time.Since(w.begun)):
			err = errNotDone
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := q.p.pause(ctx, time.Second); err != nil {
			return err
		}
	}
}
