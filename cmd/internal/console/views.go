package console

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"orderworker/cmd/internal/operator"
	"orderworker/worker"
	"orderworker/worker/halt"
	"orderworker/worker/natsio"
)

// pageLength is how many rows a page has, unless it is asked for more.
const pageLength = 100

// overviewData is what the overview shows.
func (c *Console) overviewData(*http.Request) (any, error) { return c.index.Overview(), nil }

// Orders is a list of orders that were searched for.
type Orders struct {
	*operator.Overview
	Query  string         `json:"query"`
	State  operator.State `json:"state"`
	Orders []operator.Row `json:"orders"`
	More   bool           `json:"more"`
	Page   int            `json:"page"`
	Known  int            `json:"indexed"` // finished orders that were searched

	Unlisted uint64 `json:"unlisted"` // unfinished orders that were not: they are too many

	Valid bool `json:"-"` // the text could be an order's number
}

// ordersData is what the list of orders shows.
func (c *Console) ordersData(r *http.Request) (any, error) {
	q := r.URL.Query()
	text := strings.TrimSpace(q.Get("q"))
	state := operator.State(q.Get("state"))
	if state == "all" {
		state = ""
	}
	known := state == "" || state == unfinished
	for _, s := range operator.States {
		known = known || s == state
	}
	if !known {
		return nil, &problem{http.StatusBadRequest, "state must be one of unfinished, queued, claimed, waiting, in_doubt, paused, unknown, succeeded, failed, or not given"}
	}
	limit, page := pageOf(r)
	defer c.renders.take()()
	rows, more := c.index.Search(Query{Text: text, State: state, Skip: (page - 1) * limit, Limit: limit})
	o := c.index.Overview()
	return &Orders{Overview: o.Overview, Query: text, State: state, Orders: rows, More: more, Page: page, Known: o.Indexed, Unlisted: o.Unlisted, Valid: validNumber(text)}, nil
}

// pageOf returns how many rows a page has, and which page it is, from 1.
func pageOf(r *http.Request) (limit, page int) {
	limit, page = pageLength, 1
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && n > 0 {
		limit = min(n, 1000)
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("page")); err == nil && n > 0 {
		page = min(n, 1_000_000)
	}
	return limit, page
}

// validNumber reports whether an order can have this number.
func validNumber(text string) bool {
	return len(text) >= 1 && len(text) <= 32 && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' })
}

// numberOf is the order that a request is about.
func numberOf(r *http.Request) string {
	if no := r.PathValue("outTradeNo"); no != "" {
		return no
	}
	return r.URL.Query().Get("no")
}

// orderData is what the page of one order shows.
func (c *Console) orderData(r *http.Request) (any, error) {
	no := numberOf(r)
	if !validNumber(no) {
		return nil, &problem{http.StatusNotFound, "no order has such a number: 1 to 32 printable ASCII characters without space or comma"}
	}
	found := c.desk.Order(r.Context(), no, false)
	return found, unknown(found)
}

// unknown is the error of an order that nothing is known of; nil where it may be one that
// was not found yet.
func unknown(d *operator.Detail) error {
	if d.Known || len(d.Errors) > 0 || !d.Searched {
		return nil
	}
	return &problem{http.StatusNotFound, "nothing is known of it"}
}

// Doubts are the orders in doubt.
type Doubts struct {
	*operator.Overview
	Orders []operator.Row `json:"orders"` // oldest doubt first
	Count  int            `json:"count"`
	More   bool           `json:"more"`
	Page   int            `json:"page"`
	Whole  bool           `json:"whole"` // every unfinished order could be looked at

	Policy string `json:"-"` // UPSTREAM_RECONCILE
}

// doubtData is what the page of the orders in doubt shows.
func (c *Console) doubtData(r *http.Request) (any, error) {
	rows := c.index.InDoubt()
	limit, page := pageOf(r)
	o := c.index.Overview()
	d := &Doubts{Overview: o.Overview, Count: len(rows), Page: page, Policy: c.desk.UpstreamReconcile}
	d.Whole = !o.Scanned.IsZero() && ordersRead(o.Overview) && o.Counts.Unknown+o.Counts.Uncounted == 0
	rows = rows[min((page-1)*limit, len(rows)):]
	d.Orders, d.More = rows[:min(limit, len(rows))], len(rows) > limit
	return d, nil
}

// Dead are dead letters that were searched for.
type Dead struct {
	*operator.DeadLetters
	Query  string `json:"query"`
	Reason string `json:"reason"`
	Page   int    `json:"page"`

	Unlisted uint64 `json:"unlisted"` // that were not searched
}

// deadData is what the list of dead letters shows.
func (c *Console) deadData(r *http.Request) (any, error) {
	q := r.URL.Query()
	text, reason := strings.TrimSpace(q.Get("q")), q.Get("reason")
	if reason != "" && reason != string(worker.Invalid) && reason != string(worker.Conflict) {
		return nil, &problem{http.StatusBadRequest, "reason must be invalid or conflict, or not given"}
	}
	limit, page := pageOf(r)
	defer c.renders.take()()
	found, unlisted := c.index.Letters(reason, text, (page-1)*limit, limit)
	return &Dead{found, text, reason, page, unlisted}, nil
}

// Letter is a dead letter with what of its request can be read.
type Letter struct {
	*operator.DeadLetter
	Fields []Field `json:"-"` // that can be corrected
}

// Field is a field of an order request.
type Field struct {
	Name, Value, Hint string
	Required          bool
	Valid             bool // it was sent once, under this name, in the form that it must have, or not at all
}

// hints say what a field may be.
var hints = map[string]string{
	"outTradeNo":  "1 to 32 printable ASCII characters, no space, no comma",
	"iccid":       "15 to 22 of 0-9 A-Z a-z",
	"packageCode": "1 to 128 printable characters, no space",
	"renew":       "a whole number; may be left out",
	"expiresAt":   "RFC 3339, such as 2026-11-23T10:00:00Z; may be left out",
}

// letterData is what the page of a dead letter shows.
func (c *Console) letterData(r *http.Request) (any, error) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil || seq == 0 {
		return nil, &problem{http.StatusNotFound, "a dead letter's number is a whole number above 0"}
	}
	l, err := c.desk.Letter(r.Context(), seq)
	if err != nil {
		return nil, err
	}
	return &Letter{l, fieldsOf(l)}, nil
}

// fieldsOf returns the fields of a letter's request as they were sent, with escapes in place
// of what cannot be printed.
func fieldsOf(l *operator.DeadLetter) []Field {
	var fields []Field
	for i, name := range operator.RequestFields {
		sent := sentAs(l, name)
		f := Field{Name: name, Hint: hints[name], Required: i < 3, Valid: len(sent) == 0}
		if len(sent) > 0 {
			last := sent[len(sent)-1]
			text := string(last.value)
			isNumber := text != "" && strings.ContainsAny(text[:1], "-0123456789")
			given := fieldText(last.value)
			f.Value = operator.Shown(given, 300)
			f.Valid = len(sent) == 1 && last.name == name && (text == "null" || isNumber == (name == "renew") && (isNumber || text[0] == '"'))
			if !f.Valid && f.Value != given { // it would be set to the escapes
				f.Value = ""
			}
		}
		fields = append(fields, f)
	}
	return fields
}

// sentField is a field of a letter's request.
type sentField struct {
	name  string
	value json.RawMessage
}

// sentAs returns the fields of a letter's request that have a name, or differ from it only
// in case, _ or -; the last is the one that counts.
func sentAs(l *operator.DeadLetter, name string) []sentField {
	var alike, exact []sentField
	if l.Payload == nil || !json.Valid([]byte(*l.Payload)) {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(*l.Payload))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	plain := strings.NewReplacer("_", "", "-", "")
	for dec.More() {
		f := sentField{}
		t, err := dec.Token()
		f.name, _ = t.(string)
		if err != nil || dec.Decode(&f.value) != nil {
			break
		}
		switch {
		case f.name == name:
			exact = append(exact, f)
		case strings.EqualFold(plain.Replace(f.name), name):
			alike = append(alike, f)
		}
	}
	return append(alike, exact...)
}

// fieldText is a value of JSON for a form.
func fieldText(value json.RawMessage) string {
	text := string(value)
	if err := json.Unmarshal(value, &text); err != nil || string(value) == "null" {
		text = strings.TrimPrefix(string(value), "null")
	}
	return text
}

// Control is the operator's word and those before it.
type Control struct {
	Word     halt.State      `json:"word"`
	Lasts    bool            `json:"paused"`
	Revision uint64          `json:"revision"`
	Unread   string          `json:"unread,omitempty"` // why the word is not known; then nothing is sent
	History  []natsio.Word   `json:"history"`          // newest first
	Buying   operator.Buying `json:"buying"`
}

// said are the operators' words up to one of them. They are read again when there is
// another: the page of them is looked at each second.
type said struct {
	mu       sync.Mutex
	last     halt.State
	revision uint64
	words    []natsio.Word // newest first
}

// history returns the words up to the last one, newest first.
func (c *Console) history(ctx context.Context, last halt.State, revision uint64) ([]natsio.Word, error) {
	s := &c.said
	s.mu.Lock()
	before, known := s.words, s.words != nil && s.last == last && s.revision == revision
	s.mu.Unlock()
	if known {
		return before, nil
	}
	words, err := c.desk.Words(ctx)
	if err != nil {
		return nil, err
	}
	slices.Reverse(words)
	words = append([]natsio.Word{}, words...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.revision, s.words = last, revision, words
	return words, nil
}

// controlData is what the page of the operator's word shows.
func (c *Console) controlData(r *http.Request) (any, error) {
	now, err := c.desk.Before(r.Context(), false)
	if err != nil {
		return nil, err
	}
	words, err := c.history(r.Context(), now.State, now.Seen)
	if err != nil {
		return nil, err
	}
	found := &Control{Word: now.State, Lasts: now.Lasts(time.Now()), Revision: now.Seen, History: words, Buying: c.index.Overview().Buying}
	if now.Unread != nil {
		found.Unread = now.String()
	}
	return found, nil
}
