package operator

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"

	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/gather"
)

// awayError says that there was no connection to NATS when it was to be used: nothing was
// sent.
type awayError struct{ text string }

func (e *awayError) Error() string { return e.text }

// noting is a dialer that keeps why it failed last. nats.go says only that no server is
// available.
type noting struct {
	gather.Dialer
	mu   sync.Mutex
	last error // nil: the last server that was dialled has accepted the connection
}

func newNoting() *noting {
	return &noting{Dialer: gather.Dialer{Dialer: net.Dialer{Timeout: connect.NATSDialTimeout}}}
}

// Dial connects to address.
func (d *noting) Dial(network, address string) (net.Conn, error) {
	c, err := d.Dialer.Dial(network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = err
	return c, err
}

// why returns an error that says in plain words why no server of natsURL is connected. err
// is the error of nats.go; nil means that the connection was lost.
func (d *noting) why(natsURL string, err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, connect.ErrRefused) { // it answers
		return err
	}
	if d.last != nil {
		err = d.last
	}
	if op, ok := errors.AsType[*net.OpError](err); ok { // dial tcp ADDRESS: connect: connection refused
		err = op.Err
	}
	reason := "the connection was lost"
	if err != nil {
		reason = err.Error()
		for _, prefix := range []string{"nats: connect: ", "nats: ", "connect: "} {
			reason = strings.TrimPrefix(reason, prefix)
		}
	}
	return fmt.Errorf("NATS does not answer at %s: %s", hosts(natsURL), reason)
}

// hosts returns the hosts in the value of NATS_URL, without users and passwords.
func hosts(natsURL string) string {
	var found []string
	for text := range strings.SplitSeq(natsURL, ",") {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			found = append(found, u.Host)
		}
	}
	return strings.Join(found, ", ")
}
