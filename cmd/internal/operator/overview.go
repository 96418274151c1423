package operator

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"orderworker/cmd/internal/text"
	"orderworker/cmd/internal/vitals"
	"orderworker/upstream"
	"orderworker/worker"
	"orderworker/worker/halt"
)

// Overview says how a deployment fares.
type Overview struct {
	At      worker.Time      `json:"at"`
	Buying  Buying           `json:"buying"`
	Answers Answers          `json:"answers"`
	Stores  []Store          `json:"stores"`
	Workers []vitals.Figures `json:"workers"` // those that told Redis of themselves lately
	Quota   Quota            `json:"quota"`
	Counts  Counts           `json:"counts"`
	Errors  []string         `json:"errors"` // what could not be asked

	unread uint64 // requests that no worker has taken, and that were not read
}

// Buying says whether orders are sent.
type Buying struct {
	Paused   bool          `json:"paused"`   // by either of the two
	Operator *halt.State   `json:"operator"` // the operator's pause; null: there is none
	Account  *vitals.Pause `json:"account"`  // the account's, as the workers tell it; null: there is none
	Starting bool          `json:"starting"` // all workers have just started, and send nothing yet
	Unknown  string        `json:"unknown"`  // why it is not known whether there is another pause; "": it is known
}

// KeepPause keeps the operator's pause that was read before, if it is not known now whether
// it is over.
func (b *Buying) KeepPause(before Buying, now time.Time) {
	if b.Unknown != "" && b.Operator == nil && before.Operator != nil && before.Operator.Lasts(now) {
		b.Operator, b.Paused = before.Operator, true
	}
}

// Store is a server or a stream, and whether it could be asked.
type Store struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// Quota is the use of the account's quota, as the workers tell it.
type Quota struct {
	Rate  float64 `json:"rate"`  // requests per second of all workers, in the last 30 s
	Limit float64 `json:"limit"` // that they may make now; 0: no limit, or not known
}

// Overview returns how the deployment fares. It looks at every order that a worker has
// taken, up to d.ScanLimit of them.
func (d *Desk) Overview(ctx context.Context) *Overview {
	o, _ := d.scan(ctx, func(*Row) bool { return false }, 0)
	return o
}

// failed notes that something could not be asked.
func (o *Overview) failed(store string, err error) {
	message := text.OneLine(err)
	o.Errors = append(o.Errors, store+": "+message)
	for i := range o.Stores {
		if o.Stores[i].Name == store {
			o.Stores[i].OK, o.Stores[i].Error = false, message
			return
		}
	}
	o.Stores = append(o.Stores, Store{Name: store, Error: message})
}

// away reports whether a store could not be asked.
func (o *Overview) away(store string) bool {
	return slices.ContainsFunc(o.Stores, func(s Store) bool { return s.Name == store && !s.OK })
}

// begin asks whether the servers answer, whether the buying is paused, and what the
// workers tell. It returns why Redis is away.
func (d *Desk) begin(ctx context.Context, o *Overview) (redisErr error) {
	o.Stores = []Store{{Name: "nats", OK: true}, {Name: "redis", OK: true}}
	if redisErr = d.redisAway(ctx); redisErr != nil {
		o.failed("redis", trimmed(redisErr, "redis: "))
	} else if found, err := vitals.Read(ctx, d.rdb, d.OrdersStream); err != nil {
		o.failed("workers", err)
	} else {
		o.Workers = found
		o.fleet()
	}
	if len(o.Errors) > 0 {
		o.Buying.Unknown = "Redis cannot be read, so what the workers report is not known; a worker without Redis sends nothing"
	}
	if _, err := d.nats(); err != nil { // nothing can be asked
		o.failed("nats", err)
		o.Buying.Unknown = "NATS is away; a worker that cannot read the operator's word sends nothing"
	} else if word, _, err := d.Word(ctx); err != nil {
		o.failed("control", err)
		o.Buying.Unknown = "the operator's word cannot be read; a worker that cannot read it sends nothing"
	} else if word.Lasts(time.Now()) {
		o.Buying.Operator = &word
	} else if o.Buying.Unknown == "" {
		o.Buying.Unknown = o.wordUnreadBy()
	}
	o.Buying.Paused = o.Buying.Operator != nil || o.Buying.Account != nil
	return redisErr
}

// fleet enters what the workers tell together: the oldest pause of the account, since
// each of them notices it by itself, what is wrong with the vendor's answers, and the use of
// the quota.
func (o *Overview) fleet() {
	o.Buying.Starting = len(o.Workers) > 0
	for i := range o.Workers {
		w := &o.Workers[i]
		o.Buying.Starting = o.Buying.Starting && w.Starting
		o.Quota.Rate += w.Rate
		o.Quota.Limit = max(o.Quota.Limit, w.Limit)
		if p := w.Pause; p != nil && (o.Buying.Account == nil || p.Since.Before(o.Buying.Account.Since)) {
			o.Buying.Account = p
		}
	}
	o.Answers.Unclear = streakOf(o.Workers, func(w *vitals.Figures) *upstream.Streak { return w.Orders })
	o.Answers.Unproven = streakOf(o.Workers, func(w *vitals.Figures) *upstream.Streak { return w.Lookups })
}

// wordUnreadBy returns which worker reports that it cannot read the operator's word, and why;
// "": none does.
func (o *Overview) wordUnreadBy() string {
	for i := range o.Workers {
		if why := o.Workers[i].Unread; why != "" {
			return "worker " + o.Workers[i].ID + " sends nothing: " + why
		}
	}
	return ""
}

// trimmed is an error without the prefix of its text.
func trimmed(err error, prefix string) error {
	if text, ok := strings.CutPrefix(err.Error(), prefix); ok {
		return errors.New(text)
	}
	return err
}

// byNewest sorts rows by when their request was stored, newest first.
func byNewest(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(b.Received.Compare(a.Received.Time), cmp.Compare(b.Seq, a.Seq), cmp.Compare(a.OutTradeNo, b.OutTradeNo))
	})
}
