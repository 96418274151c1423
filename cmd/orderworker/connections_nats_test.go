package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"orderworker/cmd/internal/certtest"
	"orderworker/dedupe/storetest"
)

// file writes text into a file of the world and returns its name.
func (w *world) file(name string, text []byte) string {
	w.t.Helper()
	name = filepath.Join(w.dir, name)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return name
}

// credentialsFile starts a server in operator mode: the operator signs accounts, and an
// account signs users.
func credentialsFile(w *world) map[string]string {
	options, creds := operatorMode(w)
	s := storetest.NATS(w.t, options)
	w.connectedWith(s, func(c *server.ConnInfo) bool { return c.JWT != "" })
	return map[string]string{"NATS_URL": s.ClientURL(), "NATS_CREDS": creds}
}

// operatorMode is the options of a server in operator mode, and the credentials
// file of a user there.
func operatorMode(w *world) (options func(*server.Options), creds string) {
	w.t.Helper()
	var keys []nkeys.KeyPair
	var public []string
	for _, create := range []func() (nkeys.KeyPair, error){nkeys.CreateOperator, nkeys.CreateAccount, nkeys.CreateAccount, nkeys.CreateUser} {
		key, err := create()
		if err != nil {
			w.t.Fatal(err)
		}
		name, err := key.PublicKey()
		if err != nil {
			w.t.Fatal(err)
		}
		keys, public = append(keys, key), append(public, name)
	}
	operator, system, account, user := 0, 1, 2, 3

	operatorClaims := jwt.NewOperatorClaims(public[operator])
	operatorClaims.SystemAccount = public[system]
	accounts := &server.MemAccResolver{}
	for _, a := range []int{system, account} {
		claims := jwt.NewAccountClaims(public[a])
		if a == account {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		token, err := claims.Encode(keys[operator])
		if err != nil {
			w.t.Fatal(err)
		}
		if err := accounts.Store(public[a], token); err != nil {
			w.t.Fatal(err)
		}
	}
	token, err := jwt.NewUserClaims(public[user]).Encode(keys[account])
	if err != nil {
		w.t.Fatal(err)
	}
	seed, err := keys[user].Seed()
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		w.t.Fatal(err)
	}
	return func(o *server.Options) {
		o.TrustedOperators = []*jwt.OperatorClaims{operatorClaims}
		o.SystemAccount, o.AccountResolver = public[system], accounts
	}, w.file("user.creds", text)
}

func nkeyOverTLS(w *world) map[string]string {
	public, seed := certtest.NKey(w.t)
	ca := certtest.New(w.t)
	s := storetest.NATS(w.t, func(o *server.Options) {
		o.Nkeys = []*server.NkeyUser{{Nkey: public}}
		o.TLSConfig = ca.TLS(w.t, false)
	})
	w.connectedWith(s, func(c *server.ConnInfo) bool { return c.AuthorizedUser == public && c.TLSVersion != "" })
	return map[string]string{
		"NATS_URL": "tls://" + s.Addr().String(), "NATS_CA": w.file("ca.pem", ca.PEM), "NATS_CREDS": w.file("nkey", seed),
	}
}

// mutualTLS starts a server that takes the user's name from the client's certificate.
func mutualTLS(w *world) map[string]string {
	ca := certtest.New(w.t)
	s := storetest.NATS(w.t, func(o *server.Options) {
		o.TLSConfig, o.TLSMap = ca.TLS(w.t, true), true
		o.Users = []*server.User{{Username: "CN=worker"}}
	})
	w.connectedWith(s, func(c *server.ConnInfo) bool { return c.AuthorizedUser == "CN=worker" && c.TLSVersion != "" })
	cert, key := ca.Issue(w.t, w.dir, "worker")
	return map[string]string{
		"NATS_URL": "tls://" + s.Addr().String(), "NATS_CA": w.file("ca.pem", ca.PEM), "NATS_CERT": cert, "NATS_KEY": key,
	}
}

// connectedWith fails the test at its end unless the worker and the publisher were
// connected in the way that how says.
func (w *world) connectedWith(s *server.Server, how func(*server.ConnInfo) bool) {
	w.t.Cleanup(func() {
		seen := 0
		for _, state := range []server.ConnState{server.ConnOpen, server.ConnClosed} {
			all, err := s.Connz(&server.ConnzOptions{Username: true, State: state})
			if err != nil {
				w.t.Fatal(err)
			}
			for _, c := range all.Conns {
				if seen++; c.Name != "orderworker" || !how(c) {
					text, _ := json.Marshal(c)
					w.t.Errorf("connected as %s", text)
				}
			}
		}
		if seen < 2 {
			w.t.Errorf("%d connections, want the worker's and the publisher's", seen)
		}
	})
}

// severalServers starts a cluster of three, and adds an address on which nothing listens.
func severalServers(w *world) map[string]string {
	w.startNATS(3, true)
	servers := "nats://" + storetest.FreeAddr(w.t)
	for _, n := range w.nodes {
		servers += ", " + n.url()
	}
	return map[string]string{"NATS_URL": servers, "NATS_REPLICAS": "3"}
}

var connectedTo = regexp.MustCompile(`"server":"([^"]+)",.*"message":"nats (?:re)?connected"`)

// connectedNow returns the node to which the worker is connected, by its last log line
// about a connection.
func (w *world) connectedNow() *natsNode {
	lines := connectedTo.FindAllStringSubmatch(w.workers[0].tail(1<<20), -1)
	for _, n := range w.nodes {
		if len(lines) > 0 && lines[len(lines)-1][1] == n.client {
			return n
		}
	}
	return nil
}

// killConnected kills the node that the worker is connected to.
func killConnected(w *world) {
	node := w.connectedNow()
	if node == nil {
		w.t.Fatal("the worker is connected to no node")
	}
	node.kill()
	w.publisher.enqueue(w.newOrders(10)...)
	w.until("the worker is connected to another node", func() bool {
		now := w.connectedNow()
		return now != nil && now != node
	})
}
