package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/gather"
)

const (
	NATSDialTimeout   = 3 * time.Second // how long the connection to one address of NATS may take
	natsReconnectWait = 500 * time.Millisecond
	natsPingInterval  = 10 * time.Second // two without an answer, and the connection counts as lost
)

// NATS connects to NATS_URL, and the connection reconnects for ever. It waits for
// servers that cannot be reached, and calls failed after each try. A refused
// password, an expired credential or TLS settings that do not fit are ErrRefused.
//
// While the connection is down a publish fails at once, instead of going out
// late from a buffer. A reconnect that is refused is tried again too: passwords
// are changed while workers run.
//
// The credentials are read again at each connection, but the public half of an
// NKey stays: the seed of another NKey is refused until a restart.
//
// nats.go's own RetryOnFailedConnect would hand a refusal at the start to a
// callback, so the first connection is tried here. A permission that is missing
// shows only when it is used: then the connection calls denied.
func NATS(ctx context.Context, s *config.Settings, log zerolog.Logger, failed, denied func(error), more ...nats.Option) (*nats.Conn, error) {
	credentials, err := natsCredentials(s)
	if err != nil {
		return nil, err
	}
	options := slices.Concat(natsOptions(log, denied), credentials, more)
	var nc *nats.Conn
	err = WaitFor(ctx, "nats", log, failed, func(context.Context) (err error) {
		nc, err = nats.Connect(s.NATSURL, options...)
		if err == nil {
			return nil
		}
		if settings := natsRefused(err); settings != "" {
			return fmt.Errorf("nats: connect: %w: %w: look at %s", ErrRefused, err, settings)
		}
		return fmt.Errorf("nats: connect: %w", err)
	})
	if err != nil {
		return nil, err
	}
	log.Info().Str("server", nc.ConnectedAddr()).Msg("nats connected")
	return nc, nil
}

// natsOptions returns the options of every connection.
func natsOptions(log zerolog.Logger, denied func(error)) []nats.Option {
	return []nats.Option{
		nats.Name("orderworker"),
		nats.Timeout(NATSDialTimeout),
		nats.SetCustomDialer(&gather.Dialer{Dialer: net.Dialer{Timeout: NATSDialTimeout}}),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(natsReconnectWait),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(natsPingInterval),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn().Err(err).Msg("nats disconnected")
			}
		}),
		// The address, not ConnectedUrlRedacted: that shows a token.
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info().Str("server", nc.ConnectedAddr()).Msg("nats reconnected")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			level := zerolog.ErrorLevel
			if _, broken := errors.AsType[net.Error](err); broken && sub == nil {
				level = zerolog.DebugLevel // a write that failed: "nats disconnected" says so too
			}
			event := log.WithLevel(level).Err(err)
			if sub != nil {
				event = event.Str("subject", sub.Subject)
			}
			event.Msg("nats error")
			if errors.Is(err, nats.ErrPermissionViolation) {
				denied(fmt.Errorf("nats: %w: %w", ErrRefused, err))
			}
		}),
	}
}

// natsCredentials returns the options of NATS_CREDS and of the TLS settings.
func natsCredentials(s *config.Settings) (options []nats.Option, err error) {
	if s.NATSCreds != "" {
		option := nats.UserCredentials(s.NATSCreds)
		nkey, err := s.NKey()
		if err == nil && nkey {
			option, err = nats.NkeyOptionFromSeed(s.NATSCreds)
		}
		if err != nil {
			return nil, fmt.Errorf("NATS_CREDS %w", err) // it was good when the settings were checked
		}
		options = append(options, option)
	}
	if s.NATSCA != "" {
		options = append(options, nats.RootCAs(s.NATSCA))
	}
	if s.NATSCert != "" {
		options = append(options, nats.ClientCert(s.NATSCert, s.NATSKey))
	}
	return options, nil
}

// TryNATS connects as NATS does, with more options, but returns when ctx ends, with its cause, even while
// a server has accepted the connection and says nothing. It logs nothing.
func TryNATS(ctx context.Context, s *config.Settings, failed, denied func(error), more ...nats.Option) (*nats.Conn, error) {
	type dialled struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan dialled, 1)
	go func() {
		nc, err := NATS(ctx, s, zerolog.Nop(), failed, denied, more...)
		if err == nil && ctx.Err() != nil {
			nc.Close() // nobody waits for it any more
			err = ctx.Err()
		}
		done <- dialled{nc, err}
	}()
	select {
	case d := <-done:
		if d.err == nil || ctx.Err() == nil {
			return d.nc, d.err
		}
	case <-ctx.Done(): // the dial under way ends by its own time-out
	}
	return nil, context.Cause(ctx)
}

// NATSAnswers is the readiness check of nc; its context needs a deadline.
func NATSAnswers(nc *nats.Conn) func(context.Context) error {
	return func(ctx context.Context) error {
		if status := nc.Status(); status != nats.CONNECTED {
			if err := nc.LastError(); err != nil {
				return fmt.Errorf("%v: %w", status, err)
			}
			return errors.New(status.String())
		}
		return nc.FlushWithContext(ctx)
	}
}

// natsRefused names the settings to look at if err is a refusal, by the server or by
// this program; otherwise it is empty.
func natsRefused(err error) string {
	is := func(refusals ...error) bool {
		return slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) })
	}
	switch {
	case is(nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported):
		return "NATS_URL and NATS_CREDS"
	case is(nats.ErrSecureConnRequired, nats.ErrSecureConnWanted):
		return "NATS_URL: tls:// or nats://"
	case isTLSError(err):
		return "NATS_CA, NATS_CERT and NATS_KEY"
	default:
		return ""
	}
}

// isTLSError reports whether either side refused the other's certificate, or TLS.
func isTLSError(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	// crypto/tls reports alerts as a net.OpError with one of these.
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "remote error" || op.Op == "local error")
}
