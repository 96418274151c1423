package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxRulesBytes bounds the body of an admin request.
const maxRulesBytes = 1 << 20

// serveAdmin answers what is not part of the vendor's API and never counts as a
// call. Errors are answered as text, with HTTP 400 or 405; any other path is
// refused as the vendor would, with CodePath.
//
//	GET /healthz         200
//	GET /book            the Book as JSON; /book?totals the Totals alone
//	GET /rules           the rules, one per line
//	PUT, POST /rules     replace them (all, or on any error none)
//	PUT, POST /down      body true or false: Vendor.SetDown
//	POST /reset          Vendor.Reset
func (v *Vendor) serveAdmin(w http.ResponseWriter, r *http.Request) {
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	set := r.Method == http.MethodPut || r.Method == http.MethodPost
	var err error
	switch path := r.URL.Path; {
	case path == "/healthz" && get:
		_, _ = io.WriteString(w, "ok\n")
	case path == "/book" && get && r.URL.Query().Has("totals"):
		writeJSON(w, http.StatusOK, v.Totals())
	case path == "/book" && get:
		writeJSON(w, http.StatusOK, v.Book())
	case path == "/rules" && get:
		for _, rule := range v.Totals().Rules {
			_, _ = fmt.Fprintln(w, rule.Rule)
		}
	case path == "/rules" && set:
		err = v.readRules(w, r)
	case path == "/down" && set:
		err = v.readDown(w, r)
	case path == "/reset" && r.Method == http.MethodPost:
		v.Reset()
	case path == "/healthz" || path == "/book" || path == "/rules" || path == "/down" || path == "/reset":
		http.Error(w, r.Method+" is not for "+path, http.StatusMethodNotAllowed)
	default:
		v.refuse(w, refusef(CodePath, "no such interface: %s", path))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
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
