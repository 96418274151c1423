package console

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"orderworker/dedupe/storetest"
)

// events opens the live part of a page, and returns what it sends.
func (e *env) events(at string) <-chan string {
	e.T.Helper()
	r, err := http.NewRequestWithContext(e.T.Context(), "GET", e.base+"/live?at="+url.QueryEscape(at), nil)
	ok(e.T, err)
	res, err := http.DefaultClient.Do(r)
	ok(e.T, err)
	e.T.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		e.T.Fatalf("live %s: %s", at, res.Status)
	}
	found := make(chan string, 100)
	go func() {
		defer close(found)
		lines := bufio.NewReader(res.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			var text string
			if data, isData := strings.CutPrefix(line, "data: "); isData && json.Unmarshal([]byte(data), &text) == nil {
				found <- text
			}
		}
	}()
	return found
}

// waitEvent waits for an event that has a text.
func waitEvent(t *testing.T, events <-chan string, part string) {
	t.Helper()
	end := time.After(time.Minute)
	for {
		select {
		case text, open := <-events:
			if !open {
				t.Fatalf("the stream has ended without %q", part)
			}
			if strings.Contains(text, part) {
				return
			}
		case <-end:
			t.Fatalf("not within a minute: an event with %q", part)
		}
	}
}

// Readers cannot take all memory: live pages are short, and not for ever so many.
func TestLivePagesAreBounded(t *testing.T) {
	e := newEnv(t, Config{})
	r := e.reader()
	r.get("/orders?limit=100").want(t, http.StatusOK, "data-live=")
	if body := r.get("/orders?limit=101").want(t, http.StatusOK, "load the page again").body; strings.Contains(body, "data-live=") {
		t.Error("a long page is live")
	}
	r.get("/live?at="+url.QueryEscape("/orders?limit=1000")).want(t, http.StatusBadRequest)
	for range maxLives {
		waitEvent(t, e.events("/orders"), "No order is found")
	}
	r.get("/live?at=/orders").want(t, http.StatusServiceUnavailable, "too many pages are live")
}

// HEAD of a live page is answered at once, so that the connection can be used again.
func TestHeadOfLivePageEnds(t *testing.T) {
	e := newEnv(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, r := range [][2]string{{"HEAD", "/live?at=/"}, {"GET", "/healthz"}} {
		q, err := http.NewRequestWithContext(ctx, r[0], e.base+r[1], nil)
		ok(t, err)
		res, err := http.DefaultClient.Do(q)
		ok(t, err)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%v: %s", r, res.Status)
		}
	}
}

// Of the lists, only a few are searched or rendered at once.
func TestRendersTakeTurns(t *testing.T) {
	e := newEnv(t, Config{})
	c, err := newConsole(t.Context(), Config{}, e.desk, nil, e.logger())
	ok(t, err)
	var release []func()
	for range maxRenders {
		release = append(release, c.renders.take())
	}
	done := make(chan struct{})
	go func() { defer close(done); serve(c, "GET", "/orders") }()
	select {
	case <-done:
		t.Fatal("one more list was rendered")
	case <-time.After(50 * time.Millisecond):
	}
	release[0]()
	storetest.Eventually(t, "it is rendered in its turn", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}
