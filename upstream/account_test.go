package upstream

import (
	"regexp"
	"testing"
)

func TestAccount(t *testing.T) {
	const url = "https://oapi.eiotclub.com"
	account := AccountID("000001", url)
	if account != "68452585576127ea" {
		t.Errorf("account %s: records and keys that exist carry the old one", account)
	}
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(account) {
		t.Errorf("account %q, want 16 hex digits", account)
	}
	for _, same := range []string{url + "/", url + "//", url + ":443", url + ":443/", url + ":", "HTTPS://OAPI.eiotclub.com"} {
		if got := AccountID("000001", same); got != account {
			t.Errorf("%s: another account than %s", same, url)
		}
	}
	seen := map[string]string{account: url}
	for _, other := range []struct{ appKey, url string }{
		{"000002", url}, {"000001", "http://oapi.eiotclub.com"}, {"000001", url + ":80"}, {"000001", url + ":8443"},
		{"000001", url + "/v2"}, {"000001", url + "/V2"}, {"000001", "http://oapi.eiotclub.com:443"},
		{"", url}, {"000001", ""}, {"000001", "no URL"}, {"000001", "https://[::1]"}, {"000001", "https://[::443]"},
	} {
		a := AccountID(other.appKey, other.url)
		if was, twice := seen[a]; twice {
			t.Errorf("%v has the account of %s", other, was)
		}
		seen[a] = other.appKey + " " + other.url
	}
}
