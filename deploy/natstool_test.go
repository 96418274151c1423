package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestSetUpScript runs setup.sh, twice: with a stand-in for the nats tool, which
// takes five minutes of CPU to build, and with the tool itself where it is there.
func TestSetUpScript(t *testing.T) {
	script := read(t, "nats/streams/setup.sh")
	for _, name := range streamFiles {
		if !strings.Contains(script, "\nstream "+name+"\n") {
			t.Errorf("setup.sh does not make stream %s", name)
		}
		if strings.Count(read(t, "nats/streams/"+name+".json"), `"num_replicas": 1`) != 1 {
			t.Errorf("%s.json has no num_replicas that setup.sh could set", name)
		}
	}
	for name, stream := range consumerFiles {
		if !strings.Contains(script, "\nconsumer "+stream+" "+name+"\n") {
			t.Errorf("setup.sh does not make consumer %s", name)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tools := map[string]string{"stand-in": self}
	if path, err := exec.LookPath("nats"); err == nil {
		tools["nats"] = path
	}
	for name, path := range tools {
		t.Run(name, func(t *testing.T) {
			s, dir := start(t), t.TempDir()
			if err := os.Symlink(path, filepath.Join(dir, "nats")); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
			t.Setenv("HOME", t.TempDir())
			t.Setenv("NATS_URL", natsURL(s, "admin"))
			for _, want := range []string{" made", " is there"} {
				out, err := exec.Command("sh", "nats/streams/setup.sh").CombinedOutput()
				if err != nil || strings.Count(string(out), want) != len(streamFiles)+len(consumerFiles) {
					t.Fatalf("setup.sh: %v, want %q of each\n%s", err, want, out)
				}
			}
			admin := as(t, s, "admin")
			for _, stream := range streamFiles {
				if _, err := admin.Stream(t.Context(), stream); err != nil {
					t.Errorf("%s: %v", stream, err)
				}
			}
			for consumer, stream := range consumerFiles {
				if _, err := admin.Consumer(t.Context(), stream, consumer); err != nil {
					t.Errorf("%s: %v", consumer, err)
				}
			}
		})
	}
}

// natsTool does what the nats tool does for the arguments that setup.sh gives it.
func natsTool(args []string) error {
	ctx := context.Background()
	nc, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	config := func(path string, into any) error {
		text, err := os.ReadFile(path)
		return errors.Join(err, json.Unmarshal(text, into))
	}
	switch n := len(args); {
	case n == 4 && args[0] == "stream" && args[1] == "info" && args[3] == "--json":
		_, err = js.Stream(ctx, args[2])
	case n == 5 && args[0] == "stream" && args[1] == "add" && args[3] == "--config":
		var c jetstream.StreamConfig
		if err = config(args[4], &c); err == nil {
			c.Name = args[2]
			_, err = js.CreateStream(ctx, c)
		}
	case n == 5 && args[0] == "consumer" && args[1] == "info" && args[4] == "--json":
		_, err = js.Consumer(ctx, args[2], args[3])
	case n == 6 && args[0] == "consumer" && args[1] == "add" && args[4] == "--config":
		var c jetstream.ConsumerConfig
		if err = config(args[5], &c); err == nil {
			c.Durable = args[3]
			_, err = js.CreateConsumer(ctx, args[2], c)
		}
	default:
		err = fmt.Errorf("the stand-in does not know: nats %s", strings.Join(args, " "))
	}
	return err
}
