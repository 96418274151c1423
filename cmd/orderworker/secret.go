package main

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

// secretPoll is how often the file is looked at: Kubernetes takes about a minute
// to change it, so this adds nothing.
const secretPoll = 5 * time.Second

const secretMaxBytes = 4096 // of a secret's file; more is the wrong file

// readSecret takes the secret from its file, less a newline at its end.
func (s *Settings) readSecret(f *faults) {
	const name, file = "UPSTREAM_SECRET", "UPSTREAM_SECRET_FILE"
	switch {
	case s.UpstreamSecretFile == "" && s.UpstreamSecret == "":
		f.add(name, "is not set: it is required, here or in %s", file)
	case s.UpstreamSecretFile == "":
	case s.UpstreamSecret != "":
		f.add(name, "and %s (%q) are both set: one of them must go", file, s.UpstreamSecretFile)
	default:
		text, err := readSecretFile(s.UpstreamSecretFile)
		if err != nil {
			f.add(file, "cannot be used: %w", err)
		}
		s.UpstreamSecret = upstream.Secret(text)
	}
}

// readSecretFile reads one line.
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

// watchSecret reads UPSTREAM_SECRET_FILE again and again until ctx ends, and
// hands a new secret to set. A file that cannot be used, as it may be for a
// moment while it is replaced, leaves the old secret; that is logged once.
func (s *Settings) watchSecret(ctx context.Context, every time.Duration, log zerolog.Logger, set func(upstream.Secret)) {
	tick := time.NewTicker(every)
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
