package upstream

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// errGivenUp is the cause of a context that a test cancels.
var errGivenUp = errors.New("given up")

// A request that is too late or was given up, or whose connection is broken, is not
// written. A usable connection is kept.
func TestPlaceOnAnUnusableLine(t *testing.T) {
	for name, c := range map[string]struct {
		before func(t *testing.T, l *Line, vendor net.Conn, cancel context.CancelCauseFunc) (sendBy time.Time)
		want   error
		keeps  bool // the connection, for another call
	}{
		"sendBy is past": {func(*testing.T, *Line, net.Conn, context.CancelCauseFunc) time.Time {
			return time.Now().Add(-time.Nanosecond)
		}, errTooLate, true},
		"given up": {func(_ *testing.T, _ *Line, _ net.Conn, cancel context.CancelCauseFunc) time.Time {
			cancel(errGivenUp)
			return soon()
		}, errGivenUp, true},
		"closed by the vendor": {func(t *testing.T, l *Line, vendor net.Conn, _ context.CancelCauseFunc) time.Time {
			_ = vendor.Close()
			waitUntil(t, "the client can see it", func() bool { return !l.Ready() })
			return soon()
		}, errStale, false},
		"released": {func(_ *testing.T, l *Line, _ net.Conn, _ context.CancelCauseFunc) time.Time {
			l.Release()
			return soon()
		}, errLineEnded, true},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			client := testClient(t, Config{BaseURL: "http://" + ln.Addr().String()})
			line, err := client.Connect(t.Context())
			if err != nil || !line.Ready() {
				t.Fatal(err)
			}
			vendor, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer vendor.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			_, err = line.Place(ctx, testOrder, c.before(t, line, vendor, cancel))
			if ClassOf(err) != Unreachable || !errors.Is(err, c.want) {
				t.Errorf("Place: %v, want unreachable: %v", err, c.want)
			}
			if kept := len(client.conns.idle) == 1; kept != c.keeps {
				t.Errorf("the connection was kept: %v, want %v", kept, c.keeps)
			}
		})
	}
}

// The idle time-out applies to a line that waits for its slot, and a released line has
// been idle since its last use.
func TestReservedLineTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testClient(t, Config{BaseURL: "http://vendor"})
		v := new(pipedVendor)
		client.conns.dial = v.dial
		connect := func() *Line {
			line, err := client.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return line
		}
		old := connect()
		time.Sleep(time.Second)
		newer := connect()
		want := newer.conn
		newer.Release()
		old.Release()
		line := connect()
		if v.dialed != 2 || line.conn != want {
			t.Errorf("%d connections, want that of 2 to be used which was used last", v.dialed)
		}
		time.Sleep(idleTimeout)
		if line.Ready() {
			t.Errorf("a line is ready after %v without use", idleTimeout)
		}
		if _, err := line.Place(t.Context(), testOrder, soon()); !errors.Is(err, errStale) {
			t.Errorf("Place: %v, want %v", err, errStale)
		}
		line, err := Reconnect(t.Context(), line, client.Connect)
		if err != nil || v.dialed != 3 {
			t.Errorf("Reconnect: %v with %d connections, want a new one", err, v.dialed)
		}
		if again, err := Reconnect(t.Context(), line, client.Connect); again != line || err != nil {
			t.Errorf("Reconnect: %v, want the line that is ready", err)
		}
		line.Release()
		client.Close()
		synctest.Wait()
	})
}
