package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// profileSeconds is how much of a measurement is profiled, from its start.
const profileSeconds = 10

// startProfile begins to fetch a CPU profile of c where -profile asks for it.
// The function that it returns waits for its end.
func (r *runner) startProfile(ctx context.Context, c *contender, name string) (wait func() error) {
	if r.profile == "" || c.admin == "" {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() {
		profile, err := c.ask(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", profileSeconds))
		if err == nil {
			err = os.WriteFile(filepath.Join(r.profile, name+".pprof"), []byte(profile), 0o600)
		}
		done <- err
	}()
	return func() error {
		if err := <-done; err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		return nil
	}
}
