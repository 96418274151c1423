package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/dedupe"
	"orderworker/upstream"
	"orderworker/worker"
)

type statusCmd struct {
	orderCmd
	JSON      bool `name:"json" help:"One JSON object instead of a table."`
	AskVendor bool `name:"ask-vendor" help:"Ask the vendor's lookup too: one call, within the account's quota; needs UPSTREAM_APPKEY and UPSTREAM_SECRET."`
}

// Help is what the command's help says first.
func (statusCmd) Help() string {
	return `Shows what Redis, the journal, the request stream and the results stream know of an order, and with --ask-vendor what the vendor does. Nothing is changed anywhere.

Exit status 0: it is known; 1: nothing is known of it, or a server could not be asked (then what the others know is shown all the same, and one line on stderr says what failed); 2: wrong usage or settings.

The state is one of: unknown; claimed (a worker took it, nothing was sent); sending (a request may be under way); in_doubt (it may have been bought: see orderworker settle); waiting (not bought so far, the next attempt is due later); succeeded, failed, rejected; bought (only the vendor knows it).

A request that no worker has taken yet is known nowhere but in its stream, which cannot be searched; how many such requests there are is shown. Put -- before a number that begins with a hyphen.`
}

// BeforeReset hides the settings that the command has no use for.
func (c *statusCmd) BeforeReset(command *kong.Path) error {
	narrow(command, "UPSTREAM_URL", "UPSTREAM_APPKEY", "UPSTREAM_SECRET", "UPSTREAM_SECRET_FILE", "UPSTREAM_TIMEOUT",
		"UPSTREAM_RATE", "UPSTREAM_JITTER", "UPSTREAM_THROTTLE_CODES")
	return nil
}

func (c *statusCmd) Check(f *config.Faults) {
	c.orderCmd.Check(f)
	if c.AskVendor {
		c.CheckVendor(f)
	}
}

// Run asks everybody and prints what they know.
func (c *statusCmd) Run(soft context.Context, std *std) error {
	ctx, cancel := c.within(soft)
	defer cancel()
	v, err := reachServers(ctx, &c.Settings)
	if err != nil {
		return c.failed(ctx, "status", err)
	}
	defer v.close()
	r := c.gather(ctx, v)
	if c.JSON {
		out := json.NewEncoder(std.out)
		out.SetEscapeHTML(false)
		err = out.Encode(r)
	} else {
		err = r.print(std.out)
	}
	switch {
	case err != nil:
		return err
	case len(r.Errors) > 0:
		return c.failed(ctx, "status", errors.New(strings.Join(r.Errors, "; ")))
	case !r.Known:
		return exitStatus(statusFailed)
	}
	return nil
}

// report is all that is known of an order. The names of its fields in JSON are
// part of the command's interface.
type report struct {
	OutTradeNo string       `json:"outTradeNo"`
	Known      bool         `json:"known"`
	State      string       `json:"state"` // see statusCmd.Help
	Redis      *redisView   `json:"redis"`
	Journal    *journalView `json:"journal"`
	Request    *requestView `json:"request"` // null: its place in the stream is not known
	Results    *orderEvents `json:"results"` // null: could not be asked
	Vendor     *vendorView  `json:"vendor"`  // null: not asked, or no answer
	Untaken    *uint64      `json:"untaken"` // requests that no worker has taken yet; null where the order is known
	Errors     []string     `json:"errors"`  // what could not be asked

	known dedupe.Known
	asked bool          // the vendor was
	call  time.Duration // UPSTREAM_TIMEOUT
}

// redisView is what Redis knows.
type redisView struct {
	Phase    dedupe.Phase    `json:"phase"`
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

// missingProves is what one lookup that finds nothing says.
const missingProves = "proves nothing by itself: the purchase may show later, and this lookup has no control number"

// gather asks each in turn; who cannot be asked is noted in the report.
func (c *statusCmd) gather(ctx context.Context, v *servers) *report {
	r := &report{OutTradeNo: c.OutTradeNo, Errors: []string{}, asked: c.AskVendor, call: c.UpstreamTimeout}
	failed := func(err error) {
		if err != nil {
			r.Errors = append(r.Errors, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	half, cancel := context.WithTimeout(ctx, c.Timeout/2) // if one of the two is away, there is time left for the others
	known, err := v.store.Look(half, c.OutTradeNo)
	cancel()
	failed(err)
	r.known = known
	r.look(known, c.Account())
	if seq := seqOf(known); seq != 0 {
		r.Request, err = v.request(ctx, &c.Settings, c.OutTradeNo, seq)
		failed(err)
	}
	results, err := v.results(ctx, &c.Settings, c.OutTradeNo)
	if err == nil || len(results.Events) > 0 {
		r.Results = &results
	}
	failed(err)
	if c.AskVendor {
		r.Vendor, err = v.ask(ctx, &c.Settings, c.OutTradeNo)
		failed(err)
	}
	r.State = stateOf(known, results.Events, r.Vendor, time.Now(), c.UpstreamTimeout)
	r.Known = r.State != "unknown"
	if !r.Known {
		r.Untaken = v.untaken(ctx, &c.Settings)
	}
	return r
}

// look enters what the stores know; account is ours, if that is known.
func (r *report) look(k dedupe.Known, account string) {
	foreign := func(theirs string) bool { return account != "" && theirs != "" && theirs != account }
	if e := k.Redis; e != nil {
		r.Redis = &redisView{
			Phase: e.Phase, Owner: e.Owner, LeftMs: e.Left.Milliseconds(), Attempt: e.Attempt, Refusals: e.Attempts, Waits: e.Waits,
			Revision: e.Rev, Seq: e.Seq, Doubt: e.Doubt,
			Account: e.Account, Foreign: e.Phase == dedupe.PhaseDoubt && foreign(e.Account), Last: said(e.Last), Result: rawJSON(e.Result),
		}
	}
	if j := k.Journal; j != nil {
		r.Journal = &journalView{
			Revision: k.JournalRev, State: j.State, Attempt: j.Attempt, Refusals: j.Attempts, Waits: j.Waits, Seq: j.Seq, Owner: j.Owner,
			SendBy: j.SendBy, Over: j.Over, Since: j.Since, Due: j.Due, Open: j.Open, Bought: j.Bought,
			Account: j.Account, Foreign: j.State == dedupe.StateIntent && foreign(j.Account), Last: said(j.Last), Result: rawJSON(j.Result),
		}
	}
}

// said is a; nil where the vendor has not said anything.
func said(a dedupe.Answer) *dedupe.Answer {
	if a == (dedupe.Answer{}) {
		return nil
	}
	return &a
}

// rawJSON is b where that is JSON.
func rawJSON(b []byte) json.RawMessage {
	if !json.Valid(b) {
		return nil
	}
	return b
}

// seqOf is where the request stands in its stream, 0: not known.
func seqOf(k dedupe.Known) uint64 {
	switch {
	case k.Journal != nil && k.Journal.Seq != 0:
		return k.Journal.Seq
	case k.Redis != nil:
		return k.Redis.Seq
	}
	return 0
}

// stateOf sums up who knows what; the words are those of the help.
func stateOf(k dedupe.Known, events []resultEvent, vendor *vendorView, now time.Time, call time.Duration) string {
	_, notOpen := k.Open(now, call, true)
	published := ""
	for _, e := range events {
		if e.Status == string(worker.Succeeded) || e.Status == string(worker.Failed) || published == "" {
			published = e.Status
		}
	}
	switch j, e := k.Journal, k.Redis; {
	case j != nil && j.State == dedupe.StateFinal:
		return statusIn(j.Result)
	case e != nil && e.Phase == dedupe.PhaseFinal:
		return statusIn(e.Result)
	case notOpen == nil:
		return string(worker.InDoubt)
	case j != nil && j.State == dedupe.StateIntent, j == nil && e != nil && e.Phase == dedupe.PhaseDoubt:
		return "sending"
	case j != nil, e != nil && e.Phase == dedupe.PhaseReady:
		return "waiting"
	case e != nil:
		return "claimed"
	case published != "":
		return published
	case vendor != nil && vendor.Answer == "found":
		return "bought"
	}
	return "unknown"
}

// statusIn is the status of an encoded result.
func statusIn(result []byte) string {
	var r struct{ Status string }
	if err := json.Unmarshal(result, &r); err != nil || r.Status == "" {
		return "final"
	}
	return r.Status
}

// request looks at the order's message in the request stream. Only a work queue
// drops what was acknowledged; of another stream the consumer is asked.
func (v *servers) request(ctx context.Context, s *config.Settings, outTradeNo string, seq uint64) (*requestView, error) {
	view := &requestView{Stream: s.OrdersStream, Seq: seq}
	stream, err := v.js.Stream(ctx, s.OrdersStream)
	if err != nil {
		return view, fmt.Errorf("stream %s: %w", s.OrdersStream, err)
	}
	o, err := v.order(ctx, stream, outTradeNo, seq)
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
	consumer, err := stream.Consumer(ctx, s.OrdersConsumer)
	if err != nil {
		view.State = "stored"
		return view, fmt.Errorf("consumer %s: %w", s.OrdersConsumer, err)
	}
	switch info := consumer.CachedInfo(); {
	case seq <= info.AckFloor.Stream:
		view.State = "acknowledged"
	case seq <= info.Delivered.Stream:
		view.State = "stored"
	}
	return view, nil
}

// untaken counts the requests that were not handed to a worker yet; nil: that
// is not known.
func (v *servers) untaken(ctx context.Context, s *config.Settings) *uint64 {
	consumer, err := v.js.Consumer(ctx, s.OrdersStream, s.OrdersConsumer)
	if err != nil {
		return nil
	}
	return &consumer.CachedInfo().NumPending
}

// ask has the vendor look the order up, within the account's quota.
func (v *servers) ask(ctx context.Context, s *config.Settings, outTradeNo string) (*vendorView, error) {
	client, err := connect.Vendor(s)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	quota := connect.Quota(s, v.rdb)
	states, err := s.LookupStates()
	if err != nil {
		return nil, err
	}
	round := upstream.NewRound([]string{outTradeNo}, upstream.Control{}, states)
	for q, more := round.Next(); more; q, more = round.Next() {
		page, err := lookUp(ctx, client, quota, q)
		if err != nil {
			return nil, fmt.Errorf("ask the vendor: %w", err)
		}
		round.Add(page)
	}
	found := round.Findings(true)
	p, ok := found.Found[outTradeNo]
	switch {
	case ok:
		return &vendorView{Answer: "found", OrderNumber: p.OrderNumber, OrderID: p.OrderID}, nil
	case found.Exists[outTradeNo]:
		return &vendorView{Answer: "unclear"}, nil
	}
	return &vendorView{Answer: "missing", Why: missingProves}, nil
}

// lookUp makes one lookup within the account's quota.
func lookUp(ctx context.Context, client *upstream.Client, quota *upstream.Quota, q upstream.Question) (upstream.Page, error) {
	var line *upstream.Line
	err := quota.WaitLookup(ctx, func(ctx context.Context) (err error) {
		line, err = client.Reconnect(ctx, line)
		return err
	})
	defer func() { line.Release() }()
	if err != nil {
		return upstream.Page{}, err
	}
	page, err := line.Lookup(ctx, q, time.Now().Add(3*time.Second))
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.Class == upstream.Throttled {
		err = errors.Join(err, quota.Slow(ctx, e.RetryAfter)) // the workers obey too
	}
	return page, err
}
