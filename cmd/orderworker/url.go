package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parseURL parses raw and wants one of schemes and a host. The error fits
// behind a setting's name and value and repeats nothing of raw: net/url's own
// words quote what follows a slash or a hash in a password.
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

// checkBaseURL wants an address that paths can be put behind.
func checkBaseURL(f *faults, name, raw string) {
	u, err := parseURL(raw, "https", "http")
	switch {
	case err != nil:
		f.add(name, "(%s) %w", shownURL(raw), err)
	case u.User != nil:
		f.add(name, "(%s) must not have a user or password in it", shownURL(raw))
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		f.add(name, "(%s) must not have a query or a fragment", shownURL(raw))
	}
}

// shownURL is raw, quoted and fit to be printed, also where raw is no URL at
// all: what may be a password is left out. That is everything before the last
// @ (a user alone can be a NATS token), and the values of the query (Sentinel
// takes its second password there).
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
