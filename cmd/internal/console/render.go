package console

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"orderworker/cmd/internal/operator"
	"orderworker/worker"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static/*
var staticFiles embed.FS

// templates are the parsed templates, by page.
type templates struct {
	pages   map[string]*template.Template
	renders turns
}

// parseTemplates parses the layout with each page.
func parseTemplates(renders turns) (*templates, error) {
	layout, err := template.New("layout").Funcs(functions()).ParseFS(templateFiles, "templates/layout.html", "templates/rows.html")
	if err != nil {
		return nil, err
	}
	t := &templates{map[string]*template.Template{}, renders}
	for _, name := range []string{"overview", "orders", "order", "doubt", "dead", "letter", "control", "login", "confirm", "done", "error"} {
		one, err := layout.Clone()
		if err != nil {
			return nil, err
		}
		if t.pages[name], err = one.ParseFS(templateFiles, "templates/"+name+".html"); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// write writes a page. It is rendered first, so that an error does not cut it short.
func (t *templates) write(w http.ResponseWriter, status int, name string, p *page) {
	t.execute(w, status, name, "layout", p)
}

// fragment writes the live part of a page.
func (t *templates) fragment(w http.ResponseWriter, name string, p *page) {
	t.execute(w, http.StatusOK, name, "live-part", p)
}

func (t *templates) execute(w http.ResponseWriter, status int, name, part string, p *page) {
	var b bytes.Buffer
	release := t.renders.take()
	err := t.pages[name].ExecuteTemplate(&b, part, p)
	release() // before a client that reads slowly
	if err != nil {
		http.Error(w, "this page cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the browser has gone
}

// functions are what the templates call. Whatever comes from a publisher or from the
// vendor goes through show, which leaves nothing but printable characters; html/template
// escapes those.
func functions() template.FuncMap {
	return template.FuncMap{
		"show":      operator.Shown,
		"dash":      func(s string) string { return cmp.Or(s, "–") },
		"ago":       func(t worker.Time, now time.Time) string { return operator.Ago(now.Sub(t.Time)) },
		"clock":     func(t worker.Time, now time.Time) string { return operator.Clock(t.Time, now) },
		"clockOf":   operator.Clock,
		"agoOf":     func(t, now time.Time) string { return operator.Ago(now.Sub(t)) },
		"order":     orderPath,
		"tries":     func(r operator.Row, most int) string { return r.Tries(most) },
		"next":      nextText,
		"last":      func(r operator.Row, now time.Time) string { return r.LastText(now) },
		"class":     stateClass,
		"words":     stateWords,
		"chart":     newChart,
		"decimal":   func(f float64) string { return fmt.Sprintf("%.1f", f) },
		"percent":   percent,
		"said":      operator.Said,
		"query":     pageQuery,
		"sum":       func(a, b int) int { return a + b },
		"payload":   shownPayload,
		"static":    staticPath,
		"headers":   publisherHeaders,
		"nav":       newEntryOfMenu,
		"states":    listStates,
		"moment":    func(m operator.Moment) string { return m.Words() },
		"headline":  headline,
		"show2":     shownLines,
		"finished":  func(s operator.State) bool { return s.Finished() },
		"thousands": thousands,
		"count": func(c operator.Counts, name string, n uint64) string {
			if !c.Known(name) {
				return "?"
			}
			return thousands(n)
		},
		"since": func(s *operator.Streak, now time.Time) string { return s.Text(now) },
	}
}

// thousands is a number with a narrow space between each three digits.
func thousands(n any) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// menuEntry is an entry of the menu.
type menuEntry struct {
	Base, To, Text string
	Key            string // of its count; empty: it has none
	Count          uint64
	Current        bool
}

func newEntryOfMenu(p *page, to, text, key string, count any) menuEntry {
	n, _ := count.(uint64) // an entry without a count has 0, an int
	return menuEntry{p.Base, to, text, key, n, p.Nav == to}
}

// listStates are the states that a list can be asked for.
func listStates() []operator.State {
	return append([]operator.State{"", unfinished}, operator.States...)
}

// headline is the state of an order in a sentence, without its number.
func headline(d *operator.Detail, now time.Time, most int) string {
	_, text, found := strings.Cut(d.Headline(now, most), ": ")
	if !found {
		return ""
	}
	return text
}

// shownLines is show for text of this program that may have several lines.
func shownLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = operator.Shown(line, 0)
	}
	return strings.Join(lines, "\n")
}

// orderPath is the address of an order's page. A browser would take the numbers . and ..
// for parts of a path.
func orderPath(base, no string) string {
	if no == "." || no == ".." {
		return base + "/order?no=" + no
	}
	return base + "/orders/" + url.PathEscape(no)
}

// stateClass is the class of a state in the stylesheet.
func stateClass(s any) string {
	switch text := fmt.Sprint(s); text {
	case "succeeded", "bought":
		return "state good"
	case "failed", "rejected":
		return "state bad"
	case "in_doubt", "unknown":
		return "state doubt"
	case "waiting", "paused":
		return "state wait"
	case "claimed":
		return "state busy"
	}
	return "state"
}

// stateWords is a state for people.
func stateWords(s any) string { return strings.ReplaceAll(fmt.Sprint(s), "_", " ") }

// percent is a part of a whole, 0 to 100.
func percent(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(max(part/whole, 0), 1) * 100
}

// pageQuery is the query of another page of a list.
func pageQuery(pairs ...any) template.URL {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if value := fmt.Sprint(pairs[i+1]); value != "" {
			q.Set(fmt.Sprint(pairs[i]), value)
		}
	}
	return template.URL("?" + q.Encode()) // every value is escaped
}

// maxShown is how many characters of a payload a page shows.
const maxShown = 64 << 10

// shownPayload is the payload of a letter as text, line by line.
func shownPayload(l *operator.DeadLetter) string {
	text := string(l.Raw)
	if l.Payload != nil {
		text = *l.Payload
	}
	text = cut(text, 4*maxShown)
	if l.Payload != nil {
		for len(text) > 0 && !utf8.ValidString(text) { // cut within a character
			text = text[:len(text)-1]
		}
	}
	return operator.Shown(text, maxShown)
}

// publisherHeaders are the headers of a letter that its publisher has set.
func publisherHeaders(l *operator.DeadLetter) map[string][]string {
	theirs := map[string][]string{}
	for name, values := range l.Headers {
		if !strings.HasPrefix(name, "Dead-") || strings.HasPrefix(name, "Dead-Nats-") {
			theirs[name] = values
		}
	}
	return theirs
}

// staticPath is the address of a static file; it changes with the file's content.
func staticPath(base, name string) (string, error) {
	data, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		return "", err
	}
	return base + "/static/" + name + "?v=" + versionOf(data), nil
}

// versionOf tells one content of a static file from another.
func versionOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6])
}

// serveStatic serves the stylesheet, the script and the icon.
func serveStatic(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	data, err := staticFiles.ReadFile("static/" + path.Base(name))
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	if err != nil || types[path.Ext(name)] == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", types[path.Ext(name)])
	if r.URL.Query().Get("v") == versionOf(data) { // while another version is rolled out, it may be the other's
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(data)
}
