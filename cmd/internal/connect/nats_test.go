package connect

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/certtest"
	"orderworker/cmd/internal/config"
	"orderworker/dedupe/storetest"
	"orderworker/worker/logtest"
)

// startNATS runs a server in this process; port 0 picks one.
func startNATS(t *testing.T, opts server.Options) *server.Server {
	t.Helper()
	return storetest.NATS(t, func(o *server.Options) {
		opts.Host, opts.NoLog, opts.NoSigs = o.Host, true, true
		if opts.Port == 0 {
			opts.Port = o.Port
		}
		*o = opts
	})
}

func TestConnectNATS(t *testing.T) {
	dir := t.TempDir()
	ca, stranger := certtest.New(t), certtest.New(t)
	caFile, strangerFile := dir+"/ca.pem", dir+"/stranger.pem"
	for file, text := range map[string][]byte{caFile: ca.PEM, strangerFile: stranger.PEM} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := ca.Issue(t, dir, "client")
	strangerCert, strangerKey := stranger.Issue(t, dir, "stranger-client")
	creds := dir + "/user.creds"
	if err := os.WriteFile(creds, certtest.Creds(t), 0o600); err != nil {
		t.Fatal(err)
	}

	public, seed := certtest.NKey(t)
	_, otherSeed := certtest.NKey(t)
	nkey, otherNKey := dir+"/nkey", dir+"/other-nkey"
	for file, text := range map[string][]byte{nkey: append(seed, '\n'), otherNKey: otherSeed} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	open := startNATS(t, server.Options{}).Addr().String()
	locked := startNATS(t, server.Options{Username: "u", Password: "hunter2"}).Addr().String()
	token := startNATS(t, server.Options{Authorization: "hunter2"}).Addr().String()
	secure := startNATS(t, server.Options{TLSConfig: ca.TLS(t, false)}).Addr().String()
	mutual := startNATS(t, server.Options{TLSConfig: ca.TLS(t, true)}).Addr().String()
	keyed := startNATS(t, server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}}).Addr().String()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	nowhere := mute.Addr().String()

	for name, c := range map[string]struct {
		settings config.Settings
		refused  bool
	}{
		"open":                        {config.Settings{NATSURL: "nats://" + open}, false},
		"creds that nobody asked for": {config.Settings{NATSURL: "nats://" + open, NATSCreds: creds}, false},
		"one of several is up":        {config.Settings{NATSURL: "nats://127.0.0.1:1, nats://" + open}, false},
		"one of several is mute":      {config.Settings{NATSURL: "nats://" + nowhere + ",nats://" + open}, false},
		"password":                    {config.Settings{NATSURL: "nats://u:hunter2@" + locked}, false},
		"wrong password":              {config.Settings{NATSURL: "nats://u:hunter3@" + locked}, true},
		"no password":                 {config.Settings{NATSURL: "nats://" + locked}, true},
		"creds that are not known":    {config.Settings{NATSURL: "nats://" + locked, NATSCreds: creds}, true},
		"token":                       {config.Settings{NATSURL: "nats://hunter2@" + token}, false},
		"wrong token":                 {config.Settings{NATSURL: "nats://hunter3@" + token}, true},
		"NKey":                        {config.Settings{NATSURL: "nats://" + keyed, NATSCreds: nkey}, false},
		"another NKey":                {config.Settings{NATSURL: "nats://" + keyed, NATSCreds: otherNKey}, true},
		"NKey that nobody asked for":  {config.Settings{NATSURL: "nats://" + open, NATSCreds: nkey}, true}, // it sends nothing to be signed
		"NKey, server has passwords":  {config.Settings{NATSURL: "nats://" + locked, NATSCreds: nkey}, true},
		"TLS":                         {config.Settings{NATSURL: "tls://" + secure, NATSCA: caFile}, false},
		"TLS by the server's wish":    {config.Settings{NATSURL: "nats://" + secure, NATSCA: caFile}, false},
		"TLS, unknown authority":      {config.Settings{NATSURL: "tls://" + secure}, true},
		"TLS, another authority":      {config.Settings{NATSURL: "tls://" + secure, NATSCA: strangerFile}, true},
		"TLS, another name":           {config.Settings{NATSURL: "tls://" + strings.Replace(secure, "127.0.0.1", "localhost", 1), NATSCA: caFile}, true},
		"TLS, server has none":        {config.Settings{NATSURL: "tls://" + open}, true},
		"mutual TLS":                  {config.Settings{NATSURL: "tls://" + mutual, NATSCA: caFile, NATSCert: cert, NATSKey: key}, false},
		"mutual TLS, no certificate":  {config.Settings{NATSURL: "tls://" + mutual, NATSCA: caFile}, true},
		"mutual TLS, of a stranger":   {config.Settings{NATSURL: "tls://" + mutual, NATSCA: caFile, NATSCert: strangerCert, NATSKey: strangerKey}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var log logtest.Buffer
			nc, err := NATS(ctx, &c.settings, zerolog.New(&log), func(error) {}, func(error) {})
			if err == nil {
				defer nc.Close()
			}
			if c.refused != errors.Is(err, ErrRefused) || (err == nil) == c.refused {
				t.Errorf("got %v, want refused: %v", err, c.refused)
			}
			if err == nil {
				if err := NATSAnswers(nc)(ctx); err != nil {
					t.Error(err)
				}
			}
			if err != nil && strings.Contains(err.Error(), "hunter") || strings.Contains(log.String(), "hunter") {
				t.Errorf("a password is shown: %v, %s", err, log.String())
			}
		})
	}
}

func TestConnectNATSWaits(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	tried := make(chan error, 100)
	type result struct {
		nc  *nats.Conn
		err error
	}
	connected := make(chan result, 1)
	go func() {
		nc, err := NATS(t.Context(), &config.Settings{NATSURL: "nats://" + addr.String()}, zerolog.Nop(), func(err error) { tried <- err }, func(error) {})
		connected <- result{nc, err}
	}()
	if err := <-tried; !strings.HasPrefix(err.Error(), "nats: ") {
		t.Errorf("told %v", err)
	}
	startNATS(t, server.Options{Port: addr.Port})
	r := <-connected
	if r.err != nil {
		t.Fatal(r.err)
	}
	r.nc.Close()
}

func TestConnectNATSStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := NATS(ctx, &config.Settings{NATSURL: "nats://127.0.0.1:1"}, zerolog.Nop(), func(error) { cancel() }, func(error) {})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNATSReconnects(t *testing.T) {
	first := startNATS(t, server.Options{Username: "u", Password: "hunter2"})
	port := first.Addr().(*net.TCPAddr).Port
	var log logtest.Buffer
	nc, err := NATS(t.Context(), &config.Settings{NATSURL: "nats://u:hunter2@" + first.Addr().String()}, zerolog.New(&log), func(error) {}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	first.Shutdown()
	first.WaitForShutdown()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ready := NATSAnswers(nc)
	storetest.Eventually(t, "the connection counts as lost", func() bool { return nc.Status() == nats.RECONNECTING })
	if err := ready(ctx); err == nil || !strings.Contains(err.Error(), "RECONNECTING") {
		t.Errorf("readiness is %v", err)
	}
	if err := nc.Publish("x", nil); err == nil {
		t.Error("a publish went into a buffer while the connection is down")
	}
	startNATS(t, server.Options{Port: port, Username: "u", Password: "hunter2"})
	storetest.Eventually(t, "reconnected", func() bool { return strings.Contains(log.String(), "nats reconnected") })
	if err := ready(ctx); err != nil {
		t.Errorf("readiness is %v", err)
	}
	if text := log.String(); !strings.Contains(text, "nats disconnected") || strings.Contains(text, "hunter2") {
		t.Errorf("logged %s", text)
	}
}

func TestNATSErrorsAreLogged(t *testing.T) {
	s := startNATS(t, server.Options{Users: []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
		Subscribe: &server.SubjectPermission{Deny: []string{"secret"}},
	}}}})
	var log logtest.Buffer
	nc, err := NATS(t.Context(), &config.Settings{NATSURL: "nats://u:p@" + s.Addr().String()}, zerolog.New(&log), func(error) {}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.SubscribeSync("secret"); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the violation is logged", func() bool {
		return strings.Contains(log.String(), "nats error") && strings.Contains(strings.ToLower(log.String()), "permissions violation")
	})
}

// A write that fails because the connection breaks is no line of its own above debug: the
// line about the disconnection says it. Every other error of the connection is one.
func TestErrorsOfTheConnectionAreLoggedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		sub  *nats.Subscription
		want string
	}{
		"a write on a broken connection": {&net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}, nil, `"level":"debug"`},
		"a write on a closed connection": {net.ErrClosed, nil, `"level":"debug"`},
		"a permission":                   {nats.ErrPermissionViolation, nil, `"level":"error"`},
		"a slow consumer":                {nats.ErrSlowConsumer, &nats.Subscription{Subject: "orders"}, `"level":"error"`},
	} {
		var log bytes.Buffer
		var o nats.Options
		for _, option := range natsOptions(zerolog.New(&log), func(error) {}) {
			if err := option(&o); err != nil {
				t.Fatal(err)
			}
		}
		o.AsyncErrorCB(nil, c.sub, c.err)
		if got := log.String(); !strings.Contains(got, c.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %q, want %s", name, got, c.want)
		}
	}
}
