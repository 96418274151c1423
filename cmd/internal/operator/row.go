package operator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"orderworker/cmd/internal/text"
	"orderworker/dedupe"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

// State is the state of an order in a list.
type State string

// The states of a list. The last two are final.
const (
	Queued    State = "queued"    // no worker has begun with it, or it was handed back unsent
	Claimed   State = "claimed"   // a worker has it; a request may be under way
	Waiting   State = "waiting"   // not bought; its next attempt is due later
	InDoubt   State = "in_doubt"  // a request may have bought
	Paused    State = "paused"    // not sent, because an operator or the vendor's refusals pause the buying
	Unknown   State = "unknown"   // a store could not be asked: a request may have bought
	Succeeded State = "succeeded" // bought
	Failed    State = "failed"    // certainly not bought
)

// States are the states that a list can be asked for, unfinished ones first.
var States = []State{Queued, Claimed, Waiting, InDoubt, Paused, Unknown, Succeeded, Failed}

// Finished reports whether an order in this state will not change any more.
func (s State) Finished() bool { return s == Succeeded || s == Failed }

// Answer is what is known last of the vendor's answers to an order.
type Answer struct {
	Class   string `json:"class,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"` // the vendor's, as it came: show it with Shown
}

func (a *Answer) String() string {
	switch {
	case a == nil:
		return ""
	case a.Code == "":
		return a.Message
	default:
		return strings.TrimSpace(a.Code + " " + a.Message)
	}
}

// Next is what happens to an order next.
type Next struct {
	What string      `json:"what"` // send, ask (the vendor), publish (its result), resume (when somebody does), probe (of the account's pause, which must end), worker (when one takes it), unknown
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

// HideNext says that what happens next is unknown, because a store is away that knows it.
func (row *Row) HideNext(why string) { row.Next = &Next{What: "unknown", Why: why} }

// Row is an order in a list.
type Row struct {
	OutTradeNo  string      `json:"outTradeNo"`
	State       State       `json:"state"`
	Since       worker.Time `json:"since"`
	ICCID       string      `json:"iccid"`
	PackageCode string      `json:"packageCode"`
	Attempt     int         `json:"attempt"`  // the number of the newest request to the vendor
	Refusals    int         `json:"refusals"` // that count against MAX_ATTEMPTS
	Last        *Answer     `json:"last"`
	Next        *Next       `json:"next"`
	Received    worker.Time `json:"received"`
	Seq         uint64      `json:"seq"` // of the request in its stream; 0: not known
	Reason      string      `json:"reason,omitempty"`
	OrderNumber string      `json:"orderNumber,omitempty"`
	Invalid     string      `json:"invalid,omitempty"` // which rule the request breaks: it becomes a dead letter
}

// facts is what a row is made of beside its request.
type facts struct {
	known     dedupe.Known
	delivered bool // a worker was given the request
	buying    Buying
	now       time.Time
	call      time.Duration // UPSTREAM_TIMEOUT
}

// rowOf returns the row of an unfinished order.
func rowOf(r Request, f facts) Row {
	if !isOf(f.known, r.Fingerprint()) { // another request's, or nothing
		f.known.Cache, f.known.Journal, f.known.Event = nil, nil, nil
	}
	f.known.Stored = r.Received
	return knownRow(r, f)
}

// knownRow is rowOf for a request of which it is certain that what is known is about it.
func knownRow(r Request, f facts) Row {
	row := Row{
		OutTradeNo: r.OutTradeNo, ICCID: r.ICCID, PackageCode: r.PackageCode, Seq: r.Seq,
		Received: timeOf(r.Received), Since: timeOf(r.Received), State: Queued, Next: &Next{What: "send"},
	}
	if r.Invalid != nil {
		row.Invalid = text.OneLine(r.Invalid)
		row.Next = &Next{What: "worker"}
		return row
	}
	switch nothing := isNothing(f.known); {
	case nothing && !f.delivered:
		row.Next = cmp.Or(f.buying.held(f.now), &Next{What: "worker"})
		return row
	case nothing && f.known.Verdict(f.now) == dedupe.Fresh:
		row.hold(f)
		return row
	}
	row.progress(f.known)
	row.decide(f)
	return row
}

// hold enters that a pause keeps the order from being sent, if there is one.
func (row *Row) hold(f facts) {
	if next := f.buying.held(f.now); next != nil {
		row.State, row.Next = Paused, next
	}
}

// progress enters the counts and the last answer.
func (row *Row) progress(k dedupe.Known) {
	var p dedupe.Progress
	if k.Cache != nil {
		p = k.Cache.Progress
	}
	if j := k.Journal; j != nil {
		if j.Attempt >= p.Attempt {
			p.Attempt, p.Last = j.Attempt, j.Last
		}
		p.Refusals = max(p.Refusals, j.Refusals)
	}
	row.Attempt, row.Refusals = p.Attempt, p.Refusals
	if endings := k.Endings(); len(endings) > 0 {
		last := endings[len(endings)-1]
		row.Last = &Answer{Class: last.Class, Code: last.Code, Message: last.Message}
		if row.Since.Before(last.At) {
			row.Since = timeOf(last.At)
		}
	} else if p.Last != (dedupe.Answer{}) {
		row.Last = &Answer{Class: p.Last.Class, Code: p.Last.Code, Message: p.Last.Message}
	}
}

// decide enters the state and what follows from it.
func (row *Row) decide(f facts) {
	k := f.known
	state := stateOf(k, nil, nil, f.now, f.call)
	owned := false
	due := f.now // a moment that is over is not known
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
		row.inDoubt(k, due, f.now)
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
		if k.Event == nil && k.Verdict(f.now) == dedupe.Final {
			row.Next = &Next{What: "publish"}
			if byOperator(k.Journal) {
				row.Last = &Answer{Message: unpublishedWords(k.Journal)}
			}
		}
	default:
		row.State, row.Next = Unknown, nil
	}
}

// waiting enters what an order waits for that is certainly not bought; due is when its backoff
// is over.
func (row *Row) waiting(f facts, due time.Time) {
	j := f.known.Journal
	if j != nil && j.Due.After(due) {
		due = j.Due
	}
	over := f.now // until then a pause lasts at least
	if a := f.buying.Account; a != nil && a.NextProbe.After(over) {
		over = a.NextProbe
	}
	switch {
	case !due.After(over) && f.buying.held(f.now) != nil:
		row.hold(f)
	case row.Attempt == 0 && row.Refusals == 0 && !due.After(f.now): // it was handed back unsent
	default:
		row.State, row.Next = Waiting, at("send", due, f.now)
		if why := away(f.known); why != "" && row.Next.At.IsZero() {
			row.HideNext(why)
		}
	}
	if j != nil && byOperator(j) {
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

// byOperator reports whether an operator wrote the record: settle or cancel.
func byOperator(j *dedupe.Record) bool { return strings.HasPrefix(j.Owner, "operator-") }

// unpublishedWords say how an order ended whose event no worker has published yet.
func unpublishedWords(final *dedupe.Record) string {
	how := ""
	switch {
	case !byOperator(final):
	case statusIn(final.Result) == string(worker.Succeeded):
		how = "settled as bought, "
	default:
		how = "cancelled by an operator, "
	}
	return how + "not published yet"
}

// unpublished reports whether the order has its result, and a worker has to publish it yet.
func (row *Row) unpublished() bool { return row.Next != nil && row.Next.What == "publish" }

// Open reports whether a worker has something to do for the order yet.
func (row *Row) Open() bool { return !row.State.Finished() || row.unpublished() }

// inDoubt enters what is known of a doubt; ask is when the vendor is asked next. Why the last
// lookup did not end it comes first: nothing was answered later.
func (row *Row) inDoubt(k dedupe.Known, ask, now time.Time) {
	row.Next = at("ask", ask, now)
	if why := away(k); why != "" {
		row.HideNext(why)
	}
	var lookup, notes []string
	if j := k.Journal; j != nil {
		row.Since = worker.Time{Time: j.Since}
		if j.Bought {
			notes = append(notes, "the vendor said that it was bought, not by which number")
		}
		if j.Exists {
			notes = append(notes, "the vendor said that it exists")
		}
	}
	if k.Cache != nil && k.Cache.Doubt != nil {
		d := k.Cache.Doubt
		if k.Journal == nil && !d.Since.IsZero() {
			row.Since = worker.Time{Time: d.Since}
		}
		switch {
		case d.Answer != "":
			lookup = []string{lookupWords(d, now)}
		case d.Asked > 0:
			notes = append(notes, fmt.Sprintf("asked %s", text.Counted(d.Asked, "time")))
		}
		if d.Missing && d.Answer == "" {
			notes = append(notes, "once not found")
		}
	}
	if row.Last != nil {
		notes = append([]string{row.Last.String()}, notes...)
	}
	notes = append(lookup, notes...)
	if len(notes) == 0 {
		notes = []string{"no clear answer"}
		if !hasAttempt(k) {
			notes = []string{"older than what is remembered"}
		}
	}
	row.Last = &Answer{Class: "ambiguous", Message: strings.Join(notes, "; ")}
}

// lookupWords say why the last lookup did not end a doubt.
func lookupWords(d *dedupe.Doubt, now time.Time) string {
	return fmt.Sprintf("%s (asked %s)", d.Answer, clock(d.AskedAt, now))
}

// finishedRow returns the row of a final event.
func finishedRow(m natsio.Stored, subject string) (Row, bool) {
	status, _, _ := strings.Cut(strings.TrimPrefix(m.Subject, subject+"."), ".")
	var r worker.Result
	if json.Unmarshal(m.Data, &r) != nil {
		return Row{}, false
	}
	row := Row{
		OutTradeNo: r.OutTradeNo, State: State(status), Since: r.CompletedAt, ICCID: r.ICCID, PackageCode: r.PackageCode,
		Attempt: r.Attempts, Refusals: r.Attempts, Received: r.ReceivedAt, Reason: string(r.Reason), OrderNumber: r.OrderNumber,
	}
	if r.Code != "" || r.Message != "" {
		row.Last = &Answer{Code: r.Code, Message: r.Message}
	}
	if r.CompletedAt.IsZero() {
		row.Since = worker.Time{Time: m.Time}
	}
	fmt.Sscan(m.Header.Get("Order-Seq"), &row.Seq) //nolint:errcheck // 0: not known
	return row, true
}

// isOf reports whether what is known is about a request with this fingerprint.
func isOf(k dedupe.Known, fingerprint string) bool {
	switch {
	case k.Journal != nil:
		return k.Journal.Fingerprint == fingerprint
	case k.Cache != nil:
		return k.Cache.Fingerprint == fingerprint
	case k.Event != nil:
		return k.Event.Fingerprint == "" || k.Event.Fingerprint == fingerprint
	}
	return false
}

// isNothing reports whether no store has anything of the order.
func isNothing(k dedupe.Known) bool { return k.Journal == nil && k.Cache == nil && k.Event == nil }

// answersOf returns how the requests to the vendor ended, oldest first.
func answersOf(k dedupe.Known) []Moment {
	var moments []Moment
	for _, e := range k.Endings() {
		moments = append(moments, Moment{At: timeOf(e.At), What: e.Class, Attempt: e.Attempt, Code: e.Code, Message: e.Message})
	}
	return moments
}
