package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startTimeout is how long a server has to become ready.
const startTimeout = 30 * time.Second

// serveNATS is the nats-server's process: args are its directory. It says its
// URL when it is ready. Storage is by file and all else the server's default,
// sync_interval (2 minutes) too: the disk is not what is measured.
func serveNATS(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("nats: DIR is wanted")
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: args[0], NoLog: true, NoSigs: true,
		JetStreamMaxMemory: 1 << 30, JetStreamMaxStore: 1 << 40,
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		return errors.New("nats-server does not become ready")
	}
	fmt.Fprintln(out, s.ClientURL())
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}
