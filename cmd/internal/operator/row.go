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
	AskedAt     worker.Time `json:"askedAt,omitzero"` // of an order in doubt: when the vendor was asked last
	Answer      string      `json:"answer,omitempty"` // and why that did not end the doubt; partly the vendor's words, as Last.Message
	Next        *Next       `json:"next"`
	Received    worker.Time `json:"received"`
	Seq         uint64      `json:"seq"` // of the request in its stream; 0: not known
	Reason      string      `json:"reason,omitempty"`
	OrderNumber string      `json:"orderNumber,omitempty"`
	Invalid     string      `json:"invalid,omitempty"` // which rule the request breaks: it becomes a dead letter
	Unpublished bool        `json:"-"`                 // it is finished, and no event of that is known
}

// facts is what a row is made of beside its request.
type facts struct {
	known     dedupe.Known
	delivered bool // a worker was given the request
	buying    Buying
	now       time.Time
	call      time.Duration // UPSTREAM_TIMEOUT
	policy    worker.Policy // UPSTREAM_RECONCILE
	expires   *time.Time    // after it the order is not sent; nil: never
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
	f.expires = r.ExpiresAt
	switch nothing := isNothing(f.known); {
	case nothing && !f.delivered:
		row.Next = cmp.Or(f.buying.held(f.now, f.now), &Next{What: "worker"})
		return row
	case nothing && f.known.Verdict(f.now) == dedupe.Fresh:
		row.hold(f)
		return row
	}
	row.progress(f.known)
	row.decide(f)
	return row
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

// unpublishedWords say how an order ended whose event no worker has published yet, as far as
// is known.
func unpublishedWords(k dedupe.Known) string {
	how := map[string]string{"settled": "settled as bought, ", "cancelled": "cancelled by an operator, "}[ruling(k.Journal)]
	if k.EventErr != nil {
		return how + "whether that is published is not known"
	}
	return how + "not published yet"
}

// Open reports whether a worker has something to do for the order yet.
func (row *Row) Open() bool { return !row.State.Finished() || row.Unpublished }

// inDoubt enters what is known of a doubt.
func (row *Row) inDoubt(k dedupe.Known) {
	var notes []string
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
		row.AskedAt, row.Answer = timeOf(d.AskedAt), d.Answer
		if d.Asked > 0 && d.Answer == "" {
			notes = append(notes, fmt.Sprintf("asked %s", text.Counted(d.Asked, "time")))
		}
		if d.Missing && d.Answer == "" {
			notes = append(notes, "once not found")
		}
	}
	if row.Last != nil {
		notes = append([]string{row.Last.String()}, notes...)
	}
	switch {
	case len(notes) > 0 || row.Answer != "":
	case hasAttempt(k):
		notes = []string{"no clear answer"}
	default:
		notes = []string{"older than what is remembered"}
	}
	row.Last = &Answer{Class: "ambiguous", Message: strings.Join(notes, "; ")}
}

// lastText is why a finished order ended, and otherwise what is known last of the vendor's
// answers: of an order in doubt when it was asked last comes first. It may have the vendor's
// words: show it with Shown.
func (row *Row) lastText(now time.Time) string {
	switch {
	case row.Invalid != "":
		return "invalid: " + row.Invalid
	case row.State == Succeeded && !row.Unpublished:
		return row.OrderNumber
	}
	last := strings.TrimSpace(row.Reason + " " + row.Last.String())
	if row.Answer == "" {
		return last
	}
	if last != "" {
		last = "; " + last
	}
	return fmt.Sprintf("asked %s: %s%s", clock(row.AskedAt.Time, now), row.Answer, last)
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
