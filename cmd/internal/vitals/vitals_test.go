package vitals

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/dedupe/storetest"
)

// Who reads the figures changes nothing; a worker that starts removes those of the dead.
func TestReadingChangesNothing(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: storetest.Redis(t).Addr})
	defer rdb.Close()
	ctx, cancel := context.WithCancel(t.Context())
	if err := rdb.HSet(ctx, key("D"), "dead", `{"id":"dead","at":"2020-01-01T00:00:00Z"}`, "broken", "x").Err(); err != nil {
		t.Fatal(err)
	}
	if found, err := Read(ctx, rdb, "D"); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if n := rdb.HLen(ctx, key("D")).Val(); n != 2 {
		t.Errorf("after a look there are %d, want 2", n)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Publish(ctx, rdb, "D", "alive", func() Figures { return Figures{Started: time.Now()} })
	}()
	storetest.Eventually(t, "the worker alone is left", func() bool {
		found, err := Read(t.Context(), rdb, "D")
		return err == nil && len(found) == 1 && found[0].ID == "alive" && rdb.HLen(t.Context(), key("D")).Val() == 1
	})
	cancel()
	<-done
}
