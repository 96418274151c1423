package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"orderworker/upstream"
)

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
