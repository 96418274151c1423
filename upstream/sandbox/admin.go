package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxRulesBytes bounds the body of an admin request.
const maxRulesBytes = 1 << 20

// adminPaths are the addresses that serveAdmin answers.
var adminPaths = []string{"/healthz", "/book", "/rules", "/down", "/lookup-mode", "/state", "/reset"}

// serveAdmin answers what is not part of the vendor's API and never counts as a
// call. Errors are answered as text, with HTTP 400 or 405; any other path is
// refused as the vendor would, with CodePath.
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
	case path == "/lookup-mode" && get:
		_, _ = fmt.Fprintln(w, v.LookupMode())
	case path == "/lookup-mode" && set:
		err = v.readLookupMode(w, r)
	case path == "/state" && set:
		err = v.readState(w, r)
	case path == "/reset" && r.Method == http.MethodPost:
		v.Reset()
	case slices.Contains(adminPaths, path):
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
