package connect

import (
	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/config"
	"orderworker/upstream"
	"orderworker/upstream/quota"
)

// Vendor returns a client of the vendor's API for the account of s.
func Vendor(s *config.Settings) (*upstream.Client, error) {
	return upstream.NewClient(upstream.Config{
		BaseURL: s.UpstreamURL, AppKey: s.UpstreamAppkey, Secret: s.UpstreamSecret,
		Timeout: s.UpstreamTimeout, Codes: s.Codes(), MaxConns: s.Concurrency,
	})
}

// Quota returns the quota of the account, which all processes share in Redis.
func Quota(s *config.Settings, rdb redis.UniversalClient) *quota.Limiter {
	return quota.New(rdb, s.Account(), s.UpstreamRate, s.UpstreamJitter)
}
