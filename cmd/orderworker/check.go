package main

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"orderworker/upstream"
)

const (
	maxConcurrency = 10_000           // each costs a goroutine, a message and a connection to the vendor
	minRate        = 0.001            // requests per second; slower, and a slot lies beyond what time.Duration holds
	maxRate        = 1_000_000        // faster, and the spacing is no time at all
	minAckWait     = time.Second      // a heartbeat goes out every quarter of it and may be late
	minJournalTTL  = time.Second      // NATS counts a message's TTL in whole seconds
	minDedupeTTL   = time.Millisecond // Redis counts in milliseconds, and refuses 0
)

// check reports all that is wrong with s beyond what could not be parsed, and
// fills in the secret from its file. It reads files, and nothing else.
func (s *Settings) check(f *faults) {
	s.checkNATS(f)
	s.checkStreams(f)
	s.checkMemory(f)
	s.checkCalls(f)
	s.checkReconcile(f)
	s.checkCodes(f)
	s.checkOrders(f)
	s.checkProcess(f)
}

// atLeast reports a value below least.
func atLeast[T cmp.Ordered](f *faults, name string, value, least T, why string) {
	if value < least {
		f.add(name, "(%v) must be at least %v%s", value, least, why)
	}
}

// positive reports a value that is not above zero.
func positive(f *faults, name string, value time.Duration) {
	if value <= 0 {
		f.add(name, "(%v) must be more than 0", value)
	}
}

// oneOf reports a value that is none of the words.
func oneOf(f *faults, name, value string, words ...string) {
	if !slices.Contains(words, value) {
		f.add(name, "(%q) must be one of %s", value, strings.Join(words, ", "))
	}
}

// checkCalls looks at everything that a call to the vendor needs but the codes.
func (s *Settings) checkCalls(f *faults) {
	checkBaseURL(f, "UPSTREAM_URL", s.UpstreamURL)
	switch {
	case s.UpstreamAppkey == "":
		f.add("UPSTREAM_APPKEY", "is not set: the vendor's account is required")
	case strings.ContainsFunc(s.UpstreamAppkey, func(r rune) bool { return r <= ' ' || r > '~' }):
		f.add("UPSTREAM_APPKEY", "(%q) must be printable ASCII without spaces", s.UpstreamAppkey)
	}
	s.readSecret(f)
	positive(f, "UPSTREAM_TIMEOUT", s.UpstreamTimeout)
	if r := s.UpstreamRate; r != 0 && (r < minRate || r > maxRate) {
		f.add("UPSTREAM_RATE", "(%v) must be 0 (no limit) or %v to %v requests per second", r, minRate, maxRate)
	}
	atLeast(f, "UPSTREAM_JITTER", s.UpstreamJitter, 0, "")
}

// checkReconcile looks at how doubt is settled.
func (s *Settings) checkReconcile(f *faults) {
	oneOf(f, "UPSTREAM_RECONCILE", s.UpstreamReconcile, "lookup", "resend", "hold")
	positive(f, "RECONCILE_DELAY", s.ReconcileDelay)
	if f.good("RECONCILE_DELAY", "UPSTREAM_TIMEOUT") && s.ReconcileDelay < s.UpstreamTimeout {
		f.add("RECONCILE_DELAY", "(%v) must be at least UPSTREAM_TIMEOUT (%v): a \"not found\" while the call may still run proves nothing", s.ReconcileDelay, s.UpstreamTimeout)
	}
	atLeast(f, "IN_DOUBT_NOTICE", s.InDoubtNotice, 0, "")
}

// safeReconcileDelay is long enough for a request that the vendor's kernel, or a
// proxy in between, delivers late: retransmission goes on for about as long.
const safeReconcileDelay = 2 * time.Minute

// warn logs what is allowed, and dangerous.
func (s *Settings) warn(log zerolog.Logger) {
	if s.ReconcileDelay < safeReconcileDelay {
		log.Warn().Stringer("reconcile_delay", s.ReconcileDelay).
			Msg("RECONCILE_DELAY is less than 2m: a request that arrives late at the vendor after a \"not found\" is bought twice")
	}
}

// codes are the lists of body codes, each under the name of its setting.
func (s *Settings) codes() (codes upstream.Codes, names map[upstream.List]string, faults []upstream.CodeError) {
	names = map[upstream.List]string{
		upstream.PermanentCodes: "UPSTREAM_PERMANENT_CODES", upstream.AccountCodes: "UPSTREAM_ACCOUNT_CODES",
		upstream.ThrottleCodes: "UPSTREAM_THROTTLE_CODES", upstream.AmbiguousCodes: "UPSTREAM_AMBIGUOUS_CODES",
		upstream.DuplicateCodes: "UPSTREAM_DUPLICATE_CODES",
	}
	codes, faults = upstream.NewCodes(map[upstream.List][]string{
		upstream.PermanentCodes: s.UpstreamPermanentCodes, upstream.AccountCodes: s.UpstreamAccountCodes,
		upstream.ThrottleCodes: s.UpstreamThrottleCodes, upstream.AmbiguousCodes: s.UpstreamAmbiguousCodes,
		upstream.DuplicateCodes: s.UpstreamDuplicateCodes,
	})
	return codes, names, faults
}

// checkCodes looks at the lists of codes together, and at the states of a lookup.
func (s *Settings) checkCodes(f *faults) {
	_, names, wrong := s.codes()
	for _, w := range wrong {
		rule := w.Rule
		for list, name := range names {
			rule = strings.ReplaceAll(rule, "the "+string(list)+" codes", name)
		}
		f.add(names[w.List], "(%q) %s", w.Code, rule)
	}
	if _, err := s.lookupStates(); err != nil {
		f.add("UPSTREAM_LOOKUP_STATES", "(%q) %w", strings.Join(s.UpstreamLookupStates, ","), err)
	}
}

// lookupStates are the states that a lookup asks, each once.
func (s *Settings) lookupStates() ([]int64, error) {
	var states []int64
	for _, text := range s.UpstreamLookupStates {
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
			return nil, fmt.Errorf("must be whole numbers with commas between them, not %q", text)
		case slices.Contains(states, n):
			return nil, fmt.Errorf("has %d twice", n)
		}
		states = append(states, n)
	}
	return states, nil
}

// checkOrders looks at how orders are worked off.
func (s *Settings) checkOrders(f *faults) {
	atLeast(f, "CONCURRENCY", s.Concurrency, 1, "")
	if s.Concurrency > maxConcurrency {
		f.add("CONCURRENCY", "(%d) must be at most %d; start more processes instead", s.Concurrency, maxConcurrency)
	}
	positive(f, "BACKOFF_INITIAL", s.BackoffInitial)
	positive(f, "BACKOFF_MAX", s.BackoffMax)
	if f.good("BACKOFF_INITIAL", "BACKOFF_MAX") && s.BackoffMax < s.BackoffInitial {
		f.add("BACKOFF_MAX", "(%v) must be at least BACKOFF_INITIAL (%v)", s.BackoffMax, s.BackoffInitial)
	}
	atLeast(f, "BACKOFF_MULTIPLIER", s.BackoffMultiplier, 1, ": a wait never gets shorter")
	if s.BackoffJitter < 0 || s.BackoffJitter > 1 {
		f.add("BACKOFF_JITTER", "(%v) must be 0 to 1", s.BackoffJitter)
	}
	atLeast(f, "MAX_ATTEMPTS", s.MaxAttempts, 1, "")
}

// checkProcess looks at what concerns the process alone.
func (s *Settings) checkProcess(f *faults) {
	positive(f, "SHUTDOWN_TIMEOUT", s.ShutdownTimeout)
	if s.AdminAddr != "" {
		if err := checkHostPort(s.AdminAddr); err != nil {
			f.add("ADMIN_ADDR", "(%q) %w", s.AdminAddr, err)
		}
	}
	oneOf(f, "LOG_LEVEL", s.LogLevel, "debug", "info", "warn", "error")
	oneOf(f, "LOG_FORMAT", s.LogFormat, "auto", "json", "console")
}

// checkHostPort wants an address to listen on: a port, and a host before it or
// nothing.
func checkHostPort(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || strings.ContainsAny(host, " /@") {
		return fmt.Errorf("must be HOST:PORT or :PORT")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("must end in a port, 0 to 65535")
	}
	return nil
}
