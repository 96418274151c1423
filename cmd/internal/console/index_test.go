package console

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"orderworker/cmd/internal/operator"
	"orderworker/worker"
	"orderworker/worker/halt"
)

func finishedRow(i int, at time.Time) operator.Row {
	r := operator.Row{
		OutTradeNo: fmt.Sprintf("NO-%06d", i), ICCID: fmt.Sprintf("89883086501%08d", i), PackageCode: "CN-5M-7D-C-US-20230103AC4BF927", State: operator.Succeeded,
		OrderNumber: fmt.Sprintf("1611558040873b105b2678de%08d", i), Seq: uint64(i), Attempt: 1,
		Received: worker.Time{Time: at}, Since: worker.Time{Time: at}, Last: &operator.Answer{Code: "200", Message: "success"},
	}
	if i%10 == 0 {
		r.State, r.Reason, r.OrderNumber = operator.Failed, "permanent_code", ""
	}
	return r
}

func numbers(rows []operator.Row) (found []string) {
	for _, r := range rows {
		found = append(found, r.OutTradeNo)
	}
	return found
}

// The index forgets the oldest finished orders, and gives back what it was given.
func TestIndexKeepsTheNewest(t *testing.T) {
	x := NewIndex(5)
	now := time.Now().Truncate(time.Millisecond).UTC()
	for i := range 13 {
		x.finish(finishedRow(i, now), uint64(i))
	}
	rows, more := x.Search(Query{Limit: 10})
	if want := []string{"NO-000012", "NO-000011", "NO-000010", "NO-000009", "NO-000008"}; !slices.Equal(numbers(rows), want) || more {
		t.Errorf("%v, %v, want %v", numbers(rows), more, want)
	}
	want := finishedRow(12, now)
	want.Refusals = 1
	if got := rows[0]; got.OrderNumber != want.OrderNumber || got.ICCID != want.ICCID || *got.Last != *want.Last || !got.Since.Equal(want.Since.Time) || got.State != want.State {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, c := range []struct {
		q    Query
		want []string
		more bool
	}{
		{Query{Text: "NO-00001", Limit: 2}, []string{"NO-000012", "NO-000011"}, true},
		{Query{Text: "NO-00001", Limit: 2, Skip: 2}, []string{"NO-000010"}, false},
		{Query{Text: "no-000009", Limit: 9}, []string{"NO-000009"}, false},
		{Query{Text: "00000008", Limit: 9}, []string{"NO-000008"}, false},
		{Query{State: operator.Failed, Limit: 9}, []string{"NO-000010"}, false},
		{Query{Text: "78de00000011", Limit: 9}, []string{"NO-000011"}, false},
		{Query{Text: "12\x008988", Limit: 9}, []string{"NO-000012"}, false},
		{Query{Text: "gone", Limit: 9}, nil, false},
		{Query{State: unfinished, Limit: 9}, nil, false},
	} {
		if rows, more := x.Search(c.q); !slices.Equal(numbers(rows), c.want) || more != c.more {
			t.Errorf("%+v: %v, %v, want %v, %v", c.q, numbers(rows), more, c.want, c.more)
		}
	}
	if o := x.Overview(); o.PerMinute[len(o.PerMinute)-1].Succeeded+o.PerMinute[len(o.PerMinute)-2].Succeeded != 11 {
		t.Errorf("the chart has %+v", o.PerMinute[len(o.PerMinute)-2:])
	}
}

// An order that has ended is not unfinished any more, though it was when it was read; its
// number in another request is.
func TestEndedOrdersAreNotUnfinished(t *testing.T) {
	x := NewIndex(5)
	now := time.Now()
	row := func(i, seq int, s operator.State) operator.Row {
		r := finishedRow(i, now)
		r.State, r.Seq = s, uint64(seq)
		return r
	}
	o := &operator.Overview{At: worker.Time{Time: now}}
	x.scan(o, []operator.Row{row(1, 1, operator.InDoubt), row(2, 2, operator.Waiting), row(3, 3, operator.Queued), row(4, 4, operator.Succeeded)}, nil)
	x.finish(finishedRow(1, now), uint64(1))
	other := finishedRow(3, now)
	other.Seq = 99
	x.finish(other, 2)
	rows, _ := x.Search(Query{State: unfinished, Limit: 9})
	if want := []string{"NO-000002", "NO-000003"}; !slices.Equal(numbers(rows), want) {
		t.Errorf("unfinished: %v, want %v", numbers(rows), want)
	}
	if found := x.InDoubt(); len(found) != 0 {
		t.Errorf("in doubt: %v", numbers(found))
	}
	before := x.endedSoFar()
	x.scan(o, []operator.Row{row(2, 2, operator.Waiting)}, before)
	if len(x.ended) != 0 {
		t.Errorf("%v is kept for ever", x.ended)
	}
	away := &operator.Overview{Stores: []operator.Store{{Name: "nats"}}, Errors: []string{"nats: away"}}
	x.scan(away, nil, nil)
	if rows, _ := x.Search(Query{State: unfinished, Limit: 9}); len(rows) != 1 {
		t.Error("while NATS is away, the orders are forgotten")
	}
}

// What a scan could not read is said until the next one, whatever is asked in between; and
// while the orders cannot be read, the last counts stay beside the last rows.
func TestIndexSaysWhatAScanCouldNotRead(t *testing.T) {
	x := NewIndex(5)
	now := time.Now()
	overview := func(c operator.Counts, away ...string) *operator.Overview {
		o := &operator.Overview{At: worker.Time{Time: now}, Counts: c, Stores: []operator.Store{{Name: "nats", OK: true}}, Errors: []string{}}
		for _, name := range away {
			if name == "nats" {
				o.Stores = nil
			}
			o.Stores = append(o.Stores, operator.Store{Name: name, Error: "no"})
			o.Errors = append(o.Errors, name+": no")
			o.Counts.NotKnown = append(o.Counts.NotKnown, map[string]string{"consumer": "queued", "dead letters": "dead", "results": "finished"}[name])
		}
		return o
	}
	check := func(what string, want operator.Counts, errors ...string) {
		t.Helper()
		if o := x.Overview(); !slices.Equal(o.Errors, errors) || fmt.Sprint(o.Counts) != fmt.Sprint(want) {
			t.Errorf("%s: %q, %+v, want %q, %+v", what, o.Errors, o.Counts, errors, want)
		}
	}
	x.refresh(overview(operator.Counts{Queued: 5}, "results"), 0)
	notRead := slices.DeleteFunc(operator.UnknownCounts().NotKnown, func(name string) bool { return name == "queued" || name == "dead" })
	check("no scan yet", operator.Counts{Queued: 5, NotKnown: notRead}, "results: no", "orders: not read yet")
	x.followed("results", nil)
	row := finishedRow(1, now)
	row.State = operator.InDoubt
	x.scan(overview(operator.Counts{InDoubt: 1, Queued: 3, HandedBack: 2}), []operator.Row{row}, nil)
	x.refresh(overview(operator.Counts{Queued: 7, Dead: 4, Finished: 6}), 0)
	all := operator.Counts{InDoubt: 1, Queued: 9, HandedBack: 2, Dead: 4, Finished: 6}
	check("a good scan", all)
	x.scan(overview(all, "journal"), []operator.Row{row}, nil)
	x.refresh(overview(operator.Counts{Queued: 7, Dead: 4, Finished: 6}), 0)
	check("the journal could not be read", all, "journal: no")
	x.scan(overview(all), []operator.Row{row}, nil)
	x.scan(overview(operator.Counts{}, "nats"), nil, nil)
	check("NATS is away", all, "nats: no")
	x.refresh(overview(operator.Counts{}, "consumer", "dead letters", "results"), 0)
	check("what could not be asked", all, "consumer: no", "dead letters: no", "results: no")
	x.refresh(overview(operator.Counts{Queued: 7, Dead: 4, Finished: 6}), 0)
	check("NATS is back", all)
	if found := x.InDoubt(); len(found) != 1 {
		t.Errorf("in doubt: %v", numbers(found))
	}
}

// What failed in the last hour is counted once the results are followed.
func TestIndexCountsWhatFailedLately(t *testing.T) {
	x := NewIndex(5)
	now := time.Now()
	for i, ago := range []time.Duration{0, 10 * time.Minute, 58 * time.Minute, 62 * time.Minute} {
		r := finishedRow(i, now.Add(-ago))
		r.State = operator.Failed
		x.finish(r, uint64(i+1))
	}
	x.finish(finishedRow(9, now), 9)
	if c := x.Overview().Counts; c.Known("failedLastHour") {
		t.Error("it is known before the results are followed")
	}
	x.followed("results", nil)
	if c := x.Overview().Counts; c.FailedLately != 3 || !c.Known("failedLastHour") {
		t.Errorf("%+v", c)
	}
	x.followed("results", errors.New("no permission"))
	if c := x.Overview().Counts; c.Known("failedLastHour") {
		t.Error("it is known though the results are not followed any more")
	}
}

// The numbers of ended orders are forgotten with the orders, though no scan succeeds; and
// orders that are no longer in their stream are not listed.
func TestIndexForgets(t *testing.T) {
	x := NewIndex(5)
	now := time.Now()
	for i := range 1000 {
		x.finish(finishedRow(i, now), uint64(i))
	}
	if len(x.ended) != 5 {
		t.Errorf("%d numbers are kept", len(x.ended))
	}
	gone := func(first uint64, want ...string) {
		t.Helper()
		x.refresh(&operator.Overview{}, first)
		if rows, _ := x.Search(Query{Limit: 9}); !slices.Equal(numbers(rows), want) || x.Overview().Indexed != len(want) {
			t.Errorf("events from %d on: %v, want %v", first, numbers(rows), want)
		}
	}
	gone(998, "NO-000999", "NO-000998")
	x.finish(finishedRow(1000, now), 1000)
	gone(998, "NO-001000", "NO-000999", "NO-000998")
	gone(1001)
	x.finish(finishedRow(1001, now), 1001)
	gone(1001, "NO-001001")
}

// A doubt stays while what became of it cannot be read, and so does a pause; an order that
// waits for its result to be published is unfinished.
func TestWhatCannotBeReadStays(t *testing.T) {
	x := NewIndex(5)
	now := time.Now()
	row := func(i int, s operator.State) operator.Row {
		r := finishedRow(i, now)
		r.State, r.Last = s, nil
		return r
	}
	o := &operator.Overview{At: worker.Time{Time: now}, Buying: operator.Buying{Paused: true, Operator: &halt.State{Paused: true, By: "ann"}}}
	cancelled := row(4, operator.Failed)
	cancelled.Unpublished = true
	x.scan(o, []operator.Row{row(1, operator.InDoubt), row(2, operator.Queued), cancelled}, nil)
	x.scan(&operator.Overview{At: o.At, Buying: operator.Buying{Unknown: "away"}}, []operator.Row{row(1, operator.Unknown), row(2, operator.Unknown), cancelled}, nil)
	if found := x.InDoubt(); len(found) != 1 || found[0].OutTradeNo != "NO-000001" {
		t.Errorf("in doubt: %v", numbers(found))
	}
	if rows, _ := x.Search(Query{State: operator.Unknown, Limit: 9}); !slices.Equal(numbers(rows), []string{"NO-000002"}) {
		t.Errorf("not known: %v", numbers(rows))
	}
	for _, state := range []operator.State{unfinished, operator.Failed} {
		if rows, _ := x.Search(Query{State: state, Limit: 9}); !slices.Contains(numbers(rows), "NO-000004") {
			t.Errorf("%s: %v has not the cancelled one", state, numbers(rows))
		}
	}
	for range 2 {
		if b := x.Overview().Buying; !b.Paused || b.Operator == nil || b.Operator.By != "ann" || b.Unknown == "" {
			t.Errorf("the pause is forgotten: %+v", b)
		}
		x.refresh(&operator.Overview{Buying: operator.Buying{Unknown: "away"}}, 0)
	}
	if x.refresh(&operator.Overview{}, 0); x.Overview().Buying.Paused {
		t.Error("the pause is over, and stays")
	}
}

func TestChart(t *testing.T) {
	for n, want := range map[int]int{0: 1, 1: 1, 3: 4, 5: 6, 43: 60, 99: 100, 101: 200} {
		if got := roundUp(n); got != want {
			t.Errorf("roundUp(%d) = %d, want %d", n, got, want)
		}
	}
	minutes := make([]Minute, chartLength)
	for i := range minutes {
		minutes[i].At.Time = time.Date(2026, 11, 26, 3, i, 0, 0, time.UTC)
	}
	if c := newChart(minutes); !c.Empty || len(c.Bars) != chartLength || len(c.Labels) != 4 {
		t.Errorf("an empty chart: %+v", c)
	}
	minutes[7].Succeeded, minutes[7].Failed = 30, 10
	c := newChart(minutes)
	b := c.Bars[7]
	if b.OKHeight != 3*b.BadHeight || b.BadY != chartTop || b.OKY+b.OKHeight != chartFloor || b.Title != "03:07: 30 succeeded, 10 failed" {
		t.Errorf("%+v", b)
	}
	if c.Words != "Results in the last 60 minutes: 30 succeeded, 10 failed; 40 in the busiest minute." {
		t.Error(c.Words)
	}
}

// BenchmarkSearch looks for what no order has, in a full index.
func BenchmarkSearch(b *testing.B) {
	x := NewIndex(maxFinished)
	now := time.Now()
	for i := range maxFinished {
		x.finish(finishedRow(i, now), uint64(i))
	}
	for b.Loop() {
		if rows, _ := x.Search(Query{Text: "nothing-like-it", Limit: pageLength}); len(rows) != 0 {
			b.Fatal(rows)
		}
	}
}

// A scan may take minutes: what was asked since then is not replaced by what it began with.
func TestScanDoesNotBringBackAnOldPause(t *testing.T) {
	x := NewIndex(5)
	now := time.Now()
	x.refresh(&operator.Overview{At: worker.Time{Time: now}}, 0)
	paused := operator.Buying{Paused: true, Operator: &halt.State{Paused: true, By: "ann"}}
	x.scan(&operator.Overview{At: worker.Time{Time: now.Add(-time.Minute)}, Buying: paused}, nil, nil)
	if b := x.Overview().Buying; b.Paused {
		t.Errorf("a pause that has ended is shown: %+v", b)
	}
	x.scan(&operator.Overview{At: worker.Time{Time: now.Add(time.Minute)}, Buying: paused}, nil, nil)
	if b := x.Overview().Buying; !b.Paused {
		t.Errorf("a pause that has begun is not shown: %+v", b)
	}
}
