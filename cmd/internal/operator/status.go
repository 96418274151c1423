package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/text"
	"orderworker/dedupe"
	"orderworker/upstream"
	"orderworker/upstream/quota"
	"orderworker/worker"
)

// Report is all that is known of an order. The names of its fields in JSON are part of
// the command's interface.
type Report struct {
	OutTradeNo string       `json:"outTradeNo"`
	Known      bool         `json:"known"`
	State      string       `json:"state"` // the words of the command's help
	Redis      *redisView   `json:"redis"`
	Journal    *journalView `json:"journal"`
	Request    *requestView `json:"request"` // null: its place in the stream is not known
	Results    *orderEvents `json:"results"` // null: could not be asked
	Vendor     *vendorView  `json:"vendor"`  // null: not asked, or no answer
	Untaken    *uint64      `json:"untaken"` // requests that no worker has taken yet; null where the order is known
	Errors     []string     `json:"errors"`  // what could not be asked

	known    dedupe.Known
	asked    bool          // the vendor was
	unproven *Streak       // the workers' lookups prove nothing; nil: they do, or that is not known
	call     time.Duration // UPSTREAM_TIMEOUT
}

// redisView is what Redis knows.
type redisView struct {
	Phase    dedupe.State    `json:"phase"`
	Owner    string          `json:"owner"`  // empty: nobody holds it
	LeftMs   int64           `json:"leftMs"` // of the owner's lease, else until it is due
	Attempt  int             `json:"attempt"`
	Refusals int             `json:"refusals"`
	Waits    int             `json:"waits"`
	Revision uint64          `json:"revision"` // of the journal; 0: none known
	Seq      uint64          `json:"seq"`
	Account  string          `json:"account"` // under which it was claimed last; empty: not known
	Foreign  bool            `json:"foreign"` // an attempt under another account than the settings' may have gone through
	Doubt    *dedupe.Doubt   `json:"doubt"`
	Last     *dedupe.Answer  `json:"last"` // why the vendor did not sell, as it said last; null: it has not said
	Result   json.RawMessage `json:"result"`
}

// journalView is what the journal knows.
type journalView struct {
	Revision uint64          `json:"revision"`
	State    dedupe.State    `json:"state"`
	Attempt  int             `json:"attempt"`
	Refusals int             `json:"refusals"`
	Waits    int             `json:"waits"`
	Seq      uint64          `json:"seq"`
	Owner    string          `json:"owner"` // who wrote it
	SendBy   time.Time       `json:"sendBy,omitzero"`
	Over     time.Time       `json:"over,omitzero"` // its requests have ended by then; zero: not known
	Since    time.Time       `json:"since,omitzero"`
	Due      time.Time       `json:"due,omitzero"`
	Open     bool            `json:"open"`    // an earlier attempt is in doubt too
	Bought   bool            `json:"bought"`  // bought, the number is not known yet
	Account  string          `json:"account"` // under which the attempt was made; empty: not known
	Foreign  bool            `json:"foreign"` // an attempt under another account than the settings' may have gone through
	Last     *dedupe.Answer  `json:"last"`    // why the vendor did not sell, as it said last; null: it has not said
	Result   json.RawMessage `json:"result"`

	ruling string // settled or cancelled, if an operator wrote the record; otherwise ""
}

// requestView is the order's message in the request stream.
type requestView struct {
	Stream      string      `json:"stream"`
	Seq         uint64      `json:"seq"`
	State       string      `json:"state"` // waiting or acknowledged; stored: one of the two; gone: acknowledged and removed; other: not the order's; empty: could not be asked
	Why         string      `json:"why,omitempty"`
	Received    worker.Time `json:"received,omitzero"`
	ICCID       string      `json:"iccid,omitempty"`
	PackageCode string      `json:"packageCode,omitempty"`
	Renew       *int64      `json:"renew,omitempty"`
	ExpiresAt   *time.Time  `json:"expiresAt,omitempty"`
}

// vendorView is the lookup's answer.
type vendorView struct {
	Answer      string `json:"answer"` // found, missing, or unclear: there may be one
	Why         string `json:"why,omitempty"`
	OrderNumber string `json:"orderNumber,omitempty"`
	OrderID     int64  `json:"orderId,omitempty"`
}

// missingProves explains what one lookup that does not find the order proves.
const missingProves = "proves nothing by itself: the purchase may show later, and this lookup has no control number"

// gather asks Redis and the journal, the streams and the vendor one after another. What
// could not be asked is in the report's Errors.
func (v *servers) gather(ctx context.Context, askVendor bool) *Report {
	r := &Report{OutTradeNo: v.OutTradeNo, Errors: []string{}, asked: askVendor, call: v.UpstreamTimeout}
	failed := func(err error) {
		if err != nil {
			r.Errors = append(r.Errors, text.OneLine(err))
		}
	}
	half, cancel := context.WithTimeout(ctx, v.Timeout/2) // if one of the two is away, there is time left for the others
	known, err := v.store.Look(half, v.OutTradeNo)
	cancel()
	failed(err)
	r.known = known
	r.look(known, v.Account())
	if seq := seqOf(known); seq != 0 {
		r.Request, err = v.request(ctx, seq)
		failed(err)
	}
	results, err := v.results(ctx)
	if err == nil || len(results.Events) > 0 {
		r.Results = &results
	}
	failed(err)
	if askVendor {
		r.Vendor, err = v.ask(ctx)
		failed(err)
	}
	r.State = stateOf(known, results.Events, r.Vendor, time.Now(), v.UpstreamTimeout)
	r.Known = r.State != "unknown"
	if !r.Known {
		r.Untaken = v.untaken(ctx)
	}
	return r
}

// look fills in what the stores know. account is that of the settings, or empty if they do
// not name one.
func (r *Report) look(k dedupe.Known, account string) {
	foreign := func(theirs string) bool { return account != "" && theirs != "" && theirs != account }
	if e := k.Cache; e != nil {
		r.Redis = &redisView{
			Phase: e.State, Owner: e.Owner, LeftMs: e.Left.Milliseconds(), Attempt: e.Attempt, Refusals: e.Refusals, Waits: e.Waits,
			Revision: e.Rev, Seq: e.Seq, Doubt: e.Doubt,
			Account: e.Account, Foreign: e.State == dedupe.StateInDoubt && foreign(e.Account), Last: said(e.Last), Result: rawJSON(e.Result),
		}
	}
	if j := k.Journal; j != nil {
		r.Journal = &journalView{
			Revision: k.JournalRev, State: j.State, Attempt: j.Attempt, Refusals: j.Refusals, Waits: j.Waits, Seq: j.Seq, Owner: j.Owner,
			SendBy: j.SendBy, Over: j.Over, Since: j.Since, Due: j.Due, Open: j.EarlierOpen, Bought: j.Bought,
			Account: j.Account, Foreign: j.State == dedupe.StateIntent && foreign(j.Account), Last: said(j.Last), Result: rawJSON(j.Result),
			ruling: ruling(j),
		}
	}
}

// ruling returns settled or cancelled if an operator wrote the record, and "" if a worker
// did.
func ruling(j *dedupe.Record) string {
	switch {
	case !j.ByOperator():
		return ""
	case j.State == dedupe.StateFinal && statusIn(j.Result) != string(worker.Succeeded):
		return "cancelled"
	}
	return "settled"
}

// said returns a, or nil if the vendor has not said anything.
func said(a dedupe.Answer) *dedupe.Answer {
	if a == (dedupe.Answer{}) {
		return nil
	}
	return &a
}

// rawJSON returns b, or nil if that is not JSON.
func rawJSON(b []byte) json.RawMessage {
	if !json.Valid(b) {
		return nil
	}
	return b
}

// seqOf is the request's sequence in its stream, 0 if that is not known.
func seqOf(k dedupe.Known) uint64 {
	switch {
	case k.Journal != nil && k.Journal.Seq != 0:
		return k.Journal.Seq
	case k.Cache != nil && k.Cache.Seq != 0:
		return k.Cache.Seq
	case k.Event != nil:
		return k.Event.Seq
	}
	return 0
}

// stateOf returns the state of an order, in the words of the command's help.
func stateOf(k dedupe.Known, events []resultEvent, vendor *vendorView, now time.Time, call time.Duration) string {
	published, isFinal := publishedStatus(events)
	_, notOpen := k.Settleable(now, call, true)
	bought := vendor != nil && vendor.Answer == "found"
	switch v := k.Verdict(now); {
	case v == dedupe.Final:
		return statusIn(k.Journal.Result)
	case v == dedupe.Done && k.Event != nil:
		return statusIn(k.Event.Result)
	case v == dedupe.Done:
		return statusIn(k.Cache.Result)
	case k.Journal == nil && isFinal:
		return published // all that is left of it
	case v == dedupe.InDoubt && notOpen != nil && hasAttempt(k) && !parked(k):
		return "sending"
	case v == dedupe.InDoubt, k.Journal == nil && published == string(worker.InDoubt):
		return string(worker.InDoubt)
	case v == dedupe.Unknown && bought:
		return "bought"
	case v == dedupe.Unknown:
		return "unknown"
	case v == dedupe.Ready, v == dedupe.Waiting:
		return "waiting"
	case k.Cache != nil:
		return "claimed"
	case published != "":
		return published
	case bought:
		return "bought"
	}
	return "unknown"
}

// hasAttempt reports whether the journal or the cache describes the open attempt of an order
// whose verdict is InDoubt.
func hasAttempt(k dedupe.Known) bool {
	return k.Journal != nil || k.Cache != nil && k.Cache.State == dedupe.StateInDoubt
}

// parked reports whether the newest attempt has ended in doubt, and no worker has the order.
func parked(k dedupe.Known) bool {
	e, j := k.Cache, k.Journal
	return e != nil && e.State == dedupe.StateInDoubt && e.Owner == "" && (j == nil || e.Fingerprint == j.Fingerprint && e.Attempt >= j.Attempt)
}

// publishedStatus returns the status of the newest final event or, if there is none, that of an
// in_doubt event or else of the oldest event; empty if there are no events.
func publishedStatus(events []resultEvent) (status string, isFinal bool) {
	for _, e := range slices.Backward(events) {
		if e.Status == string(worker.Succeeded) || e.Status == string(worker.Failed) {
			return e.Status, true
		}
	}
	if slices.ContainsFunc(events, func(e resultEvent) bool { return e.Status == string(worker.InDoubt) }) {
		return string(worker.InDoubt), false
	}
	if len(events) > 0 {
		status = events[0].Status
	}
	return status, false
}

// statusIn is the status of an encoded result.
func statusIn(result []byte) string {
	var r struct{ Status string }
	if err := json.Unmarshal(result, &r); err != nil || r.Status == "" {
		return "final"
	}
	return r.Status
}

// request finds out what became of the order's message in the request stream. Only a
// work queue removes what was acknowledged; for another stream it asks the consumer.
func (v *servers) request(ctx context.Context, seq uint64) (*requestView, error) {
	view := &requestView{Stream: v.OrdersStream, Seq: seq}
	stream, err := v.js.Stream(ctx, v.OrdersStream)
	if err != nil {
		return view, fmt.Errorf("stream %s: %w", v.OrdersStream, err)
	}
	o, err := v.stored(ctx, stream, seq)
	if gone, ok := errors.AsType[*notThere](err); ok {
		view.State, view.Why = "other", gone.why
		if gone.gone {
			view.State, view.Why = "gone", ""
		}
		return view, nil
	}
	if err != nil {
		return view, err
	}
	view.Received, view.ICCID, view.PackageCode = worker.Time{Time: o.received}, o.ICCID, o.PackageCode
	view.Renew, view.ExpiresAt = o.Renew, o.ExpiresAt
	view.State = "waiting"
	if stream.CachedInfo().Config.Retention != jetstream.LimitsPolicy {
		return view, nil
	}
	consumer, err := stream.Consumer(ctx, v.OrdersConsumer)
	if err != nil {
		view.State = "stored"
		return view, fmt.Errorf("consumer %s: %w", v.OrdersConsumer, err)
	}
	switch info := consumer.CachedInfo(); {
	case seq <= info.AckFloor.Stream:
		view.State = "acknowledged"
	case seq <= info.Delivered.Stream:
		view.State = "stored"
	}
	return view, nil
}

// untaken counts the requests that no worker has received yet; nil if that is not known.
func (v *servers) untaken(ctx context.Context) *uint64 {
	consumer, err := v.js.Consumer(ctx, v.OrdersStream, v.OrdersConsumer)
	if err != nil {
		return nil
	}
	return &consumer.CachedInfo().NumPending
}

// ask looks the order up at the vendor, within the account's quota.
func (v *servers) ask(ctx context.Context) (*vendorView, error) {
	client, err := connect.Vendor(v.Settings)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	limiter := connect.Quota(v.Settings, v.rdb)
	states, err := v.LookupStates()
	if err != nil {
		return nil, err
	}
	round := upstream.NewRound([]string{v.OutTradeNo}, upstream.Control{}, states)
	for q, more := round.Next(); more; q, more = round.Next() {
		page, err := lookUp(ctx, client, limiter, q)
		if err != nil {
			return nil, fmt.Errorf("ask the vendor: %w", err)
		}
		round.Add(page)
	}
	found := round.Findings(true)
	p, ok := found.Found[v.OutTradeNo]
	switch {
	case ok:
		return &vendorView{Answer: "found", OrderNumber: p.OrderNumber, OrderID: p.OrderID}, nil
	case found.Exists[v.OutTradeNo]:
		return &vendorView{Answer: "unclear"}, nil
	}
	return &vendorView{Answer: "missing", Why: missingProves}, nil
}

// lookUp makes one lookup within the account's quota.
func lookUp(ctx context.Context, client *upstream.Client, limiter *quota.Limiter, q upstream.Question) (upstream.Page, error) {
	var line *upstream.Line
	err := limiter.WaitLookup(ctx, func(ctx context.Context) (err error) {
		line, err = upstream.Reconnect(ctx, line, client.Connect)
		return err
	})
	defer func() { line.Release() }()
	if err != nil {
		return upstream.Page{}, err
	}
	page, err := line.Lookup(ctx, q, time.Now().Add(3*time.Second))
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.Class == upstream.Throttled {
		err = errors.Join(err, limiter.Slow(ctx, e.RetryAfter)) // the workers obey too
	}
	return page, err
}
