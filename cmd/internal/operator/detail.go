package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"orderworker/cmd/internal/text"
	"orderworker/cmd/internal/vitals"
	"orderworker/dedupe"
	"orderworker/worker"
	"orderworker/worker/halt"
	"orderworker/worker/natsio"
)

// Detail is everything known of an order: the report of the stores, its row as in a list,
// and its timeline.
type Detail struct {
	*Report
	Order    *Row          `json:"order"`    // null: nothing is known of it
	Timeline []Moment      `json:"timeline"` // oldest first
	Requests []RequestSeen `json:"requests"` // with its number, in the stream of orders
	Searched bool          `json:"searched"` // the whole stream was searched for them
	Pause    *halt.State   `json:"pause"`    // the operator's pause, which keeps the order from being sent; null: there is none
	Account  *vitals.Pause `json:"account"`  // likewise the account's
	Answers  Answers       `json:"answers"`  // what is wrong with the vendor's, while the order waits for one

	BuyingUnknown string `json:"buyingUnknown"` // why it is not known whether there is another pause; "": it is known

	sending    bool      // a request may be under way
	journalAt  time.Time // when the journal's record was written; zero: not known
	wordUnread string    // which of Errors says that the operator's word cannot be read; "": it can
}

// RequestSeen is an order request in the stream.
type RequestSeen struct {
	Seq         uint64      `json:"seq"`
	Received    worker.Time `json:"received"`
	Delivered   bool        `json:"delivered"` // a worker was given it
	ICCID       string      `json:"iccid"`
	PackageCode string      `json:"packageCode"`
	ExpiresAt   *time.Time  `json:"expiresAt,omitempty"`
	Invalid     string      `json:"invalid,omitempty"`
}

// Moment is something that happened to an order, or will.
type Moment struct {
	At      worker.Time `json:"at"`
	What    string      `json:"what"`              // received, sent, refused, account, throttled, ambiguous, unreachable, waiting, settled, cancelled, or the status of an event
	Attempt int         `json:"attempt,omitempty"` // the number of the request to the vendor
	Code    string      `json:"code,omitempty"`    // of the answer
	Message string      `json:"message,omitempty"` // the vendor's: show it with Shown
	Text    string      `json:"text,omitempty"`    // of this program
	Follows string      `json:"follows,omitempty"` // what happens next, as Next.What
	NextAt  worker.Time `json:"nextAt,omitzero"`   // and when
}

// Order returns everything known of an order. What could not be asked is among the errors
// of its report.
func (d *Desk) Order(ctx context.Context, outTradeNo string, askVendor bool) *Detail {
	l, err := d.nats()
	if err != nil {
		return d.orderWithoutNATS(ctx, outTradeNo, err)
	}
	deadline, ok := ctx.Deadline()
	patience := 10 * time.Second
	if ok {
		patience = time.Until(deadline)
	}
	v := &servers{Order: d.order(outTradeNo, patience), nc: l.nc, js: l.js, rdb: d.rdb, store: d.store(l)}
	detail := &Detail{Timeline: []Moment{}, Requests: []RequestSeen{}}
	err = d.about(ctx, "", func(ctx context.Context, _ *link) error {
		detail.Report = v.gather(ctx, askVendor)
		return nil
	})
	if err != nil {
		return d.orderWithoutNATS(ctx, outTradeNo, err)
	}
	if err := d.findRequests(ctx, detail, patience/3); err != nil {
		detail.failed("orders", err)
	}
	if detail.journalAt, err = d.journalled(ctx, outTradeNo); err != nil && detail.known.JournalErr == nil {
		detail.failed("journal", err)
	}
	detail.conclude(ctx, d)
	return detail
}

// failed notes that a store could not be asked, unless the same was noted before.
func (t *Detail) failed(store string, err error) {
	message := text.OneLine(err)
	if !slices.ContainsFunc(t.Errors, func(e string) bool { return strings.Contains(e, message) }) {
		t.Errors = append(t.Errors, store+": "+message)
	}
}

// journalled returns when the journal's record of an order was written; zero: there is
// none, or it is not in NATS.
func (d *Desk) journalled(ctx context.Context, outTradeNo string) (at time.Time, err error) {
	if d.JournalTTL == 0 {
		return at, nil
	}
	err = d.about(ctx, d.JournalStream, func(ctx context.Context, l *link) error {
		m, _, err := natsio.ReadLeader(ctx, l.js, d.JournalStream, natsio.Get{LastFor: d.JournalSubject + "." + dedupe.SubjectToken(outTradeNo)})
		at = m.Time
		if errors.Is(err, natsio.ErrHeader) {
			err = nil
		}
		return err
	})
	return at, err
}

// orderWithoutNATS returns what Redis knows of an order.
func (d *Desk) orderWithoutNATS(ctx context.Context, outTradeNo string, away error) *Detail {
	r := &Report{OutTradeNo: outTradeNo, Errors: []string{away.Error()}, call: d.UpstreamTimeout}
	r.known.JournalErr, r.known.EventErr = away, away
	e, ok, err := d.cache.Look(ctx, outTradeNo)
	switch {
	case err != nil:
		r.known.CacheErr = err
		r.Errors = append(r.Errors, err.Error())
	case ok:
		r.known.Cache = &e
	}
	r.look(r.known, d.Account())
	detail := &Detail{Report: r, Timeline: []Moment{}, Requests: []RequestSeen{}}
	detail.conclude(ctx, d)
	return detail
}

// findRequests looks for the order's requests in the stream: at the places that are known,
// and, unless the order is finished, in the newest of what there is, for as long as most.
func (d *Desk) findRequests(ctx context.Context, detail *Detail, most time.Duration) error {
	info, err := d.info(ctx, d.OrdersStream)
	if err != nil {
		return err
	}
	delivered := info.State.LastSeq // as far as is known
	if consumer, err := d.consumerInfo(ctx); err == nil {
		delivered = consumer.Delivered.Stream
	}
	note := func(m natsio.Stored) {
		r := requestIn(m)
		if r.OutTradeNo != detail.OutTradeNo {
			return
		}
		seen := RequestSeen{Seq: r.Seq, Received: timeOf(r.Received), Delivered: r.Seq <= delivered, ICCID: r.ICCID, PackageCode: r.PackageCode, ExpiresAt: r.ExpiresAt}
		if r.Invalid != nil {
			seen.Invalid = text.OneLine(r.Invalid)
		}
		if !slices.ContainsFunc(detail.Requests, func(s RequestSeen) bool { return s.Seq == seen.Seq }) {
			detail.Requests = append(detail.Requests, seen)
		}
	}
	if detail.Report.Request != nil && detail.Report.Request.State == "waiting" {
		if err := d.walk(ctx, d.OrdersStream, d.OrdersSubject, detail.Report.Request.Seq, detail.Report.Request.Seq, note); err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	detail.Searched, err = d.newest(limited, d.OrdersStream, d.OrdersSubject, info.State.FirstSeq, info.State.LastSeq, 10*d.ScanLimit, note, func() bool { return false })
	slices.SortFunc(detail.Requests, func(a, b RequestSeen) int { return cmp.Compare(a.Seq, b.Seq) })
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil // not everything was searched, which Searched says
	}
	return err
}

// conclude makes the state, the row and the timeline of what was found, and of how the
// deployment fares.
func (t *Detail) conclude(ctx context.Context, d *Desk) {
	var fleet Overview
	d.begin(ctx, &fleet) //nolint:errcheck // it is in the overview
	for _, s := range fleet.Stores {
		if !s.OK {
			t.failed(s.Name, errors.New(s.Error))
		}
		if !s.OK && s.Name == "control" {
			t.wordUnread = s.Name + ": " + s.Error
		}
	}
	t.Pause, t.Account, t.BuyingUnknown, t.Answers = fleet.Buying.Operator, fleet.Buying.Account, fleet.Buying.Unknown, fleet.Answers
	now := time.Now()
	t.known.Stored = t.storedAt()
	var events []resultEvent
	if t.Results != nil {
		events = t.Results.Events
	}
	t.State = stateOf(t.known, events, t.Vendor, now, d.UpstreamTimeout)
	if t.waits(events, now) {
		t.State = string(Queued)
	}
	if t.Known = t.State != string(Unknown) || len(t.Requests) > 0 || !isNothing(t.known); t.Known {
		t.Untaken = nil
	}
	t.Order = t.row(d, now)
	t.sending = t.State == "sending"
	switch t.State {
	case "sending", "claimed", "waiting", string(Queued):
		if t.Order != nil { // a pause may hold it
			t.State = string(t.Order.State)
		}
	}
	if t.Order == nil || t.Order.State.Finished() {
		t.Pause, t.Account, t.BuyingUnknown, t.Answers = nil, nil, "", Answers{}
	}
	if t.State != string(InDoubt) {
		t.Answers.Unproven = nil
	}
	t.unproven = t.Answers.Unproven
	t.timeline()
}

// buying says whether the order is sent, as far as that is known.
func (t *Detail) buying() *Buying {
	return &Buying{Operator: t.Pause, Account: t.Account, Unknown: t.BuyingUnknown}
}

// waits reports whether the order waits for a worker: nothing is known of it but its
// requests. One that no worker was given waits also where it may have been sent for an
// earlier request, as a list says too.
func (t *Detail) waits(events []resultEvent, now time.Time) bool {
	if !isNothing(t.known) || len(t.Requests) == 0 {
		return false
	}
	delivered := slices.ContainsFunc(t.Requests, func(s RequestSeen) bool { return s.Delivered })
	switch published, _ := publishedStatus(events); t.known.Verdict(now) {
	case dedupe.Fresh:
		return t.State == string(Unknown)
	case dedupe.InDoubt:
		return !delivered && published != string(worker.InDoubt)
	}
	return false
}

// storedAt returns when the order's first request was stored, as far as the stream has it.
func (t *Detail) storedAt() time.Time {
	var first time.Time
	if q := t.Report.Request; q != nil {
		first = q.Received.Time
	}
	for _, seen := range t.Requests {
		if first.IsZero() || seen.Received.Before(first) {
			first = seen.Received.Time
		}
	}
	return first
}

// row returns the order as a row of a list; nil: it is not known.
func (t *Detail) row(d *Desk, now time.Time) *Row {
	if t.Results != nil {
		for _, e := range t.Results.Events {
			if State(e.Status).Finished() {
				row, ok := finishedRow(natsio.Stored{Subject: d.names.ResultSubject(e.Status, t.OutTradeNo), Data: e.Event, Time: e.Stored.Time}, d.ResultsSubject)
				if ok {
					row.Seq = seqOf(t.known)
					return &row
				}
			}
		}
	}
	f := facts{known: t.known, delivered: true, buying: *t.buying(), now: now, call: d.UpstreamTimeout, policy: d.policy()}
	for _, seen := range t.Requests {
		o := worker.Order{}
		o.OutTradeNo, o.ICCID, o.PackageCode, o.ExpiresAt = t.OutTradeNo, seen.ICCID, seen.PackageCode, seen.ExpiresAt
		r := Request{Order: o, Seq: seen.Seq, Received: seen.Received.Time}
		if seen.Invalid != "" {
			r.Invalid = errors.New(seen.Invalid)
		}
		f.delivered = seen.Delivered
		if seq := seqOf(t.known); seq == 0 || seq == seen.Seq {
			row := knownRow(r, f)
			return &row
		}
	}
	if isNothing(t.known) {
		return nil
	}
	r := Request{Seq: seqOf(t.known)}
	r.OutTradeNo = t.OutTradeNo
	if q := t.Report.Request; q != nil {
		r.ICCID, r.PackageCode, r.ExpiresAt, r.Received = q.ICCID, q.PackageCode, q.ExpiresAt, q.Received.Time
	}
	row := knownRow(r, f)
	return &row
}

// timeline makes the timeline of what was found.
func (t *Detail) timeline() {
	add := func(m Moment) { t.Timeline = append(t.Timeline, m) }
	t.received(add)
	t.stored(add)
	if t.Results != nil {
		for _, e := range t.Results.Events {
			add(eventMoment(e))
		}
	}
	slices.SortStableFunc(t.Timeline, func(a, b Moment) int {
		return a.At.Truncate(time.Millisecond).Compare(b.At.Truncate(time.Millisecond)) // the precision of the stores
	})
	if t.Order != nil && t.Order.Next != nil && len(t.Timeline) > 0 {
		last := &t.Timeline[len(t.Timeline)-1]
		last.Follows, last.NextAt = t.Order.Next.What, t.Order.Next.At
	}
}

// received adds when the requests were stored.
func (t *Detail) received(add func(Moment)) {
	for i, seen := range t.Requests {
		m := Moment{At: seen.Received, What: "received", Text: seen.PackageCode + " for " + seen.ICCID}
		if i > 0 {
			m.Text += " (the number again)"
		}
		if seen.Invalid != "" {
			m.Text = "invalid: " + seen.Invalid
		}
		add(m)
	}
	if len(t.Requests) > 0 {
		return
	}
	if q := t.Report.Request; q != nil && !q.Received.IsZero() {
		add(Moment{At: q.Received, What: "received", Text: q.PackageCode + " for " + q.ICCID})
		return
	}
	if t.Order != nil && t.Order.State.Finished() && !t.Order.Received.IsZero() {
		add(Moment{At: t.Order.Received, What: "received", Text: t.Order.PackageCode + " for " + t.Order.ICCID})
	}
}

// stored adds what Redis and the journal know.
func (t *Detail) stored(add func(Moment)) {
	for _, m := range answersOf(t.known) {
		add(m)
	}
	j := t.known.Journal
	if j == nil {
		return
	}
	ruling := ruling(j)
	switch {
	case j.State == dedupe.StateIntent && !j.Since.IsZero():
		m := Moment{At: timeOf(j.Since), What: "sent", Attempt: j.Attempt, Text: "it may have left; in doubt since then"}
		if j.EarlierOpen {
			m.Text = "it may have left; in doubt since then; sent again since"
		}
		if t.sending {
			m.Text = "under way until " + timeOf(cmp.Or(j.Over, j.SendBy)).String() + " at the latest"
		}
		add(m)
	case ruling != "" && j.State == dedupe.StateReady:
		add(Moment{At: timeOf(t.journalAt), What: "settled", Text: "an operator said that it was not bought"})
	case ruling != "" && j.State == dedupe.StateFinal:
		var r worker.Result
		if json.Unmarshal(j.Result, &r) == nil {
			add(Moment{At: r.CompletedAt, What: ruling, Text: strings.TrimSpace("an operator ended it: " + string(r.Status) + " " + string(r.Reason))})
		}
	}
}

// eventMoment is the moment of an event.
func eventMoment(e resultEvent) Moment {
	m := Moment{At: e.Stored, What: e.Status}
	var r worker.Result
	if json.Unmarshal(e.Event, &r) != nil {
		return m
	}
	m.Attempt, m.Code, m.Message = r.Attempts, r.Code, r.Message
	var text []string
	if r.Reason != "" {
		text = append(text, string(r.Reason))
	}
	if r.OrderNumber != "" {
		text = append(text, "order number "+r.OrderNumber)
	}
	if r.Reconciled {
		text = append(text, "found by the lookup")
	}
	m.Text = strings.Join(text, ", ")
	return m
}
