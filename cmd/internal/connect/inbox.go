package connect

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// MayReceive reports whether the server lets the user of nc subscribe to its inboxes. The
// server sends a refusal before its reply to the flush. It waits at most 5 s for that reply.
func MayReceive(ctx context.Context, nc *nats.Conn) bool {
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return true // the connection is lost: another error will say so
	}
	defer func() { _ = sub.Unsubscribe() }() // the server may have refused it
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = nc.FlushWithContext(ctx)
	return !errors.Is(nc.LastError(), nats.ErrPermissionViolation)
}

// InboxPrefix returns _INBOX_USER, where a user of deploy/nats/permissions.conf gets its
// replies. USER is the user in the first URL of servers, the value of NATS_URL. It returns
// "" if that URL names no user, or a token.
func InboxPrefix(servers string) string {
	first, _, _ := strings.Cut(servers, ",")
	u, err := url.Parse(strings.TrimSpace(first))
	if err != nil || u.User == nil || u.User.Username() == "" {
		return ""
	}
	if _, password := u.User.Password(); !password { // a token
		return ""
	}
	return "_INBOX_" + u.User.Username()
}
