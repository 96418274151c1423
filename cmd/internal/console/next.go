package console

import (
	"cmp"
	"fmt"
	"time"

	"orderworker/cmd/internal/operator"
)

// nextText is what happens to an order next.
func nextText(n *operator.Next, now time.Time) string {
	if n == nil {
		return "–"
	}
	words := map[string]string{
		"send": "is sent", "ask": "the vendor is asked", "settle": "an operator settles it", "publish": "its result is published",
		"resume": "is sent when somebody resumes", "worker": "a worker takes it",
		"probe": "is sent when the account’s pause is over; the vendor is probed",
	}
	ends := n.What == "resume" && !n.At.IsZero() // the pause, by itself
	if ends {
		words["resume"] = "is sent when the pause is over"
	}
	text := cmp.Or(words[n.What], n.What)
	switch left := n.At.Sub(now); {
	case n.Why != "":
		return fmt.Sprintf("%s (%s)", text, n.Why)
	case n.At.IsZero():
		return text
	case left > 0 && ends:
		return fmt.Sprintf("%s in %s, or when somebody resumes", text, operator.Ago(left.Round(time.Second)))
	case left > 0:
		return fmt.Sprintf("%s in %s", text, operator.Ago(left.Round(time.Second)))
	case left > -5*time.Second:
		return text + " now"
	default: // what is shown was read long ago
		return fmt.Sprintf("%s; that was due %s ago", text, operator.Ago(-left))
	}
}

// outdated says which store is away, so that what was read before of what happens next is not
// known any more.
func outdated(o *operator.Overview) string {
	if away(o, "nats") {
		return "NATS is away"
	}
	return "the orders are away"
}
