// Package natsio is NATS JetStream as the worker uses it: it pulls requests and
// stores results and dead letters, and it makes and checks the streams for that.
//
// It implements the interfaces that package worker declares, and is the only
// package of the worker's that knows nats.go.
package natsio
