package main

import (
	"net"
	"sync"
	"testing"
	"time"

	"orderworker/dedupe/storetest"
)

// linkMode is what a proxy does to the bytes that pass through it.
type linkMode string

const (
	linkFine        linkMode = "fine"
	linkSlow        linkMode = "slow"         // every piece comes late, both ways
	linkDropReplies linkMode = "drop replies" // requests arrive, answers do not
	linkReset       linkMode = "reset"        // connections end in a TCP reset, new ones when the first answer comes
	linkHalfClosed  linkMode = "half-closed"  // the server's side ends, orderly; requests still arrive
	linkBlackHole   linkMode = "black hole"   // nothing arrives, nothing ends
)

var linkModes = []linkMode{linkSlow, linkDropReplies, linkReset, linkHalfClosed, linkBlackHole}

// breakLink makes the faults of one link, one after the other. Bytes that a proxy delays on
// their way to the vendor arrive well within RECONCILE_DELAY: assumption A2 of the design.
func breakLink(link string) func(*world, int) {
	return func(w *world, n int) {
		w.pass(300*time.Millisecond, time.Second)
		p := w.proxies[link]
		if link != vendorLink { // where connections end after 4 s without an order
			w.until("a worker goes through the proxy to "+link, func() bool { return p.connections() > 0 })
		}
		p.set(linkModes[n%len(linkModes)], w.between(50*time.Millisecond, 300*time.Millisecond))
		w.pass(300*time.Millisecond, 2500*time.Millisecond)
		p.set(linkFine, 0)
	}
}

// proxy passes TCP connections on to a server, and does what its mode says.
type proxy struct {
	addr, server string

	mu    sync.Mutex
	mode  linkMode
	delay time.Duration // linkSlow
	links map[*link]struct{}
}

// link is one connection through a proxy.
type link struct {
	client, server *net.TCPConn
	damaged        bool // bytes are missing: it must not go on
}

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", storetest.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), server: server, mode: linkFine, links: map[*link]struct{}{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.pass(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cutAll(func(*link) bool { return true })
		running.Wait()
	})
	return p
}

// set changes the mode. A connection that has lost bytes is reset, as happens after a long
// failure of a network.
func (p *proxy) set(mode linkMode, delay time.Duration) {
	p.mu.Lock()
	p.mode, p.delay = mode, delay
	p.mu.Unlock()
	p.cutAll(func(l *link) bool { return mode == linkReset || l.damaged })
	if mode != linkHalfClosed {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		_ = l.client.CloseWrite()
		l.damaged = true
	}
}

func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// cutAll resets the connections for which which returns true.
func (p *proxy) cutAll(which func(*link) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if which(l) {
			l.reset()
		}
	}
}

func (l *link) reset() {
	for _, conn := range []*net.TCPConn{l.client, l.server} {
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}

// pass joins client to the server until one of them ends.
func (p *proxy) pass(client *net.TCPConn) {
	conn, err := net.DialTimeout("tcp", p.server, 5*time.Second)
	if err != nil {
		_ = client.SetLinger(0)
		_ = client.Close()
		return
	}
	l := &link{client: client, server: conn.(*net.TCPConn)}
	p.mu.Lock()
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(l, l.client, l.server, false) })
	both.Go(func() { p.copy(l, l.server, l.client, true) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	_ = l.client.Close()
	_ = l.server.Close()
}

// copy passes bytes on until from ends, and then ends to.
func (p *proxy) copy(l *link, from, to *net.TCPConn, answers bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && p.passes(l, answers) {
			_, _ = to.Write(buffer[:n]) // where it fails, the other direction ends too
		}
		if err != nil {
			_ = to.CloseWrite()
			return
		}
	}
}

// passes waits as the mode says, and reports whether a piece of l is forwarded.
func (p *proxy) passes(l *link, answers bool) bool {
	p.mu.Lock()
	mode, delay := p.mode, p.delay
	drop := mode == linkBlackHole || answers && (mode == linkDropReplies || mode == linkHalfClosed || mode == linkReset)
	l.damaged = l.damaged || drop
	p.mu.Unlock()
	switch {
	case mode == linkSlow:
		time.Sleep(delay) // the fault itself
	case drop && mode == linkReset:
		l.reset()
	case drop && mode == linkHalfClosed:
		_ = l.client.CloseWrite()
	}
	return !drop
}
