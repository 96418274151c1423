package operator

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/text"
	"orderworker/dedupe"
	"orderworker/dedupe/redisstore"
)

// Order names an order, and says where to look for it.
type Order struct {
	OutTradeNo string
	Timeout    time.Duration // of all servers together
	*config.Settings
}

// within limits ctx to the order's Timeout.
func (o *Order) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, o.Timeout)
}

// failed returns err in one line: what was being done, and whether ctx ended it.
func (o *Order) failed(ctx context.Context, what string, err error) error {
	message := text.OneLine(err)
	if ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("%s %s: gave up after --timeout %v: %s", what, o.OutTradeNo, o.Timeout, message)
	}
	return fmt.Errorf("%s %s: %s", what, o.OutTradeNo, message)
}

// servers is NATS and Redis, and the order that they are asked about.
type servers struct {
	*Order
	nc    *nats.Conn
	js    jetstream.JetStream
	rdb   redis.UniversalClient
	store *dedupe.Store
}

// reach connects to NATS, until ctx ends. It creates nothing there, and does not ask
// Redis yet. The caller must close what it returns.
func (o *Order) reach(ctx context.Context) (*servers, error) {
	nc, err := dialNATS(ctx, o.Settings)
	if err != nil {
		return nil, err
	}
	v := &servers{Order: o, nc: nc}
	if v.js, err = jetstream.New(nc); err != nil {
		v.close()
		return nil, err
	}
	if v.rdb, err = connect.Redis(o.Settings, nil); err != nil {
		v.close()
		return nil, err
	}
	v.store = dedupe.New(redisstore.NewCache(v.rdb, o.OrdersStream), connect.Journal(o.Settings, v.js, v.rdb),
		connect.Results(o.Settings, v.js), dedupe.Config{FinalTTL: o.DedupeTTL, JournalTTL: o.JournalTTL})
	return v, nil
}

// dialNATS connects to NATS. If ctx ends first, the error is the last failure.
func dialNATS(ctx context.Context, s *config.Settings) (*nats.Conn, error) {
	var last atomic.Pointer[error]
	failed := func(err error) { last.Store(&err) }
	nc, err := dialInbox(ctx, s, newNoting(), failed, failed)
	switch reason := last.Load(); {
	case err == nil || ctx.Err() == nil:
		return nc, err
	case reason != nil:
		return nil, *reason
	default:
		return nil, errors.New("not connected yet")
	}
}

// refusable returns a context that ends when the server refuses something on the
// connection, to which no reply comes. The connection must have no other user.
func (v *servers) refusable(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, refuse := context.WithCancelCause(ctx)
	v.nc.SetErrorHandler(deniedOnly(func(err error) { refuse(err) }))
	return ctx, refuse
}

// refusal returns what the server refused, if that ended ctx, and otherwise err.
func refusal(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, nats.ErrPermissionViolation) {
		return cause
	}
	return err
}

func (v *servers) close() {
	v.nc.Close()
	if v.rdb != nil {
		connect.CloseRedis(v.rdb)
	}
}
