package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/apptest"
	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/doctor"
	"orderworker/dedupe/storetest"
	"orderworker/upstream"
	"orderworker/upstream/quota"
	"orderworker/upstream/sandbox"
	"orderworker/upstream/sandbox/sandboxtest"
)

// surgery is the desk with a vendor that fails the test if the doctor calls anything but
// its lookup and the HEAD of roundTrip.
type surgery struct {
	*desk
	mu      sync.Mutex
	lookups []time.Time
}

func newSurgery(t *testing.T, env map[string]string, rules ...string) *surgery {
	t.Helper()
	s := &surgery{desk: newDesk(t, env, rules...)}
	s.bought("BOUGHT-1")
	s = s.examinedWith(t, nil)
	t.Cleanup(s.Vendor.Close) // before the servers are closed, which would wait for calls that hang
	return s
}

// examinedWith returns a copy for a subtest that runs beside others: with the same servers,
// other settings, and its own list of lookups.
func (s *surgery) examinedWith(t *testing.T, env map[string]string) *surgery {
	t.Helper()
	deployment := *s.Deployment
	deployment.T, deployment.Env = t, maps.Clone(s.Env)
	s = &surgery{desk: &desk{&deployment}}
	guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == sandbox.LookupPath && r.Method == http.MethodPost:
			s.mu.Lock()
			s.lookups = append(s.lookups, time.Now())
			s.mu.Unlock()
		case r.Method == http.MethodHead && r.URL.Path == "/":
		default:
			t.Errorf("the doctor called %s %s", r.Method, r.URL.Path)
		}
		s.Vendor.ServeHTTP(w, r)
	}))
	t.Cleanup(guarded.Close)
	s.Env["UPSTREAM_URL"] = guarded.URL
	maps.Copy(s.Env, env)
	return s
}

// bought buys an order, as a worker did once.
func (s *surgery) bought(no string) {
	s.T.Helper()
	client, err := connect.Vendor(s.Settings())
	s.OK(err)
	defer client.Close()
	line, err := client.Connect(s.T.Context())
	s.OK(err)
	_, err = line.Place(s.T.Context(), upstream.Order{OutTradeNo: no, ICCID: apptest.Card, PackageCode: "P"}, time.Now().Add(time.Second))
	s.OK(err)
}

// examine runs the doctor, who must not buy, and returns its findings by check.
func (s *surgery) examine(args ...string) (status int, report doctor.Report, found map[string]doctor.Finding) {
	s.T.Helper()
	before := s.calls()
	status, out, errs := s.do(append([]string{"doctor", "--json", "--timeout=1m"}, args...)...) // of two, the last counts
	if err := json.Unmarshal([]byte(out), &report); err != nil || errs != "" {
		s.T.Fatalf("status %d, %v\n%s%s", status, err, out, errs)
	}
	if s.calls() != before {
		s.T.Errorf("the doctor made %d calls of orderPackage", s.calls()-before)
	}
	found = map[string]doctor.Finding{}
	for _, f := range report.Checks {
		found[f.Check] = f
		if (f.Result == doctor.OK) != (f.Cure == "") {
			s.T.Errorf("%s is %s, with the cure %q", f.Check, f.Result, f.Cure)
		}
	}
	if report.OK != (status == statusDone) {
		s.T.Errorf("exit status %d for ok=%v", status, report.OK)
	}
	return status, report, found
}

// golden compares a table with a file of testdata, without times and addresses.
func golden(t *testing.T, file, got string) {
	t.Helper()
	for _, r := range []struct{ pattern, by string }{
		{`\b[0-9.]+(ns|µs|ms|s)\b`, "TIME"}, {`127\.0\.0\.1:\d+`, "ADDR"}, {`version [0-9][0-9.]+`, "version V"}, {`(nats version +ok +).*`, "${1}V"},
		{` +`, " "}, // the columns depend on what was replaced
	} {
		got = regexp.MustCompile(r.pattern).ReplaceAllString(got, r.by)
	}
	want, err := os.ReadFile("testdata/" + file)
	if err != nil || string(want) != got {
		t.Errorf("%s: %v; got\n%s\nwant\n%s", file, err, got, want)
	}
}

func TestDoctorHealthy(t *testing.T) {
	t.Parallel()
	memory := storetest.Redis(t, "--appendonly", "yes")
	s := newSurgery(t, map[string]string{"REDIS_URL": "redis://" + memory.Addr, "UPSTREAM_RATE": "200", "UPSTREAM_JITTER": "0"})
	status, table, errs := s.do("doctor", "--timeout=1m", "--known", "BOUGHT-1", "--bad-signature")
	if status != statusDone || errs != "" {
		t.Errorf("exit status %d, %s", status, errs)
	}
	golden(t, "doctor_healthy.txt", table)
	status, report, _ := s.examine("--known", "BOUGHT-1", "--bad-signature")
	if status != statusDone || len(report.Checks) != strings.Count(table, "\n")-strings.Count(table, "-> ")-3 {
		t.Errorf("exit status %d; the table has other checks than %+v", status, report)
	}
	if n, err := memory.Client(t).Exists(t.Context(), "quota:{"+upstream.AccountID(apptest.AppKey, s.Env["UPSTREAM_URL"])+"}").Result(); n != 1 || err != nil {
		t.Errorf("no slot of the quota was taken: %v", err)
	}
	if keys, err := memory.Client(t).Keys(t.Context(), "order:*").Result(); len(keys) != 0 || err != nil {
		t.Errorf("it left %v, %v", keys, err)
	}
}

func TestDoctorBroken(t *testing.T) {
	t.Parallel()
	memory := storetest.Redis(t, "--maxmemory-policy", "allkeys-lru")
	s := newSurgery(t, map[string]string{"REDIS_URL": "redis://" + memory.Addr}, "endpoint=lookup always: refuse code=502")
	nats := storetest.NATS(t, func(o *server.Options) {
		all := &server.Permissions{}
		some := &server.Permissions{
			Publish: &server.SubjectPermission{
				Allow: []string{"$SYS.REQ.USER.INFO", "$JS.API.STREAM.INFO.>", "$JS.API.CONSUMER.INFO.>", "$JS.API.STREAM.MSG.GET.>", "orders.package.result.>"},
				Deny:  []string{"orders.package.result.failed.*"},
			},
		}
		o.Users = []*server.User{{Username: "admin", Password: "hunter2", Permissions: all}, {Username: "worker", Password: "hunter2", Permissions: some}}
	})
	s.Env["NATS_URL"] = strings.Replace(nats.ClientURL(), "nats://", "nats://admin:hunter2@", 1)
	nc, err := connect.NATS(t.Context(), s.Settings(), zerolog.Nop(), func(error) {}, func(error) {})
	s.OK(err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	s.OK(err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.package.request"}, MaxAge: time.Hour})
	s.OK(err)
	_, err = js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "order-worker", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3})
	s.OK(err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDER_RESULTS", Subjects: []string{"orders.package.result.*"}})
	s.OK(err)
	s.Env["NATS_URL"] = strings.Replace(s.Env["NATS_URL"], "admin", "worker", 1)
	status, table, errs := s.do("doctor", "--timeout=1m")
	if status != statusFailed || errs != "" {
		t.Errorf("exit status %d, %s", status, errs)
	}
	golden(t, "doctor_broken.txt", table)
	var made []string
	for name := range js.StreamNames(t.Context()).Name() {
		made = append(made, name)
	}
	if len(made) != 2 {
		t.Errorf("the doctor made streams: %v", made)
	}

	s.Env["ALLOW_LOSSY_STREAMS"] = "true"
	if _, _, found := s.examine(); found["orders stream"].Result != doctor.Warning {
		t.Errorf("with ALLOW_LOSSY_STREAMS: %+v", found["orders stream"])
	}
}

// The servers that are available are checked although others are not. Without Redis the
// lookups are paced by the doctor itself.
func TestDoctorServersAway(t *testing.T) {
	t.Parallel()
	s := newSurgery(t, map[string]string{"UPSTREAM_RATE": "200"})
	mute := taken(t)
	s.OK(s.RDB.Do(t.Context(), "acl", "setuser", "reader", "on", ">hunter2", "~*", "+@all", "-pexpire").Err())
	for name, c := range map[string]struct {
		env     map[string]string
		fails   []string
		well    []string
		lookups int
	}{
		"nats":             {map[string]string{"NATS_URL": "nats://127.0.0.1:1"}, []string{"nats", "orders stream", "nats clock"}, []string{"redis", "vendor account"}, 1},
		"nats mute":        {map[string]string{"NATS_URL": "nats://" + mute}, []string{"nats", "orders consumer"}, []string{"redis", "vendor account"}, 1},
		"redis":            {map[string]string{"REDIS_URL": "redis://127.0.0.1:1"}, []string{"redis", "redis eviction", "rate headroom"}, []string{"nats", "vendor account"}, 2},
		"redis mute":       {map[string]string{"REDIS_URL": "redis://" + mute}, []string{"redis", "redis clock"}, []string{"nats", "vendor account"}, 2},
		"redis forbids":    {map[string]string{"REDIS_URL": "redis://reader:hunter2@" + s.Redis.Addr}, []string{"redis permissions"}, []string{"redis", "nats", "vendor account"}, 2},
		"vendor":           {map[string]string{"UPSTREAM_URL": "http://127.0.0.1:1"}, []string{"vendor tcp", "vendor account", "wrong signature"}, []string{"nats", "redis", "vendor dns"}, 0},
		"vendor mute":      {map[string]string{"UPSTREAM_URL": "http://" + mute}, []string{"vendor round trip", "vendor account"}, []string{"nats", "redis", "vendor tcp"}, 0},
		"vendor, no TLS":   {map[string]string{"UPSTREAM_URL": "https://" + mute}, []string{"vendor tls", "vendor account"}, []string{"nats", "redis", "vendor tcp"}, 0},
		"vendor, no name":  {map[string]string{"UPSTREAM_URL": "http://vendor.invalid"}, []string{"vendor dns", "vendor account"}, []string{"nats", "redis"}, 0},
		"all of them mute": {map[string]string{"NATS_URL": "nats://" + mute, "REDIS_URL": "redis://" + mute, "UPSTREAM_URL": "http://" + mute}, []string{"nats", "redis", "vendor account"}, []string{"settings"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s.examinedWith(t, c.env)
			args := []string{"--timeout=12s"}
			if c.lookups != 1 {
				args = append(args, "--bad-signature")
			}
			start := time.Now()
			status, _, found := s.examine(args...)
			if spent := time.Since(start); status != statusFailed || spent > time.Minute { // a server that says nothing is given up
				t.Errorf("exit status %d after %v", status, spent)
			}
			for _, check := range c.fails {
				if found[check].Result != doctor.Failed {
					t.Errorf("want failed: %+v", found[check])
				}
			}
			for _, check := range c.well {
				if found[check].Result != doctor.OK {
					t.Errorf("want ok: %+v", found[check])
				}
			}
			if name == "vendor" && !strings.Contains(found["vendor tcp"].Cure, "correct host and port in UPSTREAM_URL") {
				t.Errorf("a refused connection: %+v", found["vendor tcp"])
			}
			if len(s.lookups) != c.lookups {
				t.Errorf("%d lookups, want %d", len(s.lookups), c.lookups)
			}
			if len(s.lookups) == 2 && s.lookups[1].Sub(s.lookups[0]) < 100*time.Millisecond { // they leave a second apart, and a busy machine delays the first
				t.Errorf("lookups without the quota are %v apart", s.lookups[1].Sub(s.lookups[0]))
			}
		})
	}
}

func TestDoctorKnown(t *testing.T) {
	t.Parallel()
	s := newSurgery(t, nil)
	up := maps.Clone(s.Env)
	for name, c := range map[string]struct {
		mode    string
		state   sandbox.State
		states  string // UPSTREAM_LOOKUP_STATES
		known   string
		result  doctor.Result
		details []string
		cure    string
	}{
		"in use":          {"", sandbox.InUse, "1,0,2", "BOUGHT-1", doctor.OK, []string{"shown in state 1;", "without state shows it", "without page shows it", "rows carry outTradeNo", "UPSTREAM_LOOKUP_STATES=1,0,2"}, ""},
		"refunded":        {"", sandbox.Finished, "1,0,2", "BOUGHT-1", doctor.OK, []string{"shown in state 2;", "UPSTREAM_LOOKUP_STATES=2,0,1"}, ""},
		"not asked for":   {"", sandbox.InUse, "0", "BOUGHT-1", doctor.Failed, []string{"as it is set, the lookup does not show"}, "set UPSTREAM_LOOKUP_STATES=1,0,2"},
		"one state only":  {"", sandbox.InUse, "1", "BOUGHT-1", doctor.Warning, []string{"state 0, 2 is not asked"}, "set UPSTREAM_LOOKUP_STATES=1,0,2"},
		"no state is set": {"", sandbox.InUse, "", "BOUGHT-1", doctor.Warning, []string{"without state shows it"}, "set UPSTREAM_LOOKUP_STATES=1,0,2"},
		"another state":   {"", sandbox.InUse, "1,0,2,7", "BOUGHT-1", doctor.OK, []string{"UPSTREAM_LOOKUP_STATES=1,0,2,7"}, ""},
		"no outTradeNo":   {"omit=outTradeNo", sandbox.InUse, "1,0,2", "BOUGHT-1", doctor.OK, []string{"rows carry no outTradeNo"}, ""},
		"per package":     {"packages=3", sandbox.InUse, "1,0,2", "BOUGHT-1", doctor.OK, []string{"rows come per package"}, ""},
		"strangers":       {"strangers=2 hide=*", sandbox.InUse, "1,0,2", "BOUGHT-1", doctor.Failed, []string{"no form of the lookup shows BOUGHT-1"}, "UPSTREAM_RECONCILE=hold"},
		"blind":           {"hide=*", sandbox.InUse, "1,0,2", "BOUGHT-1", doctor.Failed, []string{"no form of the lookup shows BOUGHT-1"}, "UPSTREAM_RECONCILE=hold"},
		"not bought":      {"", sandbox.InUse, "1,0,2", "NOBODYS", doctor.Failed, []string{"no form of the lookup shows NOBODYS"}, "make sure that NOBODYS was bought"},
		"bought twice":    {"", sandbox.InUse, "1,0,2", "BOUGHT-2", doctor.Warning, []string{"it was bought more than once"}, "refund"},
	} {
		t.Run(name, func(t *testing.T) {
			s.T, s.Env = t, maps.Clone(up)
			if c.known == "BOUGHT-2" {
				s.Env["UPSTREAM_URL"] = s.VendorURL // not the guarded address, at which a purchase fails the test
				s.bought("BOUGHT-2")
				s.bought("BOUGHT-2")
				s.Env["UPSTREAM_URL"] = up["UPSTREAM_URL"]
			}
			mode, err := sandbox.ParseLookupMode(c.mode)
			s.OK(err)
			s.OK(s.Vendor.SetLookupMode(mode))
			s.Vendor.SetState("BOUGHT-1", c.state)
			s.Env["UPSTREAM_LOOKUP_STATES"] = c.states
			_, _, found := s.examine("--known", c.known)
			got := found["known: result"]
			if got.Result != c.result || !strings.Contains(got.Cure, c.cure) {
				t.Errorf("got %+v, want %s, %s", got, c.result, c.cure)
			}
			for _, d := range c.details {
				if !strings.Contains(got.Detail, d) {
					t.Errorf("%q is not in %q", d, got.Detail)
				}
			}
		})
	}
}

// --known also measures what the vendor does with a lookup without a state.
func TestDoctorKnownWithoutState(t *testing.T) {
	t.Parallel()
	for means, want := range map[string]string{
		sandbox.StateAll: "without state shows it", sandbox.StateZero: "without state does not show it", sandbox.StateError: "without state got no list",
	} {
		t.Run(means, func(t *testing.T) {
			t.Parallel()
			s := newSurgery(t, nil)
			other, url := sandboxtest.Start(t, sandbox.Config{AppKey: apptest.AppKey, Secret: apptest.Secret, LookupWithoutState: means})
			s.Env["UPSTREAM_URL"] = url // where the test itself may buy
			s.bought("BOUGHT-3")
			status, _, found := s.examine("--known", "BOUGHT-3")
			if got := found["known: result"]; status != statusDone || !strings.Contains(got.Detail, want) {
				t.Errorf("got %d, %+v", status, got)
			}
			if n := other.Totals().Calls[sandbox.EndpointOrder]; n != 1 {
				t.Errorf("%d calls of orderPackage, want the test's own", n)
			}
		})
	}
}

func TestDoctorBadSignature(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env    map[string]string
		result doctor.Result
		cure   string
	}{
		"in no list":        {nil, doctor.Warning, "set UPSTREAM_ACCOUNT_CODES=403,45112,502,1001"},
		"in the right list": {map[string]string{"UPSTREAM_ACCOUNT_CODES": "1001"}, doctor.OK, ""},
		"in a wrong list":   {map[string]string{"UPSTREAM_PERMANENT_CODES": "1001"}, doctor.Failed, "take 1001 out of UPSTREAM_PERMANENT_CODES"},
		"too fast":          {map[string]string{"UPSTREAM_THROTTLE_CODES": "1001"}, doctor.Failed, "take 1001 out of UPSTREAM_THROTTLE_CODES"},
		"many meanings":     {map[string]string{"UPSTREAM_AMBIGUOUS_CODES": "1001"}, doctor.Warning, "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSurgery(t, c.env)
			_, _, found := s.examine("--bad-signature")
			got := found["wrong signature"]
			if got.Result != c.result || !strings.Contains(got.Cure, c.cure) || !strings.Contains(got.Detail, "1001") || !strings.Contains(got.Detail, "sign") {
				t.Errorf("got %+v, want %s, %s", got, c.result, c.cure)
			}
			if found["vendor account"].Result != doctor.OK {
				t.Errorf("the account's own lookup: %+v", found["vendor account"])
			}
			if n := s.Vendor.Totals().Refused[sandbox.CodeSign]; n != 1 {
				t.Errorf("%d wrong signatures reached the vendor, want 1", n)
			}
		})
	}
	s := newSurgery(t, nil)
	if _, _, found := s.examine(); found["wrong signature"].Check != "" || s.Vendor.Totals().Refused[sandbox.CodeSign] != 0 {
		t.Error("a signature was wrong, though nobody asked for that")
	}
}

// The result of the account's check follows from the vendor's answer.
func TestDoctorAccount(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]struct {
		result doctor.Result
		detail string
		cure   string
	}{
		"refuse code=403":   {doctor.Failed, "no permission", "ask the vendor what this account may do"},
		"refuse code=502":   {doctor.Failed, "not on the whitelist", "tell the vendor the address that this host reaches it from"},
		"refuse code=45112": {doctor.Failed, "balance too low", "top up the account"},
		"refuse code=9999":  {doctor.Failed, "in none of the lists of codes", "--bad-signature"},
		"refuse code=501":   {doctor.Warning, "UPSTREAM_THROTTLE_CODES", "lower UPSTREAM_RATE"},
		"refuse code=500":   {doctor.Failed, "UPSTREAM_AMBIGUOUS_CODES", "ask the vendor whether the API is up"},
		"hang":              {doctor.Failed, "deadline", "try again"},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			s := newSurgery(t, map[string]string{"UPSTREAM_RATE": "200"}, "endpoint=lookup always: "+rule)
			_, _, found := s.examine()
			if got := found["vendor account"]; got.Result != want.result || !strings.Contains(got.Detail, want.detail) || !strings.Contains(got.Cure, want.cure) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if rule == "refuse code=501" {
				if _, _, found := s.examine(); !strings.Contains(found["rate headroom"].Detail, "too fast") {
					t.Errorf("the workers do not hear of it: %+v", found["rate headroom"])
				}
			}
		})
	}
	s := newSurgery(t, nil)
	s.Env["UPSTREAM_SECRET"] = "another"
	if status, _, found := s.examine(); status != statusFailed || found["vendor account"].Result != doctor.Failed {
		t.Errorf("a wrong secret: %d, %+v", status, found["vendor account"])
	}
}

// A rate that was reduced because the vendor throttled is a warning.
func TestDoctorHeadroom(t *testing.T) {
	t.Parallel()
	s := newSurgery(t, map[string]string{"UPSTREAM_RATE": "10"})
	set := s.Settings()
	limiter := quota.New(s.RDB, upstream.AccountID(set.UpstreamAppkey, s.Env["UPSTREAM_URL"]), set.UpstreamRate, set.UpstreamJitter)
	// Two thirds are left, and more from the first moment on: a busy machine may look too late.
	twoThirds := regexp.MustCompile(`\b(6[6-9]|[78]\d) %`)
	storetest.Eventually(t, "the rate is reduced to two thirds", func() bool {
		s.OK(s.RDB.FlushAll(t.Context()).Err())
		s.OK(limiter.Slow(t.Context(), 0))
		_, _, found := s.examine()
		return found["rate headroom"].Result == doctor.Warning && twoThirds.MatchString(found["rate headroom"].Detail)
	})
}

func TestDoctorPermissions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		permissions server.Permissions
		check       string
		result      doctor.Result
		detail      string
	}{
		"not told":     {server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"$JS.API.>"}}}, "nats permissions", doctor.Warning, "Permissions Violation"},
		"no answers":   {server.Permissions{Subscribe: &server.SubjectPermission{Allow: []string{"nothing"}}}, "nats permissions", doctor.Failed, "Permissions Violation"},
		"cannot look":  {server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.STREAM.INFO.ORDERS"}}}, "orders stream", doctor.Failed, "Permissions Violation"},
		"cannot make":  {server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.STREAM.CREATE.>"}}}, "orders stream", doctor.Failed, "may not make it"},
		"makes itself": {server.Permissions{}, "orders stream", doctor.Warning, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSurgery(t, nil)
			nats := storetest.NATS(t, func(o *server.Options) {
				o.Users = []*server.User{{Username: "worker", Password: "hunter2", Permissions: &c.permissions}}
			})
			s.Env["NATS_URL"] = strings.Replace(nats.ClientURL(), "nats://", "nats://worker:hunter2@", 1)
			_, _, found := s.examine()
			if got := found[c.check]; got.Result != c.result || !strings.Contains(got.Detail, c.detail) {
				t.Errorf("got %+v, want %s, %s", got, c.result, c.detail)
			}
		})
	}
}

// A version that a server made up is printed without control characters.
func TestDoctorHostileServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintf(c, "INFO %s\r\n", `{"server_id":"x","version":"2.11.9\u001b[2J\u202e","max_payload":1048576,"headers":true}`)
				in := bufio.NewScanner(c)
				for in.Scan() {
					if strings.HasPrefix(in.Text(), "PING") {
						fmt.Fprint(c, "PONG\r\n")
					}
				}
			}()
		}
	}()
	s := newSurgery(t, nil)
	s.Env["NATS_URL"] = "nats://" + l.Addr().String()
	status, table, _ := s.do("doctor", "--timeout=3s")
	if status != statusFailed || strings.ContainsAny(table, "\x1b\u202e") || !strings.Contains(table, "is older than 2.12") {
		t.Errorf("got %d\n%q", status, table)
	}
}

func TestDoctorUsage(t *testing.T) {
	env := map[string]string{"UPSTREAM_RATE": "x", "RECONCILE_DELAY": "-1s", "CONCURRENCY": "0"}
	status, out, errs := orderworker(t, env, "doctor", "--known=a b", "--timeout=0s")
	if status != statusUsage || out != "" {
		t.Errorf("got %d, %s", status, out)
	}
	for _, name := range []string{"UPSTREAM_RATE", "RECONCILE_DELAY", "CONCURRENCY", "UPSTREAM_APPKEY", "UPSTREAM_SECRET", "--known", "--timeout"} {
		if !strings.Contains(errs, "orderworker: "+name+" ") {
			t.Errorf("%s is not named in\n%s", name, errs)
		}
	}
	status, help, _ := orderworker(t, env, "doctor", "--help")
	if n := strings.Count(help, "\n"); status != statusDone || n > 40 {
		t.Errorf("exit status %d, a help of %d lines", status, n)
	}
}
