package vitals

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/dedupe"
	"orderworker/upstream"
)

const (
	every = 3 * time.Second

	// lively is how old figures may be: a worker that has written none for as long is
	// gone, or cannot reach Redis.
	lively = 15 * time.Second

	// forgotten is how old the figures of a worker are that others remove.
	forgotten = time.Hour
)

// Pause is a pause of the account, as one worker knows it.
type Pause struct {
	Since     time.Time `json:"since"`
	Cause     string    `json:"cause"`
	Why       string    `json:"why"`
	Code      string    `json:"code,omitempty"`
	Message   string    `json:"message,omitempty"`
	NextProbe time.Time `json:"nextProbe"`
}

// Figures are those of one worker.
type Figures struct {
	ID         string           `json:"id"`
	Host       string           `json:"host"`
	Version    string           `json:"version"`
	Started    time.Time        `json:"started"`
	At         time.Time        `json:"at"` // by the worker's clock
	InProgress int              `json:"inProgress"`
	Rate       float64          `json:"rate"`               // requests to the vendor per second, in the last 30 s
	Limit      float64          `json:"limit"`              // what the quota gives to all workers together now; 0: no limit
	Pause      *Pause           `json:"pause"`              // nil: the account is not paused
	Orders     *upstream.Streak `json:"orders,omitempty"`   // the answers to orders, of which the unclear ones are bad; nil: a worker of an older version
	Lookups    *upstream.Streak `json:"lookups,omitempty"`  // the rounds of lookups, of which those are bad that proved nothing of an order that they did not find; nil likewise
	Starting   bool             `json:"starting,omitempty"` // it has just started, and not read the operator's word yet
	Unread     string           `json:"unread,omitempty"`   // why the worker cannot read the operator's word, without which it sends nothing
}

// key is the hash of a deployment: a field for each worker.
func key(deployment string) string { return dedupe.SubjectToken(deployment) + ":workers" }

// Publish writes the figures of the worker id every few seconds, until ctx ends; then it
// removes them. What cannot be written is left out. It begins with removing what workers
// left behind that died long ago.
func Publish(ctx context.Context, rdb redis.UniversalClient, deployment, id string, figures func() Figures) {
	forget(ctx, rdb, key(deployment))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		write(ctx, rdb, key(deployment), id, figures())
		select {
		case <-tick.C:
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = rdb.HDel(end, key(deployment), id).Err() // readers take no notice of it soon
			return
		}
	}
}

// write writes the figures once.
func write(ctx context.Context, rdb redis.UniversalClient, key, id string, f Figures) {
	ctx, cancel := context.WithTimeout(ctx, every)
	defer cancel()
	f.ID, f.At = id, time.Now().UTC()
	value, err := json.Marshal(f)
	if err != nil {
		return
	}
	_ = rdb.HSet(ctx, key, id, value).Err() // the next one may succeed
}

// forget removes the figures of workers that died long ago.
func forget(ctx context.Context, rdb redis.UniversalClient, key string) {
	ctx, cancel := context.WithTimeout(ctx, every)
	defer cancel()
	fields, _ := rdb.HGetAll(ctx, key).Result() // the next worker may succeed
	for id, value := range fields {
		var f Figures
		if json.Unmarshal([]byte(value), &f) != nil || time.Since(f.At) > forgotten {
			_ = rdb.HDel(ctx, key, id).Err()
		}
	}
}

// Read returns the figures of the workers that are alive, by host and id. It changes
// nothing.
func Read(ctx context.Context, rdb redis.UniversalClient, deployment string) ([]Figures, error) {
	fields, err := rdb.HGetAll(ctx, key(deployment)).Result()
	if err != nil {
		return nil, fmt.Errorf("read the workers' figures: %w", err)
	}
	var found []Figures
	now := time.Now()
	for _, value := range fields {
		var f Figures
		if json.Unmarshal([]byte(value), &f) == nil && now.Sub(f.At) <= lively {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b Figures) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}
