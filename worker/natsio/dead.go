package natsio

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"orderworker/worker"
)

const (
	truncatedHeader = "Dead-Truncated"
	droppedHeader   = "Dead-Headers-Dropped"

	// maxHeaderBytes is how much of a message JetStream lets its headers take.
	//
	// Source: nats-server, server/stream.go.
	maxHeaderBytes = math.MaxUint16

	// fitBytes is room for the two headers that say what was left out.
	fitBytes = len(truncatedHeader) + len(droppedHeader) + 2*len(": 12345678\r\n")
)

// PublishDead stores a dead letter: nil means that the stream has it.
//
// Source: contract, section 4.
func (j *JetStream) PublishDead(ctx context.Context, l worker.DeadLetter) error {
	ours := nats.Header{}
	ours.Set("Dead-Reason", string(l.Reason))
	ours.Set("Dead-Error", l.Error)
	ours.Set("Dead-Stream-Seq", strconv.FormatUint(l.Seq, 10))
	ours.Set("Dead-Time", worker.Time{Time: l.At}.String())
	// The same letter again, after a lost reply: by when it was stored too, as a
	// stream that is made anew counts from 1 again.
	ours.Set(nats.MsgIdHdr, fmt.Sprintf("%s.%d.%d", j.names.Orders, l.Seq, l.Stored.UnixNano()))

	msg := &nats.Msg{Subject: j.names.DeadSubject, Data: l.Data, Header: publishers(l.Header)}
	j.fit(msg, headerBytes(ours))
	maps.Copy(msg.Header, ours)
	_, err := j.store(ctx, msg, j.names.deadConfig())
	if err != nil {
		return fmt.Errorf("publish %s: %w", msg.Subject, err)
	}
	return nil
}

// publishers are the headers of the request, under names that no server obeys
// and that are not ours.
func publishers(request map[string][]string) nats.Header {
	header := make(nats.Header, len(request)+5)
	for name, values := range request {
		if name != truncatedHeader && name != droppedHeader && !obeyed(name) {
			header[name] = slices.Clone(values)
		}
	}
	for name, values := range request { // last: they win against a Dead-Nats-* of the publisher's
		if obeyed(name) {
			header["Dead-"+name] = slices.Clone(values)
		}
	}
	return header
}

// obeyed says that a server takes a header of that name for a command.
func obeyed(name string) bool { return len(name) >= 5 && strings.EqualFold(name[:5], "Nats-") }

// fit makes the message short enough for the server, with as many bytes of
// headers to come: headers are dropped, the largest first, then the payload is cut.
func (j *JetStream) fit(msg *nats.Msg, ours int) {
	ours += len(nats.ExpectedStreamHdr) + len(": \r\n") + len(j.names.Dead)
	room := int(j.js.Conn().MaxPayload()) - ours
	dropped := 0
	for headerBytes(msg.Header) > min(maxHeaderBytes-ours, room)-fitBytes && len(msg.Header) > 0 {
		largest := slices.MaxFunc(slices.Sorted(maps.Keys(msg.Header)), func(a, b string) int {
			return cmp.Compare(lineBytes(a, msg.Header[a]), lineBytes(b, msg.Header[b]))
		})
		delete(msg.Header, largest)
		dropped++
	}
	if dropped > 0 {
		msg.Header.Set(droppedHeader, strconv.Itoa(dropped))
	}
	if full := len(msg.Data); headerBytes(msg.Header)+full > room {
		msg.Header.Set(truncatedHeader, strconv.Itoa(full))
		msg.Data = msg.Data[:min(full, max(0, room-headerBytes(msg.Header)))]
	}
}

// headerBytes is how much of a message its headers take on the wire.
func headerBytes(h nats.Header) int {
	n := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		n += lineBytes(name, values)
	}
	return n
}

func lineBytes(name string, values []string) (n int) {
	for _, v := range values {
		n += len(name) + len(": ") + len(v) + len("\r\n")
	}
	return n
}
