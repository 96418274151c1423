package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// contender is a process that is measured: a worker, or the bare loop.
type contender struct {
	*process
	admin string // address of /readyz and /metrics; empty for the bare loop
}

// usage is how much memory a contender needed in one run.
type usage struct {
	peakMiB float64
	allocs  float64 // objects allocated on the heap
	bytes   float64 // bytes of those objects
}

// The account at the vendor.
const (
	appKey = "000001"
	secret = "a1b1c1d1"
)

// startContender starts the n-th process of a side.
func (r *runner) startContender(s *site, side side, n int) (*contender, error) {
	c := new(contender)
	var err error
	name, concurrency := fmt.Sprintf("%s-%d", side.who, n), strconv.Itoa(side.concurrency)
	if side.who == bareLoop {
		c.process, err = startProcess(s.dir, name, nil, r.self, childArg, "bare", s.nats, s.redis, s.vendor, concurrency)
		return c, err
	}
	if c.admin, err = freeAddr(); err != nil {
		return nil, err
	}
	path, more := r.worker, r.env
	if side.who == otherWorker {
		path, more = r.against, nil
	}
	env := append([]string{
		"NATS_URL=" + s.nats, "REDIS_URL=redis://" + s.redis + "/0", "UPSTREAM_URL=" + s.vendor,
		"UPSTREAM_APPKEY=" + appKey, "UPSTREAM_SECRET=" + secret, "UPSTREAM_RATE=0",
		"CONCURRENCY=" + concurrency, "ADMIN_ADDR=" + c.admin, "LOG_LEVEL=" + r.logLevel,
	}, more...)
	if r.profile != "" {
		env = append(env, "ADMIN_PPROF=true")
	}
	c.process, err = startProcess(s.dir, name, env, path, "run")
	return c, err
}

// ready waits until the contender takes orders.
func (c *contender) ready(ctx context.Context) error {
	if c.admin == "" {
		_, err := c.line()
		return err
	}
	err := until(ctx, "the worker is ready", startTimeout, 20*time.Millisecond, func() (bool, error) {
		_, err := c.ask(ctx, "/readyz")
		return err == nil, c.alive()
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, c.tail())
	}
	return nil
}

// finish ends the contender and returns what it took.
func (c *contender) finish(ctx context.Context) (u usage, err error) {
	if u.peakMiB, err = c.residentMiB(peakResident); err != nil {
		return u, err
	}
	if c.admin != "" {
		metrics, err := c.ask(ctx, "/metrics")
		if err != nil {
			return u, err
		}
		u.allocs, u.bytes = metric(metrics, "go_memstats_mallocs_total"), metric(metrics, "go_memstats_alloc_bytes_total")
	}
	said, err := c.stop(ctx)
	if err != nil || c.admin != "" {
		return u, err
	}
	var heap heapUse
	if err := json.Unmarshal([]byte(said), &heap); err != nil {
		return u, fmt.Errorf("%s's last words: %w", c.name, err)
	}
	u.allocs, u.bytes = float64(heap.Allocs), float64(heap.Bytes)
	return u, nil
}

// ask is the body of a page of the worker's admin server.
func (c *contender) ask(ctx context.Context, page string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.admin+page, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: HTTP %d: %s", page, resp.StatusCode, body)
	}
	return string(body), err
}

// metric is the value of a metric without labels in Prometheus' text format;
// 0 where it is missing.
func metric(text, name string) float64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return f
		}
	}
	return 0
}
