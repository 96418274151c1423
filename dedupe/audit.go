package dedupe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// EnsureJournal creates the journal's stream where it is missing; one that
// exists is never altered (AuditJournal judges it).
//
// The stream has no limit by which an open intent could leave: no age, no
// count, no size. Should somebody add one later, discard new refuses a write
// (orders wait, and the error says so) where discard old would silently drop
// the oldest intents. One message per subject still replaces the last: that
// limit goes before discard. Only a final record leaves, by its own TTL.
func EnsureJournal(ctx context.Context, js jetstream.JetStream, stream, subject string, replicas int) error {
	_, err := js.Stream(ctx, stream)
	if err == nil {
		return nil
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("look for stream %s: %w", stream, err)
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name:              stream,
		Description:       "orderworker: one record per order, the last thing that is certain of it",
		Subjects:          []string{subject + ".*"},
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		MaxMsgsPerSubject: 1,
		AllowMsgTTL:       true,
		AllowDirect:       false,
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another worker was first
		return fmt.Errorf("create stream %s: %w", stream, err)
	}
	return nil
}

// AuditJournal reports everything in an existing stream's settings by which an
// open intent under subject could be dropped, come back after its final, or
// not be written at all. Each error names the setting as the nats tool spells it.
func AuditJournal(cfg jetstream.StreamConfig, subject string) []error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("stream %s: "+format, append([]any{cfg.Name}, args...)...))
		}
	}
	old := cfg.Discard == jetstream.DiscardOld
	fault(cfg.MaxAge > 0, "max_age is %v: an order in doubt for longer is forgotten, and bought again", cfg.MaxAge)
	fault(cfg.MaxMsgs > 0 && old, "max_msgs is %d with discard old: a full journal drops open intents", cfg.MaxMsgs)
	fault(cfg.MaxBytes > 0 && old, "max_bytes is %d with discard old: a full journal drops open intents", cfg.MaxBytes)
	fault(cfg.MaxMsgsPerSubject != 1, "max_msgs_per_subject is %d, not 1: an old intent comes back when the final record expires", cfg.MaxMsgsPerSubject)
	fault(cfg.DiscardNewPerSubject, "discard_new_per_subject is on: an order's second record is refused")
	fault(cfg.Storage != jetstream.FileStorage, "storage is %s, not file: a restart forgets every open intent", strings.ToLower(cfg.Storage.String()))
	fault(cfg.Retention != jetstream.LimitsPolicy, "retention is %s, not limits: records leave as consumers come and go", strings.ToLower(cfg.Retention.String()))
	fault(!cfg.AllowMsgTTL, "allow_msg_ttl is off: final records, which carry a TTL, are refused")
	fault(cfg.NoAck, "no_ack is on: no write is ever confirmed")
	fault(cfg.Sealed, "sealed is on: nothing can be written")
	fault(cfg.Mirror != nil, "mirror is set: a mirror takes no writes")
	fault(len(cfg.Sources) > 0, "sources are set: foreign records can replace ours, whatever they were to follow")
	fault(cfg.SubjectTransform != nil, "subject_transform is set: records are not found under the subject they were written to")
	// Any token in place of the order's: it has letters that SubjectToken never makes.
	sample := subject + ".!"
	fault(!slices.ContainsFunc(cfg.Subjects, func(s string) bool { return covers(s, sample) }),
		"subjects are %q: none of them holds %s.*", cfg.Subjects, subject)
	return errs
}

// covers reports whether the NATS subject filter, which may have * and >,
// matches subject.
func covers(filter, subject string) bool {
	want, have := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, w := range want {
		if w == ">" {
			return len(have) > i
		}
		if i >= len(have) || w != "*" && w != have[i] {
			return false
		}
	}
	return len(want) == len(have)
}
