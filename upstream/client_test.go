package upstream

import (
	"strings"
	"testing"
	"time"
)

func TestNewClientNamesEveryFault(t *testing.T) {
	good := Config{BaseURL: "https://oapi.eiotclub.com", AppKey: "k", Secret: testSecret, Timeout: time.Second}
	if _, err := NewClient(good); err != nil {
		t.Fatalf("a good config: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"everything":          {func(c *Config) { *c = Config{MaxConns: -1} }, []string{"base URL", "appkey", "secret", "timeout", "max conns"}},
		"another scheme":      {func(c *Config) { c.BaseURL = "ftp://host" }, []string{"http"}},
		"no scheme":           {func(c *Config) { c.BaseURL = "oapi.eiotclub.com" }, []string{"http"}},
		"no host":             {func(c *Config) { c.BaseURL = "http://:80/x" }, []string{"host"}},
		"a host in Chinese":   {func(c *Config) { c.BaseURL = "https://例え.jp" }, []string{"xn--"}},
		"a query":             {func(c *Config) { c.BaseURL += "?a=hunter2" }, []string{"query"}},
		"an empty query":      {func(c *Config) { c.BaseURL += "?" }, []string{"query"}},
		"a fragment":          {func(c *Config) { c.BaseURL += "#a" }, []string{"fragment"}},
		"a password":          {func(c *Config) { c.BaseURL = "http://me:hunter2@host" }, []string{"password"}},
		"a password and junk": {func(c *Config) { c.BaseURL = "http://me:hunter2@host:port\x00" }, []string{"parse"}},
	} {
		cfg := good
		c.change(&cfg)
		_, err := NewClient(cfg)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not name %s", name, err, want)
			}
		}
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: %v shows a secret", name, err)
		}
	}
}

func TestClassOf(t *testing.T) {
	if got := ClassOf(nil); got != Ambiguous {
		t.Errorf("ClassOf(nil) = %s, want ambiguous", got)
	}
	e := &Error{Class: Refused, Code: "7", Message: "no"}
	if got := ClassOf(e); got != Refused || e.Error() != "refused: code 7: no" || e.Unwrap() != nil {
		t.Errorf("ClassOf = %s, Error = %s", got, e)
	}
}
