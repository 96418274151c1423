package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
)

// CheckServers reports what is wrong with the settings that name NATS, the streams
// and Redis.
func (s *Settings) CheckServers(f *Faults) {
	s.checkNATS(f)
	s.checkStreams(f)
	s.checkRedis(f)
}

// checkNATS reports wrong servers, and files that cannot be used.
func (s *Settings) checkNATS(f *Faults) {
	for server := range strings.SplitSeq(s.NATSURL, ",") {
		s.checkNATSServer(f, strings.TrimSpace(server))
	}
	if s.NATSCreds != "" {
		if _, err := s.NKey(); err != nil {
			f.Add("NATS_CREDS", "%w", err)
		}
	}
	s.checkNATSCertificates(f)
	if s.NATSReplicas < 1 || s.NATSReplicas > 5 {
		f.Add("NATS_REPLICAS", "(%d) must be 1 to 5", s.NATSReplicas)
	}
}

// checkNATSServer reports one wrong server of NATS_URL.
func (s *Settings) checkNATSServer(f *Faults, server string) {
	shown := shownURL(server)
	if strings.Contains(s.NATSURL, "@") {
		shown = shownURL(s.NATSURL) // a comma in a password has cut it in two
	}
	u, err := parseURL(server, "nats", "tls")
	switch {
	case err != nil:
		f.Add("NATS_URL", "(%s) %w", shown, err)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		f.Add("NATS_URL", "(%s) must not have anything behind its host and port", shown)
	}
}

// checkNATSCertificates reports files of certificates and keys that cannot be used.
func (s *Settings) checkNATSCertificates(f *Faults) {
	if s.NATSCA != "" {
		pem, err := os.ReadFile(s.NATSCA)
		if err != nil {
			f.Add("NATS_CA", "cannot be read: %w", err)
		} else if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			f.Add("NATS_CA", "(%q) holds no certificate in PEM form", s.NATSCA)
		}
	}
	switch {
	case s.NATSCert == "" && s.NATSKey == "":
	case s.NATSKey == "":
		f.Add("NATS_CERT", "(%q) needs NATS_KEY as well", s.NATSCert)
	case s.NATSCert == "":
		f.Add("NATS_KEY", "(%q) needs NATS_CERT as well", s.NATSKey)
	default:
		if _, err := tls.LoadX509KeyPair(s.NATSCert, s.NATSKey); err != nil {
			f.Add("NATS_CERT", "and NATS_KEY cannot be used: %w", err)
		}
	}
}

// checkRedis reports a wrong REDIS_URL or DEDUPE_TTL.
func (s *Settings) checkRedis(f *Faults) {
	if _, err := s.RedisOptions(); err != nil {
		f.Add("REDIS_URL", "(%s) %s", shownURL(s.RedisURL), strings.TrimPrefix(err.Error(), "redis: "))
	}
	AtLeast(f, "DEDUPE_TTL", s.DedupeTTL, minDedupeTTL, "")
}

// RedisOptions returns REDIS_URL as options of go-redis: *redis.FailoverOptions
// (Sentinel) where its query has master_name, *redis.ClusterOptions where it has
// addr, otherwise *redis.Options. The error repeats no password.
func (s *Settings) RedisOptions() (any, error) {
	u, err := parseURL(s.RedisURL, "redis", "rediss")
	if err != nil {
		return nil, err
	}
	query := u.Query()
	for _, option := range []string{"read_only", "route_by_latency", "route_randomly", "replica_only"} {
		if query.Has(option) {
			return nil, fmt.Errorf("must not have %s: a replica that lags would show an order as new", option)
		}
	}
	if u.Fragment != "" {
		return nil, fmt.Errorf("must not have a fragment")
	}
	switch {
	case query.Has("master_name"):
		return redis.ParseFailoverURL(s.RedisURL)
	case query.Has("addr"):
		return redis.ParseClusterURL(s.RedisURL)
	default:
		return redis.ParseURL(s.RedisURL)
	}
}
