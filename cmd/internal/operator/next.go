package operator

import (
	"cmp"
	"fmt"
	"time"

	"orderworker/dedupe"
	"orderworker/worker"
)

// Next is what happens to an order next.
type Next struct {
	What string      `json:"what"` // send, ask (the vendor), settle (an operator must), publish (its result), resume (the operator's pause must end), probe (of the account's pause, which must end), worker (when one takes it), unknown
	At   worker.Time `json:"at,omitzero"`
	Why  string      `json:"why,omitempty"` // it is unknown
}

// at returns what happens at t; a moment that is over is not known.
func at(what string, t, now time.Time) *Next {
	if !t.After(now) {
		return &Next{What: what}
	}
	return &Next{What: what, At: worker.Time{Time: t}}
}

// unknown is what happens next where nobody can say it.
func unknown(why string) *Next { return &Next{What: "unknown", Why: why} }

// sentence says when an order goes on, as far as that is known; "": it is not, or nothing is
// to be said.
func (n *Next) sentence(now time.Time) string {
	switch {
	case n == nil:
		return ""
	case n.Why != "":
		return "when it goes on is " + n.text(now)
	case n.At.IsZero():
		return ""
	}
	what := map[string]string{"send": "next attempt", "ask": "the vendor is asked next at", "probe": "next probe", "resume": "the pause ends"}[n.What]
	text := fmt.Sprintf("%s %s (in %s)", what, clock(n.At.Time, now), ago(n.At.Sub(now)))
	if n.What == "resume" {
		text += ", or when somebody resumes"
	}
	return text
}

// Outdate says that what was read before of what happens next is not known any more: it
// depends on a store that cannot be read now. An order that a worker has, that waits for an
// operator's verdict or for its result to be published goes on as was said.
func (row *Row) Outdate(why string) {
	if row.Next == nil {
		return
	}
	switch row.Next.What {
	case "send", "ask", "worker", "resume", "probe", "unknown":
		row.Next = unknown(why)
	}
}

// held returns what has to happen before an order is sent that is due at due; nil: nothing
// keeps it. An order that is due before the account's next probe waits for that.
func (b *Buying) held(due, now time.Time) *Next {
	switch o, a := b.Operator, b.Account; {
	case o != nil && (o.Until.IsZero() || due.Before(o.Until)):
		return at("resume", o.Until, now)
	case a != nil && (!due.After(now) || !due.After(a.NextProbe)):
		return at("probe", a.NextProbe, now)
	case o == nil && a == nil && b.Unknown != "" && !due.After(now):
		return unknown("whether it buys is not known")
	}
	return nil
}

// hold enters what keeps an order that is due now from being sent, if anything does.
func (row *Row) hold(f facts) { row.goesOn(cmp.Or(f.buying.held(f.now, f.now), row.Next)) }

// goesOn enters what happens next to an order that is not sent while the buying is paused.
func (row *Row) goesOn(next *Next) {
	row.Next = next
	if next.What == "resume" || next.What == "probe" {
		row.State = Paused
	}
}

// decide enters the state and what follows from it.
func (row *Row) decide(f facts) {
	k := f.known
	state := stateOf(k, nil, nil, f.now, f.call)
	owned := false
	due := f.now // unless a store has a later moment
	if e := k.Cache; e != nil {
		if owned = e.Owner != "" && e.Left > 0; !owned {
			due = f.now.Add(e.Left)
		}
	}
	switch state {
	case "sending":
		row.State, row.Next = Claimed, nil
		if k.Journal != nil {
			row.Since = worker.Time{Time: k.Journal.Since}
		}
	case string(worker.InDoubt):
		row.State = InDoubt
		row.doubtGoesOn(f, due)
		row.inDoubt(k)
	case "waiting":
		if owned {
			row.State, row.Next = Claimed, nil
			return
		}
		row.waiting(f, due)
	case "claimed":
		if owned {
			row.State, row.Next = Claimed, nil
			return
		}
		row.hold(f)
	case string(worker.Succeeded), string(worker.Failed):
		row.State, row.Next = State(state), nil
		row.publishing(f)
	default:
		row.State, row.Next = Unknown, nil
	}
}

// publishing enters that a worker has to publish the result that the journal has, or may
// have to.
func (row *Row) publishing(f facts) {
	k := f.known
	if k.Event != nil || k.Verdict(f.now) != dedupe.Final {
		return
	}
	row.Unpublished, row.Next = true, &Next{What: "publish"}
	if k.EventErr != nil {
		row.Next = unknown("the results are away")
	}
	if k.Journal.ByOperator() {
		row.Last = &Answer{Message: unpublishedWords(k)}
	}
}

// doubtGoesOn enters what happens next to an order in doubt, which a worker looks at again
// at due: see UPSTREAM_RECONCILE.
func (row *Row) doubtGoesOn(f facts, due time.Time) {
	k := f.known
	sold := k.Journal != nil && (k.Journal.Bought || k.Journal.Exists) || k.Cache != nil && k.Cache.Doubt != nil && k.Cache.Doubt.Sold()
	expired := f.expires != nil && due.After(*f.expires)
	why := away(k)
	switch {
	case f.policy == worker.Hold:
		row.Next = &Next{What: "settle"}
	case why != "":
		row.Next = unknown(why)
	case f.policy != worker.Resend || sold || expired:
		row.Next = at("ask", due, f.now)
	default:
		row.Next = cmp.Or(f.buying.held(due, f.now), at("send", due, f.now))
	}
}

// waiting enters what an order waits for that is certainly not bought; due is when its backoff
// is over.
func (row *Row) waiting(f facts, due time.Time) {
	j := f.known.Journal
	if j != nil && j.Due.After(due) {
		due = j.Due
	}
	if row.Attempt > 0 || row.Refusals > 0 || due.After(f.now) { // or it was handed back unsent
		row.State = Waiting
	}
	next := cmp.Or(f.buying.held(due, f.now), at("send", due, f.now))
	if why := away(f.known); why != "" && next.What == "send" && next.At.IsZero() {
		next = unknown(why)
	}
	row.goesOn(next)
	if j != nil && j.ByOperator() {
		row.Last = &Answer{Message: "settled as not bought, not sent again yet"}
	}
}

// away says which store cannot be asked that knows when a worker looks at the order next;
// "": none.
func away(k dedupe.Known) string {
	switch {
	case k.CacheErr != nil:
		return "Redis is away"
	case k.JournalErr != nil:
		return "the journal is away"
	}
	return ""
}
