package deploy

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"orderworker/dedupe/storetest"
)

// span is what a test looks at of one.
type span struct {
	trace, id, parent, service string
	attributes                 map[string]string
}

// spans is an OpenTelemetry collector: the spans it got, by name.
type spans struct {
	mu     sync.Mutex
	byName map[string]span
	url    string
}

func collect(t *testing.T) *spans {
	t.Helper()
	c := &spans{byName: map[string]span{}}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var batch collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &batch)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range batch.ResourceSpans {
			var service string
			for _, a := range resource.Resource.Attributes {
				if a.Key == "service.name" {
					service = a.Value.GetStringValue()
				}
			}
			for _, scope := range resource.ScopeSpans {
				for _, s := range scope.Spans {
					got := span{hex.EncodeToString(s.TraceId), hex.EncodeToString(s.SpanId), hex.EncodeToString(s.ParentSpanId), service, map[string]string{}}
					for _, a := range s.Attributes {
						got.attributes[a.Key] = a.Value.GetStringValue()
					}
					c.byName[s.Name] = got
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *spans) get(name string) (span, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.byName[name]
	return s, ok
}

// TestTraces follows one order from its publisher to its result: with the
// worker's spans where the environment names a collector, and without any
// where it does not.
func TestTraces(t *testing.T) {
	t.Parallel()
	const (
		ours   = "4bf92f3577b34da6a3ce929d0e0e4736"
		theirs = "00f067aa0ba902b7"
		parent = "00-" + ours + "-" + theirs + "-01"
	)
	for name, on := range map[string]bool{"collector": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := collect(t)
			s := storetest.NATS(t)
			env := here(t, s.ClientURL(), "redis://"+storetest.Redis(t).Addr, vendor(t, ""))
			env["LOG_FORMAT"] = "json"
			if on {
				env["OTEL_EXPORTER_OTLP_ENDPOINT"] = c.url
				env["OTEL_BSP_SCHEDULE_DELAY"] = "50" // ms
			}
			w := work(t, env)
			nc := storetest.Connect(t, s)
			results, err := nc.SubscribeSync("orders.package.result.>")
			if err != nil {
				t.Fatal(err)
			}
			request := nats.NewMsg("orders.package.request")
			request.Data = []byte(`{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P"}`)
			request.Header.Set("traceparent", parent)
			if err := nc.PublishMsg(request); err != nil {
				t.Fatal(err)
			}
			result, err := results.NextMsgWithContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			carried := result.Header.Get("traceparent")
			storetest.Eventually(t, "the order's line in the log has the trace", func() bool {
				for line := range strings.Lines(w.log.String()) {
					var said map[string]any
					if json.Unmarshal([]byte(line), &said) == nil && said["out_trade_no"] == "A" && said["trace_id"] == ours {
						return true
					}
				}
				return false
			})
			if !on {
				if _, any := c.get("order"); any || carried != parent {
					t.Errorf("the result has %q, want %q; and a span was exported: %v", carried, parent, any)
				}
				return
			}
			storetest.Eventually(t, "the order's span is exported", func() bool { _, ok := c.get("order"); return ok })
			order, _ := c.get("order")
			if order.trace != ours || order.parent != theirs || order.service != "orderworker" ||
				order.attributes["out_trade_no"] != "A" || order.attributes["step"] != "succeeded" {
				t.Errorf("the order's span is %+v, want a child of %s", order, parent)
			}
			for _, name := range []string{"claim", "orderPackage", "publish"} {
				if child, ok := c.get(name); !ok || child.trace != ours || child.parent != order.id {
					t.Errorf("span %s is %+v, want a child of %s", name, child, order.id)
				}
			}
			publish, _ := c.get("publish")
			if want := "00-" + ours + "-" + publish.id + "-01"; carried != want {
				t.Errorf("the result has %q, want %q", carried, want)
			}
		})
	}
}

func TestTracesNotToBeHad(t *testing.T) {
	t.Parallel()
	env := here(t, "nats://127.0.0.1:1", "redis://127.0.0.1:1", "http://127.0.0.1:1")
	env["OTEL_EXPORTER_OTLP_ENDPOINT"], env["OTEL_EXPORTER_OTLP_PROTOCOL"], env["OTEL_TRACES_EXPORTER"] = "http://127.0.0.1:1", "grpc", "zipkin"
	env["OTEL_EXPORTER_OTLP_HEADERS"], env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = "Bearer hunter2", "http://u:hunter2@127.0.0.1:1"
	env["OTEL_RESOURCE_ATTRIBUTES"] = "hunter2"
	status, said := refused(t, env)
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_RESOURCE_ATTRIBUTES"} {
		if !strings.Contains(said, "orderworker: "+name+" must be ") {
			t.Errorf("%s is not refused", name)
		}
	}
	if status != 2 || strings.Contains(said, "hunter2") || !strings.Contains(said, `OTEL_EXPORTER_OTLP_PROTOCOL ("grpc") must be http/protobuf or http/json`) || !strings.Contains(said, `OTEL_TRACES_EXPORTER ("zipkin") must be otlp or none`) {
		t.Errorf("exit status %d, %s", status, said)
	}
}

// TestProfiles: they are there where ADMIN_PPROF says so, and nowhere else; the
// command line, in which a secret may stand, never.
func TestProfiles(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"true": http.StatusOK, "false": http.StatusNotFound} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := here(t, storetest.NATS(t).ClientURL(), "redis://"+storetest.Redis(t).Addr, "http://127.0.0.1:1")
			env["ADMIN_PPROF"] = name
			w := work(t, env)
			for path, want := range map[string]int{
				"/debug/pprof/goroutine": want, "/debug/pprof/profile?seconds=1": want, "/debug/pprof/cmdline": http.StatusNotFound,
			} {
				if status, _ := get(w.admin + path); status != want {
					t.Errorf("%s: %d, want %d", path, status, want)
				}
			}
		})
	}
}
