package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
)

// Config says how a console is served.
type Config struct {
	Addr   string   // where it listens: HOST:PORT
	Prefix string   // of its paths behind a proxy: empty, or /p
	Token  string   // that changes need; empty: nothing can be changed
	Hosts  []string // names by which browsers may reach it, beside localhost; none: any, unless it listens on loopback
}

// Console serves the pages of one deployment.
type Console struct {
	Config
	desk     *operator.Desk
	index    *Index
	guard    *guard
	log      zerolog.Logger
	pages    *templates
	loopback bool
	handler  http.Handler
	closing  context.Context // ends the live streams, and changes after changeGrace
	changes  sync.WaitGroup  // that are carried out
	lives    chan struct{}   // a place for each live stream
	renders  turns
	said     said
}

const (
	// patience is how long a page waits for the stores.
	patience = 8 * time.Second

	// planPatience is how long it may take to look at what is to be changed.
	planPatience = 30 * time.Second

	// changePatience is how long a change may take: a thousand dead letters that are
	// replayed take some seconds.
	changePatience = 2 * time.Minute

	// changeGrace is how long changes have that are under way when the console is stopped.
	// A replay, which is long, ends at once and says how far it came.
	changeGrace = 4 * time.Second

	maxLives = 64 // browsers that are shown live pages at once

	// maxRenders is how many lists are searched or rendered at once, so that readers leave
	// memory and time to the rest.
	maxRenders = 4
)

// turns are places for as many callers as it has room for.
type turns chan struct{}

// take waits for a place, until release.
func (t turns) take() (release func()) {
	t <- struct{}{}
	return func() { <-t }
}

// Run serves the console until ctx ends. Servers that cannot be reached are waited for
// meanwhile: the pages say so. The error says why it could not listen or serve.
func Run(ctx context.Context, cfg Config, s *config.Settings, log zerolog.Logger) error {
	listener, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("console: --addr: %w", err)
	}
	third, stop := context.WithTimeout(ctx, 3*time.Second) // then it serves, and says that NATS is away
	desk, err := operator.Open(third, s)
	stop()
	if err != nil {
		_ = listener.Close()
		return err
	}
	defer desk.Close()
	return Serve(ctx, listener, cfg, desk, log)
}

// Serve is Run for a desk that is open and a listener, which it closes.
func Serve(ctx context.Context, listener net.Listener, cfg Config, desk *operator.Desk, log zerolog.Logger) error {
	defer listener.Close()
	watching, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	c, err := newConsole(watching, cfg, desk, listener.Addr(), log)
	if err != nil {
		return err
	}
	all.Go(func() { c.index.watch(watching, desk, log) })
	server := &http.Server{
		Handler: c.handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		WriteTimeout: changePatience + time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
	}
	log.Info().Stringer("addr", listener.Addr()).Str("prefix", cfg.Prefix).Bool("read_only", cfg.Token == "").Msg("console is served")
	ended := make(chan error, 1)
	all.Go(func() { ended <- server.Serve(listener) })
	select {
	case err := <-ended:
		return fmt.Errorf("console: %w", err)
	case <-ctx.Done():
	}
	stop() // the live streams end
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		_ = server.Close()
	}
	c.changes.Wait() // each has its line in the log; the desk is closed next
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("console: %w", err)
	}
	return nil
}

// newConsole returns a console whose live streams end with ctx.
func newConsole(ctx context.Context, cfg Config, desk *operator.Desk, addr net.Addr, log zerolog.Logger) (*Console, error) {
	renders := make(turns, maxRenders)
	pages, err := parseTemplates(renders)
	if err != nil {
		return nil, err
	}
	c := &Console{
		Config: cfg, desk: desk, index: NewIndex(maxFinished), guard: newGuard(cfg.Token, cfg.Prefix), log: log, pages: pages,
		closing: ctx, lives: make(chan struct{}, maxLives), renders: renders,
	}
	if tcp, ok := addr.(*net.TCPAddr); ok {
		c.loopback = tcp.IP.IsLoopback()
	}
	c.handler = c.protect(c.routes())
	return c, nil
}

// routes are the console's paths, without its prefix.
func (c *Console) routes() http.Handler {
	mux, fragments := http.NewServeMux(), http.NewServeMux()
	for _, p := range c.allPages() {
		mux.HandleFunc("GET "+p.path, c.html(p, false))
		fragments.HandleFunc("GET "+p.path, c.html(p, true))
		mux.HandleFunc("GET "+p.api(), c.json(p))
		if p.plan != nil {
			mux.HandleFunc("POST "+p.path, c.change(p, false))
			mux.HandleFunc("POST "+p.api(), c.change(p, true))
		}
	}
	mux.HandleFunc("GET /live", c.live(fragments))
	mux.HandleFunc("GET /login", c.loginPage)
	mux.HandleFunc("POST /login", c.login)
	mux.HandleFunc("POST /logout", c.logout)
	mux.HandleFunc("GET /static/{file}", serveStatic)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", c.ready)
	mux.HandleFunc("/", c.notFound)
	return mux
}

// ready answers 200 once the index knows the orders.
func (c *Console) ready(w http.ResponseWriter, _ *http.Request) {
	if o := c.index.Overview(); !o.Scanned.IsZero() && len(o.Errors) == 0 {
		fmt.Fprintln(w, "ok")
		return
	}
	http.Error(w, "not every server could be asked, see the pages", http.StatusServiceUnavailable)
}

// protect sets the headers that every answer has, takes the prefix off, and refuses a
// change that comes from another site's page.
func (c *Console) protect(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	inner := http.StripPrefix(c.Prefix, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers would send the origin null
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		h.Set("Cache-Control", "no-store")
		if !c.knows(r.Host) {
			http.Error(w, "this console is not known by that name: name it with --host", http.StatusMisdirectedRequest)
			return
		}
		if err := origin.Check(r); err != nil {
			c.log.Warn().Str("remote", r.RemoteAddr).Str("origin", cut(r.Header.Get("Origin"), 200)).Str("path", cut(r.URL.Path, 200)).Msg("console refused a request of another site")
			http.Error(w, "refused: the request comes from another site's page", http.StatusForbidden)
			return
		}
		// The mux would lead to the clean address without the prefix.
		if to := c.cleaned(r); to != "" {
			http.Redirect(w, r, to, http.StatusPermanentRedirect)
			return
		}
		// A proxy may pass the prefix on or take it off: both are served.
		if c.prefixed(r.URL.Path) {
			if r.URL.Path == c.Prefix {
				http.Redirect(w, r, c.Prefix+"/", http.StatusMovedPermanently)
				return
			}
			inner.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// cleaned is the address of a request whose path has //, . or .. in it; empty: it has not.
func (c *Console) cleaned(r *http.Request) string {
	escaped := r.URL.EscapedPath()
	clean := path.Clean("/" + escaped)
	if strings.HasSuffix(escaped, "/") && clean != "/" {
		clean += "/"
	}
	if clean == escaped {
		return ""
	}
	if !c.prefixed(clean) {
		clean = c.Prefix + clean
	}
	if r.URL.RawQuery != "" {
		clean += "?" + r.URL.RawQuery
	}
	return clean
}

// prefixed reports whether the prefix is on a path.
func (c *Console) prefixed(path string) bool {
	return c.Prefix != "" && (path == c.Prefix || strings.HasPrefix(path, c.Prefix+"/"))
}

// CheckPrefix says why a prefix cannot be used: behind a proxy that takes it off, the page
// of that name could not be told from it.
func CheckPrefix(prefix string) error {
	first, _, _ := strings.Cut(strings.TrimPrefix(prefix, "/"), "/")
	if slices.Contains([]string{"orders", "order", "in-doubt", "dead", "control", "api", "live", "login", "logout", "static", "healthz", "readyz"}, first) {
		return fmt.Errorf("must not begin with /%s, which is a page of the console", first)
	}
	return nil
}

// knows reports whether browsers may reach the console by the name in host. One that
// listens on loopback, or was given names, takes no foreign ones: otherwise any site could
// have its own name resolve to 127.0.0.1, where a port may be published, and read the pages.
func (c *Console) knows(host string) bool {
	if !c.loopback && len(c.Hosts) == 0 {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	return net.ParseIP(host) != nil || host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(c.Hosts, host)
}

// cut returns the first bytes of text.
func cut(text string, most int) string { return text[:min(len(text), most)] }
