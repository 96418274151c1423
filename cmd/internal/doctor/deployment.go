package doctor

import (
	"context"
	"crypto/rand"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/upstream"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

// Options is what the doctor is told beside the settings.
type Options struct {
	Known        string        // an outTradeNo that was bought; "": none
	BadSignature bool          // sign one lookup wrongly
	Timeout      time.Duration // of all checks together
}

// deployment is what is checked.
type deployment struct {
	Timeout  time.Duration // of all checks together
	Settings []Finding     // about the settings themselves
	NATS     NATS
	Redis    Redis
	Vendor   Vendor
}

// Run makes every check of the deployment that the settings describe. They were checked:
// the error says that they cannot be used all the same.
func Run(ctx context.Context, s *config.Settings, o Options) (Report, error) {
	rdb, err := connect.Redis(s, nil)
	if err != nil {
		return Report{}, err
	}
	defer connect.CloseRedis(rdb)
	right, err := connect.Vendor(s)
	if err != nil {
		return Report{}, err
	}
	defer right.Close()
	other := *s
	other.UpstreamSecret = upstream.Secret(rand.Text()) // a wrong signature must say nothing about the account's secret
	wrong, err := connect.Vendor(&other)
	if err != nil {
		return Report{}, err
	}
	defer wrong.Close()
	base, err := url.Parse(s.UpstreamURL)
	if err != nil {
		return Report{}, err
	}
	states, err := s.LookupStates()
	if err != nil {
		return Report{}, err
	}
	d := deployment{
		Timeout: o.Timeout, Settings: notes(s), NATS: natsOf(s),
		Redis: Redis{Client: rdb, Keys: []string{connect.ProbeKey(s.OrdersStream), "quota:{orderworker asks whether it may write}"}},
		Vendor: Vendor{
			Base: base, Codes: s.Codes(), States: states, Rate: s.UpstreamRate, Known: o.Known,
			Quota:   connect.Quota(s, rdb),
			Connect: asking(right),
		},
	}
	if o.BadSignature {
		d.Vendor.ConnectWrong = asking(wrong)
	}
	return d.run(ctx), nil
}

// askingLine is a line without Place: the doctor cannot buy.
type askingLine struct{ line *upstream.Line }

func (l askingLine) Ready() bool { return l.line.Ready() }
func (l askingLine) Release()    { l.line.Release() }
func (l askingLine) Lookup(ctx context.Context, q upstream.Question, sendBy time.Time) (upstream.Page, error) {
	return l.line.Lookup(ctx, q, sendBy)
}

// asking connects to the vendor for questions only.
func asking(client *upstream.Client) func(context.Context) (Line, error) {
	return func(ctx context.Context) (Line, error) {
		line, err := client.Connect(ctx)
		if err != nil {
			return nil, err
		}
		return askingLine{line}, nil
	}
}

// notes are findings about the settings, which are all valid.
func notes(s *config.Settings) []Finding {
	notes := []Finding{{Check: "settings", Result: OK, Detail: "all are valid"}}
	warn := func(bad bool, detail, cure string) {
		if bad {
			notes = append(notes, Finding{Check: "settings", Result: Warning, Detail: detail, Cure: cure})
		}
	}
	warn(s.AllowLossyStreams, "ALLOW_LOSSY_STREAMS=true: streams that can drop an order are put up with", "mend the streams, and turn it off")
	warn(s.UpstreamReconcile == "resend", "UPSTREAM_RECONCILE=resend: an order in doubt is sent again", "make sure that the vendor refuses a repeated outTradeNo")
	return notes
}

// natsOf is what a worker with settings s uses in NATS.
func natsOf(s *config.Settings) NATS {
	names := connect.Streams(s)
	journal := s.JournalStream
	if s.JournalTTL == 0 {
		journal = ""
	}
	return NATS{
		Connect: func(ctx context.Context, denied func(error)) (*nats.Conn, error) {
			ctx, failed := context.WithCancelCause(ctx) // the first failure ends it
			defer failed(nil)
			return connect.TryNATS(ctx, s, failed, denied)
		},
		Streams: []Stream{
			{Row: "orders stream", Name: s.OrdersStream, Audit: names.Audit},
			{Row: "results stream", Name: s.ResultsStream, Audit: names.Audit},
			{Row: "dead letters stream", Name: s.DeadStream, Audit: names.Audit},
			{Row: "journal stream", Name: journal, Audit: names.Audit},
			{Row: "control bucket", Name: natsio.ControlStream, Audit: names.Audit},
		},
		Consumer: s.OrdersConsumer, AuditConsumer: names.AuditConsumer,
		Tolerant: s.AllowLossyStreams, Publishes: publishes(s),
	}
}

// publishes are the subjects that a worker publishes to where the streams exist.
// The users of deploy/nats have these permissions.
func publishes(s *config.Settings) []string {
	const info, get = "$JS.API.STREAM.INFO.", "$JS.API.STREAM.MSG.GET."
	consumer := s.OrdersStream + "." + s.OrdersConsumer
	subjects := []string{
		info + s.OrdersStream, "$JS.API.CONSUMER.INFO." + consumer, "$JS.API.CONSUMER.MSG.NEXT." + consumer, "$JS.ACK." + consumer + ".>",
		info + s.ResultsStream, get + s.ResultsStream,
	}
	for _, status := range []worker.Status{worker.Succeeded, worker.Failed, worker.Rejected, worker.InDoubt} {
		subjects = append(subjects, s.ResultsSubject+"."+string(status)+".*")
	}
	subjects = append(subjects, info+s.DeadStream, s.DeadSubject)
	subjects = append(subjects, info+natsio.ControlStream, get+natsio.ControlStream)
	if s.JournalTTL != 0 {
		subjects = append(subjects, info+s.JournalStream, get+s.JournalStream, s.JournalSubject+".*")
	}
	return subjects
}
