// Package telemetry shows how a worker is doing to those outside: log lines, metrics,
// health and readiness over HTTP, and traces.
//
// Read it in this order: log.go, admin.go with gate.go, traces.go.
package telemetry
