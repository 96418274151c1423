// Package doctor checks what a deployment of orderworker stands on, and says of
// each thing whether it is good and what to do about it.
//
// It only reads, except that it takes slots of the account's quota, slows the
// fleet down when the vendor says too fast, and writes for a moment a key of its
// own in Redis. It cannot buy: its connections to the vendor only look up (see
// Line).
//
// Read it in this order: doctor.go (the table of checks, and how it is worked
// through), nats.go with permissions.go, redis.go, vendor.go (the way to the
// vendor), lookup.go and known.go (what is asked there).
package doctor
