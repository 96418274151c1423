package dedupe

import (
	"errors"
	"testing"
)

// A record that something foreign was written over does not lose a purchase that
// is known: its success is written all the same. Nothing else is.
func TestUnreadableRecordTakesASuccess(t *testing.T) {
	j, js := realJournal(t)
	m := NewMemory()
	b := bench{New(m, j, nil, Config{Lease: long, FinalTTL: long}), m.ForgetAll, t}
	c := b.sentBy(testOrder)
	if _, err := js.Publish(t.Context(), testSubject+"."+SubjectToken(testOrder.OutTradeNo), []byte(`{"stream":"ORDERS","seq":5}`)); err != nil {
		t.Fatal(err)
	}
	_, failure := b.Finish(b.ctx(), c, failed, false)
	for act, err := range map[string]error{"failed": failure, "wait": b.Wait(b.ctx(), c, 1, soon), "bought": b.Doubt(b.ctx(), c, Doubt{Bought: true}, soon)} {
		if !errors.Is(err, ErrBroken) || errors.Is(err, ErrLost) {
			t.Errorf("%s: %v, want ErrBroken", act, err)
		}
	}
	m.ForgetAll()
	if _, err := b.Claim(b.ctx(), testOrder, b.NewOwner(), true); !errors.Is(err, ErrBroken) {
		t.Errorf("claim: %v, want ErrBroken", err)
	}
	for range 2 {
		if got, err := b.Finish(b.ctx(), c, won, true); err != nil || string(got) != string(won) {
			t.Fatalf("finish = %s, %v", got, err)
		}
	}
	if r := b.record(); r.State != StateFinal {
		t.Errorf("journal %+v", r)
	}
}
