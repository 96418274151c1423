package submit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/worker/client"
)

// link is a connection to NATS as a publisher.
type link struct {
	nc     *nats.Conn
	client *client.Client
	// ctx ends with the parent's, and when the server refuses to let this user publish.
	ctx  context.Context
	stop context.CancelCauseFunc
}

// dial connects within Options.Timeout. If Options.InboxPrefix is empty, dial uses _INBOX,
// or connect.InboxPrefix if the server does not let this user subscribe to _INBOX.
func dial(ctx context.Context, s *config.Settings, o Options) (*link, error) {
	l, err := dialWith(ctx, s, o)
	if err != nil || o.InboxPrefix != "" || connect.MayReceive(ctx, l.nc) {
		return l, err
	}
	l.close()
	if o.InboxPrefix = connect.InboxPrefix(s.NATSURL); o.InboxPrefix == "" {
		return nil, errors.New("nats: this user may not subscribe to _INBOX.>: --inbox-prefix names where it may")
	}
	if l, err = dialWith(ctx, s, o); err == nil && !connect.MayReceive(ctx, l.nc) {
		l.close()
		err = fmt.Errorf("nats: this user may subscribe neither to _INBOX.> nor to %s.>: --inbox-prefix names where it may", o.InboxPrefix)
	}
	return l, err
}

// dialWith connects with Options.InboxPrefix; "" is the default of nats.go.
func dialWith(ctx context.Context, s *config.Settings, o Options) (*link, error) {
	l := &link{}
	l.ctx, l.stop = context.WithCancelCause(ctx)
	var last atomic.Pointer[error]
	failed := func(err error) { last.Store(&err) }
	denied := func(err error) {
		if strings.Contains(err.Error(), fmt.Sprintf("Publish to %q", s.OrdersSubject)) {
			l.stop(fmt.Errorf("this user may not publish to %s: %w", s.OrdersSubject, nats.ErrPermissionViolation))
		}
	}
	// Each read of the results stream makes a subscription, and nats.go would allocate a
	// queue of 512 KiB for each.
	options := []nats.Option{nats.SyncQueueLen(4096)}
	if o.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(o.InboxPrefix))
	}
	dialing, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	nc, err := connect.TryNATS(dialing, s, failed, denied, options...)
	if err != nil {
		l.stop(nil)
		if reason := last.Load(); reason != nil && dialing.Err() != nil && ctx.Err() == nil {
			err = *reason
		}
		return nil, err
	}
	l.nc = nc
	if l.client, err = client.New(nc, client.Config{
		OrdersStream: s.OrdersStream, OrdersSubject: s.OrdersSubject, ResultsStream: s.ResultsStream, ResultsSubject: s.ResultsSubject,
		StreamTimeout: o.StreamTimeout,
	}); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *link) close() {
	l.nc.Close()
	l.stop(nil)
}
