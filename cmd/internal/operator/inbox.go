package operator

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
)

// operatorInbox is where replies to an operator go whose user NATS_URL does not name.
const operatorInbox = "_INBOX_operator"

// dialInbox connects as connect.TryNATS does. A user whose permissions do not let it have
// inboxes under _INBOX gets the prefix _INBOX_USER, as deploy/nats/permissions.conf has
// it: so that no operator can read what a worker is sent.
func dialInbox(ctx context.Context, s *config.Settings, failed, denied func(error)) (*nats.Conn, error) {
	nc, err := connect.TryNATS(ctx, s, failed, func(error) {})
	if err == nil && mayReceive(ctx, nc) {
		nc.SetErrorHandler(deniedOnly(denied))
		return nc, nil
	}
	if err != nil {
		return nil, err
	}
	nc.Close()
	inbox := operatorInbox
	if user := natsUser(s.NATSURL); user != "" {
		inbox = "_INBOX_" + user
	}
	return connect.TryNATS(ctx, s, failed, denied, nats.CustomInboxPrefix(inbox))
}

// deniedOnly is an error handler that tells of permissions that are missing.
func deniedOnly(denied func(error)) nats.ErrHandler {
	return func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			denied(err)
		}
	}
}

// mayReceive reports whether the server lets this user subscribe to its inboxes. A refusal
// comes before the reply to the flush.
func mayReceive(ctx context.Context, nc *nats.Conn) bool {
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return true // the connection is lost: another error will say so
	}
	defer func() { _ = sub.Unsubscribe() }() // it may have been refused
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = nc.FlushWithContext(ctx)
	return !errors.Is(nc.LastError(), nats.ErrPermissionViolation)
}

// natsUser is the user that the first server of NATS_URL names; "": none, or a token.
func natsUser(servers string) string {
	first, _, _ := strings.Cut(servers, ",")
	u, err := url.Parse(strings.TrimSpace(first))
	if err != nil || u.User == nil {
		return ""
	}
	if _, password := u.User.Password(); !password {
		return ""
	}
	return u.User.Username()
}
