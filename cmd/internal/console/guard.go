package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"orderworker/cmd/internal/operator"
)

const (
	cookieName = "orderworker_console"
	sessionTTL = 12 * time.Hour
	maxName    = 64 // bytes of an operator's name
)

// guard knows who may change something: whoever has given the token.
type guard struct {
	token [sha256.Size]byte
	key   []byte // signs sessions; it follows from the token, so a new token ends them all
	set   bool
	path  string
}

func newGuard(token, prefix string) *guard {
	g := &guard{set: token != "", path: prefix + "/"}
	g.token = sha256.Sum256([]byte(token))
	g.key = sign([]byte(token), []byte("orderworker console session"))
	return g
}

func sign(key, text []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return mac.Sum(nil)
}

// on reports whether anything can be changed at all.
func (g *guard) on() bool { return g.set }

// accepts reports whether token is the console's, in a time that does not depend on either.
func (g *guard) accepts(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1 && g.set
}

// session is what a cookie says of an operator who has given the token.
type session struct {
	Name  string `json:"name"`
	Until int64  `json:"until"` // Unix time
}

// encode returns the cookie of a session.
func (g *guard) encode(s session) (string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(text) + "." + base64.RawURLEncoding.EncodeToString(sign(g.key, text)), nil
}

// decode returns the session of a cookie; false: it is none of ours, or is over.
func (g *guard) decode(cookie string, now time.Time) (s session, ok bool) {
	first, second, _ := strings.Cut(cookie, ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	mac, err2 := base64.RawURLEncoding.DecodeString(second)
	if err != nil || err2 != nil || !hmac.Equal(mac, sign(g.key, text)) || json.Unmarshal(text, &s) != nil {
		return session{}, false
	}
	return s, now.Unix() < s.Until
}

// who returns the operator that a request comes from; false: it does not have the token.
func (g *guard) who(r *http.Request) (name string, ok bool) {
	if !g.set {
		return "", false
	}
	if token, found := bearer(r); found {
		return operatorName(r.Header.Get("X-Operator")), g.accepts(token)
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return "", false
	}
	s, ok := g.decode(cookie.Value, time.Now())
	return s.Name, ok
}

// bearer returns the token in the header Authorization.
func bearer(r *http.Request) (token string, found bool) {
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), found && strings.EqualFold(scheme, "Bearer")
}

// operatorName is the name that somebody gives, for the log.
func operatorName(given string) string {
	name := operator.Shown(strings.TrimSpace(cut(given, maxName)), 0)
	if name == "" {
		return "console"
	}
	return name
}

// loginView is what the form shows.
type loginView struct{ Next, Name, Wrong string }

// loginPage shows the form.
func (c *Console) loginPage(w http.ResponseWriter, r *http.Request) {
	p := c.newPage(r, "Log in", "")
	p.Data = loginView{Next: localPath(r.URL.Query().Get("next"))}
	c.pages.write(w, http.StatusOK, "login", p)
}

// login gives a session to whoever gives the token.
func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		c.fail(w, r, &problem{http.StatusBadRequest, "the form cannot be read"})
		return
	}
	name := operatorName(r.PostFormValue("name"))
	if !c.guard.accepts(r.PostFormValue("token")) {
		c.log.Warn().Str("who", name).Str("remote", r.RemoteAddr).Msg("console login refused")
		p := c.newPage(r, "Log in", "")
		p.Data = loginView{Next: localPath(r.PostFormValue("next")), Name: name, Wrong: "That is not the token."}
		c.pages.write(w, http.StatusUnauthorized, "login", p)
		return
	}
	value, err := c.guard.encode(session{name, time.Now().Add(sessionTTL).Unix()})
	if err != nil {
		c.fail(w, r, err)
		return
	}
	c.log.Info().Str("who", name).Str("remote", r.RemoteAddr).Msg("console login")
	http.SetCookie(w, c.cookie(r, value, int(sessionTTL/time.Second)))
	http.Redirect(w, r, c.Prefix+localPath(r.PostFormValue("next")), http.StatusSeeOther)
}

// logout ends the session in this browser.
func (c *Console) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, c.cookie(r, "", -1))
	http.Redirect(w, r, c.Prefix+"/", http.StatusSeeOther)
}

func (c *Console) cookie(r *http.Request, value string, age int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: value, Path: c.guard.path, MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"),
	}
}

// localPath returns a path of this console, without its prefix; / in place of anything that
// a browser could take for another site.
func localPath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}
