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

	// maxHeaderBytes is the most bytes of headers that JetStream stores with a message.
	//
	// Source: nats-server, server/stream.go.
	maxHeaderBytes = math.MaxUint16

	// fitBytes is the room for the two headers that say what was dropped.
	fitBytes = len(truncatedHeader) + len(droppedHeader) + 2*len(": 12345678\r\n")
)

// PublishDead stores a dead letter. nil means that the stream has it.
//
// Source: contract, section 4.
func (j *JetStream) PublishDead(ctx context.Context, l worker.DeadLetter) error {
	ours := nats.Header{}
	ours.Set("Dead-Reason", string(l.Reason))
	ours.Set("Dead-Error", l.Error)
	ours.Set("Dead-Stream-Seq", strconv.FormatUint(l.Seq, 10))
	ours.Set("Dead-Time", worker.Time{Time: l.At}.String())
	// The id drops a repeat after a lost reply. It has the time too, since the sequences of
	// a recreated stream begin at 1 again.
	ours.Set(nats.MsgIdHdr, fmt.Sprintf("%s.%d.%d", j.names.Orders, l.Seq, l.Stored.UnixNano()))

	msg := &nats.Msg{Subject: j.names.DeadSubject, Data: l.Data, Header: publisherHeaders(l.Header)}
	j.fit(msg, headerBytes(ours))
	maps.Copy(msg.Header, ours)
	_, err := j.store(ctx, msg, j.names.deadConfig())
	if err != nil {
		return fmt.Errorf("publish %s: %w", msg.Subject, err)
	}
	return nil
}

// publisherHeaders returns the headers of the order request. Names that a server would
// obey get the prefix Dead-; names of the worker's own headers are dropped.
func publisherHeaders(request map[string][]string) nats.Header {
	header := make(nats.Header, len(request)+5)
	for name, values := range request {
		if name != truncatedHeader && name != droppedHeader && !obeyed(name) {
			header[name] = slices.Clone(values)
		}
	}
	for name, values := range request { // afterwards, to replace a Dead-Nats-* header of the publisher
		if obeyed(name) {
			header["Dead-"+name] = slices.Clone(values)
		}
	}
	return header
}

// obeyed reports whether a NATS server acts on a header of that name.
func obeyed(name string) bool { return len(name) >= 5 && strings.EqualFold(name[:5], "Nats-") }

// fit makes the message short enough for the server, when ours more bytes of headers are
// added: it drops headers, the largest first, and then cuts the payload.
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

// headerBytes returns the size of the headers on the wire.
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
