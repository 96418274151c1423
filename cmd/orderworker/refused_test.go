package main

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/certtest"
	"orderworker/dedupe/storetest"
)

// TestWrongInputEndsInOneLine checks that the program, whatever is wrong at its start, ends
// with one line that names what to correct, and shows no secret.
func TestWrongInputEndsInOneLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, stranger := certtest.New(t), certtest.New(t)
	file := func(name string, text []byte) string {
		name = dir + "/" + name
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	caFile, strangerFile, junk := file("ca.pem", ca.PEM), file("stranger.pem", stranger.PEM), file("junk", []byte("hunter2"))
	strangerCert, strangerKey := stranger.Issue(t, dir, "client")
	public, _ := certtest.NKey(t)
	_, otherSeed := certtest.NKey(t)
	otherNKey := file("nkey", otherSeed)

	open := storetest.NATS(t).Addr().String()
	locked := storetest.NATS(t, func(o *server.Options) { o.Username, o.Password = "u", "hunter2" }).Addr().String()
	keyed := storetest.NATS(t, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} }).Addr().String()
	secure := storetest.NATS(t, func(o *server.Options) { o.TLSConfig = ca.TLS(t, false) }).Addr().String()
	mutual := storetest.NATS(t, func(o *server.Options) { o.TLSConfig = ca.TLS(t, true) }).Addr().String()
	limited := storetest.NATS(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "hunter2", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"$JS.API.STREAM.CREATE.>"}},
		}}}
	}).Addr().String()

	cert, key := ca.Issue(t, dir, "redis")
	_, tlsPort, _ := net.SplitHostPort(storetest.FreeAddr(t))
	openRedis := storetest.Redis(t, "--tls-port", tlsPort, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no").Addr
	clustered, other := storetest.Redis(t, "--cluster-enabled", "yes"), storetest.Redis(t, "--cluster-enabled", "yes")
	host, port, _ := net.SplitHostPort(clustered.Addr)
	for _, command := range [][]any{{"cluster", "addslotsrange", 0, 16383}, {"cluster", "meet", host, port}} {
		if err := other.Client(t).Do(t.Context(), command...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Eventually(t, "one node knows that the other has the slots", func() bool {
		_, moved := redis.IsMovedError(clustered.Client(t).Get(t.Context(), "x").Err())
		return moved
	})
	private := storetest.Redis(t, "--requirepass", "hunter2").Addr

	for name, c := range map[string]struct {
		env    map[string]string
		status int
		want   string
	}{
		"NATS password":                   {map[string]string{"NATS_URL": "nats://u:hunter3@" + locked}, 1, "NATS_URL and NATS_CREDS"},
		"NATS credentials that are not":   {map[string]string{"NATS_CREDS": junk}, 2, "NATS_CREDS"},
		"another NKey":                    {map[string]string{"NATS_URL": "nats://" + keyed, "NATS_CREDS": otherNKey}, 1, "NATS_URL and NATS_CREDS"},
		"NATS of an unknown authority":    {map[string]string{"NATS_URL": "tls://" + secure}, 1, "NATS_CA"},
		"NATS of another authority":       {map[string]string{"NATS_URL": "tls://" + secure, "NATS_CA": strangerFile}, 1, "NATS_CA"},
		"NATS without TLS":                {map[string]string{"NATS_URL": "tls://" + open, "NATS_CA": caFile}, 1, "NATS_URL"},
		"NATS wants a certificate":        {map[string]string{"NATS_URL": "tls://" + mutual, "NATS_CA": caFile}, 1, "NATS_CERT"},
		"NATS wants another certificate":  {map[string]string{"NATS_URL": "tls://" + mutual, "NATS_CA": caFile, "NATS_CERT": strangerCert, "NATS_KEY": strangerKey}, 1, "NATS_CERT"},
		"no certificate in NATS_CA":       {map[string]string{"NATS_CA": junk}, 2, "NATS_CA"},
		"no key in NATS_KEY":              {map[string]string{"NATS_CERT": strangerCert, "NATS_KEY": junk}, 2, "NATS_KEY"},
		"no stream, and may not make it":  {map[string]string{"NATS_URL": "nats://u:hunter2@" + limited}, 1, "$JS.API.STREAM.CREATE.ORDER_JOURNAL"},
		"Redis password":                  {map[string]string{"REDIS_URL": "redis://:hunter3@" + private}, 1, "REDIS_URL"},
		"Redis user":                      {map[string]string{"REDIS_URL": "redis://nobody:hunter3@" + private}, 1, "REDIS_URL"},
		"Redis of an unknown authority":   {map[string]string{"REDIS_URL": "rediss://127.0.0.1:" + tlsPort}, 1, "SSL_CERT_DIR"},
		"Redis Cluster, not told so":      {map[string]string{"REDIS_URL": "redis://" + clustered.Addr}, 1, "REDIS_URL: it is a Cluster"},
		"Redis database that is missing":  {map[string]string{"REDIS_URL": "redis://" + openRedis + "/99"}, 1, "REDIS_URL"},
		"port in use":                     {map[string]string{"ADMIN_ADDR": open}, 1, "ADMIN_ADDR"},
		"secret's file that is a folder":  {map[string]string{"UPSTREAM_SECRET": "", "UPSTREAM_SECRET_FILE": dir}, 2, "UPSTREAM_SECRET_FILE"},
		"secret's file that is not there": {map[string]string{"UPSTREAM_SECRET": "", "UPSTREAM_SECRET_FILE": dir + "/none"}, 2, "UPSTREAM_SECRET_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := required()
			env["NATS_URL"], env["REDIS_URL"], env["ADMIN_ADDR"], env["SHUTDOWN_TIMEOUT"] = "nats://"+open, "redis://"+openRedis, "", "1s"
			for name, value := range c.env {
				env[name] = value
			}
			status, _, stderr := orderworker(t, env, "run")
			lines := strings.Split(strings.TrimSpace(stderr), "\n")
			last := lines[len(lines)-1]
			if status != c.status || !strings.HasPrefix(last, "orderworker: ") || strings.Count("\n"+stderr, "\norderworker: ") != 1 || !strings.Contains(last, c.want) {
				t.Errorf("got %d, want %d and one line that names %s:\n%s", status, c.status, c.want, stderr)
			}
			if strings.Contains(stderr, "hunter") {
				t.Errorf("a secret is shown:\n%s", stderr)
			}
		})
	}
}
