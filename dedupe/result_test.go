package dedupe_test

import (
	"testing"
	"time"

	"orderworker/dedupe"
)

// A result that is not JSON would make a final that can never be read.
func TestStoreRefusesAResultThatIsNotJSON(t *testing.T) {
	eachStore(t, func(b testEnv) {
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
