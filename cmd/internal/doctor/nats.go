package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATS is what the worker uses in NATS.
type NATS struct {
	// Connect tries to connect once. It calls denied when the server refuses something later.
	Connect       func(ctx context.Context, denied func(error)) (*nats.Conn, error)
	Streams       []Stream // the first one holds the orders
	Consumer      string   // of the orders
	AuditConsumer func(c jetstream.ConsumerConfig, orders jetstream.StreamConfig) []string
	Tolerant      bool     // a stream that can drop something is a warning only
	Publishes     []string // the subjects that the worker publishes to
}

// Stream is a stream that the worker uses.
type Stream struct {
	Row, Name string // of the check; of the stream, or "": there is none, as the settings have it
	Audit     func(jetstream.StreamConfig) []string
}

// natsVisit runs the checks of NATS, and keeps what later checks need of earlier ones.
type natsVisit struct {
	*NATS
	nc   *nats.Conn
	js   jetstream.JetStream
	user *userInfo // nil: not told

	server, before, after time.Time // what the server's clock said, and when

	mu     sync.Mutex
	cancel context.CancelCauseFunc // of the request under way
	deaf   error                   // no answer can be received
}

// userInfo is what a server says of its user.
type userInfo struct {
	User        string `json:"user"`
	Account     string `json:"account"`
	Permissions struct {
		Publish   *allowance `json:"publish"`
		Subscribe *allowance `json:"subscribe"`
	} `json:"permissions"`
}

// requestPatience is how long one request may take.
const requestPatience = 5 * time.Second

// denied ends the request that the server refused, since no reply to it will come.
func (v *natsVisit) denied(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if strings.Contains(strings.ToLower(err.Error()), "subscription") { // to the inbox of all replies
		v.deaf = err
	}
	if v.cancel != nil {
		v.cancel(err)
	}
}

// ask makes one request, which takes at most requestPatience.
func (v *natsVisit) ask(ctx context.Context, request func(context.Context) error) error {
	ctx, stop := context.WithTimeoutCause(ctx, requestPatience, errors.New("no answer"))
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v.mu.Lock()
	deaf := v.deaf
	v.cancel = cancel
	v.mu.Unlock()
	if deaf != nil {
		return deaf
	}
	err := request(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (v *natsVisit) connect(ctx context.Context) Finding {
	var err error
	if v.nc, err = v.Connect(ctx, v.denied); err != nil {
		return because(ctx, err)
	}
	if v.js, err = jetstream.New(v.nc); err != nil {
		return because(ctx, err)
	}
	start := time.Now()
	if err := v.ask(ctx, v.nc.FlushWithContext); err != nil {
		return because(ctx, err)
	}
	return fine("connected to %s, round trip %s", v.nc.ConnectedAddr(), took(time.Since(start)))
}

// The oldest version that will do. Source: contract, section 9.
const natsMajor, natsMinor = 2, 12

func (v *natsVisit) version(context.Context) Finding {
	version := v.nc.ConnectedServerVersion()
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return failed("%q is not a version", version)
	}
	if major < natsMajor || major == natsMajor && minor < natsMinor {
		return failed("%s is older than %d.%d", version, natsMajor, natsMinor)
	}
	return fine("%s", version)
}

// permissions compares what the user may do with what the worker does. It reads the
// user's permissions, and tries nothing out, since that would change something.
func (v *natsVisit) permissions(ctx context.Context) Finding {
	var reply *nats.Msg
	before := time.Now()
	err := v.ask(ctx, func(ctx context.Context) (err error) {
		reply, err = v.nc.RequestWithContext(ctx, "$SYS.REQ.USER.INFO", nil)
		return err
	})
	v.mu.Lock()
	deaf := v.deaf
	v.mu.Unlock()
	if deaf != nil {
		return failed("%v", deaf).but("allow the user to subscribe to _INBOX.>")
	}
	var told struct {
		Server struct {
			Time time.Time `json:"time"`
		} `json:"server"`
		Data *userInfo `json:"data"`
	}
	if err == nil {
		err = json.Unmarshal(reply.Data, &told)
	}
	if err == nil && told.Data == nil {
		err = errors.New("an answer without data")
	}
	if err != nil {
		return warning("the server does not tell them: %v", err).but("allow the user to publish to $SYS.REQ.USER.INFO, or compare its permissions with deploy/nats by hand")
	}
	v.user = told.Data
	v.told(told.Server.Time, before)
	publish := v.user.Permissions.Publish.lacking(v.Publishes)
	subscribe := v.user.Permissions.Subscribe.lacking([]string{"_INBOX.>"})
	var lack []string
	if len(publish) > 0 {
		lack = append(lack, "may not publish to "+strings.Join(publish, ", "))
	}
	if len(subscribe) > 0 {
		lack = append(lack, "may not subscribe to "+strings.Join(subscribe, ", "))
	}
	if len(lack) > 0 {
		return failed("user %q of account %q %s", v.user.User, v.user.Account, strings.Join(lack, "; "))
	}
	return fine("user %q of account %q may do all that the worker does", v.user.User, v.user.Account)
}

// told notes what the server's clock said in answer to a request made at before.
func (v *natsVisit) told(server, before time.Time) {
	if !server.IsZero() {
		v.server, v.before, v.after = server, before, time.Now()
	}
}

// stream checks one stream. A stream that does not exist is created by the worker.
func (v *natsVisit) stream(ctx context.Context, s *Stream) Finding {
	if s.Name == "" {
		return warning("none, as JOURNAL_TTL=0 says: where Redis is lost, an order may be bought twice").but("set JOURNAL_TTL")
	}
	var stream jetstream.Stream
	before := time.Now()
	err := v.ask(ctx, func(ctx context.Context) (err error) {
		stream, err = v.js.Stream(ctx, s.Name)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return v.absent("stream "+s.Name, "$JS.API.STREAM.CREATE."+s.Name)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return failed("stream %s: JetStream does not answer: %v", s.Name, err).but("enable JetStream on the servers and for the account")
	case err != nil:
		return because(ctx, fmt.Errorf("stream %s: %w", s.Name, err)).but("allow the user to publish to $JS.API.STREAM.INFO.%s, or see whether the stream has a leader", s.Name)
	}
	info := stream.CachedInfo()
	v.told(info.TimeStamp, before)
	return v.judged(s.Audit(info.Config), "stream %s, replicas %d, messages %d", s.Name, info.Config.Replicas, info.State.Msgs)
}

func (v *natsVisit) consumer(ctx context.Context) Finding {
	orders := v.Streams[0].Name
	var consumer jetstream.Consumer
	err := v.ask(ctx, func(ctx context.Context) (err error) {
		consumer, err = v.js.Consumer(ctx, orders, v.Consumer)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return v.absent("consumer "+v.Consumer, "$JS.API.CONSUMER.CREATE."+orders+"."+v.Consumer+".>")
	case err != nil:
		return because(ctx, fmt.Errorf("consumer %s: %w", v.Consumer, err)).but("allow the user to publish to $JS.API.CONSUMER.INFO.%s.%s; one that pushes must be deleted", orders, v.Consumer)
	}
	info := consumer.CachedInfo()
	stream, err := v.js.Stream(ctx, orders)
	if err != nil {
		return because(ctx, fmt.Errorf("stream %s: %w", orders, err)).but("see the row of the orders stream")
	}
	return v.judged(v.AuditConsumer(info.Config, stream.CachedInfo().Config), "consumer %s, waiting %d, in progress %d", v.Consumer, info.NumPending, info.NumAckPending)
}

// absent returns the finding about a stream or consumer that does not exist yet.
func (v *natsVisit) absent(what, create string) Finding {
	if v.user != nil && !v.user.Permissions.Publish.may(create) {
		return failed("%s does not exist, and the user may not make it", what).but("make it (see deploy/nats), or allow the user to publish to %s", create)
	}
	return warning("%s does not exist", what).but("nothing: the worker will make it")
}

// judged returns the finding about faults, each of which names its cure.
func (v *natsVisit) judged(faults []string, format string, args ...any) Finding {
	switch text := strings.Join(faults, "; "); {
	case len(faults) == 0:
		return fine(format, args...)
	case v.Tolerant:
		return warning("%s", text).but("mend it, though ALLOW_LOSSY_STREAMS lets the worker start")
	default:
		return failed("%s", text)
	}
}

func (v *natsVisit) clock(context.Context) Finding {
	if v.server.IsZero() {
		return warning("not told: neither user nor stream could be asked about").but("mend what failed before it")
	}
	return skewed(v.server, v.before, v.after)
}

// close closes the connection.
func (v *natsVisit) close() {
	if v.nc != nil {
		v.nc.Close()
	}
}

// took rounds a duration for people.
func took(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
