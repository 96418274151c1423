package worker

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"orderworker/dedupe"
)

// simAudit is what an observer of the streams has seen of an order.
type simAudit struct {
	last   dedupe.Record // in the journal
	rev    uint64
	at     time.Time   // when last was written, but for a doubt that was parked since
	kept   time.Time   // when last was written
	sent   uint64      // the revision of the newest intent that a request left under
	events []simStored // what the results stream holds
}

// The functions below are called at the moment at which something happens. Their
// callers have locked the mutex, except those of written.

// checkSend checks a request that leaves for the vendor; r is the journal's record.
func (w *simWorld) checkSend(p *simProc, o *simOrder, r dedupe.Record, rev uint64, sendBy time.Time) {
	process, _ := simProcessOf(r.Owner)
	switch {
	case r.State != dedupe.StateIntent:
		w.violate(o, "sent without an intent: the journal has %q", r.State)
	case process != p.process:
		w.violate(o, "sent under the intent of another process")
	case sendBy.After(r.SendBy):
		w.violate(o, "may be sent until %v, but the intent says %v", sendBy, r.SendBy)
	case rev == o.audit.sent:
		w.violate(o, "sent twice under one intent")
	}
	o.audit.sent = rev
	if o.book.told {
		w.violate(o, "sent again, though the vendor has said that it exists or was bought")
	}
}

// written is told of each record that the journal takes.
func (w *simWorld) written(o *simOrder, r dedupe.Record, rev uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := &o.audit
	if rev == a.rev {
		return // the same record once more
	}
	old, oldAt := a.last, a.at
	if ttl := w.lifetime(old); ttl > 0 && time.Since(a.kept) >= ttl {
		old = dedupe.Record{} // it has expired
	}
	a.last, a.rev, a.at, a.kept = r, rev, time.Now(), time.Now()
	mayBeBought := o.book.purchases+o.book.underway > 0
	if old.State == dedupe.StateFinal {
		w.violate(o, "a final record was replaced by %s", r.State)
	}
	switch {
	case r.State == dedupe.StateIntent && (r.Bought || r.Exists):
		o.book.told = true
		if !mayBeBought && !w.stays { // where a vendor lies, it stays
			w.violate(o, "noted as bought, and it was not")
		}
		if o.hidden { // nothing that was promised of the lookup matters any more
			o.book.visible = w.provable(r.SendBy).Add(5 * time.Minute)
		}
	case r.State == dedupe.StateIntent && !r.Parked.IsZero():
		if old.State == "" { // an attempt that only Redis knew of, or none
			a.at = r.SendBy
			return
		}
		a.at = oldAt
		if old.State != dedupe.StateIntent || old.Attempt != r.Attempt || !old.SendBy.Equal(r.SendBy) || old.Bought || old.Exists {
			w.violate(o, "an intent was parked over %+v", old)
		}
	case r.State == dedupe.StateIntent:
		if r.SendBy.After(a.at.Add(min(3*time.Second, w.rules.ReconcileDelay/2) + time.Millisecond)) {
			w.violate(o, "an intent that lasts until %v", r.SendBy)
		}
		again := old.Owner == r.Owner && !o.book.left(old) // its reply got lost
		if old.State == dedupe.StateIntent && !again && (!r.EarlierOpen || w.rules.Reconcile != Resend) {
			w.violate(o, "a second intent while the first is open")
		}
	case r.State == dedupe.StateFinal && bytes.Contains(r.Result, []byte(`"status":"succeeded"`)):
		if o.book.purchases == 0 {
			w.violate(o, "a success without a purchase")
		}
	default: // ready, or failed: not bought
		w.unbought(o, old, oldAt, r)
		if mayBeBought {
			w.violate(o, "%s was written, but it was bought or will be", r.State)
		}
	}
}

// unbought checks what r, a record that says that nothing was bought, is
// founded on.
func (w *simWorld) unbought(o *simOrder, old dedupe.Record, oldAt time.Time, r dedupe.Record) {
	if old.State != dedupe.StateIntent {
		return
	}
	if old.Owner == r.Owner && !old.EarlierOpen && !o.book.unanswered(old) {
		return
	}
	if r.State == dedupe.StateFinal {
		w.violate(o, "failed while an attempt is open")
		return
	}
	times, proof := 0, false
	for _, at := range o.book.missing {
		if at.After(oldAt) {
			times++
			proof = proof || at.After(w.provable(old.SendBy))
		}
	}
	if times < 2 || !proof {
		w.violate(o, "an open attempt was given up after %d lookups found nothing, one late enough: %v", times, proof)
	}
}

// left says whether a request left under an intent.
func (b *simBook) left(intent dedupe.Record) bool {
	return slices.ContainsFunc(b.sends, func(s simSend) bool { return s.owner == intent.Owner && s.attempt == intent.Attempt })
}

// unanswered says whether one left of which the worker does not know that it
// bought nothing.
func (b *simBook) unanswered(intent dedupe.Record) bool {
	return slices.ContainsFunc(b.sends, func(s simSend) bool {
		return s.owner == intent.Owner && s.attempt == intent.Attempt && !s.settled
	})
}

// published is told of each event that gets to the results stream.
func (w *simWorld) published(o *simOrder, e Event) {
	inJournal := o.audit.last.State == dedupe.StateFinal && bytes.Equal(o.audit.last.Result, e.Payload)
	switch {
	case e.Status == Failed && !inJournal:
		w.violate(o, "failed was published, but is not in the journal")
	case e.Status == Succeeded && o.book.purchases == 0:
		w.violate(o, "a success without a purchase was published")
	case e.Status == Succeeded && !inJournal && bytes.Contains(e.Payload, []byte(`"reconciled":true`)):
		w.violate(o, "what the lookup found was published, but is not in the journal")
	}
	if e.Status.final() && (e.Seq == 0 || w.msgs[e.Seq-1].o != o) {
		w.violate(o, "the event names request %d", e.Seq)
	}
}

// acked is told of each request that leaves the orders stream.
func (w *simWorld) acked(m *simMsg) {
	o := m.o
	finals, rejected := o.finals()
	switch {
	case m.buried && rejected:
	case m.buried:
		w.violate(o, "request %d was acknowledged before its rejection was published", m.seq)
	case m.kind == broken:
		w.violate(o, "an invalid request was acknowledged without a dead letter")
	case len(finals) == 0:
		w.violate(o, "request %d was acknowledged before there is an event", m.seq)
	}
}

// finals lists the final events of an order, and says whether a request for it
// was rejected.
func (o *simOrder) finals() (finals []simStored, rejected bool) {
	for _, e := range o.audit.events {
		switch e.Status {
		case Succeeded, Failed:
			finals = append(finals, e)
		case Rejected:
			rejected = true
		}
	}
	return finals, rejected
}

// judge looks at an order when the world has come to its end.
func (w *simWorld) judge(o *simOrder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	finals, _ := o.finals()
	if w.stays {
		noticed := slices.ContainsFunc(o.audit.events, func(e simStored) bool { return e.Status == InDoubt })
		if len(finals) > 0 || len(o.book.sends) > 1 || !noticed {
			w.violate(o, "it was to stay in doubt: %d final results, %d calls, noticed: %v", len(finals), len(o.book.sends), noticed)
		}
		return
	}
	valid, kept := 0, 0
	for _, m := range w.msgs {
		if m.o != o {
			continue
		}
		if !m.acked {
			w.violate(o, "request %d never ended", m.seq)
		}
		if m.kind != broken {
			valid++
		}
		if !m.buried {
			kept++
		}
	}
	if valid > 0 && kept == 0 {
		w.violate(o, "every request was rejected")
	}
	ids := make(map[string]bool)
	for _, e := range finals {
		ids[e.ID] = true
	}
	if len(ids) != min(valid, 1) {
		w.violate(o, "%d final results", len(ids))
	}
	for _, e := range finals {
		w.judgeResult(o, e)
	}
	if o.book.purchases > 1 {
		w.violate(o, "bought %d times", o.book.purchases)
	}
}

// judgeResult compares a final event with the vendor's book.
func (w *simWorld) judgeResult(o *simOrder, e simStored) {
	var r struct {
		Attempts int
		Reason   Reason
	}
	if err := json.Unmarshal(e.Payload, &r); err != nil {
		w.violate(o, "an event that cannot be read: %v", err)
	}
	if (e.Status == Succeeded) != (o.book.purchases == 1) {
		w.violate(o, "%s, with %d purchases", e.Status, o.book.purchases)
	}
	settling := o.book.refused
	if e.Status == Succeeded {
		settling++
	}
	if r.Attempts > settling {
		w.violate(o, "%d attempts, but the vendor settled only %d", r.Attempts, settling)
	}
	if r.Reason == AttemptsExhausted && r.Attempts != w.rules.MaxAttempts {
		w.violate(o, "exhausted after %d attempts", r.Attempts)
	}
	if e.ID != o.no+"."+string(e.Status) || !strings.HasPrefix(string(e.Payload), `{"outTradeNo":"`+o.no+`"`) {
		w.violate(o, "the event %s is named wrongly", e.ID)
	}
}
