package main

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"orderworker/cmd/internal/operator"
)

// TestDeskReplayIsNotRemoved: a letter that was published and could not be removed is told
// of as published, so that nobody publishes it again under another number.
func TestDeskReplayIsNotRemoved(t *testing.T) {
	t.Parallel()
	d := newDeskWithout(t, "$JS.API.STREAM.MSG.DELETE.>")
	d.bury(`{"outTradeNo":"OLD","iccid":"8988308650100524999","packageCode":"P"}`, "conflict")
	status, out, errs := d.do("dead", "replay", "1", "--set", "outTradeNo=N1", "--yes")
	if status != statusFailed || !strings.Contains(out, "0 dead letters replayed") ||
		!strings.Contains(errs, "published as message 1 of ORDERS, but is still a dead letter") || !strings.Contains(errs, "never replay it under another number") {
		t.Errorf("%d %s%s", status, out, errs)
	}
	if orders, dead := d.count("ORDERS"), d.count("ORDERS_DEAD"); orders != 1 || dead != 1 {
		t.Errorf("%d orders, %d letters", orders, dead)
	}
}

// TestDeskReplayIsRefused: what was certainly not published is not told of as published.
func TestDeskReplayIsRefused(t *testing.T) {
	t.Parallel()
	d := newDeskWithout(t, "orders.package.request")
	d.bury(`{"outTradeNo":"OLD","iccid":"8988308650100524999","packageCode":"P"}`, "invalid")
	status, _, errs := d.do("dead", "replay", "1", "--yes")
	if status != statusFailed || !strings.Contains(errs, "permission") || strings.Contains(errs, "published") {
		t.Errorf("%d %s", status, errs)
	}
}

// TestDeskReplaysAtOnce: of two operators who replay one letter, the one who does not
// remove it is told that it was published all the same.
func TestDeskReplaysAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	seq := d.bury(`{"outTradeNo":"OLD","iccid":"8988308650100524999","packageCode":"P"}`, "conflict")
	var plans [2]*operator.ReplayPlan
	for i, no := range []string{"N1", "N2"} {
		desk, err := operator.Open(t.Context(), d.settings())
		d.ok(err)
		defer desk.Close()
		plans[i], err = desk.PlanReplay(t.Context(), operator.ReplaySelection{Seqs: []uint64{seq}, Set: map[string]string{"outTradeNo": no}})
		d.ok(err)
	}
	var all sync.WaitGroup
	var replayed [2]*operator.Replayed
	for i, p := range plans {
		all.Go(func() { replayed[i], _ = p.Run(context.Background(), func(int, int) {}) })
	}
	all.Wait()
	told := strings.Join(append(replayed[0].Skipped, replayed[1].Skipped...), "; ")
	if n := d.count("ORDERS"); n == 2 && !strings.Contains(told, "if that was under another number, both are bought") {
		t.Errorf("2 requests of one letter: told %q", told)
	}
	if got := replayed[0].Replayed + replayed[1].Replayed; got != 1 {
		t.Errorf("%d operators are told that they replayed it: %q", got, told)
	}
}

// TestDeskReplayIsCorrectedAnew: within a long duplicate window a letter that was published
// and not removed is stored again if it is corrected in another way, and only then.
func TestDeskReplayIsCorrectedAnew(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	s, err := d.js.Stream(t.Context(), "ORDERS")
	d.ok(err)
	config := s.CachedInfo().Config
	config.Duplicates = 2 * time.Minute
	_, err = d.js.UpdateStream(t.Context(), config)
	d.ok(err)
	d.bury(`{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"WRONG"}`, "invalid")
	letters, err := d.js.Stream(t.Context(), "ORDERS_DEAD")
	d.ok(err)
	frozen := letters.CachedInfo().Config
	frozen.DenyDelete = true // nothing is removed
	_, err = d.js.UpdateStream(t.Context(), frozen)
	d.ok(err)
	for i, correction := range []string{"FIRST", "RIGHT", "RIGHT"} {
		status, _, errs := d.do("dead", "replay", "1", "--set", "packageCode="+correction, "--yes")
		if want := uint64(min(i+1, 2)); status != statusFailed || d.count("ORDERS") != want {
			t.Errorf("%s: %d %s; %d requests, want %d", correction, status, errs, d.count("ORDERS"), want)
		}
	}
	m, err := s.GetLastMsgForSubject(t.Context(), "orders.package.request")
	if d.ok(err); !strings.Contains(string(m.Data), "RIGHT") {
		t.Errorf("stored: %s", m.Data)
	}
}

// TestDeskReplaySkipsWhatIsTooLarge: a letter that the stream can never take is passed over.
func TestDeskReplaySkipsWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	s, err := d.js.Stream(t.Context(), "ORDERS")
	d.ok(err)
	config := s.CachedInfo().Config
	config.MaxMsgSize = 1000
	_, err = d.js.UpdateStream(t.Context(), config)
	d.ok(err)
	d.bury(`{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","x":"`+strings.Repeat("x", 2000)+`"}`, "invalid")
	d.bury(`{"outTradeNo":"B","iccid":"8988308650100524999","packageCode":"P"}`, "invalid")
	status, out, errs := d.do("dead", "replay", "--all", "--yes")
	if status != statusFailed || !strings.Contains(out, "1 dead letter replayed\nnot replayed: 1: stream ORDERS can never take it") || d.count("ORDERS") != 1 {
		t.Errorf("%d %s%s", status, out, errs)
	}
}
