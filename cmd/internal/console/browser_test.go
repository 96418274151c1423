package console

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	browserpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"orderworker/dedupe/storetest"
)

// browser is a tab of a real browser that looks at the console.
type browser struct {
	e     *env
	ctx   context.Context
	shots string // where the screenshots go

	mu       sync.Mutex
	troubles []string // what the browser complains of: exceptions, refused scripts and styles
}

// newBrowser starts a browser that reaches nothing but loopback. If there is none, the test
// is skipped, or fails if CI is set.
func newBrowser(e *env) *browser {
	t := e.T
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("chromium is missing, and CI is set: %v", err)
		}
		t.Skip("NOT TESTED: chromium is missing; `make tools` installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WindowSize(1280, 800),
		// Nothing leaves this machine: no name is resolved, and what is not for loopback
		// goes to a proxy that is not there.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
		chromedp.Flag("proxy-server", "http://127.0.0.1:9"), chromedp.Flag("proxy-bypass-list", "127.0.0.1"),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("no-pings", true), chromedp.Flag("disable-search-engine-choice-screen", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &browser{e: e, ctx: ctx, shots: os.Getenv("CONSOLE_SCREENSHOTS")}
	if b.shots == "" {
		b.shots = t.TempDir()
	}
	ok(t, chromedp.Listen(ctx, func(event any) {
		switch event := event.(type) {
		case *runtime.EventExceptionThrown:
			b.trouble(event.ExceptionDetails.Text + " " + event.ExceptionDetails.URL)
		case *log.EventEntryAdded:
			if event.Entry.Level == log.EntryLevelError && !strings.Contains(event.Entry.Text, "the server responded with a status of 4") {
				b.trouble(event.Entry.Text + " " + event.Entry.URL)
			}
		}
	}))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, trouble := range b.troubles {
			t.Errorf("the browser complains: %s", trouble)
		}
	})
	return b
}

func (b *browser) trouble(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles = append(b.troubles, text)
}

// do runs actions, for a minute at most.
func (b *browser) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	b.e.T.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.e.T.Fatalf("%s: %v\nthe page has: %s", what, err, b.text())
	}
}

// text is what a person can read on the page.
func (b *browser) text() string {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// value evaluates an expression.
func value[T any](b *browser, expression string) T {
	b.e.T.Helper()
	return run(b, expression, chromedp.Evaluate[T](expression))
}

// run runs an action, for a minute at most, and returns its value.
func run[T any](b *browser, what string, action chromedp.Action[T]) T {
	b.e.T.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	found, err := chromedp.Run(ctx, action)
	if err != nil {
		b.e.T.Fatalf("%s: %v\nthe page has: %s", what, err, b.text())
	}
	return found
}

// call sends a command to the browser.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.e.T.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.e.T.Fatalf("%s: %v", command.Method, err)
	}
}

// open goes to a page.
func (b *browser) open(path string) {
	b.e.T.Helper()
	b.do("open "+path, chromedp.Navigate(b.e.base+path), chromedp.WaitVisible("main"))
}

// wait waits until the page shows each of the texts, which it does without being loaded
// again.
func (b *browser) wait(texts ...string) {
	b.e.T.Helper()
	for _, text := range texts {
		storetest.Eventually(b.e.T, fmt.Sprintf("the page shows %q; it has:\n%s", text, b.text()), func() bool { return strings.Contains(b.text(), text) })
	}
}

// click clicks what a selector finds, and waits for the page that comes.
func (b *browser) click(selector string) {
	b.e.T.Helper()
	b.do("see "+selector, chromedp.WaitVisible(selector))
	value[bool](b, `window.before = true`)
	b.do("click "+selector, chromedp.Click(selector))
	storetest.Eventually(b.e.T, "the page after "+selector, func() bool {
		loaded, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`!window.before && document.readyState === 'complete'`))
		return err == nil && loaded
	})
}

// fill types text into a field.
func (b *browser) fill(selector, text string) {
	b.e.T.Helper()
	value[string](b, fmt.Sprintf(`document.querySelector(%q).value = ""`, selector))
	b.do("fill "+selector, chromedp.SendKeys(selector, text))
}

// shot takes a screenshot of the whole page.
func (b *browser) shot(name string) {
	b.e.T.Helper()
	picture := run(b, "screenshot", chromedp.FullScreenshot(100))
	ok(b.e.T, os.WriteFile(filepath.Join(b.shots, name+".png"), picture, 0o600))
}

// scheme makes the browser prefer a colour scheme.
func (b *browser) scheme(name string) {
	b.e.T.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// noOverflow checks that the page is not wider than the window.
func (b *browser) noOverflow(what string) {
	b.e.T.Helper()
	if wide := value[int](b, `document.documentElement.scrollWidth - window.innerWidth`); wide > 0 {
		b.e.T.Errorf("%s is %d pixels wider than the window", what, wide)
	}
}

// An operator's night in a real browser: orders flow, one is searched for, one in doubt is
// settled, a dead letter is corrected and replayed, the buying is paused and resumed.
func TestBrowser(t *testing.T) {
	e := newEnv(t, Config{Token: testToken}, badPackages...)
	b := newBrowser(e)
	e.StartTelling()
	succeeded, failed := e.history()
	b.scheme("light")
	b.open("/")
	b.wait("Results per minute", "not logged in", "works")
	for i := range 40 {
		e.Publish(request(fmt.Sprintf("BK-20261126-%04d", i)))
	}
	e.Publish(request("POOR-1", "POOR"))
	e.Publish(request("GONE-1", "GONE"))
	e.Publish(request("DOUBT-1", "HANG"))
	dead := e.letter([]byte(`{"outTradeNo":"TYPO-1","iccid":"89883086 50100524999","packageCode":"CN-5M"}`), nil)
	b.wait(fmt.Sprintf("%d succeeded, %d failed", succeeded+40, failed+1), "in doubt, oldest", "Dead letters 1", "In doubt 1")
	b.shot("overview-busy")
	b.search()
	b.settle()
	b.replay(dead)
	b.pauseAndResume()
	b.looks()
}

// search looks for orders and one order's timeline, without the token.
func (b *browser) search() {
	t := b.e.T
	b.open("/orders")
	b.fill("#q", "gone-")
	b.click("form[role=search] button")
	b.wait("GONE-1", "41002")
	if text := b.text(); strings.Contains(text, "BK-2026") {
		t.Errorf("a search finds too much:\n%s", text)
	}
	b.click(`a[href="/orders/GONE-1"]`)
	b.wait("Timeline", "received", "no such package", "To change something, log in with the token")
	if n := value[int](b, `document.querySelectorAll('form[method=post]').length`); n != 0 {
		t.Errorf("%d forms for somebody who may only read", n)
	}
	b.open("/orders/POOR-1")
	b.wait("waiting", "3009", "balance too low")
	b.open("/orders?state=unfinished")
	b.wait("POOR-1", "DOUBT-1")
	b.open("/orders")
	b.shot("orders")
	// Reading works without the script.
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.do("no script", chromedp.Navigate(b.e.base+"/orders?q=GONE"), chromedp.WaitReady(`a[href="/orders/GONE-1"]`))
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
}

// settle logs in and settles the order in doubt.
func (b *browser) settle() {
	b.open("/in-doubt")
	b.wait("DOUBT-1", "1 order may have been bought")
	b.shot("in-doubt")
	b.click(`a[href="/orders/DOUBT-1"]`)
	b.click(".locked a")
	b.fill("#name", "ann")
	b.fill("#token", "wrong")
	b.click("main button")
	b.wait("That is not the token.")
	b.shot("login")
	b.fill("#token", testToken)
	b.click("main button")
	b.wait("Log out", "ann", "in doubt")
	b.shot("order-in-doubt")
	b.do("choose", chromedp.Click(`input[value=bought]`), chromedp.SendKeys("#orderNumber", "1611558040873b105b26"))
	// Its request is certainly over a little later: until then it is refused, with the reason.
	storetest.Eventually(b.e.T, "it may be settled", func() bool {
		return b.e.operator().post("/orders/DOUBT-1", "do", "settle", "verdict", "not_bought").status == 200
	})
	b.click("#actions form button")
	b.wait("You say that it WAS BOUGHT", "settle: 1 order")
	b.shot("settle-confirm")
	b.click("#yes")
	b.wait("DOUBT-1 is settled as bought")
	b.click("main a.button")
	b.wait("succeeded", "1611558040873b105b26")
	b.shot("order")
}

// replay corrects a dead letter and replays it.
func (b *browser) replay(seq uint64) {
	b.open("/dead")
	b.wait("TYPO-1", "Replay all of them")
	b.shot("dead")
	b.click(fmt.Sprintf(`a[href="/dead/%d"]`, seq))
	b.wait("Correct and replay", "Payload")
	b.fill("#f-iccid", "8988308650100524999")
	b.shot("letter")
	b.click("main form button")
	b.wait("1 dead letter will be published again", "iccid=8988308650100524999")
	b.shot("replay-confirm")
	b.click("#yes")
	b.wait("1 dead letter replayed")
	b.open("/orders/TYPO-1")
	b.wait("bought")
	b.open("/dead")
	b.wait("There is no dead letter")
}

// pauseAndResume pauses the buying, sees it everywhere, and resumes.
func (b *browser) pauseAndResume() {
	t := b.e.T
	b.open("/control")
	b.fill("#reason", "the vendor sells at wrong prices")
	b.fill("#for", "2h")
	b.shot("control")
	b.click("main form button")
	b.wait("No order is bought any more, by any worker, for 2h0m")
	b.shot("pause-confirm")
	if b.e.paused() {
		t.Fatal("asking has paused")
	}
	b.click("#yes")
	b.wait("Paused: ann (console)")
	b.open("/")
	b.wait("Buying is paused by ann (console)")
	b.shot("overview-paused")
	b.open("/control")
	b.wait("History", "the vendor sells at wrong prices")
	b.click(".two section:last-child button")
	b.click("#yes")
	b.wait("Resumed")
	if b.e.paused() {
		t.Fatal("still paused")
	}
}

// looks checks what pages look like in the dark, on a telephone and to the keyboard, and
// that nothing is sent to a tab that nobody sees.
func (b *browser) looks() {
	t := b.e.T
	b.open("/")
	b.wait("live")
	b.shot("overview")
	bright := value[string](b, `getComputedStyle(document.body).backgroundColor`)
	b.scheme("dark")
	if dark := value[string](b, `getComputedStyle(document.body).backgroundColor`); dark == bright {
		t.Errorf("the dark page is as bright as the other: %s", dark)
	}
	b.shot("overview-dark")
	b.noOverflow("the overview")
	value[bool](b, `Object.defineProperty(document, 'hidden', {value: true, configurable: true}), document.dispatchEvent(new Event('visibilitychange'))`)
	if state := value[string](b, `document.getElementById('live').dataset.state`); state != "paused" {
		t.Errorf("a hidden page is %q", state)
	}
	value[bool](b, `delete document.hidden, document.dispatchEvent(new Event('visibilitychange'))`)
	storetest.Eventually(t, "a page that is shown again is live", func() bool {
		return value[string](b, `document.getElementById('live').dataset.state`) == "live"
	})
	call(b, browserpage.BringToFront, cdp.Empty{})
	b.open("/")
	b.do("tab", chromedp.KeyEvent("\t"))
	if first := value[string](b, `document.activeElement.className`); first != "skip" {
		t.Errorf("the keyboard comes to %q first", first)
	}
	b.do("narrow", chromedp.EmulateViewport(390, 844))
	for _, path := range []string{"/", "/orders", "/orders/GONE-1", "/dead", "/control", "/login"} {
		b.open(path)
		b.noOverflow(path)
		b.shot("narrow" + strings.ReplaceAll(path, "/", "-"))
	}
	for _, path := range []string{"/", "/orders", "/orders/POOR-1", "/dead", "/control", "/login"} {
		b.open(path)
		if nameless := value[[]string](b, nameless); len(nameless) > 0 {
			t.Errorf("%s has fields without a name: %v", path, nameless)
		}
	}
}

// nameless finds the fields and buttons that have no name for those who do not see them.
const nameless = `[...document.querySelectorAll('input:not([type=hidden]), select, button, a')]
	.filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels && e.labels.length))
	.map((e) => e.outerHTML)`
