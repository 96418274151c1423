package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
)

// AccountID returns the name of the account of appKey at the vendor behind baseURL,
// as records, events and Redis keys have it: 16 hex digits, which show neither.
// Base URLs that differ only in the case of scheme and host, in the scheme's own
// port or in slashes at the end give the same name.
func AccountID(appKey, baseURL string) string {
	sum := sha256.Sum256([]byte(appKey + "\x00" + normalBase(baseURL)))
	return hex.EncodeToString(sum[:8])
}

// normalBase returns the canonical spelling of a base URL. A text that NewClient
// would refuse is returned unchanged.
func normalBase(text string) string {
	u, err := parseBase(text)
	if err != nil {
		return text
	}
	host := strings.ToLower(u.Host)
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	if u.Port() != "" || strings.HasSuffix(host, ":") {
		host = strings.TrimSuffix(strings.TrimSuffix(host, port), ":")
	}
	normal := url.URL{Scheme: u.Scheme, Host: host}
	return normal.String() + strings.TrimRight(u.EscapedPath(), "/")
}
