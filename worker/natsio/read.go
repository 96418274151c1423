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

// readTimeout is how long a read waits where its context has no deadline.
const readTimeout = 5 * time.Second

// errHeader is a message whose headers cannot be read.
var errHeader = errors.New("unreadable headers")

// storedMsg is a message as it stands in a stream.
type storedMsg struct {
	Subject string
	Seq     uint64
	Header  nats.Header
	Data    []byte
	Time    time.Time
}

// get is one request of STREAM.MSG.GET. The zero get is invalid.
type get struct {
	Seq     uint64 `json:"seq,omitempty"`          // with NextFor: not before this sequence
	LastFor string `json:"last_by_subj,omitempty"` // the last message of these subjects
	NextFor string `json:"next_by_subj,omitempty"` // the first message of these subjects
}

// readLeader asks the leader of stream for one message; false: there is none. It asks
// STREAM.MSG.GET itself, because nats.go goes the direct way where the stream
// allows that, and a replica that is behind would say that an order has no result.
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
		return storedMsg{}, false, fmt.Errorf("read stream %s: an answer without a message", stream)
	}
	m := storedMsg{Subject: got.Message.Subject, Seq: got.Message.Seq, Data: got.Message.Data, Time: got.Message.Time}
	if len(got.Message.Header) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(got.Message.Header); err != nil {
			return m, true, fmt.Errorf("read stream %s: message %d: %w: %w", stream, m.Seq, errHeader, err)
		}
	}
	return m, true, nil
}

// apiPrefix is "$JS.API.", or what the client was made with.
func apiPrefix(js jetstream.JetStream) string {
	switch o := js.Options(); {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	}
	return jetstream.DefaultAPIPrefix
}
