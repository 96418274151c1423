package operator

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"orderworker/cmd/internal/connect"
)

// Why there is no connection is said in plain words, without a password; and a write is
// certainly not stored only if there was no connection when it began.
func TestNATSIsAwayInPlainWords(t *testing.T) {
	const url = "nats://op:hunter2@127.0.0.1:1, 127.0.0.1:2"
	d := newNoting()
	lost := d.why(url, nil)
	if got := lost.Error(); got != "NATS does not answer at 127.0.0.1:1, 127.0.0.1:2: the connection was lost" {
		t.Error(got)
	}
	if notWritten(lost) {
		t.Error("a connection that was lost says that nothing was written")
	}
	if !notWritten(fmt.Errorf("cancel A: %w", &awayError{lost.Error()})) {
		t.Error("without a connection something may have been written")
	}
	if c, err := d.Dial("tcp", "127.0.0.1:1"); err == nil {
		_ = c.Close()
		t.Fatal("somebody listens there")
	}
	if got := d.why(url, errors.New("nats: no servers available for connection")).Error(); !strings.HasSuffix(got, "127.0.0.1:2: connection refused") {
		t.Error(got)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c, err := d.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if got := d.why(url, errors.New("nats: connect: nats: timeout")).Error(); !strings.HasSuffix(got, ": timeout") || strings.Contains(got, "hunter2") {
		t.Error(got)
	}
	refused := fmt.Errorf("%w: no such user", connect.ErrRefused)
	if got := d.why(url, refused); !errors.Is(got, connect.ErrRefused) {
		t.Errorf("a server that refuses does answer: %v", got)
	}
}
