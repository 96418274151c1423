package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchVendor in the environment makes the test binary a vendor that sells to everybody,
// so that BenchmarkCall has it in a process of its own.
const benchVendor = "UPSTREAM_BENCH_VENDOR"

func TestMain(m *testing.M) {
	if os.Getenv(benchVendor) == "" {
		os.Exit(m.Run())
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, success)
	}))
	fmt.Println(s.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark closes it
}

// startBenchVendor returns the base URL of a vendor in a process of its own.
func startBenchVendor(b *testing.B) string {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), benchVendor+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	var url string
	if _, err := fmt.Fscanln(stdout, &url); err != nil {
		b.Fatal(err)
	}
	return url
}

// BenchmarkCall is the CPU time of this process, user and system, for one signed call:
// with our own exchange, and with http.Transport and the same guard.
func BenchmarkCall(b *testing.B) {
	base := startBenchVendor(b)
	c, err := NewClient(Config{BaseURL: base, AppKey: "000001", Secret: "a1b1c1d1", Timeout: 10 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	o := Order{OutTradeNo: "630000198311142676", ICCID: "8988308650100524999", PackageCode: "CN-5M-7D-C-US-20230103AC4BF927"}
	transport := &http.Client{Transport: &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &guardedConn{Conn: conn}, err
	}}}
	defer transport.CloseIdleConnections()
	for name, call := range map[string]func(context.Context) error{
		"own": func(ctx context.Context) error {
			line, err := c.Connect(ctx)
			if err != nil {
				return err
			}
			_, err = line.Place(ctx, o, time.Now().Add(time.Second))
			return err
		},
		"transport": func(ctx context.Context) error { return placeByTransport(ctx, transport, c, base+placePath, o) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				if err := call(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}

// placeByTransport does what Place does, with http.Transport.
func placeByTransport(ctx context.Context, client *http.Client, c *Client, url string, o Order) error {
	secret := *c.secret.Load()
	body, sign, err := encode(c.appKey, secret, placeParams(o), time.Now(), nonce())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	x, until := newExchange(time.Now().Add(time.Second)), time.Now().Add(c.timeout)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		got.Conn.(*guardedConn).begin(x, until)
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json;charset=utf-8")
	req.Header.Set("User-Agent", "orderworker")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBodyBytes+1))
	if err != nil {
		return err
	}
	hide := redactor{secret: string(secret), sign: string(sign[:])}
	r, fail := classify(answer{status: resp.StatusCode, body: text}, c.codes, hide, time.Now())
	if fail != nil {
		return fail
	}
	if p, ok := purchase(r, hide); !ok || !strings.HasPrefix(p.OrderNumber, "1611558") {
		return errors.New("no purchase")
	}
	return nil
}

// cpuTime is what this process has taken so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
