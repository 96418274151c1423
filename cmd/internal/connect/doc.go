// Package connect makes of the settings what a command needs to talk to NATS, Redis
// and the vendor, and checks that NATS and Redis can be used.
//
// Read it in this order: wait.go (how a server that is away is waited for),
// nats.go, redis.go with redis_audit.go, streams.go and vendor.go.
package connect
