package config

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

// Check reports all that is wrong with s beyond what could not be parsed, and
// fills in the secret from its file. It reads files, and nothing else.
func (s *Settings) Check(f *Faults) {
	s.CheckServers(f)
	s.checkCalls(f)
	s.checkReconcile(f)
	s.checkCodes(f)
	s.checkOrders(f)
	s.checkProcess(f)
}

// CheckVendor reports what is wrong with the settings that a lookup at the vendor
// needs, and fills in the secret from its file.
func (s *Settings) CheckVendor(f *Faults) {
	s.checkCalls(f)
	s.checkCodes(f)
}

// AtLeast reports a value below least.
func AtLeast[T cmp.Ordered](f *Faults, name string, value, least T, why string) {
	if value < least {
		f.Add(name, "(%v) must be at least %v%s", value, least, why)
	}
}

// Positive reports a value that is not above zero.
func Positive(f *Faults, name string, value time.Duration) {
	if value <= 0 {
		f.Add(name, "(%v) must be more than 0", value)
	}
}

// OneOf reports a value that is not one of the words.
func OneOf(f *Faults, name, value string, words ...string) {
	if !slices.Contains(words, value) {
		f.Add(name, "(%q) must be one of %s", value, strings.Join(words, ", "))
	}
}

// checkCalls checks what a call to the vendor needs, except for the codes.
func (s *Settings) checkCalls(f *Faults) {
	checkBaseURL(f, "UPSTREAM_URL", s.UpstreamURL)
	switch {
	case s.UpstreamAppkey == "":
		f.Add("UPSTREAM_APPKEY", "is not set: the vendor's account is required")
	case strings.ContainsFunc(s.UpstreamAppkey, func(r rune) bool { return r <= ' ' || r > '~' }):
		f.Add("UPSTREAM_APPKEY", "(%q) must be printable ASCII without spaces", s.UpstreamAppkey)
	}
	s.readSecret(f)
	Positive(f, "UPSTREAM_TIMEOUT", s.UpstreamTimeout)
	s.CheckRate(f)
}

// CheckRate reports what is wrong with the account's rate.
func (s *Settings) CheckRate(f *Faults) {
	if r := s.UpstreamRate; r != 0 && (r < minRate || r > maxRate) {
		f.Add("UPSTREAM_RATE", "(%v) must be 0 (no limit) or %v to %v requests per second", r, minRate, maxRate)
	}
	AtLeast(f, "UPSTREAM_JITTER", s.UpstreamJitter, 0, "")
}

// checkReconcile checks how an order in doubt is reconciled.
func (s *Settings) checkReconcile(f *Faults) {
	s.CheckPolicy(f)
	Positive(f, "RECONCILE_DELAY", s.ReconcileDelay)
	if f.good("RECONCILE_DELAY", "UPSTREAM_TIMEOUT") && s.ReconcileDelay < s.UpstreamTimeout {
		f.Add("RECONCILE_DELAY", "(%v) must be at least UPSTREAM_TIMEOUT (%v): a \"not found\" while the call may still run proves nothing", s.ReconcileDelay, s.UpstreamTimeout)
	}
	AtLeast(f, "IN_DOUBT_NOTICE", s.InDoubtNotice, 0, "")
}

// CheckPolicy reports whether what is to happen to an order in doubt is none of the policies.
func (s *Settings) CheckPolicy(f *Faults) {
	OneOf(f, "UPSTREAM_RECONCILE", s.UpstreamReconcile, "lookup", "resend", "hold")
}

// safeReconcileDelay is long enough for a request that a kernel or a proxy delivers late:
// TCP retransmits for about as long.
const safeReconcileDelay = 2 * time.Minute

// Warn logs a warning for each value that is allowed although it is dangerous.
func (s *Settings) Warn(log zerolog.Logger) {
	if s.ReconcileDelay < safeReconcileDelay {
		log.Warn().Stringer("reconcile_delay", s.ReconcileDelay).
			Msg("RECONCILE_DELAY is less than 2m: a request that arrives late at the vendor after a \"not found\" is bought twice")
	}
}

// Codes are the lists of body codes of settings that were checked.
func (s *Settings) Codes() upstream.Codes {
	codes, _, _ := s.codes()
	return codes
}

// codes are the lists of body codes, the setting of each list, and what is wrong.
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

// checkCodes checks the lists of codes together, and the states of a lookup.
func (s *Settings) checkCodes(f *Faults) {
	_, names, wrong := s.codes()
	for _, w := range wrong {
		rule := w.Rule
		for list, name := range names {
			rule = strings.ReplaceAll(rule, "the "+string(list)+" codes", name)
		}
		f.Add(names[w.List], "(%q) %s", w.Code, rule)
	}
	if _, err := s.LookupStates(); err != nil {
		f.Add("UPSTREAM_LOOKUP_STATES", "(%q) %w", strings.Join(s.UpstreamLookupStates, ","), err)
	}
}

// LookupStates are the states that a lookup asks for, each once.
func (s *Settings) LookupStates() ([]int64, error) {
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

// checkOrders checks how many orders are in flight, and how they are retried.
func (s *Settings) checkOrders(f *Faults) {
	AtLeast(f, "CONCURRENCY", s.Concurrency, 1, "")
	if s.Concurrency > maxConcurrency {
		f.Add("CONCURRENCY", "(%d) must be at most %d; start more processes instead", s.Concurrency, maxConcurrency)
	}
	Positive(f, "BACKOFF_INITIAL", s.BackoffInitial)
	Positive(f, "BACKOFF_MAX", s.BackoffMax)
	if f.good("BACKOFF_INITIAL", "BACKOFF_MAX") && s.BackoffMax < s.BackoffInitial {
		f.Add("BACKOFF_MAX", "(%v) must be at least BACKOFF_INITIAL (%v)", s.BackoffMax, s.BackoffInitial)
	}
	AtLeast(f, "BACKOFF_MULTIPLIER", s.BackoffMultiplier, 1, ": a wait never gets shorter")
	if s.BackoffJitter < 0 || s.BackoffJitter > 1 {
		f.Add("BACKOFF_JITTER", "(%v) must be 0 to 1", s.BackoffJitter)
	}
	AtLeast(f, "MAX_ATTEMPTS", s.MaxAttempts, 1, "")
}

// checkProcess checks what concerns this process alone.
func (s *Settings) checkProcess(f *Faults) {
	Positive(f, "SHUTDOWN_TIMEOUT", s.ShutdownTimeout)
	if s.AdminAddr != "" {
		if err := CheckHostPort(s.AdminAddr); err != nil {
			f.Add("ADMIN_ADDR", "(%q) %w", s.AdminAddr, err)
		}
	}
	OneOf(f, "LOG_LEVEL", s.LogLevel, "debug", "info", "warn", "error")
	OneOf(f, "LOG_FORMAT", s.LogFormat, "auto", "json", "console")
}

// CheckHostPort checks an address to listen on: HOST:PORT, or :PORT.
func CheckHostPort(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || strings.ContainsAny(host, " /@") {
		return fmt.Errorf("must be HOST:PORT or :PORT")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("must end in a port, 0 to 65535")
	}
	return nil
}
