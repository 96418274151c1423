package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe"
	"orderworker/upstream/sandbox"
)

// changeAccount restarts the workers with the other account while orders are in flight:
// all at once, or one after the other. Every third time it also empties Redis.
func changeAccount(w *world, n int) {
	w.pass(500*time.Millisecond, 2*time.Second)
	w.goOver(n%2 == 1, n%3 == 2)
	w.pass(2*time.Second, 5*time.Second) // most of them longer than a "not found" takes to be proof
}

// goOver kills the workers and starts them with the other account. Attempts that are open
// under the old account must not be touched until the workers have it again.
func (w *world) goOver(oneByOne, flush bool) {
	w.t.Helper()
	w.checkHeld()
	old, next := w.accounts[w.now], w.accounts[1-w.now]
	w.setRules(next, w.rules())
	for i, p := range w.workers {
		p.kill()
		p.env = append(slices.Clip(p.env), next.env()...) // of two, the last counts
		if oneByOne && i < len(w.workers)-1 {
			p.start()
			w.pass(100*time.Millisecond, 600*time.Millisecond)
		}
	}
	w.held = w.openAttempts(old.id())
	w.forbid(next, w.held)
	if flush {
		w.flush()
	}
	for _, p := range w.workers {
		if p.cmd == nil {
			p.start()
		}
	}
	w.now = 1 - w.now
	w.deleteConsumer() // so that what was handed back for a minute comes again at once
	w.publisher.enqueue(w.newPlain(5)...)
}

// openAttempts returns the journal's records of orders that may have been bought under
// account, by outTradeNo.
func (w *world) openAttempts(account string) map[string]string {
	w.t.Helper()
	open := map[string]string{}
	w.messages("ORDER_JOURNAL", func(msg *jetstream.RawStreamMsg) {
		no := strings.TrimPrefix(msg.Subject, w.subject("orders.journal."))
		delete(open, no)
		var r dedupe.Record
		if err := json.Unmarshal(msg.Data, &r); err != nil {
			w.t.Errorf("journal %s: %v", msg.Subject, err)
		}
		if r.State == dedupe.StateIntent && r.Account == account {
			r.Parked = time.Time{} // a worker of any account may keep it from expiring
			text, err := r.Encode()
			if err != nil {
				w.t.Error(err)
			}
			open[no] = string(text)
		}
	})
	return open
}

// forbid makes the vendor of a count the calls that name an order of held. They get the
// usual answer; checkHeld reads the counts.
func (w *world) forbid(a account, held map[string]string) {
	w.t.Helper()
	var rules []string
	for no := range held {
		rules = append(rules, "endpoint=any outTradeNo="+no+": pass")
	}
	w.setRules(a, append(rules, w.rules()...))
}

// checkHeld fails the test where an order that has an open attempt at the other
// account was asked for, bought or settled at this one.
func (w *world) checkHeld() {
	w.t.Helper()
	if len(w.accounts) < 2 || w.held == nil {
		return
	}
	var totals sandbox.Totals
	w.get(w.accounts[w.now].direct+"/book?totals", &totals)
	for _, r := range totals.Rules {
		if _, no, found := strings.Cut(r.Rule, "outTradeNo="); found && r.Hits > 0 {
			w.t.Errorf("%d calls to account %d for %s, which the other account may have bought\n%s", r.Hits, w.now+1, no, w.logged(strings.TrimSuffix(no, ": pass")))
		}
	}
	now := w.openAttempts(w.accounts[1-w.now].id())
	for no, record := range w.held {
		if now[no] != record {
			w.t.Errorf("%s was changed while its account was away: now %s, was %s\n%s", no, w.journalled(no), record, w.logged(no))
		}
	}
	w.heldEver += len(w.held)
	w.held = nil
}

// takeTurns lets each account finish its own orders: whenever requests are left and none
// of them ends, it gives the workers the other account.
func (w *world) takeTurns() {
	w.t.Helper()
	if len(w.accounts) < 2 {
		return
	}
	const quiet = 8 * time.Second // longer than a lookup waits for the next: else there are more turns
	for range 8 {
		least, since := w.unfinished(), time.Now()
		for least > 0 && time.Since(since) < quiet {
			if n := w.unfinished(); n < least {
				least, since = n, time.Now()
			}
			time.Sleep(50 * time.Millisecond) // between two polls
		}
		if least == 0 {
			w.t.Logf("%d open attempts were held while their account was away", w.heldEver)
			return
		}
		w.goOver(false, false)
	}
	w.t.Error(fmt.Errorf("%d requests are left after every account had its turns", w.unfinished()))
}
