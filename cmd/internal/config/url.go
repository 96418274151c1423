package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parseURL parses raw, which must have one of schemes and a host. The error can
// follow a setting's name and value, and repeats nothing of raw: net/url's own
// errors quote what follows a slash or a hash in a password.
func parseURL(raw string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL; special characters in a password must be percent-encoded")
	case !slices.Contains(schemes, u.Scheme):
		return nil, fmt.Errorf("must begin with %s://", strings.Join(schemes, ":// or "))
	case u.User == nil && strings.Contains(raw, "@"):
		return nil, errors.New("has an @ beyond its host; special characters in a password must be percent-encoded")
	case u.Hostname() == "":
		return nil, errors.New("has no host")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("must have a port from 1 to 65535")
		}
	}
	return u, nil
}

// checkBaseURL reports a URL to which no path can be appended.
func checkBaseURL(f *Faults, name, raw string) {
	u, err := parseURL(raw, "https", "http")
	switch {
	case err != nil:
		f.Add(name, "(%s) %w", shownURL(raw), err)
	case u.User != nil:
		f.Add(name, "(%s) must not have a user or password in it", shownURL(raw))
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		f.Add(name, "(%s) must not have a query or a fragment", shownURL(raw))
	}
}

// shownURL returns raw in quotes, without what may be a password; raw need not be
// a URL. It leaves out everything before the last @ (a user alone can be a NATS
// token), and the query (which has the second password of Sentinel).
func shownURL(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		scheme, rest = "", raw
	} else {
		scheme += "://"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "[redacted]" + rest[i:]
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i+1] + "[redacted]"
	}
	return fmt.Sprintf("%q", scheme+rest)
}
