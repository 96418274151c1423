package worker

import (
	"testing"
	"time"

	"orderworker/dedupe"
)

// The order expires when its first request does, whichever request is delivered. A
// duplicate's own expiresAt does not count.
func TestExpiresWithTheFirstRequest(t *testing.T) {
	first, second := time.Now().Add(time.Hour), time.Now().Add(time.Minute)
	for name, c := range map[string]struct {
		delivered   uint64
		known, want *time.Time
	}{
		"the first":               {7, &first, &second},
		"a duplicate":             {20, &first, &first},
		"a duplicate, none known": {20, nil, nil},
	} {
		task := &task{Worker: &Worker{}, order: Order{ExpiresAt: &second}, delivery: &Delivery{Seq: c.delivered}}
		if key := task.key(); key.Expires != &second {
			t.Errorf("%s: the store gets %v", name, key.Expires)
		}
		task.claim = &dedupe.Claim{Order: dedupe.Order{Expires: c.known}, First: 7}
		if got := task.expiresAt(); got != c.want {
			t.Errorf("%s: expires %v, want %v", name, got, c.want)
		}
	}
}
