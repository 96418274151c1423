package console

import (
	"bytes"
	"context"
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
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no") // a proxy must not collect events
		out := http.NewResponseController(w)
		inner := r.Clone(ctx)
		inner.URL, inner.Method = at, http.MethodGet
		c.stream(ctx, fragments, inner, func(text []byte) error {
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
	var before []byte
	for quiet := time.Duration(0); ; quiet += every {
		got := &recorder{header: http.Header{}, status: http.StatusOK}
		fragments.ServeHTTP(got, r)
		if got.status != http.StatusOK && got.status != http.StatusNotFound {
			got.body.Reset() // the last one stays
			got.body.Write(before)
		}
		text := ": still here\n\n"
		if !bytes.Equal(got.body.Bytes(), before) {
			before = got.body.Bytes()
			encoded, err := json.Marshal(string(before))
			if err != nil {
				return
			}
			text, quiet = fmt.Sprintf("data: %s\n\n", encoded), 0
		}
		if quiet == 0 || quiet >= 15*time.Second {
			if send([]byte(text)) != nil {
				return
			}
			quiet = 0
		}
		if !rest(ctx, every) {
			return
		}
	}
}
