package client

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker"
)

// Config names the streams. An empty name means the default of a worker's settings.
type Config struct {
	OrdersStream, OrdersSubject   string // defaults: ORDERS, orders.package.request
	ResultsStream, ResultsSubject string // defaults: ORDER_RESULTS, orders.package.result

	// Window is the largest number of requests that SubmitAll has published and that are
	// not acknowledged yet. 0 means 256.
	Window int

	// StreamTimeout is how long SubmitAll tries again while no stream answers at all. It
	// should be longer than an election. 0 means 10 s.
	StreamTimeout time.Duration
}

const (
	defaultWindow        = 256
	defaultStreamTimeout = 10 * time.Second
	ackTimeout           = 5 * time.Second // how long one publish waits for its acknowledgement
)

// Client publishes order requests and reads results. It is safe for concurrent use.
type Client struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	config Config

	mu   sync.Mutex
	mode readMode // how the results stream is read; nil before the first read
}

// Event is the content of a message in the results stream: section 3 of the contract.
type Event = worker.Result

// New returns a client that uses nc, which the caller closes. A user whose permissions
// limit its inboxes needs nats.CustomInboxPrefix on nc.
func New(nc *nats.Conn, config Config) (*Client, error) {
	for field, standard := range map[*string]string{
		&config.OrdersStream: "ORDERS", &config.OrdersSubject: "orders.package.request",
		&config.ResultsStream: "ORDER_RESULTS", &config.ResultsSubject: "orders.package.result",
	} {
		if *field == "" {
			*field = standard
		}
	}
	if config.Window <= 0 {
		config.Window = defaultWindow
	}
	if config.StreamTimeout <= 0 {
		config.StreamTimeout = defaultStreamTimeout
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(ackTimeout), jetstream.WithPublishAsyncMaxPending(config.Window+1))
	if err != nil {
		return nil, err
	}
	return &Client{nc: nc, js: js, config: config}, nil
}
