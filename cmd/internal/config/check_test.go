package config

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// Each case is one wrong setting; the fault must name it, show the value where
// it is no secret, and say the rule.
func TestFaults(t *testing.T) {
	for variable, cases := range map[string]map[string]string{ // value: what the fault says
		"NATS_URL": {
			"http://a":                 `("http://a") must begin with nats:// or tls://`,
			"localhost:4222":           "must begin with",
			"nats://":                  "has no host",
			"nats://a:0":               "port from 1 to 65535",
			"nats://a:70000":           "port from 1 to 65535",
			"nats://a,":                `("") must begin with`,
			"nats://a,http://b":        `("http://b") must begin with`,
			"nats://a/x":               "behind its host and port",
			"nats://a?x=1":             "behind its host and port",
			"nats://u:hunt,er2@a":      `("nats://[redacted]@a") is not a URL`,
			"nats://u:hunter2@a:x":     `("nats://[redacted]@a:x") is not a URL`,
			"nats://a,nats://u:er2/@b": "[redacted]@b",
		},
		"NATS_REPLICAS":       {"0": "(0) must be 1 to 5", "6": "(6)", "-1": "(-1)", "x": `("x") is not a whole number`, "1.5": "whole number", "9223372036854775808": "whole number"},
		"ALLOW_LOSSY_STREAMS": {"maybe": `("maybe") is neither true nor false`},
		"REDIS_URL": {
			"http://a":                                        "must begin with redis:// or rediss://",
			"redis://":                                        "has no host",
			"redis://h/x":                                     "invalid database number",
			"redis://h/0?nonsense=1":                          "unexpected option: nonsense",
			"redis://h/0?pool_size=x":                         "invalid pool_size number",
			"redis://:hunter2#@h":                             `("redis://[redacted]@h") is not a URL`,
			"redis://:1/hunter2@h":                            `("redis://[redacted]@h") has an @ beyond its host`,
			"redis://h?read_only=true&addr=a:1":               "must not have read_only",
			"redis://h?master_name=m&route_randomly=1":        "must not have route_randomly",
			"redis://h?master_name=m&password=hunter2&nope=1": "unexpected option: nope",
			"redis://h?addr=broken":                           "unable to parse addr param",
			"redis://h#x":                                     "must not have a fragment",
		},
		"DEDUPE_TTL":               {"0": "(0s) must be at least 1ms", "-1h": "(-1h0m0s)", "720": `("720") is not a duration`, "NaN": "not a duration"},
		"UPSTREAM_URL":             {"ftp://a": "must begin with https:// or http://", "https://": "no host", "https://u:hunter2@a": `("https://[redacted]@a") must not have a user`, "https://a?x=hunter2": "query", "https://a?": "query", "https://a#": "fragment", "https://a b": "is not a URL"},
		"UPSTREAM_APPKEY":          {"a b": `("a b") must be printable ASCII`, "a\nb": `("a\nb")`, "ä": "ASCII"},
		"UPSTREAM_SECRET_FILE":     {"/nonexistent/secret": "UPSTREAM_SECRET and UPSTREAM_SECRET_FILE (\"/nonexistent/secret\") are both set"},
		"UPSTREAM_TIMEOUT":         {"0": "(0s) must be more than 0", "-1s": "(-1s)", "10": "is not a duration", "Inf": "is not a duration"},
		"UPSTREAM_RATE":            {"-1": "(-1) must be 0 (no limit) or", "NaN": "is not a finite number", "Inf": "is not a finite number", "-Inf": "finite", "1e400": "finite", "1e-9": "must be 0", "1e9": "must be 0", "x": "finite"},
		"UPSTREAM_JITTER":          {"-1ms": "(-1ms) must be at least 0"},
		"UPSTREAM_PERMANENT_CODES": {"1,,2": `("") is empty`, ",": "is empty", "200": `("200") means success`, "429": `("429") is among UPSTREAM_THROTTLE_CODES too`, "a b": "space"},
		"UPSTREAM_THROTTLE_CODES":  {"429,": "is empty", "429,200": `("200") means success`},
		"UPSTREAM_DUPLICATE_CODES": {"429": `UPSTREAM_THROTTLE_CODES ("429") is among UPSTREAM_DUPLICATE_CODES too`, "200": `("200") means success`},
		"UPSTREAM_RECONCILE":       {"guess": `("guess") must be one of lookup, resend, hold`, "Lookup": "one of"},
		"RECONCILE_DELAY":          {"0": "must be more than 0", "9s": "(9s) must be at least UPSTREAM_TIMEOUT (10s)", "-1s": "more than 0"},
		"IN_DOUBT_NOTICE":          {"-1s": "(-1s) must be at least 0", "soon": "is not a duration"},
		"JOURNAL_STREAM":           {"a b": `("a b") must be 1 to 255`, "a.b": ". * > /", "ORDERS": `("ORDERS") is ORDERS_STREAM as well`},
		"JOURNAL_SUBJECT":          {"orders": `"orders"`, "orders.package.result": "is RESULTS_SUBJECT as well", "orders.package.result.journal": "lie one under the other", "orders.*": "words joined by dots"},
		"JOURNAL_TTL":              {"500ms": "(500ms) must be 0 (no journal) or at least 1s", "-1s": "must be 0"},
		"ORDERS_ACK_WAIT":          {"0": "(0s) must be at least 1s", "999ms": "heartbeat", "-30s": "at least 1s"},
		"ORDERS_STREAM":            {`a\b`: "1 to 255", "a*": "1 to 255", "a>": "1 to 255", "a/b": "1 to 255", "a\tb": "1 to 255"},
		"ORDERS_SUBJECT":           {"a..b": "words joined by dots", ".a": "words", "a.": "words", "a b": "words", "orders.>": "words", "$JS.API": "not begin with $", "orders.package.result.x": "one under the other"},
		"ORDERS_CONSUMER":          {"a.b": "1 to 255"},
		"RESULTS_STREAM":           {"ORDERS": "is ORDERS_STREAM as well"},
		"RESULTS_SUBJECT":          {"orders.package.request": "is ORDERS_SUBJECT as well"},
		"DEAD_STREAM":              {"ORDER_RESULTS": "is RESULTS_STREAM as well"},
		"DEAD_SUBJECT":             {"orders.package.result.dead": "one under the other"},
		"CONCURRENCY":              {"0": "(0) must be at least 1", "-1": "(-1)", "10001": "(10001) must be at most 10000", "1e3": "whole number", "0x10": "whole number"},
		"BACKOFF_INITIAL":          {"0": "more than 0", "-1s": "more than 0", "6m": "BACKOFF_MAX (5m0s) must be at least BACKOFF_INITIAL (6m0s)"},
		"BACKOFF_MULTIPLIER":       {"0.9": "(0.9) must be at least 1", "0": "(0)", "NaN": "finite", "+Inf": "finite"},
		"BACKOFF_MAX":              {"500ms": "(500ms) must be at least BACKOFF_INITIAL (1s)", "0": "more than 0"},
		"BACKOFF_JITTER":           {"-0.1": "(-0.1) must be 0 to 1", "1.1": "(1.1)", "NaN": "finite"},
		"MAX_ATTEMPTS":             {"0": "(0) must be at least 1", "-1": "(-1)", "many": "whole number"},
		"SHUTDOWN_TIMEOUT":         {"0": "more than 0", "-1s": "more than 0"},
		"ADMIN_ADDR":               {"8080": `("8080") must be HOST:PORT`, ":http": "must end in a port", ":70000": "must end in a port", "http://a:80": "HOST:PORT"},
		"LOG_LEVEL":                {"loud": `("loud") must be one of debug, info, warn, error`, "INFO": "one of"},
		"LOG_FORMAT":               {"xml": `("xml") must be one of auto, json, console`},
	} {
		for value, want := range cases {
			t.Run(variable+"="+value, func(t *testing.T) {
				env := required()
				env[variable] = value
				_, faults := load(t, env)
				if !strings.Contains(faults, variable) || !strings.Contains(faults, want) {
					t.Errorf("got %q, want %s and %q in it", faults, variable, want)
				}
				if strings.Contains(faults, "\n") {
					t.Errorf("one wrong setting, several faults:\n%s", faults)
				}
				if strings.Contains(faults, "hunt") || strings.Contains(faults, "er2") {
					t.Errorf("a password is shown: %s", faults)
				}
			})
		}
	}
}

func TestRequiredSettings(t *testing.T) {
	_, faults := load(t, nil)
	want := "UPSTREAM_APPKEY is not set: the vendor's account is required\n" +
		"UPSTREAM_SECRET is not set: it is required, here or in UPSTREAM_SECRET_FILE"
	if faults != want {
		t.Errorf("got\n%s\nwant\n%s", faults, want)
	}
}

func TestEmptyFlagsAreValues(t *testing.T) {
	for _, variable := range []string{
		"NATS_URL", "NATS_REPLICAS", "REDIS_URL", "UPSTREAM_URL", "UPSTREAM_APPKEY", "UPSTREAM_SECRET", "UPSTREAM_TIMEOUT", "UPSTREAM_RATE",
		"UPSTREAM_RECONCILE", "ORDERS_STREAM", "ORDERS_SUBJECT", "ORDERS_CONSUMER", "DEDUPE_TTL", "LOG_LEVEL", "LOG_FORMAT",
	} {
		if _, faults := load(t, required(), flagOf(variable)+"="); !strings.HasPrefix(faults, variable+" ") {
			t.Errorf("%s=: got %q", flagOf(variable), faults)
		}
	}
}

func TestRelationsWaitForTheirParts(t *testing.T) {
	env := required()
	env["UPSTREAM_TIMEOUT"], env["BACKOFF_INITIAL"] = "x", "-1s"
	env["RECONCILE_DELAY"], env["BACKOFF_MAX"] = "1ms", "1ms"
	_, faults := load(t, env)
	want := "UPSTREAM_TIMEOUT (\"x\") is not a duration, such as 500ms, 10s or 24h\nBACKOFF_INITIAL (-1s) must be more than 0"
	if faults != want {
		t.Errorf("got\n%s\nwant\n%s", faults, want)
	}
}

// A short RECONCILE_DELAY is said at the start, and is not refused.
func TestShortReconcileDelayIsAWarning(t *testing.T) {
	for delay, warned := range map[time.Duration]bool{2*time.Minute - time.Millisecond: true, 2 * time.Minute: false, 10 * time.Minute: false} {
		var log bytes.Buffer
		(&Settings{ReconcileDelay: delay}).Warn(zerolog.New(&log))
		if got := strings.Contains(log.String(), `"level":"warn"`) && strings.Contains(log.String(), "RECONCILE_DELAY is less than 2m"); got != warned {
			t.Errorf("%v: logged %q", delay, log.String())
		}
	}
}
