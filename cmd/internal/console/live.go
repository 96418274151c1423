package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// recorder keeps what a handler writes.
type recorder struct {
	header http.Header
	body   bytes.Buffer
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) WriteHeader(status int)      { r.status = status }

// live sends the live part of a page whenever it has changed, as server-sent events. The
// browser ends the stream while nobody sees the page. fragments are the live parts.
func (c *Console) live(fragments http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		at, err := url.Parse(r.URL.Query().Get("at"))
		if err != nil || at.IsAbs() || at.Host != "" {
			http.Error(w, "at must be the path of a page", http.StatusBadRequest)
			return
		}
		inner := r.Clone(r.Context())
		inner.URL, inner.Method = at, http.MethodGet
		if limit, _ := pageOf(inner); limit > pageLength {
			http.Error(w, "a page that long is not live", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // a proxy must not collect events
		if r.Method == http.MethodHead {          // no body may follow, so the stream would never end for the client
			return
		}
		select {
		case c.lives <- struct{}{}:
			defer func() { <-c.lives }()
		default:
			http.Error(w, "too many pages are live", http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(c.closing, cancel)()
		out := http.NewResponseController(w)
		c.stream(ctx, fragments, inner.WithContext(ctx), func(text []byte) error {
			if err := out.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
				return err
			}
			if _, err := w.Write(text); err != nil {
				return err
			}
			return out.Flush()
		})
	}
}

// stream renders the live part again and again, and sends it when it has changed, or a
// comment so that a browser that has gone is noticed.
func (c *Console) stream(ctx context.Context, fragments http.Handler, r *http.Request, send func([]byte) error) {
	every := time.Second
	for _, s := range c.allPages() {
		if mux := http.NewServeMux(); s.every > every {
			mux.HandleFunc(s.path, func(http.ResponseWriter, *http.Request) {})
			if _, pattern := mux.Handler(r); pattern != "" {
				every = s.every
			}
		}
	}
	var before [sha256.Size]byte // of what was sent: a page for each browser would take much memory
	var sent time.Time
	for {
		text, sum, err := event(fragments, r)
		if err != nil {
			return
		}
		switch {
		case text != nil && sum != before:
			before = sum
		case time.Since(sent) >= 15*time.Second:
			text = []byte(": still here\n\n")
		default:
			text = nil
		}
		if text != nil {
			if send(text) != nil {
				return
			}
			sent = time.Now()
		}
		if !rest(ctx, every) {
			return
		}
	}
}

// event is the live part as an event, and its hash; nil: it cannot be had now.
func event(fragments http.Handler, r *http.Request) (text []byte, sum [sha256.Size]byte, err error) {
	got := &recorder{header: http.Header{}, status: http.StatusOK}
	fragments.ServeHTTP(got, r)
	if got.status == http.StatusInternalServerError { // it cannot be rendered
		return nil, sum, nil
	}
	encoded, err := json.Marshal(got.body.String())
	return fmt.Appendf(nil, "data: %s\n\n", encoded), sha256.Sum256(got.body.Bytes()), err
}
