package deploy

import (
	"path/filepath"
	"testing"

	"orderworker/dedupe/storetest"
)

// TestRedisConfig starts a real Redis with redis.conf, and a worker with it.
func TestRedisConfig(t *testing.T) {
	conf, err := filepath.Abs("redis/redis.conf")
	if err != nil {
		t.Fatal(err)
	}
	s := storetest.Redis(t, "--include", conf)
	c := s.Client(t)
	for name, want := range map[string]string{
		"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory": "268435456",
	} {
		if got, err := c.ConfigGet(t.Context(), name).Result(); err != nil || got[name] != want {
			t.Errorf("%s is %q (%v), want %q", name, got[name], err, want)
		}
	}
	work(t, here(t, storetest.NATS(t).ClientURL(), "redis://"+s.Addr, vendor(t, "")))
}
