package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxRulesBytes is the largest body of an admin request.
const maxRulesBytes = 1 << 20

// adminPaths are the paths of the admin pages.
var adminPaths = []string{"/healthz", "/book", "/rules", "/down", "/lookup-mode", "/state", "/reset"}

// addAdmin adds the admin pages to mux. They are not part of the vendor's API and
// never count as calls. An error is answered as text: HTTP 400, or 405 for a method
// that the page does not have.
//
//	GET /healthz         200
//	GET /book            the Book as JSON; /book?totals the Totals alone
//	GET /rules           the rules, one per line
//	PUT, POST /rules     replace them (all, or on any error none)
//	PUT, POST /down      body true or false: Vendor.SetDown
//	GET /lookup-mode     the words of the lookup's mode
//	PUT, POST /lookup-mode   replace them; an empty body is the honest mode
//	PUT, POST /state?outTradeNo=X&state=2   Vendor.SetState
//	POST /reset          Vendor.Reset
func (v *Vendor) addAdmin(mux *http.ServeMux) {
	for _, path := range adminPaths { // a pattern with a method goes before one without
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, r.Method+" is not for "+path, http.StatusMethodNotAllowed)
		})
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /book", v.writeBook)
	mux.HandleFunc("GET /rules", func(w http.ResponseWriter, _ *http.Request) {
		for _, rule := range v.Totals().Rules {
			_, _ = fmt.Fprintln(w, rule.Rule)
		}
	})
	mux.HandleFunc("GET /lookup-mode", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, v.LookupMode()) })
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) { v.Reset() })
	for path, set := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/rules": v.readRules, "/down": v.readDown, "/lookup-mode": v.readLookupMode, "/state": v.readState,
	} {
		handle := func(w http.ResponseWriter, r *http.Request) {
			if err := set(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		}
		mux.HandleFunc("PUT "+path, handle)
		mux.HandleFunc("POST "+path, handle)
	}
}

func (v *Vendor) writeBook(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("totals") {
		writeJSON(w, http.StatusOK, v.Totals())
		return
	}
	writeJSON(w, http.StatusOK, v.Book())
}

func (v *Vendor) readRules(w http.ResponseWriter, r *http.Request) error {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRulesBytes))
	if err != nil {
		return fmt.Errorf("read the rules: %w", err)
	}
	rules, err := ParseRules(string(text))
	if err != nil {
		return err
	}
	return v.SetRules(rules)
}

func (v *Vendor) readDown(w http.ResponseWriter, r *http.Request) error {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRulesBytes))
	if err != nil {
		return fmt.Errorf("read true or false: %w", err)
	}
	down, err := strconv.ParseBool(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("down: %w", err)
	}
	v.SetDown(down)
	return nil
}

func (v *Vendor) readLookupMode(w http.ResponseWriter, r *http.Request) error {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRulesBytes))
	if err != nil {
		return fmt.Errorf("read the lookup mode: %w", err)
	}
	mode, err := ParseLookupMode(string(text))
	if err != nil {
		return err
	}
	return v.SetLookupMode(mode)
}

func (v *Vendor) readState(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	no := query.Get("outTradeNo")
	state, err := stateOf(query.Get("state"))
	if err != nil {
		return err
	}
	n := v.SetState(no, state)
	if n == 0 {
		return fmt.Errorf("outTradeNo=%s: nothing was bought under it", no)
	}
	_, _ = fmt.Fprintf(w, "%s: state %d, purchases %d\n", no, state, n)
	return nil
}
