package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"orderworker/cmd/internal/operator"
)

// spec is one of the console's pages.
type spec struct {
	path  string // as http.ServeMux takes it
	name  string // of its template
	title string
	nav   string        // which entry of the menu it belongs to
	every time.Duration // how often it is looked at anew where it is live; 0: it is not
	data  func(r *http.Request) (any, error)
	plan  func(ctx context.Context, r *http.Request, who string) (*change, error) // nil: nothing can be changed here
}

// api is the path of the page's data as JSON.
func (s *spec) api() string {
	if s.path == "/{$}" {
		return "/api/overview"
	}
	return "/api" + s.path
}

func (c *Console) allPages() []*spec {
	return []*spec{
		{path: "/{$}", name: "overview", title: "Overview", nav: "/", every: time.Second, data: c.overviewData},
		{path: "/orders", name: "orders", title: "Orders", nav: "/orders", every: time.Second, data: c.ordersData},
		{path: "/orders/{outTradeNo}", name: "order", title: "Order", nav: "/orders", every: 3 * time.Second, data: c.orderData, plan: c.planOrder},
		// A browser takes /orders/.. for another page, and such a number is valid.
		{path: "/order", name: "order", title: "Order", nav: "/orders", every: 3 * time.Second, data: c.orderData, plan: c.planOrder},
		{path: "/in-doubt", name: "doubt", title: "In doubt", nav: "/in-doubt", every: time.Second, data: c.doubtData},
		{path: "/dead", name: "dead", title: "Dead letters", nav: "/dead", every: time.Second, data: c.deadData, plan: c.planDead},
		{path: "/dead/{seq}", name: "letter", title: "Dead letter", nav: "/dead", data: c.letterData, plan: c.planLetter},
		{path: "/control", name: "control", title: "Control", nav: "/control", every: time.Second, data: c.controlData, plan: c.planControl},
	}
}

// page is what every template is given.
type page struct {
	Title       string
	Nav         string
	Base        string // the prefix of all paths
	Here        string // the page's own address, with the prefix
	Path        string // and without
	Live        string // where its live part comes from; empty: it is not live
	API         string // the page's data as JSON; empty: it has none
	Now         time.Time
	MaxAttempts int
	Fleet       *Overview
	CanChange   bool   // there is a token
	LoggedIn    bool   // it was given
	Who         string // by whom
	Data        any
}

// newPage returns a page for the request.
func (c *Console) newPage(r *http.Request, title, nav string) *page {
	who, ok := c.guard.who(r)
	return &page{
		Title: title, Nav: nav, Base: c.Prefix, Here: c.here(r), Path: strings.TrimPrefix(c.here(r), c.Prefix), Now: time.Now().UTC(), MaxAttempts: c.desk.MaxAttempts,
		Fleet: c.index.Overview(), CanChange: c.guard.on(), LoggedIn: ok, Who: who,
	}
}

// here is the address of the request, with the prefix.
func (c *Console) here(r *http.Request) string {
	u := url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	return c.Prefix + u.String()
}

// problem is an error with the HTTP status that says what kind it is.
type problem struct {
	status int
	text   string
}

func (p *problem) Error() string { return p.text }

// statusOf is the HTTP status of an error.
func statusOf(err error) int {
	if p, ok := errors.AsType[*problem](err); ok {
		return p.status
	}
	if errors.Is(err, operator.ErrNoLetter) {
		return http.StatusNotFound
	}
	return http.StatusServiceUnavailable
}

// html returns the handler of a page; of its live part alone, if fragment is set.
func (c *Console) html(s *spec, fragment bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		data, err := s.data(r.WithContext(ctx))
		switch {
		case data == nil && err != nil && fragment:
			p := c.newPage(r, s.title, s.nav)
			p.Data = failure{statusOf(err), err.Error()}
			c.pages.fragment(w, "error", p)
			return
		case data == nil && err != nil:
			c.fail(w, r, err)
			return
		}
		p := c.newPage(r, s.title, s.nav)
		p.Data = data
		p.API = c.Prefix + "/api" + p.Path
		if p.Path == "/" {
			p.API = c.Prefix + "/api/overview"
		}
		if limit, _ := pageOf(r); s.every > 0 && limit <= pageLength {
			p.Live = c.Prefix + "/live?at=" + url.QueryEscape((&url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}).String())
		}
		status := http.StatusOK
		if err != nil {
			status = statusOf(err)
		}
		if fragment {
			c.pages.fragment(w, s.name, p)
			return
		}
		c.pages.write(w, status, s.name, p)
	}
}

// json returns the handler of a page's data.
func (c *Console) json(s *spec) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		data, err := s.data(r.WithContext(ctx))
		switch {
		case data == nil && err != nil:
			c.failJSON(w, err)
		case err != nil:
			writeJSON(w, statusOf(err), data)
		default:
			writeJSON(w, http.StatusOK, data)
		}
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // it escapes what HTML would take for markup
}

// failJSON answers with an error.
func (c *Console) failJSON(w http.ResponseWriter, err error) {
	writeJSON(w, statusOf(err), map[string]string{"error": err.Error()})
}

// failure is what the page of an error shows.
type failure struct {
	Status int
	Text   string
}

// fail answers with the page of an error.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	p := c.newPage(r, http.StatusText(status), "")
	p.Data = failure{status, err.Error()}
	c.pages.write(w, status, "error", p)
}

// notFound answers for all addresses that are none.
func (c *Console) notFound(w http.ResponseWriter, r *http.Request) {
	err := &problem{http.StatusNotFound, "there is no such page"}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		err = &problem{http.StatusMethodNotAllowed, "nothing can be changed at this address"}
		fallthrough
	case len(r.URL.Path) >= 5 && r.URL.Path[:5] == "/api/":
		c.failJSON(w, err)
	default:
		c.fail(w, r, err)
	}
}
