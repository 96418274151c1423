package dedupe_test

import (
	"testing"
	"time"

	"orderworker/dedupe"
)

// A result goes into the journal as it is: one that is not JSON would be a final
// that nobody can read, for ever.
func TestStoreRefusesAResultThatIsNotJSON(t *testing.T) {
	eachStore(t, func(b bench) {
		c := b.must(testOrder, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now().Add(-time.Second), time.Now().Add(-time.Second)))
		for _, junk := range []string{"", "{", `{"status":"succeeded"`, `{} {}`, "junk"} {
			if _, err := b.Finish(b.ctx(), c, []byte(junk), true); err == nil {
				t.Errorf("Finish took %q for a result", junk)
			}
		}
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		if err := b.settle(testOrder.OutTradeNo, []byte("junk")); err == nil {
			t.Error("Settle took junk for a result")
		}
		if r := b.record(); r.State != dedupe.StateIntent {
			t.Errorf("the journal has %+v, want the intent", r)
		}
	})
}
