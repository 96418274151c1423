package natsio

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe"
	"orderworker/worker/halt"
)

const (
	controlBucket = "ORDER_CONTROL"

	// ControlStream is the stream of the key-value bucket ORDER_CONTROL.
	ControlStream = "KV_" + controlBucket

	// controlHistory is how many words of one deployment the bucket keeps; a bucket of
	// nats.go can have 64 at most.
	controlHistory = 64
)

// ErrChanged is returned to an operator whose word would replace another than the one
// that the operator has seen.
var ErrChanged = errors.New("another operator was faster")

// ErrWordLost is returned for a bucket that has no word although an operator has said one:
// the bucket was lost and made anew. Nobody knows whether the word was a pause.
var ErrWordLost = errors.New("an operator has paused or resumed before, and the bucket does not have it any more: run orderworker pause or orderworker resume")

// Control is the operator's word on a deployment: a key of the bucket ORDER_CONTROL,
// with its history. It is safe for concurrent use.
//
// A word never vanishes from the bucket: even a deleted key leaves a message. So a bucket
// without a word, though there was one, is another bucket.
type Control struct {
	js     jetstream.JetStream
	orders string      // the stream
	said   atomic.Bool // there was a word
}

// NewControl returns the word on the deployment of that stream of orders.
func NewControl(js jetstream.JetStream, orders string) *Control {
	return &Control{js: js, orders: orders}
}

// ControlSubject returns the subject to which the operator's word on a deployment is
// written.
func ControlSubject(orders string) string {
	return "$KV." + controlBucket + "." + dedupe.SubjectToken(orders)
}

// Read returns the word in force, and its revision; 0: there is none. It asks the
// bucket's leader. A deleted key counts as "not paused". The revision is good for Write
// also where the error is ErrWordLost or halt.ErrUnreadable.
func (c *Control) Read(ctx context.Context) (halt.State, uint64, error) {
	m, found, err := readLeader(ctx, c.js, ControlStream, get{LastFor: ControlSubject(c.orders)})
	if err != nil {
		return halt.State{}, 0, err
	}
	switch {
	case !found && c.said.Load():
		return halt.State{}, 0, fmt.Errorf("bucket %s: %w", controlBucket, ErrWordLost)
	case !found:
		return halt.State{}, 0, nil
	}
	c.said.Store(true)
	s, err := wordIn(m)
	if err != nil {
		return halt.State{}, m.Seq, fmt.Errorf("bucket %s, key %s: %w", controlBucket, c.orders, err)
	}
	return s, m.Seq, nil
}

// wordIn returns the word in a message of the bucket.
func wordIn(m storedMsg) (halt.State, error) {
	if op := m.Header.Get("KV-Operation"); op == "DEL" || op == "PURGE" {
		return halt.State{At: m.Time}, nil
	}
	return halt.Decode(m.Data)
}

// Write stores the word s in place of the one of revision rev. The error is ErrChanged if
// another was stored meanwhile. After any other error s may have been stored.
func (c *Control) Write(ctx context.Context, s halt.State, rev uint64) error {
	data, err := s.Encode()
	if err != nil {
		return err
	}
	_, err = c.js.Publish(ctx, ControlSubject(c.orders), data, jetstream.WithExpectStream(ControlStream), jetstream.WithExpectLastSequencePerSubject(rev))
	if err != nil && lostCompare(err) {
		return ErrChanged
	}
	return err
}

// Word is a word that was said at some time.
type Word struct {
	halt.State
	Revision uint64 `json:"revision"`
}

// History returns all words that the bucket has kept, oldest first. A word that cannot be
// read is left out.
func (c *Control) History(ctx context.Context) ([]Word, error) {
	var all []Word
	for seq := uint64(1); ; {
		m, found, err := readLeader(ctx, c.js, ControlStream, get{Seq: seq, NextFor: ControlSubject(c.orders)})
		if err != nil || !found {
			return all, err
		}
		if s, err := wordIn(m); err == nil {
			all = append(all, Word{s, m.Seq})
		}
		seq = m.Seq + 1
	}
}

// Ensure creates the bucket if it is missing.
func (c *Control) Ensure(ctx context.Context, replicas int) error {
	_, err := c.js.Stream(ctx, ControlStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = c.js.CreateStream(ctx, controlConfig(replicas))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else has just created it
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", controlBucket, err)
	}
	return nil
}

// controlConfig is the stream of a bucket as nats.go would create it, except that
// deployments that share it need not agree on its history.
func controlConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: ControlStream, Subjects: []string{"$KV." + controlBucket + ".>"}, Storage: jetstream.FileStorage,
		Description: "orderworker: the operator's pause, a key-value bucket",
		Discard:     jetstream.DiscardNew, MaxMsgsPerSubject: controlHistory, AllowRollup: true, DenyDelete: true, Replicas: replicas,
	}
}

// Halt returns the operator's word on this deployment.
func (j *JetStream) Halt(ctx context.Context) (halt.State, error) {
	s, _, err := j.control.Read(ctx)
	return s, err
}
