// Package deploy has no code: it is everything that orderworker needs to run for
// real. Its tests hold the files against the binary, against real servers and
// against each other, so that none of them can go stale unnoticed.
//
// To read it: README.md (the operator's guide), compose.yaml, nats (server
// configuration, permissions, streams), redis, kubernetes, prometheus, grafana.
package deploy
