package natsio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// readTimeout limits a read whose context has no deadline.
const readTimeout = 5 * time.Second

// ErrHeader is returned for a message whose headers cannot be read.
var ErrHeader = errors.New("unreadable headers")

// storedMsg is a message of a stream.
type storedMsg struct {
	Subject string
	Seq     uint64
	Header  nats.Header
	Data    []byte
	Time    time.Time
}

// get is a request to STREAM.MSG.GET. The zero value is invalid.
type get struct {
	Seq     uint64 `json:"seq,omitempty"`          // the message of this sequence; with NextFor, this or a later one
	LastFor string `json:"last_by_subj,omitempty"` // the last message of a subject, which may have wildcards
	NextFor string `json:"next_by_subj,omitempty"` // the first message of a subject from Seq on
}

// Get and Stored are the types of ReadLeader.
type (
	Get    = get
	Stored = storedMsg
)

// ReadLeader reads one message of any stream from its leader; false: there is none. With
// an error that wraps ErrHeader the message was read, except for its headers.
func ReadLeader(ctx context.Context, js jetstream.JetStream, stream string, what Get) (Stored, bool, error) {
	return readLeader(ctx, js, stream, what)
}

// readLeader reads one message from the leader of stream; false: there is none. It sends
// the request to STREAM.MSG.GET itself, since nats.go uses Direct Get if the stream allows
// that: a replica that is behind would show an order without its result.
//
// Source: https://docs.nats.io/reference/reference-protocols/nats_api_reference.
func readLeader(ctx context.Context, js jetstream.JetStream, stream string, what get) (storedMsg, bool, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, readTimeout)
		defer cancel()
	}
	request, err := json.Marshal(what)
	if err != nil {
		return storedMsg{}, false, fmt.Errorf("read stream %s: %w", stream, err)
	}
	reply, err := js.Conn().RequestWithContext(ctx, apiPrefix(js)+"STREAM.MSG.GET."+stream, request)
	if err != nil {
		return storedMsg{}, false, fmt.Errorf("read stream %s: %w", stream, err)
	}
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	switch err := json.Unmarshal(reply.Data, &got); {
	case err != nil:
		return storedMsg{}, false, fmt.Errorf("read stream %s: %w", stream, err)
	case got.Error != nil && got.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return storedMsg{}, false, nil
	case got.Error != nil:
		return storedMsg{}, false, fmt.Errorf("read stream %s: %w", stream, got.Error)
	case got.Message == nil || got.Message.Seq == 0:
		return storedMsg{}, false, fmt.Errorf("read stream %s: a reply without a message", stream)
	}
	m := storedMsg{Subject: got.Message.Subject, Seq: got.Message.Seq, Data: got.Message.Data, Time: got.Message.Time}
	if len(got.Message.Header) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(got.Message.Header); err != nil {
			return m, true, fmt.Errorf("read stream %s: message %d: %w: %w", stream, m.Seq, ErrHeader, err)
		}
	}
	return m, true, nil
}

// apiPrefix returns the prefix of the JetStream API, "$JS.API." unless js has another.
func apiPrefix(js jetstream.JetStream) string {
	switch o := js.Options(); {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	}
	return jetstream.DefaultAPIPrefix
}

// DeleteMessage removes one message from a stream; false: it is not there, or not any
// more. The server does not overwrite it.
func DeleteMessage(ctx context.Context, js jetstream.JetStream, stream string, seq uint64) (bool, error) {
	request, err := json.Marshal(map[string]any{"seq": seq, "no_erase": true})
	if err != nil {
		return false, err
	}
	reply, err := js.Conn().RequestWithContext(ctx, apiPrefix(js)+"STREAM.MSG.DELETE."+stream, request)
	if err != nil {
		return false, fmt.Errorf("remove message %d of stream %s: %w", seq, stream, err)
	}
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Success bool                `json:"success"`
	}
	if err := json.Unmarshal(reply.Data, &got); err != nil {
		return false, fmt.Errorf("remove message %d of stream %s: %w", seq, stream, err)
	}
	const notFound = 10043 // sequence not found; a file store says "no message found" instead
	switch {
	case got.Success:
		return true, nil
	case got.Error != nil && (got.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound || got.Error.ErrorCode == notFound || strings.Contains(got.Error.Description, "no message found")):
		return false, nil
	case got.Error != nil:
		return false, fmt.Errorf("remove message %d of stream %s: %w", seq, stream, got.Error)
	}
	return false, fmt.Errorf("remove message %d of stream %s: not removed", seq, stream)
}
