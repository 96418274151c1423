package operator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/text"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

// DeadLetter is an order request that was put aside.
type DeadLetter struct {
	Seq         uint64      `json:"seq"` // in the stream of dead letters
	At          worker.Time `json:"at"`  // when it was put aside
	Reason      string      `json:"reason"`
	Error       string      `json:"error"` // which field broke which rule
	OutTradeNo  string      `json:"outTradeNo,omitempty"`
	ICCID       string      `json:"iccid,omitempty"`
	PackageCode string      `json:"packageCode,omitempty"`
	RequestSeq  uint64      `json:"requestSeq"`          // in the stream of orders; 0: not known
	Bytes       int         `json:"bytes"`               // of the payload that is stored
	Truncated   int         `json:"truncated,omitempty"` // the payload's full length, if it was cut
	Dropped     int         `json:"headersDropped,omitempty"`

	// Only Letter fills these in.
	Headers map[string][]string `json:"headers,omitempty"`
	Payload *string             `json:"payload,omitempty"`       // if it is UTF-8
	Raw     []byte              `json:"payloadBase64,omitempty"` // otherwise

	data   []byte
	header nats.Header
}

// ErrNoLetter is returned for a dead letter that is not there, or not any more.
var ErrNoLetter = errors.New("there is no such dead letter: it was never there, or somebody has replayed or removed it")

// DeadLetters is a list of dead letters, newest first.
type DeadLetters struct {
	Letters []DeadLetter `json:"letters"`
	Total   uint64       `json:"total"` // in the stream, whatever their reason
	More    bool         `json:"more"`  // there are more than the limit

	Unsearched uint64 `json:"unsearched"` // older ones, which were not read: too many, or no time
}

// letterIn returns the dead letter in a message.
func letterIn(m natsio.Stored) DeadLetter {
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(m.Header.Get(name), 10, 64) // 0: not known
		return n
	}
	o, _ := worker.DecodeOrder(m.Data) // what can be read of it
	return DeadLetter{
		Seq: m.Seq, At: timeOf(m.Time), Reason: m.Header.Get("Dead-Reason"), Error: m.Header.Get("Dead-Error"),
		OutTradeNo: o.OutTradeNo, ICCID: o.ICCID, PackageCode: o.PackageCode, RequestSeq: number("Dead-Stream-Seq"),
		Bytes: len(m.Data), Truncated: int(number("Dead-Truncated")), Dropped: int(number("Dead-Headers-Dropped")),
		data: m.Data, header: m.Header,
	}
}

// Dead returns the newest dead letters, of one reason if that is not empty. limit 0 is
// DefaultLimit.
func (d *Desk) Dead(ctx context.Context, reason string, limit int) (*DeadLetters, error) {
	limit = cmp.Or(limit, DefaultLimit)
	found := &DeadLetters{Letters: []DeadLetter{}}
	info, err := d.info(ctx, d.DeadStream)
	if err != nil {
		return found, fmt.Errorf("dead letters: %w", err)
	}
	found.Total = info.State.Msgs
	read := uint64(0)
	whole, err := d.newest(ctx, d.DeadStream, d.DeadSubject, info.State.FirstSeq, info.State.LastSeq, d.ScanLimit, func(m natsio.Stored) {
		read++
		if l := letterIn(m); reason == "" || l.Reason == reason {
			l.data, l.header = nil, nil
			found.Letters = append(found.Letters, l)
		}
	}, func() bool { return len(found.Letters) > limit })
	slices.SortFunc(found.Letters, func(a, b DeadLetter) int { return cmp.Compare(b.Seq, a.Seq) })
	if len(found.Letters) > limit {
		found.Letters, found.More = found.Letters[:limit], true
	} else if !whole {
		found.Unsearched = found.Total - min(found.Total, read)
	}
	if err != nil {
		return found, fmt.Errorf("dead letters: %w", err)
	}
	return found, nil
}

// Letter returns a dead letter with its payload and its headers. The error wraps
// ErrNoLetter if it is not there.
func (d *Desk) Letter(ctx context.Context, seq uint64) (*DeadLetter, error) {
	var found *DeadLetter
	err := d.walk(ctx, d.DeadStream, d.DeadSubject, seq, seq, func(m natsio.Stored) {
		l := letterIn(m)
		found = &l
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("dead letter %d: %w", seq, err)
	case found == nil:
		return nil, fmt.Errorf("dead letter %d: %w", seq, ErrNoLetter)
	}
	found.Headers = found.header
	if utf8.Valid(found.data) {
		text := string(found.data)
		found.Payload = &text
	} else {
		found.Raw = found.data
	}
	return found, nil
}

// ReplaySelection says which dead letters are replayed, and how they are corrected.
type ReplaySelection struct {
	Seqs   []uint64          // these, or
	All    bool              // all
	Reason string            // with All: of this reason; "": of any
	Set    map[string]string // fields to set, by name, as worker.Correct takes them
	Limit  int               // with All: how many at most; 0: DefaultReplay

	// Patience is how long the servers have for each part of a long stream; 0: as long as
	// the context.
	Patience time.Duration
}

// DefaultReplay is how many dead letters one replay of all of them takes.
const DefaultReplay = 1000

// maxCannot is how many letters that cannot be replayed a plan lists: then it is full.
const maxCannot = 1000

// ReplayPlan is what a replay is going to do.
type ReplayPlan struct {
	Letters []DeadLetter `json:"letters"` // that are published again, oldest first; without their payloads
	Cannot  []string     `json:"cannot"`  // which cannot be, and why
	Left    uint64       `json:"left"`    // more than the limit
	Futile  []string     `json:"futile"`  // those of Letters that will be dead letters again, and why
	desk    *Desk
	set     map[string]string
}

// Replayed is what a replay has done.
type Replayed struct {
	Replayed int      `json:"replayed"` // published again, and removed from the dead letters
	Futile   []string `json:"futile"`   // those of them that will be dead letters again, and why
	Skipped  []string `json:"skipped"`  // which could not be, and why
	Left     uint64   `json:"left"`     // that were more than the limit
}

// PlanReplay looks at the letters that are to be replayed, and changes nothing.
func (d *Desk) PlanReplay(ctx context.Context, s ReplaySelection) (*ReplayPlan, error) {
	p := &ReplayPlan{Letters: []DeadLetter{}, Cannot: []string{}, Futile: []string{}, desk: d, set: s.Set}
	if !s.All {
		for _, seq := range s.Seqs {
			l, err := d.Letter(ctx, seq)
			if err != nil {
				return nil, err
			}
			p.add(examine(l, p.set))
		}
		return p, nil
	}
	limit := cmp.Or(s.Limit, DefaultReplay)
	full := func() bool { return len(p.Letters) >= limit || len(p.Cannot) >= maxCannot }
	info, err := d.info(ctx, d.DeadStream)
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	low, last := max(info.State.FirstSeq, 1), info.State.LastSeq
	var matching uint64
	for step := uint64(firstWindow); low <= last && last > 0; low += step {
		window, err := d.lettersOf(ctx, s, low, min(low+step-1, last))
		if err != nil {
			return nil, fmt.Errorf("dead letters: %w", err)
		}
		for _, l := range window {
			if matching++; !full() { // what cannot be replayed takes no other letter's place
				p.add(l)
			}
		}
		if s.Reason == "" && full() { // the rest need not be read to be counted
			matching = info.State.Msgs
			break
		}
	}
	p.Left = matching - min(matching, uint64(len(p.Letters)+len(p.Cannot)))
	return p, nil
}

// lettersOf returns the letters of a selection in the sequences first to last, oldest first.
func (d *Desk) lettersOf(ctx context.Context, s ReplaySelection, first, last uint64) (letters []examined, err error) {
	if s.Patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Patience, fmt.Errorf("gave up after %v", s.Patience))
		defer cancel()
	}
	err = d.walk(ctx, d.DeadStream, d.DeadSubject, first, last, func(m natsio.Stored) {
		if l := letterIn(m); s.Reason == "" || l.Reason == s.Reason {
			letters = append(letters, examine(&l, s.Set))
		}
	})
	slices.SortFunc(letters, func(a, b examined) int { return cmp.Compare(a.Seq, b.Seq) })
	return letters, err
}

// examined is a letter, and what becomes of it when it is replayed. It has neither payload nor
// headers: those of many letters would take much memory.
type examined struct {
	DeadLetter
	cannot error  // why it cannot be published
	futile string // why it will be a dead letter again; "": that is not known
}

// examine says what becomes of a letter that is replayed with some fields set.
func examine(l *DeadLetter, set map[string]string) examined {
	e := examined{DeadLetter: *l}
	e.data, e.header, e.Headers, e.Payload, e.Raw = nil, nil, nil, nil, nil
	payload, err := correct(l, set)
	if err != nil {
		e.cannot = err
	} else {
		e.futile = futile(l, payload)
	}
	return e
}

// futile returns why a letter that is published with payload will be a dead letter again;
// "": that is not known.
func futile(l *DeadLetter, payload []byte) string {
	now, err := worker.DecodeOrder(payload)
	if err != nil {
		return text.OneLine(err)
	}
	before, _ := worker.DecodeOrder(l.data) // of a conflict it is valid
	if l.Reason == string(worker.Conflict) && now.OutTradeNo == before.OutTradeNo && now.Fingerprint() == before.Fingerprint() {
		return "its number was used for another order, unless that is forgotten by now"
	}
	return ""
}

// add adds a letter.
func (p *ReplayPlan) add(e examined) {
	if e.cannot != nil {
		p.Cannot = append(p.Cannot, fmt.Sprintf("%d: %v", e.Seq, e.cannot))
		return
	}
	if e.futile != "" {
		p.Futile = append(p.Futile, fmt.Sprintf("%d: %s", e.Seq, e.futile))
	}
	p.Letters = append(p.Letters, e.DeadLetter)
}

// Run replays the letters of the plan, oldest first: each is published to the stream of
// orders, and removed from the dead letters once it is stored there. It can be interrupted
// and run again: a letter that was published and not removed is a duplicate the next time,
// unless it is corrected in another way.
// It calls progress after each letter. The error is about what ended it early.
func (p *ReplayPlan) Run(ctx context.Context, progress func(done, of int)) (*Replayed, error) {
	r := &Replayed{Futile: []string{}, Skipped: slices.Clone(p.Cannot), Left: p.Left}
	for i, l := range p.Letters {
		if ctx.Err() != nil {
			r.Left += uint64(len(p.Letters) - i)
			return r, fmt.Errorf("replay: %w; %d replayed, %d left: the same command goes on", context.Cause(ctx), r.Replayed, r.Left)
		}
		futile, err := p.desk.replay(ctx, l.Seq, p.set)
		skipped, isSkipped := errors.AsType[*skippedError](err)
		switch {
		case err == nil:
			r.Replayed++
			if futile != "" {
				r.Futile = append(r.Futile, fmt.Sprintf("%d: %s", l.Seq, futile))
			}
		case isSkipped:
			r.Skipped = append(r.Skipped, fmt.Sprintf("%d: %s", l.Seq, skipped.why))
		default:
			r.Left += uint64(len(p.Letters) - i)
			return r, fmt.Errorf("replay %d: %w; %d replayed, %d left: the same command goes on", l.Seq, err, r.Replayed, r.Left)
		}
		progress(i+1, len(p.Letters))
	}
	return r, nil
}

// skippedError says why one letter is not replayed, while others can be.
type skippedError struct{ why string }

func (e *skippedError) Error() string { return e.why }

// replay publishes one letter again, and removes it. It returns why the letter will be a
// dead letter again; "": that is not known. A letter that is gone was replayed
// by another operator. Once it may have been published, each error says so: under another
// number it would be a second order. An interruption lets it come to its end.
func (d *Desk) replay(ctx context.Context, seq uint64, set map[string]string) (again string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	l, err := d.Letter(ctx, seq)
	if errors.Is(err, ErrNoLetter) {
		return "", &skippedError{ErrNoLetter.Error()}
	}
	if err != nil {
		return "", err
	}
	payload, err := correct(l, set)
	if err != nil {
		return "", &skippedError{err.Error()}
	}
	var ack *jetstream.PubAck
	err = d.about(ctx, d.OrdersSubject, func(ctx context.Context, link *link) (err error) {
		ack, err = link.js.PublishMsg(ctx, d.replayMsg(l, payload))
		return err
	})
	switch {
	case tooLarge(err):
		return "", &skippedError{fmt.Sprintf("stream %s can never take it: %v", d.OrdersStream, err)}
	case err != nil && notWritten(err):
		return "", err
	case err != nil:
		return "", fmt.Errorf("%w: it may have been published, so never replay it under another number", err)
	}
	published := fmt.Sprintf("it was published as message %d of %s", ack.Sequence, d.OrdersStream)
	removed := false
	err = d.about(ctx, d.DeadStream, func(ctx context.Context, link *link) (err error) {
		removed, err = natsio.DeleteMessage(ctx, link.js, d.DeadStream, seq)
		return err
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("%s, but may still be a dead letter (%w): never replay it under another number", published, err)
	case !removed:
		return "", &skippedError{published + ", while another operator replayed or removed it: if that was under another number, both are bought"}
	}
	return futile(l, payload), nil
}

// replayMsg returns the order request that a letter becomes. Its id is its own: the
// publisher's may still be in the stream's duplicate window. It keeps a replay that is
// repeated at once from being stored twice, but not one that is corrected in another way.
func (d *Desk) replayMsg(l *DeadLetter, payload []byte) *nats.Msg {
	msg := &nats.Msg{Subject: d.OrdersSubject, Data: payload, Header: replayHeader(l.header)}
	msg.Header.Set(nats.MsgIdHdr, fmt.Sprintf("replay.%s.%d.%d.%x", d.DeadStream, l.Seq, l.At.UnixNano(), sha256.Sum256(payload)))
	msg.Header.Set("Nats-Expected-Stream", d.OrdersStream)
	return msg
}

// tooLarge reports whether err says that a message is too large for the server or the
// stream: that will not change, while others fit.
//
// Source: nats-server, server/errors.json.
func tooLarge(err error) bool {
	const maxMsgSize, maxHeaderSize = 10054, 10097
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, nats.ErrMaxPayload) || ok && (api.ErrorCode == maxMsgSize || api.ErrorCode == maxHeaderSize)
}

// replayHeader returns the headers of the request as it came, without what the worker has
// added and without those that a server would obey.
func replayHeader(h nats.Header) nats.Header {
	kept := nats.Header{}
	for name, values := range h {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "dead-") && !strings.HasPrefix(lower, "nats-") {
			kept[name] = slices.Clone(values)
		}
	}
	return kept
}
