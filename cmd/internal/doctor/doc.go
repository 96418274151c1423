// Package doctor checks everything that a deployment of orderworker stands on, and says
// what to do about each thing that is not good.
//
// It only reads, with three exceptions: it takes slots of the account's quota, slows all
// workers down when the vendor throttles, and writes for a moment a key of its own in
// Redis. It cannot buy: its connections to the vendor only look up (see Line).
//
// Read it in this order: deployment.go (what the settings name), doctor.go (the table of
// checks, and how it is worked through), nats.go with permissions.go, redis.go,
// vendor.go (the way to the vendor), lookup.go and known.go (what the vendor is asked).
package doctor
