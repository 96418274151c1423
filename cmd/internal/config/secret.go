package config

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"orderworker/upstream"
)

// secretPoll is how often the file is read. Kubernetes takes about a minute to
// change it, so a shorter period would gain nothing.
const secretPoll = 5 * time.Second

// secretMaxBytes is the most that a secret's file has; a larger one is the wrong file.
const secretMaxBytes = 4096

// readSecret fills in the secret from its file, without the newline at its end.
func (s *Settings) readSecret(f *Faults) {
	const name, file = "UPSTREAM_SECRET", "UPSTREAM_SECRET_FILE"
	switch {
	case s.UpstreamSecretFile == "" && s.UpstreamSecret == "":
		f.Add(name, "is not set: it is required, here or in %s", file)
	case s.UpstreamSecretFile == "":
	case s.UpstreamSecret != "":
		f.Add(name, "and %s (%q) are both set: one of them must go", file, s.UpstreamSecretFile)
	default:
		text, err := readSecretFile(s.UpstreamSecretFile)
		if err != nil {
			f.Add(file, "cannot be used: %w", err)
		}
		s.UpstreamSecret = upstream.Secret(text)
	}
}

// SecretIn returns the secret that is either value, the setting name, or in the file that
// the setting name_FILE names; empty if neither is set.
func SecretIn(name, value, file string) (string, error) {
	switch {
	case file == "":
		return value, nil
	case value != "":
		return "", fmt.Errorf("(%q) and %s are both set: one of them must go", file, name)
	}
	text, err := readSecretFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot be used: %w", err)
	}
	return text, nil
}

// readSecretFile returns the file's text, without newlines at its end.
func readSecretFile(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, secretMaxBytes+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(text), "\r\n")
	switch {
	case secret == "":
		return "", fmt.Errorf("%s is empty", name)
	case len(text) > secretMaxBytes:
		return "", fmt.Errorf("%s is larger than %d bytes", name, secretMaxBytes)
	}
	return secret, nil
}

// WatchSecret reads UPSTREAM_SECRET_FILE every few seconds until ctx ends, and
// passes a new secret to set. The old secret stays while the file cannot be used,
// as may happen while it is replaced; that is logged once.
func (s *Settings) WatchSecret(ctx context.Context, log zerolog.Logger, set func(upstream.Secret)) {
	tick := time.NewTicker(secretPoll)
	defer tick.Stop()
	used, trouble := s.UpstreamSecret, ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		text, err := readSecretFile(s.UpstreamSecretFile)
		switch {
		case err != nil && err.Error() != trouble:
			trouble = err.Error()
			log.Error().Err(err).Msg("UPSTREAM_SECRET_FILE cannot be used; the old secret stays")
		case err == nil && upstream.Secret(text) != used:
			used = upstream.Secret(text)
			set(used)
			log.Info().Msg("UPSTREAM_SECRET_FILE has changed: calls are signed with the new secret")
		}
		if err == nil {
			trouble = ""
		}
	}
}
