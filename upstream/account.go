package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
)

// AccountID returns the name under which records, events and Redis keys know the
// account of appKey at the vendor behind baseURL: 16 hex digits that do not show
// either. Spellings of one base URL (case of scheme and host, the scheme's own
// port, slashes at the end) give the same name.
func AccountID(appKey, baseURL string) string {
	sum := sha256.Sum256([]byte(appKey + "\x00" + normalBase(baseURL)))
	return hex.EncodeToString(sum[:8])
}

// normalBase returns one spelling of a base URL. One that NewClient would refuse
// comes back as it is.
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
