// Package config reads the settings of orderworker from flags, environment
// variables and files, and reports everything that is wrong with them at once.
//
// It opens no connection. Read it in this order: settings.go, flags.go (how a
// setting is read), check.go with servers.go, names.go and url.go (what a
// setting may be), creds.go and secret.go (the files), faults.go.
package config
