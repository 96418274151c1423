package operator

import (
	"cmp"
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
)

// operatorInbox is where replies to an operator go whose user NATS_URL does not name.
const operatorInbox = "_INBOX_operator"

// dialInbox connects as connect.TryNATS does. A user whose permissions do not let it have
// inboxes under _INBOX gets the prefix _INBOX_USER, as deploy/nats/permissions.conf has
// it: so that no operator can read what a worker is sent.
//
// The dialer keeps why a server cannot be reached, from which failed is told in plain words.
func dialInbox(ctx context.Context, s *config.Settings, dialer *noting, failed, denied func(error)) (*nats.Conn, error) {
	plainly := func(err error) { failed(dialer.why(s.NATSURL, err)) }
	nc, err := connect.TryNATS(ctx, s, plainly, func(error) {}, nats.SetCustomDialer(dialer))
	if err == nil && connect.MayReceive(ctx, nc) {
		nc.SetErrorHandler(deniedOnly(denied))
		return nc, nil
	}
	if err != nil {
		return nil, err
	}
	nc.Close()
	inbox := cmp.Or(connect.InboxPrefix(s.NATSURL), operatorInbox)
	return connect.TryNATS(ctx, s, plainly, denied, nats.SetCustomDialer(dialer), nats.CustomInboxPrefix(inbox))
}

// deniedOnly is an error handler that tells of permissions that are missing.
func deniedOnly(denied func(error)) nats.ErrHandler {
	return func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			denied(err)
		}
	}
}
