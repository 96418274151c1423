package console

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"orderworker/cmd/internal/operator"
)

// maxForm is how large a form may be: a thousand numbers of dead letters fit in.
const maxForm = 64 << 10

// change is something that an operator wants to change, looked at and not done yet.
type change struct {
	action   string // pause, resume, settle, cancel, replay: for the audit line
	object   string // what it is about: an order's number, letters, the deployment
	count    int    // of what is changed
	unit     string // of the count
	question string // what do is going to do, to the letter
	seen     string // state behind the question that is not shown (revision, letters); if it changes, the operator is asked again
	note     string // what may have changed by the next moment without making it another change
	danger   bool   // it buys, or cannot be taken back
	do       func(ctx context.Context) (done string, err error)
	close    func() // may be nil
}

// digest names exactly this change: an operator agrees to what was shown, and to nothing
// that has become different meanwhile.
func (ch *change) digest() string {
	sum := sha256.Sum256([]byte(ch.action + "\x00" + ch.object + "\x00" + ch.seen + "\x00" + ch.question))
	return hex.EncodeToString(sum[:16])
}

// confirmView is what the page that asks shows.
type confirmView struct {
	Title, Question, Note string
	Count                 int
	Unit                  string
	Danger, Changed       bool
	Fields                url.Values // of the form, to be sent again
	Confirm               string
	Back                  string
}

// doneView is what the page after a change shows.
type doneView struct{ Text, Back string }

// change returns the handler of a page's changes. It checks the token (the origin was
// checked before), asks, and does what was agreed to.
func (c *Console) change(s *spec, api bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fail := func(err error) {
			if api {
				c.failJSON(w, err)
				return
			}
			c.fail(w, r, err)
		}
		who, err := c.allowed(w, r)
		if err != nil {
			fail(err)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			fail(&problem{http.StatusBadRequest, "the form cannot be read, or is larger than 64 KiB"})
			return
		}
		// A browser that goes away does not leave a change half done.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), changePatience)
		defer cancel()
		defer context.AfterFunc(c.closing, func() { time.AfterFunc(changeGrace, cancel) })()
		looking, stop := context.WithTimeout(ctx, planPatience)
		defer stop()
		ch, err := s.plan(looking, r, who)
		if err != nil {
			fail(conflict(err))
			return
		}
		if ch.close != nil {
			defer ch.close()
		}
		confirm := r.PostFormValue("confirm")
		agreed := subtle.ConstantTimeCompare([]byte(confirm), []byte(ch.digest())) == 1 || api && confirm == "yes"
		if !agreed {
			c.ask(w, r, ch, api)
			return
		}
		done, err := c.carryOut(ctx, r, ch, who)
		switch {
		case err != nil:
			fail(conflict(err))
		case api:
			writeJSON(w, http.StatusOK, map[string]any{"done": true, "action": ch.action, "count": ch.count, "text": done})
		default:
			p := c.newPage(r, "Done", s.nav)
			p.Data = doneView{done, c.here(r)}
			c.pages.write(w, http.StatusOK, "done", p)
		}
	}
}

// allowed returns who makes the request, or why that one may change nothing.
func (c *Console) allowed(w http.ResponseWriter, r *http.Request) (who string, err error) {
	if !c.guard.on() {
		return "", &problem{http.StatusForbidden, "this console is read-only: it was started without CONSOLE_TOKEN"}
	}
	who, ok := c.guard.who(r)
	if ok {
		return who, nil
	}
	c.log.Warn().Str("remote", r.RemoteAddr).Str("path", cut(r.URL.Path, 200)).Msg("console refused a change: no token, or a wrong one")
	w.Header().Set("WWW-Authenticate", `Bearer realm="orderworker console"`)
	return "", &problem{http.StatusUnauthorized, "not logged in: log in at " + c.Prefix + "/login with the token (or send it as Authorization: Bearer)"}
}

// conflict makes an error that says why a change is not possible one of the client's,
// unless it is already.
func conflict(err error) error {
	if _, ok := errors.AsType[*problem](err); ok || errors.Is(err, operator.ErrNoLetter) {
		return err
	}
	return &problem{http.StatusConflict, err.Error()}
}

// ask shows what would be done.
func (c *Console) ask(w http.ResponseWriter, r *http.Request, ch *change, api bool) {
	before := r.PostFormValue("confirm")
	if api {
		writeJSON(w, http.StatusOK, map[string]any{
			"done": false, "action": ch.action, "count": ch.count, "question": ch.question, "note": ch.note,
			"confirm": ch.digest(), "changed": before != "",
		})
		return
	}
	fields := maps.Clone(r.PostForm)
	delete(fields, "confirm")
	p := c.newPage(r, "Is that right?", "")
	p.Data = confirmView{
		Title: ch.action, Question: ch.question, Note: ch.note, Count: ch.count, Unit: ch.unit, Danger: ch.danger,
		Changed: before != "", Fields: fields, Confirm: ch.digest(), Back: c.here(r),
	}
	c.pages.write(w, http.StatusOK, "confirm", p)
}

// carryOut does what was agreed to, and writes the audit line.
func (c *Console) carryOut(ctx context.Context, r *http.Request, ch *change, who string) (done string, err error) {
	c.changes.Add(1)
	defer c.changes.Done()
	began := time.Now()
	done, err = ch.do(ctx)
	line := c.log.Info()
	if err != nil {
		line = c.log.Error().Err(err)
	}
	if forwarded := r.Header.Get("X-Forwarded-For"); forwarded != "" {
		line.Str("forwarded", cut(forwarded, 200))
	}
	line.Str("who", who).Str("remote", r.RemoteAddr).Str("action", ch.action).Str("object", ch.object).Int("count", ch.count).
		Str("what", ch.question).Str("outcome", done).Dur("took", time.Since(began)).Msg("operator's change")
	c.index.Poke()
	return done, err
}

// Names are the names of the fields, sorted, for the form that sends them again.
func (v confirmView) Names() []string { return slices.Sorted(maps.Keys(v.Fields)) }
