package config

import (
	"bytes"
	"fmt"
	"os"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// NKey reports whether NATS_CREDS is an NKey, a file with a user's seed alone. If
// it is not, it is a credentials file, which has the user's JWT and seed. The
// error can follow the setting's name, and repeats no part of the file.
//
// nats.go does not tell the two apart: it would send a bare seed to the server in place of
// the JWT.
func (s *Settings) NKey() (bool, error) {
	text, err := os.ReadFile(s.NATSCreds)
	if err != nil {
		return false, fmt.Errorf("cannot be read: %w", err)
	}
	defer clear(text)
	unfit := fmt.Errorf("(%q) is not a credentials file: it must hold a user's JWT and seed, or the seed alone (NKey)", s.NATSCreds)
	key, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return false, unfit
	}
	key.Wipe()
	token, err := nkeys.ParseDecoratedJWT(text) // without a JWT it returns the whole text
	if err != nil {
		return false, unfit
	}
	if _, err := jwt.DecodeUserClaims(token); err == nil {
		return false, nil
	}
	if bytes.Contains(text, []byte("eyJ")) { // a JWT begins so, and a seed has no small letters
		return false, unfit
	}
	return true, nil
}
