package console

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"orderworker/cmd/internal/operator"
	"orderworker/dedupe/storetest"
	"orderworker/worker"
)

// everyChange is one form of each change.
var everyChange = map[string][]string{
	"/control":     {"do", "pause", "reason", "x"},
	"/orders/X-1":  {"do", "settle", "verdict", "not_bought"},
	"/order?no=..": {"do", "cancel"},
	"/dead":        {"do", "replay_all"},
	"/dead/1":      {"do", "replay", "iccid", "8988308650100524999"},
}

// paused reports whether an operator's pause lasts.
func (e *env) paused() bool {
	e.T.Helper()
	word, _, err := e.desk.Word(e.T.Context())
	ok(e.T, err)
	return word.Lasts(time.Now())
}

// A word that nobody can read is shown as such, and replaced.
func TestPauseAndResumeOverAnUnreadableWord(t *testing.T) {
	e := newEnv(t, Config{Token: testToken})
	for do, text := range map[string]string{"pause": "Paused: ", "resume": "Resumed: "} {
		_, err := e.JS.Publish(t.Context(), "$KV.ORDER_CONTROL.ORDERS", []byte("?"))
		ok(t, err)
		e.reader().get("/control").want(t, http.StatusOK, "not known", "what was said before is not known")
		_, done := e.operator().agree("/control", "do", do, "reason", "r")
		done.want(t, http.StatusOK, text)
		e.reader().get("/control").want(t, http.StatusOK, "ann (console)")
	}
}

// Nothing can be changed without the token, nor from another site's page.
func TestChangesNeedTokenAndOrigin(t *testing.T) {
	e := newEnv(t, Config{Token: testToken})
	e.letter([]byte(`{"outTradeNo":"DEAD-1"}`), nil)
	r := e.reader()
	for path, form := range everyChange {
		for _, api := range []string{"", "/api"} {
			form := append([]string{"confirm", "yes"}, form...)
			got := r.post(api+path, form...).want(t, http.StatusUnauthorized)
			if !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s: %v", path, got.header)
			}
			for _, token := range []string{"", "x", testToken + "x", testToken[1:]} {
				r.with("Authorization", "Bearer "+token).post(api+path, form...).want(t, http.StatusUnauthorized)
			}
			r.with("Authorization", "Basic "+testToken).post(api+path, form...).want(t, http.StatusUnauthorized)
			r.with("Cookie", cookieName+"=e30.AAAA").post(api+path, form...).want(t, http.StatusUnauthorized)
			for name, value := range map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"} {
				e.operator().with(name, value).post(api+path, form...).want(t, http.StatusForbidden, "another site")
			}
			e.operator().with("Sec-Fetch-Site", "same-site").post(api+path, form...).want(t, http.StatusForbidden)
			e.operator().with("Origin", "null").post(api+path, form...).want(t, http.StatusForbidden)
		}
	}
	for _, c := range []struct {
		addr  string
		hosts []string
		want  int
	}{{"127.0.0.1:8081", nil, http.StatusMisdirectedRequest}, {"0.0.0.0:8081", []string{"localhost"}, http.StatusMisdirectedRequest}, {"0.0.0.0:8081", nil, http.StatusOK}} {
		addr, err := net.ResolveTCPAddr("tcp", c.addr)
		ok(t, err)
		console, err := newConsole(t.Context(), Config{Token: testToken, Hosts: c.hosts}, e.desk, addr, e.logger())
		ok(t, err)
		for name, want := range map[string]int{"rebound.evil.example": c.want, "localhost": http.StatusOK, "10.1.2.3": http.StatusOK} {
			if w := serve(console, "GET", "http://"+name+":8081/healthz"); w.Code != want {
				t.Errorf("%s with --host %v answers to %s with %d, want %d", c.addr, c.hosts, name, w.Code, want)
			}
		}
	}
	e.operator().post("/orders", "do", "x").want(t, http.StatusMethodNotAllowed)
	e.operator().do("DELETE", "/dead/1", nil).want(t, http.StatusMethodNotAllowed)
	r.with("Host", "evil.example").get("/").want(t, http.StatusMisdirectedRequest)
	if e.paused() {
		t.Error("a request that was refused has paused")
	}
	if l := e.log.String(); strings.Contains(l, "operator's change") || strings.Contains(l, testToken) || !strings.Contains(l, "console refused a change") {
		t.Errorf("log:\n%s", l)
	}
}

// Without a token nobody can change anything, and the pages say so.
func TestConsoleWithoutTokenIsReadOnly(t *testing.T) {
	e := newEnv(t, Config{})
	for path, form := range everyChange {
		for _, v := range []*visitor{e.reader(), e.operator(), e.reader().with("Authorization", "Bearer ")} {
			v.post(path, form...).want(t, http.StatusForbidden, "read-only")
		}
	}
	e.reader().post("/login", "token", "").want(t, http.StatusUnauthorized)
	body := e.operator().get("/control").want(t, http.StatusOK, "read-only").body
	if strings.Contains(body, `method="post"`) {
		t.Error("it offers a change")
	}
}

// A login gives a session in a cookie that no script can read and no other site sends.
func TestLogin(t *testing.T) {
	e := newEnv(t, Config{Token: testToken})
	r := e.reader()
	r.post("/login", "token", "wrong", "name", "eve").want(t, http.StatusUnauthorized, "That is not the token")
	for next, want := range map[string]string{"/control": "/control", "": "/", "//evil.example": "/", "https://evil.example": "/", "/\\evil.example": "/"} {
		got := r.post("/login", "token", testToken, "name", "ann\x1b", "next", next).want(t, http.StatusSeeOther)
		if got.header.Get("Location") != want {
			t.Errorf("next %q leads to %q", next, got.header.Get("Location"))
		}
		res := http.Response{Header: got.header}
		c := res.Cookies()[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || strings.Contains(c.Value, testToken) {
			t.Errorf("cookie %v", c)
		}
		r.cookies = []*http.Cookie{c}
	}
	body := r.get("/control").want(t, http.StatusOK, `ann\x1b`, `action="/logout"`, `name="reason"`).body
	if strings.Contains(body, testToken) {
		t.Error("the page has the token")
	}
	_, done := r.agree("/control", "do", "pause", "reason", "prices")
	done.want(t, http.StatusOK, "Paused")
	if word, _, err := e.desk.Word(t.Context()); err != nil || word.By != `ann\x1b (console)` || word.Reason != "prices" {
		t.Errorf("%+v, %v", word, err)
	}
	out := r.post("/logout").want(t, http.StatusSeeOther)
	res := http.Response{Header: out.header}
	if c := res.Cookies()[0]; c.MaxAge >= 0 || c.Value != "" {
		t.Errorf("cookie after the logout: %v", c)
	}
}

// A session is over after its time, and with another token.
func TestSessionEnds(t *testing.T) {
	now := time.Now()
	g := newGuard("one", "")
	value, err := g.encode(session{"ann", now.Add(time.Minute).Unix()})
	ok(t, err)
	if s, valid := g.decode(value, now); !valid || s.Name != "ann" {
		t.Errorf("%v, %v", s, valid)
	}
	if _, valid := g.decode(value, now.Add(2*time.Minute)); valid {
		t.Error("a session is valid after its end")
	}
	if _, valid := newGuard("two", "").decode(value, now); valid {
		t.Error("a session is valid under another token")
	}
	for _, forged := range []string{"", ".", value + "x", "x" + value, strings.Replace(value, ".", "", 1)} {
		if _, valid := g.decode(forged, now); valid {
			t.Errorf("%q is a session", forged)
		}
	}
	secure := (&Console{guard: g}).cookie(&http.Request{Header: http.Header{"X-Forwarded-Proto": {"https"}}}, "v", 1)
	if !secure.Secure {
		t.Error("behind TLS the cookie is not for TLS alone")
	}
	if newGuard("", "").accepts("") {
		t.Error("no token is taken for an empty one")
	}
}

// A pause asks first, tells a second operator what the first has done, and is one line in
// the log. So is its end.
func TestPauseAndResume(t *testing.T) {
	e := newEnv(t, Config{Token: testToken})
	e.Publish(request("W-1"))
	ann := e.operator()
	bob := ann.with("X-Operator", "bob")
	storetest.Eventually(t, "the order is counted", func() bool { return data[Overview](ann, "/api/overview").Counts.Queued == 1 })
	asked := bob.post("/control", "do", "pause", "reason", "bob's").want(t, http.StatusOK, "bob&#39;s", "1 order that will wait")
	if e.paused() {
		t.Fatal("asking has paused")
	}
	_, done := ann.agree("/control", "do", "pause", "reason", "prices <b>", "for", "2h")
	done.want(t, http.StatusOK, "Paused: ann (console) paused at", "prices &lt;b&gt;")
	if !e.paused() {
		t.Fatal("not paused")
	}
	late := bob.post("/control", "do", "pause", "reason", "bob's", "confirm", confirmField.FindStringSubmatch(asked.body)[1])
	late.want(t, http.StatusOK, "It has changed since you were asked", "ann (console) paused at")
	if word, _, _ := e.desk.Word(t.Context()); word.By != "ann (console)" || word.Until.IsZero() {
		t.Errorf("the word is %+v", word)
	}
	storetest.Eventually(t, "the overview shows the pause", func() bool {
		return strings.Contains(e.reader().get("/").body, "Buying is paused</strong> by ann (console)")
	})
	e.reader().get("/control").want(t, http.StatusOK, "History", "prices &lt;b&gt;")
	got := ann.post("/api/control", "do", "resume").want(t, http.StatusOK)
	var question struct {
		Done    bool
		Confirm string
		Count   int
	}
	if err := json.Unmarshal([]byte(got.body), &question); err != nil || question.Done || question.Confirm == "" || !e.paused() {
		t.Fatalf("%v in %s", err, got.body)
	}
	ann.post("/api/control", "do", "resume", "confirm", question.Confirm).want(t, http.StatusOK, `"done":true`)
	if e.paused() {
		t.Fatal("still paused")
	}
	ann.post("/control", "do", "resume").want(t, http.StatusConflict, "ann (console) resumed at")
	for _, form := range [][]string{{"do", "pause"}, {"do", "pause", "reason", "x", "for", "soon"}, {"do", "pause", "reason", "x", "for", "-1s"}, {"do", "stop"}, {}} {
		ann.post("/control", form...).want(t, http.StatusUnprocessableEntity)
	}
	if n := strings.Count(e.log.String(), "operator's change"); n != 2 {
		t.Errorf("%d audit lines:\n%s", n, e.log.String())
	}
	for _, part := range []string{`"who":"ann"`, `"action":"pause"`, `"action":"resume"`, `"remote":"127.0.0.1:`, `prices <b>`} {
		if !strings.Contains(e.log.String(), part) {
			t.Errorf("the audit lines have no %s:\n%s", part, e.log.String())
		}
	}
}

// A dead letter is replayed with a correction, and several at once; who comes second is
// told.
func TestReplay(t *testing.T) {
	e := newEnv(t, Config{Token: testToken})
	for range 3 {
		e.letter([]byte(`{"outTradeNo":"DEAD-1","iccid":"1","packageCode":"CN-5M","renew":2,"note":"kept"}`), nil)
	}
	ann := e.operator()
	ann.get("/dead/1").want(t, http.StatusOK, `name="outTradeNo" value="DEAD-1"`, `name="renew" value="2"`)
	futile := ann.post("/dead/1", "do", "replay", "outTradeNo", "DEAD-1", "iccid", "1").want(t, http.StatusOK, "will be a dead letter again")
	if strings.Contains(futile.body, ", with ") {
		t.Errorf("a field that was left as it is counts as corrected:\n%s", futile.body)
	}
	form := []string{"do", "replay", "outTradeNo", "NEW-1", "iccid", "8988308650100524999", "packageCode", "CN-5M", "renew", "", "expiresAt", ""}
	asked, done := ann.agree("/dead/1", form...)
	asked.want(t, http.StatusOK, "<strong>replay</strong>: 1 dead letter<", "1 dead letter will be published again", "iccid=8988308650100524999", "outTradeNo=NEW-1", "renew=null")
	done.want(t, http.StatusOK, "1 dead letter replayed")
	ann.post("/dead/1", form...).want(t, http.StatusNotFound, "somebody has replayed or removed it")
	m, err := e.JS.Stream(t.Context(), "ORDERS")
	ok(t, err)
	stored, err := m.GetMsg(t.Context(), 1)
	ok(t, err)
	if got, want := string(stored.Data), `{"outTradeNo":"NEW-1","iccid":"8988308650100524999","packageCode":"CN-5M","renew":null,"note":"kept"}`; got != want {
		t.Errorf("published %s, want %s", got, want)
	}
	ann.post("/dead", "do", "replay").want(t, http.StatusUnprocessableEntity, "no dead letter is chosen")
	ann.post("/dead", "do", "replay", "seq", "x").want(t, http.StatusUnprocessableEntity)
	ann.post("/dead", "do", "replay_all", "limit", "0").want(t, http.StatusUnprocessableEntity)
	ann.post("/dead", "do", "replay", "seq", "1").want(t, http.StatusNotFound)
	_, done = ann.agree("/dead", "do", "replay", "seq", "2", "seq", "2")
	done.want(t, http.StatusOK, "1 dead letter replayed", "will be a dead letter again: 2: iccid")
	cut := fmt.Sprint(e.letter([]byte(`{"outTradeNo":"CUT`), nats.Header{"Dead-Reason": {"conflict"}, "Dead-Truncated": {"2000000"}}))
	ann.post("/dead", "do", "replay", "seq", cut).want(t, http.StatusConflict, "cannot be replayed: "+cut+": its payload of 2000000 bytes was cut")
	ann.post("/dead", "do", "replay", "seq", cut, "seq", "3").want(t, http.StatusOK, "1 dead letter will be published", "cannot be replayed: "+cut)
	_, done = ann.agree("/dead", "do", "replay_all", "reason", "invalid", "limit", "5")
	done.want(t, http.StatusOK, "1 dead letter replayed")
	storetest.Eventually(t, "only the letter that was cut is shown", func() bool { return data[Dead](ann, "/api/dead").Total == 1 })
}

// A field that was not sent as it must be is set, though its text is the same.
func TestReplayCorrectsTheFormOfAField(t *testing.T) {
	e := newEnv(t, Config{Token: testToken})
	ann := e.operator()
	for payload, want := range map[string]string{
		`{"outTradeNo":"N-1","iccid":8988308650100524999,"packageCode":"CN-5M"}`:                                                   "iccid=8988308650100524999",
		`{"outTradeNo":"N-2","iccid":"1","iccid":"8988308650100524999","packageCode":"CN-5M"}`:                                     "iccid=8988308650100524999",
		`{"outTradeNo":"N-3","iccid":"8988308650100524999","packageCode":"CN-5M","expires_at":"2020-01-01T00:00:00Z"}`:             "expiresAt=2020-01-01T00:00:00Z",
		`{"outTradeNo":"N-4","iccid":"8988308650100524999","packageCode":"CN-5M","renew":"2"}`:                                     "renew=2",
		`{"outTradeNo":"N-5","iccid":"8988308650100524999","packageCode":"CN-5M","renew":2,"expiresAt":null}`:                      "",
		`{"outTradeNo":"N-6","iccid":"8988308650100524999 ","packageCode":"CN-5M"}`:                                                "",
		`{"outTradeNo":"N-7","iccid":"8988308650100524999","packageCode":"CN-5M","expiresAt":"2026-01-01T00:00:00Z","renew":null}`: "",
		`no JSON`: "",
	} {
		seq := e.letter([]byte(payload), nil)
		l, err := e.desk.Letter(t.Context(), seq)
		ok(t, err)
		form := []string{"do", "replay"}
		for _, f := range fieldsOf(l) { // as a browser sends the form that nobody has touched
			form = append(form, f.Name, f.Value)
		}
		asked := ann.post(fmt.Sprintf("/dead/%d", seq), form...).want(t, http.StatusOK, want)
		if _, set, _ := strings.Cut(asked.body, "order request, with "); want == "" && set != "" || want != "" && !strings.HasPrefix(set, want+", and removed") {
			t.Errorf("%s sets %.100q, want %q", payload, set, want)
		}
		if want != "" && want[:3] != "exp" && strings.Contains(asked.body, "will be a dead letter again") {
			t.Errorf("%s: %s", payload, asked.body)
		}
	}
	seq := e.letter([]byte(`{"outTradeNo":"N-8","iccid":"8988308650100524999","packageCode":"CN-5M","expires_at":"2020-01-01T00:00:00Z"}`), nil)
	_, done := ann.agree(fmt.Sprintf("/dead/%d", seq), "do", "replay", "expiresAt", "")
	done.want(t, http.StatusOK, "1 dead letter replayed")
	s, err := e.JS.Stream(t.Context(), "ORDERS")
	ok(t, err)
	m, err := s.GetMsg(t.Context(), 1)
	ok(t, err)
	if o, err := worker.DecodeOrder(m.Data); err != nil || o.ExpiresAt != nil {
		t.Errorf("published %s: %v", m.Data, err)
	}
}

// Who agrees to letters agrees to those, though as many others of the same kind are there,
// and the log says which; a value that is set is shown to its end.
func TestReplayOfOtherLettersAsksAgain(t *testing.T) {
	e := newEnv(t, Config{Token: testToken})
	for i := range 30 {
		e.letter([]byte(request(fmt.Sprintf("DEAD-%d", i))), nil)
	}
	ann := e.operator()
	confirm := confirmField.FindStringSubmatch(ann.post("/dead", "do", "replay_all").body)[1]
	s, err := e.JS.Stream(t.Context(), "ORDERS_DEAD")
	ok(t, err)
	ok(t, s.DeleteMsg(t.Context(), 25)) // another operator has replayed it
	e.letter([]byte(request("NEVER-SHOWN")), nil)
	asked := ann.post("/dead", "do", "replay_all", "confirm", confirm).want(t, http.StatusOK, "It has changed since you were asked")
	confirm = confirmField.FindStringSubmatch(asked.body)[1]
	ann.post("/dead", "do", "replay_all", "confirm", confirm).want(t, http.StatusOK, "30 dead letters replayed")
	if l := e.log.String(); !strings.Contains(l, `"object":"1-24 26-31"`) {
		t.Errorf("log:\n%s", l)
	}
	seq := e.letter([]byte(request("LONG-1")), nil)
	long := strings.Repeat("A", 121) + "-HIDDEN"
	ann.post(fmt.Sprintf("/dead/%d", seq), "do", "replay", "packageCode", long).want(t, http.StatusOK, long)
}

// A pause that was agreed to once is not agreed to after others have spoken, though nothing
// that it shows is different.
func TestOldConfirmationOfPauseAsksAgain(t *testing.T) {
	e := newEnv(t, Config{Token: testToken})
	ann := e.operator()
	form := []string{"do", "pause", "reason", "prices"}
	asked, _ := ann.agree("/control", form...)
	ann.post("/api/control", "do", "resume", "confirm", "yes").want(t, http.StatusOK)
	old := append(form, "confirm", confirmField.FindStringSubmatch(asked.body)[1])
	ann.post("/control", old...).want(t, http.StatusOK, "It has changed since you were asked")
	if e.paused() {
		t.Error("paused by an old confirmation")
	}
}

// A console that is stopped amid a replay says in its log how far it came, before it ends.
func TestStopAmidReplay(t *testing.T) {
	e := newEnv(t, Config{Token: testToken})
	const letters = 3000
	for i := range letters {
		_, err := e.JS.PublishAsync("orders.package.dead", []byte(request(fmt.Sprintf("DEAD-%d", i))))
		ok(t, err)
	}
	<-e.JS.PublishAsyncComplete()
	ann, answered := e.operator(), make(chan reply, 1)
	go func() {
		answered <- ann.post("/api/dead", "do", "replay_all", "limit", fmt.Sprint(letters), "confirm", "yes")
	}()
	s, err := e.JS.Stream(t.Context(), "ORDERS")
	ok(t, err)
	published := func() uint64 {
		info, err := s.Info(t.Context())
		ok(t, err)
		return info.State.Msgs
	}
	storetest.Eventually(t, "the replay has begun", func() bool { return published() > 0 })
	e.stop()
	if l := e.log.String(); strings.Count(l, "operator's change") != 1 || !strings.Contains(l, "the console is stopped; ") {
		t.Errorf("log:\n%s", l)
	}
	n := published()
	if n == letters {
		t.Fatal("the replay was over before the console was stopped")
	}
	(<-answered).want(t, http.StatusConflict, " replayed, ")
	if later := published(); later != n {
		t.Errorf("%d letters when the console had ended, then %d", n, later)
	}
}

// An order in doubt is settled; any other is refused, with the reason.
func TestOrderIsSettledOnItsPage(t *testing.T) {
	e := newEnv(t, Config{Token: testToken}, badPackages...)
	e.StartTelling()
	e.Publish(request("DOUBT-1", "HANG"))
	e.Publish(request("OK-1"))
	ann := e.operator()
	storetest.Eventually(t, "it is in doubt and may be settled", func() bool {
		return ann.post("/orders/DOUBT-1", "do", "settle", "verdict", "not_bought").status == http.StatusOK
	})
	for _, form := range [][]string{{"verdict", "bought"}, {"verdict", "maybe"}, {"verdict", "not_bought", "orderNumber", "1"}, {"verdict", "bought", "orderNumber", "a b"}, {"verdict", "bought", "orderNumber", "1", "orderId", "0"}} {
		ann.post("/orders/DOUBT-1", append(form, "do", "settle")...).want(t, http.StatusUnprocessableEntity)
	}
	ann.post("/orders/OK-1", "do", "settle", "verdict", "not_bought").want(t, http.StatusConflict)
	asked, done := ann.agree("/orders/DOUBT-1", "do", "settle", "verdict", "bought", "orderNumber", "V-77", "orderId", "5")
	asked.want(t, http.StatusOK, "WAS BOUGHT", "V-77")
	done.want(t, http.StatusOK, "DOUBT-1 is settled as bought")
	ann.post("/orders/DOUBT-1", "do", "settle", "verdict", "not_bought").want(t, http.StatusConflict)
	if d := data[operator.Detail](ann, "/api/orders/DOUBT-1"); d.State != "succeeded" {
		t.Errorf("its state is %s", d.State)
	}
	if l := e.log.String(); !strings.Contains(l, `"action":"settle"`) || !strings.Contains(l, `"object":"DOUBT-1"`) {
		t.Errorf("log:\n%s", l)
	}
}

// An order that waits is cancelled; one that is bought is not.
func TestCancel(t *testing.T) {
	e := newEnv(t, Config{Token: testToken}, badPackages...)
	e.StartTelling()
	e.Publish(request("POOR-1", "POOR"))
	e.Publish(request("OK-1"))
	ann := e.operator()
	storetest.Eventually(t, "both orders are as they will be", func() bool {
		return data[operator.Detail](ann, "/api/orders/POOR-1").State == "waiting" && data[operator.Detail](ann, "/api/orders/OK-1").State == "succeeded"
	})
	ann.post("/orders/OK-1", "do", "cancel").want(t, http.StatusConflict, "it has its final result, succeeded")
	asked, done := ann.agree("/orders/POOR-1", "do", "cancel")
	asked.want(t, http.StatusOK, "published as failed, reason cancelled", "cancel</strong>: 1 order")
	done.want(t, http.StatusOK, "POOR-1 is cancelled")
	if d := data[operator.Detail](ann, "/api/orders/POOR-1"); d.State != "failed" {
		t.Errorf("its state is %s", d.State)
	}
	ann.post("/orders/POOR-1", "do", "cancel").want(t, http.StatusConflict)
}

// A form that is too large, or none, is refused before anything else.
func TestLargeForm(t *testing.T) {
	e := newEnv(t, Config{Token: testToken})
	e.operator().post("/control", "do", "pause", "reason", strings.Repeat("x", 2*maxForm)).want(t, http.StatusBadRequest)
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Authorization", "Bearer\t"+testToken)
	if _, valid := newGuard(testToken, "").who(r); valid {
		t.Error("a broken header is taken")
	}
}
