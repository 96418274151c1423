package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"orderworker/cmd/internal/operator"
	"orderworker/cmd/internal/text"
	"orderworker/worker"
)

// wrong is the error of a form that is not filled in right.
func wrong(format string, args ...any) error {
	return &problem{http.StatusUnprocessableEntity, fmt.Sprintf(format, args...)}
}

// planControl plans a pause or a resume.
func (c *Console) planControl(ctx context.Context, r *http.Request, who string) (*change, error) {
	do := r.PostFormValue("do")
	was, err := c.desk.Before(ctx, do == "pause" && strings.TrimSpace(r.PostFormValue("for")) != "")
	if err != nil {
		return nil, err
	}
	by := who + " (console)"
	switch do {
	case "pause":
		return c.planPause(r, operator.PauseRequest{By: by, Seen: was.Seen}, was)
	case "resume":
		if !was.Paused && was.Unread == nil && was.Seen != 0 { // without a word, workers that have read one wait for this
			return nil, &problem{http.StatusConflict, "not paused by an operator: " + was.String()}
		}
		held, word := c.held("order that waits", "orders that wait")
		return &change{
			action: "resume", object: c.desk.OrdersStream, count: held, unit: word, danger: true, seen: fmt.Sprint(was.Seen),
			question: was.String() + ".\nOrders are bought again.",
			do: func(ctx context.Context) (string, error) {
				_, err := c.desk.Resume(ctx, by, was.Seen)
				return "Resumed: orders are bought again within a few seconds, unless the account is paused too. Before: " + was.String() + ".", err
			},
		}, nil
	default:
		return nil, wrong("do (%q) must be pause or resume", cut(do, 40))
	}
}

// planPause plans a pause.
func (c *Console) planPause(r *http.Request, p operator.PauseRequest, was *operator.Before) (*change, error) {
	p.Reason = strings.TrimSpace(r.PostFormValue("reason"))
	if p.Reason == "" || len(p.Reason) > 1000 {
		return nil, wrong("a reason must be given, of 1000 bytes at most: it is shown to everybody who looks")
	}
	until := "until somebody resumes"
	if given := strings.TrimSpace(r.PostFormValue("for")); given != "" {
		d, err := time.ParseDuration(given)
		if err != nil || d <= 0 {
			return nil, wrong("for (%q) must be a duration above 0, such as 30m or 2h, or empty", cut(given, 40))
		}
		p.For, until = d, fmt.Sprintf("for %v", d)
	}
	before := was.Replaced(p.For, time.Now())
	if before != "" {
		before = "\n" + before
	}
	held, word := c.held("order that will wait", "orders that will wait")
	return &change{
		action: "pause", object: c.desk.OrdersStream, count: held, unit: word, seen: fmt.Sprint(p.Seen),
		question: fmt.Sprintf("No order is bought any more, by any worker, %s. Reason: %s%s", until, operator.Shown(p.Reason, 0), before),
		note:     "Requests that are under way finish; no attempt is spent; lookups, settling and cancelling go on.",
		do: func(ctx context.Context) (string, error) {
			now, err := c.desk.Pause(ctx, p)
			return "Paused: " + operator.Said(now) + ". Within a second nothing is sent any more.", err
		},
	}, nil
}

// held is how many orders a pause concerns now, and what to call them.
func (c *Console) held(one, many string) (int, string) {
	n := c.index.Overview().Counts
	sum := int(n.Queued + n.InProgress + n.Waiting + n.Paused)
	word := text.Noun(sum, one, many)
	if !n.Known("queued") || !n.Known("inProgress") {
		word += " (not all are counted yet)"
	}
	return sum, word
}

// planOrder plans to settle or to cancel an order.
func (c *Console) planOrder(ctx context.Context, r *http.Request, _ string) (*change, error) {
	no := numberOf(r)
	if !validNumber(no) {
		return nil, &problem{http.StatusNotFound, "no order has such a number"}
	}
	switch do := r.PostFormValue("do"); do {
	case "settle":
		return c.planSettle(ctx, r, no)
	case "cancel":
		return c.planCancel(ctx, no)
	default:
		return nil, wrong("do (%q) must be settle or cancel", cut(do, 40))
	}
}

// planSettle plans to settle an order in doubt.
func (c *Console) planSettle(ctx context.Context, r *http.Request, no string) (*change, error) {
	v, err := verdictOf(r)
	if err != nil {
		return nil, err
	}
	found, err := c.desk.Examine(ctx, no, patience, v)
	if err != nil {
		return nil, err
	}
	return &change{
		action: "settle", object: no, count: 1, unit: "order", danger: true, question: found.Question(), note: found.Warning(),
		do: found.Settle, close: found.Close,
	}, nil
}

// verdictOf reads an operator's verdict from a form, by the rules of orderworker settle.
func verdictOf(r *http.Request) (v operator.Verdict, err error) {
	v.OrderNumber = strings.TrimSpace(r.PostFormValue("orderNumber"))
	id := strings.TrimSpace(r.PostFormValue("orderId"))
	switch verdict := r.PostFormValue("verdict"); {
	case verdict == "bought":
		v.Bought = true
	case verdict != "not_bought":
		return v, wrong("verdict (%q) must be bought or not_bought", cut(verdict, 40))
	case v.OrderNumber != "" || id != "":
		return v, wrong("an order number is not allowed with not bought")
	default:
		return v, nil
	}
	switch {
	case v.OrderNumber == "":
		return v, wrong("the vendor's order number must be given for an order that was bought")
	case len(v.OrderNumber) > 128 || strings.ContainsFunc(v.OrderNumber, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return v, wrong("the order number must be 1 to 128 printable characters without space")
	}
	if id != "" {
		n, err := strconv.Atoi(id)
		if err != nil || n <= 0 {
			return v, wrong("the order id (%q) must be a whole number above 0", cut(id, 40))
		}
		v.OrderID = &n
	}
	return v, nil
}

// planCancel plans to cancel an order.
func (c *Console) planCancel(ctx context.Context, no string) (*change, error) {
	p, err := c.desk.PlanCancel(ctx, no)
	if err != nil {
		return nil, err
	}
	return &change{action: "cancel", object: no, count: 1, unit: "order", danger: true, question: p.Question(), note: p.Warning(), do: p.Run}, nil
}

// planLetter plans to replay one dead letter, corrected where the form says so.
func (c *Console) planLetter(ctx context.Context, r *http.Request, _ string) (*change, error) {
	if do := r.PostFormValue("do"); do != "replay" {
		return nil, wrong("do (%q) must be replay", cut(do, 40))
	}
	data, err := c.letterData(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	l := data.(*Letter)
	set := map[string]string{}
	for _, f := range l.Fields {
		values, given := r.PostForm[f.Name]
		if !given {
			continue
		}
		value := strings.TrimSpace(values[0])
		switch {
		case f.Valid && (values[0] == f.Value || value == f.Value) || value == "" && f.Value == "" && f.Required:
		case value == "" && f.Required:
			return nil, wrong("%s must not be empty", f.Name)
		case value == "":
			set[f.Name] = "null"
		default:
			set[f.Name] = value
		}
	}
	if len(set) > 0 {
		var pairs []string
		for name, value := range set {
			pairs = append(pairs, name+"="+value)
		}
		slices.Sort(pairs)
		if set, err = operator.ParseSet(pairs); err != nil {
			return nil, wrong("%v", err)
		}
	}
	return c.planReplay(ctx, operator.ReplaySelection{Seqs: []uint64{l.Seq}, Set: set})
}

// planDead plans to replay several dead letters.
func (c *Console) planDead(ctx context.Context, r *http.Request, _ string) (*change, error) {
	var s operator.ReplaySelection
	switch do := r.PostFormValue("do"); do {
	case "replay":
		for _, text := range r.PostForm["seq"] {
			seq, err := strconv.ParseUint(text, 10, 64)
			if err != nil || seq == 0 {
				return nil, wrong("seq (%q) must be a whole number above 0", cut(text, 40))
			}
			if !slices.Contains(s.Seqs, seq) {
				s.Seqs = append(s.Seqs, seq)
			}
		}
		if len(s.Seqs) == 0 {
			return nil, wrong("no dead letter is chosen")
		}
	case "replay_all":
		s.All, s.Reason = true, r.PostFormValue("reason")
		if s.Reason != "" && s.Reason != string(worker.Invalid) && s.Reason != string(worker.Conflict) {
			return nil, wrong("reason must be invalid or conflict, or empty")
		}
		if text := r.PostFormValue("limit"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > 10*operator.DefaultReplay {
				return nil, wrong("limit (%q) must be 1 to %d", cut(text, 40), 10*operator.DefaultReplay)
			}
			s.Limit = n
		}
	default:
		return nil, wrong("do (%q) must be replay or replay_all", cut(do, 40))
	}
	return c.planReplay(ctx, s)
}

// ranges are the numbers of letters, such as 1-24 26-31 40.
func ranges(letters []operator.DeadLetter) string {
	var b strings.Builder
	for i := 0; i < len(letters); i++ {
		first := letters[i].Seq
		for i+1 < len(letters) && letters[i+1].Seq == letters[i].Seq+1 {
			i++
		}
		fmt.Fprintf(&b, " %d", first)
		if last := letters[i].Seq; last > first {
			fmt.Fprintf(&b, "-%d", last)
		}
	}
	return strings.TrimPrefix(b.String(), " ")
}

// errStopped ends a replay. A letter that was published and not removed by then is a
// duplicate the next time.
var errStopped = errors.New("the console is stopped")

// planReplay plans a replay.
func (c *Console) planReplay(ctx context.Context, s operator.ReplaySelection) (*change, error) {
	p, err := c.desk.PlanReplay(ctx, s)
	if err != nil {
		return nil, err
	}
	if len(p.Letters) == 0 && len(p.Cannot) > 0 {
		return nil, &problem{http.StatusConflict, "cannot be replayed: " + operator.Shown(strings.Join(p.Cannot[:min(len(p.Cannot), 5)], "; "), 0)}
	}
	if len(p.Letters) == 0 {
		return nil, &problem{http.StatusConflict, "there is no such dead letter: somebody may have replayed it"}
	}
	var seen strings.Builder // the same number is another letter in a stream that was made anew
	for _, l := range p.Letters {
		fmt.Fprintln(&seen, l.Seq, l.At.UnixNano())
	}
	return &change{
		action: "replay", object: ranges(p.Letters), seen: seen.String(), count: len(p.Letters), unit: text.Noun(len(p.Letters), "dead letter", "dead letters"), danger: true, question: p.Question(),
		do: func(ctx context.Context) (string, error) {
			running, stop := context.WithCancelCause(ctx)
			defer stop(nil)
			defer context.AfterFunc(c.closing, func() { stop(errStopped) })()
			done, err := p.Run(running, func(int, int) {})
			c.index.dropLetters(ctx, c.desk)
			b := new(strings.Builder)
			done.Print(b)
			return b.String(), err
		},
	}, nil
}
