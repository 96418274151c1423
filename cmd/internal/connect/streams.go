package connect

import (
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/config"
	"orderworker/dedupe"
	"orderworker/dedupe/redisstore"
	"orderworker/worker/natsio"
)

// Streams are the names and settings of the streams and of the consumer.
func Streams(s *config.Settings) natsio.Streams {
	names := natsio.Streams{
		Orders: s.OrdersStream, OrdersSubject: s.OrdersSubject, Consumer: s.OrdersConsumer,
		Results: s.ResultsStream, ResultsSubject: s.ResultsSubject,
		Dead: s.DeadStream, DeadSubject: s.DeadSubject,
		Account: s.Account(), AllowLossy: s.AllowLossyStreams, Replicas: s.NATSReplicas, AckWait: s.OrdersAckWait, Concurrency: s.Concurrency,
		DedupeTTL: s.DedupeTTL, JournalTTL: s.JournalTTL,
	}
	if s.JournalTTL > 0 {
		names.Journal, names.JournalSubject = s.JournalStream, s.JournalSubject
	}
	return names
}

// Results returns the final events, for a program that only reads.
func Results(s *config.Settings, js jetstream.JetStream) dedupe.Results {
	return natsio.NewResults(js, Streams(s))
}

// Journal returns the journal. With JOURNAL_TTL 0 its records are in Redis, for those
// who accept what Redis can lose.
func Journal(s *config.Settings, js jetstream.JetStream, rdb redis.UniversalClient) dedupe.Journal {
	if s.JournalTTL == 0 {
		return redisstore.NewJournal(rdb, s.OrdersStream, s.DedupeTTL)
	}
	return natsio.NewJetStreamJournal(js, s.JournalStream, s.JournalSubject, s.JournalTTL)
}
