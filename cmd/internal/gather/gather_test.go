package gather

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// gathered is a connection under load, and what is read at its other end.
func gathered(t *testing.T) (*conn, net.Conn) {
	near, far := net.Pipe()
	g := newConn(near)
	g.begun, g.writes = time.Now(), calm
	t.Cleanup(func() {
		_ = far.Close()
		_ = g.Close()
		time.Sleep(2 * window) // its goroutine ends
	})
	return g, far
}

func mustWrite(t *testing.T, g *conn, text string) {
	t.Helper()
	if n, err := g.Write([]byte(text)); n != len(text) || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
}

// next is what one write brings, and when.
func next(t *testing.T, far net.Conn, since time.Time) (string, time.Duration) {
	t.Helper()
	b := make([]byte, 1<<20)
	n, err := far.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), time.Since(since)
}

// Without load nothing waits and nothing is gathered, however many writes there are in all.
func TestWritesAloneWithoutLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		g := newConn(near)
		for n := range 3 * calm {
			start := time.Now()
			go mustWrite(t, g, "alone")
			if got, after := next(t, far, start); got != "alone" || after != 0 {
				t.Errorf("%q after %v, want each at once and alone", got, after)
			}
			synctest.Wait()
			if g.running {
				t.Fatalf("%d writes that are %v apart are taken for a load", n+1, span/calm+time.Microsecond)
			}
			time.Sleep(span/calm + time.Microsecond)
		}
	})
}

// More than calm writes within span are a load.
func TestGathersUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		g := newConn(near)
		start := time.Now()
		for range calm {
			go mustWrite(t, g, "alone")
			next(t, far, start)
			synctest.Wait()
		}
		for _, text := range []string{"begins ", "second ", "third "} {
			mustWrite(t, g, text) // returns although nobody reads
		}
		got, _ := next(t, far, start)
		if got != "begins second third " {
			t.Errorf("%q, want what came under load together", got)
		}
		// It lasts, pauses or not, until a span had fewer writes.
		time.Sleep(span + time.Microsecond)
		mustWrite(t, g, "goes on ")
		mustWrite(t, g, "gathering")
		if got, _ := next(t, far, start); got != "goes on gathering" {
			t.Errorf("%q, want that it goes on to gather", got)
		}
		time.Sleep(2 * span)
		for range 2 {
			go mustWrite(t, g, "alone")
			if got, _ := next(t, far, start); got != "alone" {
				t.Errorf("%q, want that the load is over", got)
			}
			time.Sleep(2 * span)
		}
		_ = far.Close()
		_ = g.Close()
	})
}

func TestWritesAtOnceThenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, far := gathered(t)
		start := time.Now()
		mustWrite(t, g, "first ")
		if got, after := next(t, far, start); got != "first " || after != 0 {
			t.Errorf("%q after %v, want the first at once", got, after)
		}
		for _, text := range []string{"second ", "third ", "fourth "} {
			mustWrite(t, g, text)
		}
		if got, after := next(t, far, start); got != "second third fourth " || after != window {
			t.Errorf("%q after %v, want the others together after %v", got, after, window)
		}
		time.Sleep(time.Second)
		start = time.Now()
		go mustWrite(t, g, "last")
		if got, after := next(t, far, start); got != "last" || after != 0 {
			t.Errorf("%q after %v, want it at once after a pause", got, after)
		}
	})
}

// A server that does not read must not fill the memory.
func TestIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, far := gathered(t)
		text := bytes.Repeat([]byte("x"), 1<<10)
		taken := 0
		go func() {
			for range 1000 {
				if _, err := g.Write(text); err != nil {
					return
				}
				taken += len(text)
			}
			_ = g.Close()
		}()
		synctest.Wait()
		if taken > 2*most {
			t.Errorf("%d bytes were taken from the writer, want it held up at %d", taken, most)
		}
		if n, err := io.Copy(io.Discard, far); n != 1000<<10 || err != nil {
			t.Errorf("%d bytes came, %v, want all", n, err)
		}
	})
}

func TestFailureClosesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := gathered(t) // nobody reads
		start := time.Now()
		mustWrite(t, g, "lost")
		if _, err := g.Read(make([]byte, 1)); err == nil || time.Since(start) != writeTimeout {
			t.Errorf("Read: %v after %v, want the connection closed after %v", err, time.Since(start), writeTimeout)
		}
		synctest.Wait()
		if n, err := g.Write([]byte("more")); n != 0 || err == nil {
			t.Errorf("Write = %d, %v, want the error of the write before", n, err)
		}
	})
}

func TestCloseSendsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, far := gathered(t)
		mustWrite(t, g, "first ")
		if got, _ := next(t, far, time.Now()); got != "first " {
			t.Errorf("%q", got)
		}
		mustWrite(t, g, "rest")
		go func() { _ = g.Close() }()
		if got, err := io.ReadAll(far); string(got) != "rest" || err != nil {
			t.Errorf("%q, %v, want the rest and then the end", got, err)
		}
		if _, err := g.Write([]byte("late")); err == nil {
			t.Error("Write after Close did not fail")
		}
	})
}

func TestCloseDoesNotWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := gathered(t) // nobody reads
		mustWrite(t, g, "lost")
		synctest.Wait() // the write is under way
		start := time.Now()
		_ = g.Close()
		if took := time.Since(start); took > closeTimeout {
			t.Errorf("Close took %v, want at most %v", took, closeTimeout)
		}
	})
}

// nats.go forgets a connection whose log-in was refused, and dials another.
func TestForgottenLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		g := newConn(near)
		g.begun, g.writes = time.Now(), calm
		mustWrite(t, g, "CONNECT")
		if got, _ := next(t, far, time.Now()); got != "CONNECT" {
			t.Errorf("%q", got)
		}
		time.Sleep(2 * window)
		// A goroutine that is left here is a panic of synctest.
	})
}
