package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// credsOption is how NATS_CREDS is used: as a credentials file, which holds a
// user's JWT and seed, or as an NKey, which is a user's seed alone. Both are
// read again at each connection, but an NKey's public half stays: the seed of
// another one is refused until a restart. The error fits behind the setting's
// name, and repeats no part of the file.
//
// nats.go does not tell them apart: it sends a bare seed to the server, in
// place of the JWT.
func credsOption(file string) (nats.Option, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	defer clear(text)
	unfit := fmt.Errorf("(%q) is not a credentials file: it must hold a user's JWT and seed, or the seed alone (NKey)", file)
	key, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return nil, unfit
	}
	key.Wipe()
	token, err := nkeys.ParseDecoratedJWT(text) // without one: whatever there is
	if err != nil {
		return nil, unfit
	}
	if _, err := jwt.DecodeUserClaims(token); err == nil {
		return nats.UserCredentials(file), nil
	}
	if bytes.Contains(text, []byte("eyJ")) { // so begins a JWT, and no seed has small letters
		return nil, unfit
	}
	option, err := nats.NkeyOptionFromSeed(file)
	if err != nil {
		return nil, unfit
	}
	return option, nil
}
