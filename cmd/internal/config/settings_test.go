package config

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"orderworker/cmd/internal/certtest"
	"orderworker/upstream"
)

// contractVariables is section 5 of the contract, with the defaults as words,
// and ADMIN_PPROF.
var contractVariables = map[string]string{
	"NATS_URL": "nats://127.0.0.1:4222", "NATS_CREDS": "", "NATS_CA": "", "NATS_CERT": "", "NATS_KEY": "",
	"NATS_REPLICAS": "1", "ALLOW_LOSSY_STREAMS": "", "REDIS_URL": "redis://127.0.0.1:6379/0",
	"UPSTREAM_URL": "https://oapi.eiotclub.com", "UPSTREAM_APPKEY": "", "UPSTREAM_SECRET": "", "UPSTREAM_SECRET_FILE": "",
	"UPSTREAM_TIMEOUT": "10s", "UPSTREAM_RATE": "10", "UPSTREAM_JITTER": "50ms",
	"UPSTREAM_PERMANENT_CODES": "41002,41003,41008,41018,41028,41050", "UPSTREAM_ACCOUNT_CODES": "403,502,45112", "UPSTREAM_THROTTLE_CODES": "429,501",
	"UPSTREAM_AMBIGUOUS_CODES": "500,10000", "UPSTREAM_DUPLICATE_CODES": "503016", "UPSTREAM_LOOKUP_STATES": "1,0,2", "UPSTREAM_RECONCILE": "lookup",
	"RECONCILE_DELAY": "10m", "IN_DOUBT_NOTICE": "5m", "JOURNAL_STREAM": "ORDER_JOURNAL", "JOURNAL_SUBJECT": "orders.journal", "JOURNAL_TTL": "24h",
	"ORDERS_ACK_WAIT": "30s", "ORDERS_STREAM": "ORDERS", "ORDERS_SUBJECT": "orders.package.request", "ORDERS_CONSUMER": "order-worker",
	"RESULTS_STREAM": "ORDER_RESULTS", "RESULTS_SUBJECT": "orders.package.result", "DEAD_STREAM": "ORDERS_DEAD", "DEAD_SUBJECT": "orders.package.dead",
	"CONCURRENCY": "64", "BACKOFF_INITIAL": "1s", "BACKOFF_MULTIPLIER": "2", "BACKOFF_MAX": "5m", "BACKOFF_JITTER": "0.5", "MAX_ATTEMPTS": "8",
	"DEDUPE_TTL": "720h", "SHUTDOWN_TIMEOUT": "30s", "ADMIN_ADDR": ":8080", "ADMIN_PPROF": "", "LOG_LEVEL": "info", "LOG_FORMAT": "auto",
}

func flagOf(variable string) string {
	return "--" + strings.ReplaceAll(strings.ToLower(variable), "_", "-")
}

// lookupIn is an environment made of env.
func lookupIn(env map[string]string) LookupFunc {
	return func(name string) (string, bool) {
		value, set := env[name]
		return value, set
	}
}

// required are the settings that have no default.
func required() map[string]string {
	return map[string]string{"UPSTREAM_APPKEY": "key-1", "UPSTREAM_SECRET": "hunter2"}
}

// load reads settings as `orderworker run` does, and returns the faults, a line
// each.
func load(t *testing.T, env map[string]string, args ...string) (*Settings, string) {
	t.Helper()
	var cli struct {
		Run struct{ Settings } `cmd:""`
	}
	var found Faults
	parser, err := NewParser(&cli, lookupIn(env), &found, new(bytes.Buffer), new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(append([]string{"run"}, args...)); err != nil {
		t.Fatal(err)
	}
	cli.Run.Check(&found)
	if err := found.Err(); err != nil {
		return &cli.Run.Settings, err.Error()
	}
	return &cli.Run.Settings, ""
}

// defaults are the settings of a worker that was given only what is required.
func defaults() Settings {
	return Settings{
		NATSURL: "nats://127.0.0.1:4222", NATSReplicas: 1,
		OrdersStream: "ORDERS", OrdersSubject: "orders.package.request", OrdersConsumer: "order-worker", OrdersAckWait: 30 * time.Second,
		ResultsStream: "ORDER_RESULTS", ResultsSubject: "orders.package.result",
		DeadStream: "ORDERS_DEAD", DeadSubject: "orders.package.dead",
		JournalStream: "ORDER_JOURNAL", JournalSubject: "orders.journal", JournalTTL: 24 * time.Hour,
		RedisURL: "redis://127.0.0.1:6379/0", DedupeTTL: 720 * time.Hour,
		UpstreamURL: "https://oapi.eiotclub.com", UpstreamAppkey: "key-1", UpstreamSecret: "hunter2",
		UpstreamTimeout: 10 * time.Second, UpstreamRate: 10, UpstreamJitter: 50 * time.Millisecond,
		UpstreamPermanentCodes: codeList{"41002", "41003", "41008", "41018", "41028", "41050"}, UpstreamAccountCodes: codeList{"403", "502", "45112"},
		UpstreamThrottleCodes: codeList{"429", "501"}, UpstreamAmbiguousCodes: codeList{"500", "10000"}, UpstreamDuplicateCodes: codeList{"503016"},
		UpstreamLookupStates: codeList{"1", "0", "2"}, UpstreamReconcile: "lookup",
		ReconcileDelay: 10 * time.Minute, InDoubtNotice: 5 * time.Minute,
		Concurrency: 64, BackoffInitial: time.Second, BackoffMultiplier: 2, BackoffMax: 5 * time.Minute, BackoffJitter: 0.5, MaxAttempts: 8,
		ShutdownTimeout: 30 * time.Second, AdminAddr: ":8080", LogLevel: "info", LogFormat: "auto",
	}
}

func TestSettingsAreThoseOfTheContract(t *testing.T) {
	got := map[string]string{}
	for field := range reflect.TypeFor[Settings]().Fields() {
		variable := field.Tag.Get("env")
		got[variable] = field.Tag.Get("default")
		if flag := "--" + field.Tag.Get("name"); flag != flagOf(variable) {
			t.Errorf("%s: flag of %s is %s, want %s", field.Name, variable, flag, flagOf(variable))
		}
	}
	if !reflect.DeepEqual(got, contractVariables) {
		t.Errorf("got variables and defaults\n%v\nwant\n%v", got, contractVariables)
	}
}

func TestDefaults(t *testing.T) {
	s, faults := load(t, required())
	if faults != "" {
		t.Fatalf("faults:\n%s", faults)
	}
	want := defaults()
	if !reflect.DeepEqual(*s, want) {
		t.Errorf("got\n%+v\nwant\n%+v", *s, want)
	}
	want.UpstreamAppkey, want.UpstreamSecret = "", ""
	if s, err := Defaults(); err != nil || !reflect.DeepEqual(*s, want) {
		t.Errorf("Defaults: got\n%+v, %v\nwant\n%+v", *s, err, want)
	}
}

// The worker's lists of codes are settings, and upstream says what each code means.
func TestDefaultCodesAreTheKnownOnes(t *testing.T) {
	s, faults := load(t, required())
	if faults != "" {
		t.Fatal(faults)
	}
	if got := s.Codes(); !maps.Equal(got, upstream.DefaultCodes()) {
		t.Errorf("the defaults of the settings are %v, and upstream.KnownCodes are %v", got, upstream.DefaultCodes())
	}
}

func TestEmptyVariablesAreNotSet(t *testing.T) {
	env := required()
	for name := range contractVariables {
		if _, ok := env[name]; !ok {
			env[name] = ""
		}
	}
	s, faults := load(t, env)
	if faults != "" {
		t.Fatalf("faults:\n%s", faults)
	}
	want := defaults()
	want.AdminAddr, want.UpstreamLookupStates = "", nil // here, empty means off, and no state
	if !reflect.DeepEqual(*s, want) {
		t.Errorf("got\n%+v\nwant\n%+v", *s, want)
	}
}

// everySetting has a value other than the default for each variable that can be
// set together, and what the settings are then.
func everySetting() (map[string]string, Settings) {
	env := map[string]string{
		"NATS_URL": "tls://a:4222, nats://b", "NATS_REPLICAS": "3", "ALLOW_LOSSY_STREAMS": "true", "REDIS_URL": "rediss://u:p@r:6380/2",
		"UPSTREAM_URL": "http://127.0.0.1:8480/base", "UPSTREAM_APPKEY": "other", "UPSTREAM_SECRET": "s",
		"UPSTREAM_TIMEOUT": "3s", "UPSTREAM_RATE": "0.5", "UPSTREAM_JITTER": "0s",
		"UPSTREAM_PERMANENT_CODES": "1, 2", "UPSTREAM_ACCOUNT_CODES": "4", "UPSTREAM_THROTTLE_CODES": "503", "UPSTREAM_AMBIGUOUS_CODES": "5",
		"UPSTREAM_DUPLICATE_CODES": "3", "UPSTREAM_LOOKUP_STATES": "7, 8", "UPSTREAM_RECONCILE": "hold",
		"RECONCILE_DELAY": "3s", "IN_DOUBT_NOTICE": "0", "JOURNAL_STREAM": "J", "JOURNAL_SUBJECT": "j", "JOURNAL_TTL": "0",
		"ORDERS_ACK_WAIT": "1s", "ORDERS_STREAM": "O", "ORDERS_SUBJECT": "o.x", "ORDERS_CONSUMER": "c",
		"RESULTS_STREAM": "R", "RESULTS_SUBJECT": "r", "DEAD_STREAM": "D", "DEAD_SUBJECT": "d",
		"CONCURRENCY": "1", "BACKOFF_INITIAL": "5ms", "BACKOFF_MULTIPLIER": "1", "BACKOFF_MAX": "5ms", "BACKOFF_JITTER": "1", "MAX_ATTEMPTS": "1",
		"DEDUPE_TTL": "1ms", "SHUTDOWN_TIMEOUT": "1s", "ADMIN_ADDR": "127.0.0.1:0", "ADMIN_PPROF": "true", "LOG_LEVEL": "debug", "LOG_FORMAT": "json",
	}
	return env, Settings{
		NATSURL: "tls://a:4222, nats://b", NATSReplicas: 3, AllowLossyStreams: true,
		OrdersStream: "O", OrdersSubject: "o.x", OrdersConsumer: "c", OrdersAckWait: time.Second,
		ResultsStream: "R", ResultsSubject: "r", DeadStream: "D", DeadSubject: "d", JournalStream: "J", JournalSubject: "j",
		RedisURL: "rediss://u:p@r:6380/2", DedupeTTL: time.Millisecond,
		UpstreamURL: "http://127.0.0.1:8480/base", UpstreamAppkey: "other", UpstreamSecret: "s",
		UpstreamTimeout: 3 * time.Second, UpstreamRate: 0.5,
		UpstreamPermanentCodes: codeList{"1", "2"}, UpstreamThrottleCodes: codeList{"503"}, UpstreamDuplicateCodes: codeList{"3"},
		UpstreamAccountCodes: codeList{"4"}, UpstreamAmbiguousCodes: codeList{"5"}, UpstreamLookupStates: codeList{"7", "8"},
		UpstreamReconcile: "hold", ReconcileDelay: 3 * time.Second,
		Concurrency: 1, BackoffInitial: 5 * time.Millisecond, BackoffMultiplier: 1, BackoffMax: 5 * time.Millisecond, BackoffJitter: 1, MaxAttempts: 1,
		ShutdownTimeout: time.Second, AdminAddr: "127.0.0.1:0", AdminPprof: true, LogLevel: "debug", LogFormat: "json",
	}
}

func TestEachSettingFromItsVariable(t *testing.T) {
	env, want := everySetting()
	s, faults := load(t, env)
	if faults != "" || !reflect.DeepEqual(*s, want) {
		t.Errorf("got\n%+v\nwant\n%+v\nfaults: %s", *s, want, faults)
	}
}

func TestFlagWins(t *testing.T) {
	values, want := everySetting()
	wrong := map[string]string{} // a variable that a flag overrides is not looked at
	var args []string
	for name, value := range values {
		wrong[name] = " wrong "
		args = append(args, flagOf(name)+"="+value)
	}
	s, faults := load(t, wrong, args...)
	if faults != "" || !reflect.DeepEqual(*s, want) {
		t.Errorf("got\n%+v\nwant\n%+v\nfaults: %s", *s, want, faults)
	}
}

func TestFlagForms(t *testing.T) {
	s, faults := load(t, required(), "--upstream-secret", "-abc", "--allow-lossy-streams", "--upstream-throttle-codes=", "--admin-addr=")
	if faults != "" {
		t.Fatalf("faults:\n%s", faults)
	}
	if string(s.UpstreamSecret) != "-abc" || !s.AllowLossyStreams || len(s.UpstreamThrottleCodes) != 0 || s.AdminAddr != "" {
		t.Errorf("got secret %q, lossy %v, throttle codes %v, admin %q", string(s.UpstreamSecret), s.AllowLossyStreams, s.UpstreamThrottleCodes, s.AdminAddr)
	}
}

func TestSecretFile(t *testing.T) {
	write := func(text string) string {
		name := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, c := range map[string]struct {
		file   string
		secret upstream.Secret
		fault  string
	}{
		"plain":      {write("hunter3"), "hunter3", ""},
		"newline":    {write("hunter3\n"), "hunter3", ""},
		"windows":    {write("hunter3\r\n"), "hunter3", ""},
		"spaces":     {write(" hunter3 "), " hunter3 ", ""},
		"empty":      {write(""), "", "is empty"},
		"newlines":   {write("\n\n"), "", "is empty"},
		"missing":    {filepath.Join(t.TempDir(), "none"), "", "no such file"},
		"directory":  {t.TempDir(), "", "is a directory"},
		"wrong file": {write(strings.Repeat("hunter3", 1000)), "", "larger than 4096 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s, faults := load(t, map[string]string{"UPSTREAM_APPKEY": "k", "UPSTREAM_SECRET_FILE": c.file})
			if c.fault == "" && (faults != "" || s.UpstreamSecret != c.secret) {
				t.Errorf("got %q, faults %q", string(s.UpstreamSecret), faults)
			}
			if c.fault != "" && (!strings.HasPrefix(faults, "UPSTREAM_SECRET_FILE ") || !strings.Contains(faults, c.fault) || strings.Contains(faults, "hunter")) {
				t.Errorf("got faults %q, want %q", faults, c.fault)
			}
		})
	}
}

func TestCredentialFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	ca := certtest.New(t)
	cert, key := ca.Issue(t, dir, "client")
	_, otherKey := ca.Issue(t, dir, "other")
	caFile := write("ca.pem", ca.PEM)
	creds := write("user.creds", certtest.Creds(t))
	junk := write("junk", []byte("hunter2"))
	text := certtest.Creds(t)
	token, _ := nkeys.ParseDecoratedJWT(text)
	_, seed := certtest.NKey(t)
	decorated := []byte("-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n")
	account, _ := nkeys.CreateAccount()
	accountSeed, _ := account.Seed()
	for name, c := range map[string]struct {
		env  map[string]string
		want string // what the fault begins with
	}{
		"all good":        {map[string]string{"NATS_CREDS": creds, "NATS_CA": caFile, "NATS_CERT": cert, "NATS_KEY": key}, ""},
		"no creds file":   {map[string]string{"NATS_CREDS": dir + "/none"}, "NATS_CREDS cannot be read: "},
		"not creds":       {map[string]string{"NATS_CREDS": junk}, "NATS_CREDS (\"" + junk + "\") is not a credentials file"},
		"NKey":            {map[string]string{"NATS_CREDS": write("nkey", append(seed, '\n'))}, ""},
		"NKey, decorated": {map[string]string{"NATS_CREDS": write("nkey-decorated", decorated)}, ""},
		"account's seed":  {map[string]string{"NATS_CREDS": write("account", accountSeed)}, "NATS_CREDS (\"" + dir + "/account\") is not a credentials file"},
		"JWT alone":       {map[string]string{"NATS_CREDS": write("jwt", []byte(token))}, "NATS_CREDS (\"" + dir + "/jwt\") is not a credentials file"},
		"JWT cut off":     {map[string]string{"NATS_CREDS": write("cut", bytes.Replace(text, []byte(token), []byte(token[:len(token)-9]), 1))}, "NATS_CREDS (\"" + dir + "/cut\") is not a credentials file"},
		"no CA file":      {map[string]string{"NATS_CA": dir + "/none"}, "NATS_CA cannot be read: "},
		"not a CA":        {map[string]string{"NATS_CA": junk}, "NATS_CA (\"" + junk + "\") holds no certificate"},
		"cert alone":      {map[string]string{"NATS_CERT": cert}, "NATS_CERT (\"" + cert + "\") needs NATS_KEY"},
		"key alone":       {map[string]string{"NATS_KEY": key}, "NATS_KEY (\"" + key + "\") needs NATS_CERT"},
		"another's key":   {map[string]string{"NATS_CERT": cert, "NATS_KEY": otherKey}, "NATS_CERT and NATS_KEY cannot be used: "},
		"no such key":     {map[string]string{"NATS_CERT": cert, "NATS_KEY": dir + "/none"}, "NATS_CERT and NATS_KEY cannot be used: "},
		"not certificate": {map[string]string{"NATS_CERT": junk, "NATS_KEY": key}, "NATS_CERT and NATS_KEY cannot be used: "},
	} {
		t.Run(name, func(t *testing.T) {
			maps.Copy(c.env, required())
			_, faults := load(t, c.env)
			if (faults == "") != (c.want == "") || !strings.HasPrefix(faults, c.want) || strings.Contains(faults, "hunter2") || strings.Contains(faults, "\n") {
				t.Errorf("got %q, want %q", faults, c.want)
			}
		})
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	for raw, want := range map[string]string{
		"redis://:p/a@host:6379":                     `"redis://[redacted]@host:6379"`,
		"redis://:p@a@host:6379/0?x=1":               `"redis://[redacted]@host:6379/0?[redacted]"`,
		"redis://:p?a#b@host":                        `"redis://[redacted]@host"`,
		"nats://token@host":                          `"nats://[redacted]@host"`,
		"u:p@host":                                   `"[redacted]@host"`,
		"redis://host/0":                             `"redis://host/0"`,
		"redis://host?master_name=m&password=secret": `"redis://host?[redacted]"`,
		"":                          `""`,
		"nats://u:p@a,nats://u:q@b": `"nats://[redacted]@b"`,
		"redis://h?password=p@ss&master_name=sentinels": `"redis://[redacted]@ss&master_name=sentinels"`,
	} {
		if got := shownURL(raw); got != want {
			t.Errorf("shownURL(%q) = %s, want %s", raw, got, want)
		}
	}
}

func TestSettingsFieldsAreDocumented(t *testing.T) {
	groups := []string{"NATS", "Streams", "Redis", "Vendor", "Orders", "Process"}
	for field := range reflect.TypeFor[Settings]().Fields() {
		if help := field.Tag.Get("help"); !strings.HasSuffix(help, ".") {
			t.Errorf("%s: help %q is no sentence", field.Name, help)
		}
		if group := field.Tag.Get("group"); !slices.Contains(groups, group) {
			t.Errorf("%s: group %q", field.Name, group)
		}
	}
}
