// Package natsio connects the worker to NATS JetStream: it pulls order requests, stores
// events, dead letters and the journal, and creates and checks the streams for them.
//
// [JetStream] implements the interfaces that package worker declares and
// dedupe.Results; [NewJetStreamJournal] returns a dedupe.Journal. No other package that a
// worker is made of knows nats.go.
//
// Read streams.go and audit.go (the streams, and which settings lose orders),
// jetstream.go (opening and watching them), pull.go with message.go (deliveries),
// results.go, dead.go and journal.go (what is stored), read.go, final.go and sold.go (what
// is read back).
package natsio
