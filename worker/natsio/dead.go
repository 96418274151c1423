package natsio

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"orderworker/worker"
)

// Bury stores a dead letter: nil means that the stream has it.
//
// Source: section 4 of the contract.
func (j *JetStream) Bury(ctx context.Context, l worker.DeadLetter) error {
	msg := nats.NewMsg(j.names.DeadSubject)
	msg.Data = l.Data
	for name, values := range l.Header {
		if len(name) >= 5 && strings.EqualFold(name[:5], "Nats-") {
			name = "Dead-" + name // it would be obeyed otherwise
		}
		msg.Header[name] = slices.Clone(values)
	}
	ours := map[string]string{
		"Dead-Reason": string(l.Reason), "Dead-Error": l.Error,
		"Dead-Stream-Seq": strconv.FormatUint(l.Seq, 10), "Dead-Time": worker.Time{Time: l.At}.String(),
		// The same letter again, after a lost reply: by when it was stored too,
		// as a stream that is made anew counts from 1 again.
		nats.MsgIdHdr: fmt.Sprintf("%s.%d.%d", j.names.Orders, l.Seq, l.Stored.UnixNano()),
	}
	for name, value := range ours {
		msg.Header.Set(name, value)
	}
	j.fit(msg, ours)
	_, err := j.store(ctx, msg, j.names.deadConfig())
	return err
}

// fit cuts a dead letter to what the server takes: the payload first, and the
// publisher's headers where they alone are too much.
func (j *JetStream) fit(msg *nats.Msg, ours map[string]string) {
	room := int(j.js.Conn().MaxPayload()) - len(nats.ExpectedStreamHdr) - len(j.names.Dead) - 4
	if headerBytes(msg.Header)+len(msg.Data) <= room {
		return
	}
	full := len(msg.Data)
	msg.Header.Set("Dead-Truncated", strconv.Itoa(full))
	if headerBytes(msg.Header) > room {
		maps.DeleteFunc(msg.Header, func(name string, _ []string) bool {
			_, keep := ours[name]
			return !keep && name != "Dead-Truncated"
		})
	}
	msg.Data = msg.Data[:min(full, max(0, room-headerBytes(msg.Header)))]
}

// headerBytes is how much of a message its headers take on the wire.
func headerBytes(h nats.Header) int {
	n := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return n
}
