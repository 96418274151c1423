package config

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"orderworker/upstream"
)

func TestSecretFileIsReadAgainWhenItChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old\n")
	synctest.Test(t, func(t *testing.T) {
		s := &Settings{UpstreamSecretFile: file, UpstreamSecret: "old"}
		var log bytes.Buffer
		var got []upstream.Secret
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.WatchSecret(ctx, zerolog.New(&log), func(s upstream.Secret) { got = append(got, s) })
		}()
		for _, text := range []string{"old\n", "new\n", "", "", "new", "newer"} {
			write(text)
			time.Sleep(secretPoll) // of the bubble
			synctest.Wait()
		}
		cancel()
		<-done
		if len(got) != 2 || got[0] != "new" || got[1] != "newer" {
			t.Errorf("%d new secrets, want new and newer", len(got))
		}
		if n := strings.Count(log.String(), "cannot be used"); n != 1 || strings.Contains(log.String(), "newer") {
			t.Errorf("the empty file was logged %d times, want once and no secret: %s", n, log.String())
		}
	})
}
