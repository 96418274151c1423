package config

import (
	"time"

	"orderworker/upstream"
)

// Settings is everything that can be set, section 5 of the contract: every field
// is a flag and an environment variable of the same name, and the flag wins. check.go
// says why a value is refused.
//
// An empty variable counts as not set, except that an empty ADMIN_ADDR switches the
// server off, and an empty UPSTREAM_LOOKUP_STATES means lookups without a state.
type Settings struct {
	NATSURL           string        `name:"nats-url" env:"NATS_URL" default:"nats://127.0.0.1:4222" group:"NATS" help:"Servers, comma-separated: nats:// or tls://."`
	NATSCreds         string        `name:"nats-creds" env:"NATS_CREDS" placeholder:"FILE" group:"NATS" help:"Credentials file (user JWT and seed), or a file with an NKey's seed."`
	NATSCA            string        `name:"nats-ca" env:"NATS_CA" placeholder:"FILE" group:"NATS" help:"Certificates (PEM) that the servers' are checked against, in place of the system's."`
	NATSCert          string        `name:"nats-cert" env:"NATS_CERT" placeholder:"FILE" group:"NATS" help:"Client certificate (PEM), with NATS_KEY."`
	NATSKey           string        `name:"nats-key" env:"NATS_KEY" placeholder:"FILE" group:"NATS" help:"Key (PEM) of the client certificate."`
	NATSReplicas      int           `name:"nats-replicas" env:"NATS_REPLICAS" default:"1" group:"NATS" help:"Replicas of streams that the worker creates, 1 to 5; existing streams are never altered."`
	AllowLossyStreams bool          `name:"allow-lossy-streams" env:"ALLOW_LOSSY_STREAMS" group:"NATS" help:"Run with existing streams whose settings can drop an unfinished order: a warning instead of exit status 1."`
	OrdersStream      string        `name:"orders-stream" env:"ORDERS_STREAM" default:"ORDERS" group:"Streams" help:"Stream of the order requests."`
	OrdersSubject     string        `name:"orders-subject" env:"ORDERS_SUBJECT" default:"orders.package.request" group:"Streams" help:"Subject of the order requests."`
	OrdersConsumer    string        `name:"orders-consumer" env:"ORDERS_CONSUMER" default:"order-worker" group:"Streams" help:"Durable consumer that all workers share."`
	OrdersAckWait     time.Duration `name:"orders-ack-wait" env:"ORDERS_ACK_WAIT" default:"30s" group:"Streams" help:"After this long without a heartbeat from a worker, its orders go to another; at least 1s."`
	ResultsStream     string        `name:"results-stream" env:"RESULTS_STREAM" default:"ORDER_RESULTS" group:"Streams" help:"Stream of the result events."`
	ResultsSubject    string        `name:"results-subject" env:"RESULTS_SUBJECT" default:"orders.package.result" group:"Streams" help:"Subject of the result events; status and token of the order are appended."`
	DeadStream        string        `name:"dead-stream" env:"DEAD_STREAM" default:"ORDERS_DEAD" group:"Streams" help:"Stream of the dead letters."`
	DeadSubject       string        `name:"dead-subject" env:"DEAD_SUBJECT" default:"orders.package.dead" group:"Streams" help:"Subject of the dead letters."`
	JournalStream     string        `name:"journal-stream" env:"JOURNAL_STREAM" default:"ORDER_JOURNAL" group:"Streams" help:"Stream of the journal."`
	JournalSubject    string        `name:"journal-subject" env:"JOURNAL_SUBJECT" default:"orders.journal" group:"Streams" help:"Subject of the journal; each order has one under it."`
	JournalTTL        time.Duration `name:"journal-ttl" env:"JOURNAL_TTL" default:"24h" group:"Streams" help:"How long a finished order stays in the journal, at least 1s; 0 = no journal: an order that Redis loses may be bought twice."`

	RedisURL  string        `name:"redis-url" env:"REDIS_URL" default:"redis://127.0.0.1:6379/0" group:"Redis" help:"redis:// or rediss://. A Cluster: further nodes as ?addr=HOST:PORT; Sentinel: ?master_name=NAME."`
	DedupeTTL time.Duration `name:"dedupe-ttl" env:"DEDUPE_TTL" default:"720h" group:"Redis" help:"How long a finished order is remembered; after that its number could be bought again."`

	UpstreamURL            string          `name:"upstream-url" env:"UPSTREAM_URL" default:"https://oapi.eiotclub.com" group:"Vendor" help:"Base URL of the vendor's API."`
	UpstreamAppkey         string          `name:"upstream-appkey" env:"UPSTREAM_APPKEY" placeholder:"KEY" group:"Vendor" help:"The account; required."`
	UpstreamSecret         upstream.Secret `name:"upstream-secret" env:"UPSTREAM_SECRET" placeholder:"SECRET" group:"Vendor" help:"The account's secret; required, here or in UPSTREAM_SECRET_FILE. A flag can be seen in the process list."`
	UpstreamSecretFile     string          `name:"upstream-secret-file" env:"UPSTREAM_SECRET_FILE" placeholder:"FILE" group:"Vendor" help:"File that holds the secret; a newline at its end is not part of it."`
	UpstreamTimeout        time.Duration   `name:"upstream-timeout" env:"UPSTREAM_TIMEOUT" default:"10s" group:"Vendor" help:"One call, from connection to last byte."`
	UpstreamRate           float64         `name:"upstream-rate" env:"UPSTREAM_RATE" default:"10" group:"Vendor" help:"Requests per second for the account, over all workers, lookups included; 0 = no limit."`
	UpstreamJitter         time.Duration   `name:"upstream-jitter" env:"UPSTREAM_JITTER" default:"50ms" group:"Vendor" help:"How much the way to the vendor varies: sends are (1s + jitter) / rate apart."`
	UpstreamPermanentCodes codeList        `name:"upstream-permanent-codes" env:"UPSTREAM_PERMANENT_CODES" default:"41002,41003,41008,41018,41028,41050" placeholder:"CODES" group:"Vendor" help:"Body codes, comma-separated, that are final at once. A code may be in one list only."`
	UpstreamAccountCodes   codeList        `name:"upstream-account-codes" env:"UPSTREAM_ACCOUNT_CODES" default:"403,502,45112" placeholder:"CODES" group:"Vendor" help:"Body codes about the account, not the order: no attempt is spent, the account is paused."`
	UpstreamThrottleCodes  codeList        `name:"upstream-throttle-codes" env:"UPSTREAM_THROTTLE_CODES" default:"429,501" placeholder:"CODES" group:"Vendor" help:"Body codes that mean \"too fast\": waited out, not an attempt. HTTP 429 always does."`
	UpstreamAmbiguousCodes codeList        `name:"upstream-ambiguous-codes" env:"UPSTREAM_AMBIGUOUS_CODES" default:"500,10000" placeholder:"CODES" group:"Vendor" help:"Body codes after which the order may have been bought: in doubt."`
	UpstreamDuplicateCodes codeList        `name:"upstream-duplicate-codes" env:"UPSTREAM_DUPLICATE_CODES" default:"503016" placeholder:"CODES" group:"Vendor" help:"Body codes that mean \"this outTradeNo exists\": settled by the lookup."`
	UpstreamLookupStates   codeList        `name:"upstream-lookup-states" env:"UPSTREAM_LOOKUP_STATES" default:"1,0,2" placeholder:"STATES" group:"Vendor" help:"Values of state that a lookup asks, one call each; empty = one call without state."`
	UpstreamReconcile      string          `name:"upstream-reconcile" env:"UPSTREAM_RECONCILE" default:"lookup" group:"Vendor" help:"How an order in doubt is settled: lookup, resend or hold."`
	ReconcileDelay         time.Duration   `name:"reconcile-delay" env:"RECONCILE_DELAY" default:"10m" group:"Vendor" help:"How long after an ambiguous attempt \"not found\" proves that it did not go through; too short, and it is bought twice."`
	InDoubtNotice          time.Duration   `name:"in-doubt-notice" env:"IN_DOUBT_NOTICE" default:"5m" group:"Vendor" help:"After this long in doubt, an in_doubt event is published; 0 = at once."`

	Concurrency       int           `name:"concurrency" env:"CONCURRENCY" default:"64" group:"Orders" help:"Orders in progress at once in this process."`
	BackoffInitial    time.Duration `name:"backoff-initial" env:"BACKOFF_INITIAL" default:"1s" group:"Orders" help:"Wait after the first refusal."`
	BackoffMultiplier float64       `name:"backoff-multiplier" env:"BACKOFF_MULTIPLIER" default:"2" group:"Orders" help:"Each wait is this many times the one before, at least 1."`
	BackoffMax        time.Duration `name:"backoff-max" env:"BACKOFF_MAX" default:"5m" group:"Orders" help:"Longest wait, before jitter."`
	BackoffJitter     float64       `name:"backoff-jitter" env:"BACKOFF_JITTER" default:"0.5" group:"Orders" help:"A wait is delay x (1 ± jitter), 0 to 1."`
	MaxAttempts       int           `name:"max-attempts" env:"MAX_ATTEMPTS" default:"8" group:"Orders" help:"Refusals per order before it has failed."`

	ShutdownTimeout time.Duration `name:"shutdown-timeout" env:"SHUTDOWN_TIMEOUT" default:"30s" group:"Process" help:"Time that orders in progress have to finish after SIGTERM."`
	AdminAddr       string        `name:"admin-addr" env:"ADMIN_ADDR" default:":8080" group:"Process" help:"Where /healthz, /readyz and /metrics are served; empty = off."`
	AdminPprof      bool          `name:"admin-pprof" env:"ADMIN_PPROF" group:"Process" help:"Serve profiles of the process at /debug/pprof/ of ADMIN_ADDR too."`
	LogLevel        string        `name:"log-level" env:"LOG_LEVEL" default:"info" group:"Process" help:"debug, info, warn or error."`
	LogFormat       string        `name:"log-format" env:"LOG_FORMAT" default:"auto" group:"Process" help:"json, console, or auto: console on a terminal."`
}

// codeList is a comma-separated list of vendor codes; spaces around a code do
// not count.
type codeList []string

// Account is the account's id at the vendor, which is no secret; empty where
// UPSTREAM_APPKEY is not set.
func (s *Settings) Account() string {
	if s.UpstreamAppkey == "" {
		return ""
	}
	return upstream.AccountID(s.UpstreamAppkey, s.UpstreamURL)
}
