// Package client publishes order requests and reads how they ended, for Go programs and
// for the commands submit and results. It needs NATS only, with the permissions of a
// publisher that may read results by subject (deploy/nats/permissions.conf, publisher_may).
//
// Publishing a request again is harmless: the worker takes it for a duplicate. So after an
// interruption a program publishes again whatever it does not know to be stored.
//
// Read it in this order: request.go (what is published, and its rules), client.go,
// submit.go, outcome.go (what events mean for a request), results.go, read.go (how the
// results stream is read).
package client
